//! Things by key that remember for a while how they were, so that they can be shown as of some time ago.
//!
//! Only what changed is remembered, and only for as long as it is asked to: a thousand things at rest
//! cost nothing.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Deref,
    time::Duration,
};

use time::OffsetDateTime;

/// A map that knows what its values were. Reading is reading the map of now.
#[derive(Debug)]
pub(super) struct Tracked<V> {
    now: BTreeMap<String, V>,
    keep: Duration,
    /// When something changed, and what it was before; oldest first.
    before: VecDeque<(OffsetDateTime, String, Option<V>)>,
}

impl<V> Deref for Tracked<V> {
    type Target = BTreeMap<String, V>;
    fn deref(&self) -> &BTreeMap<String, V> {
        &self.now
    }
}

impl<V: Clone> Tracked<V> {
    /// Nothing yet. Changes are remembered for so long.
    pub(super) fn new(keep: Duration) -> Self {
        Self { now: BTreeMap::new(), keep, before: VecDeque::new() }
    }

    /// What has been there since before all time that is remembered.
    pub(super) fn found(&mut self, key: String, value: V) {
        self.now.insert(key, value);
    }

    pub(super) fn insert(&mut self, at: OffsetDateTime, key: String, value: V) {
        self.remember(at, &key);
        self.now.insert(key, value);
    }

    pub(super) fn remove(&mut self, at: OffsetDateTime, key: &str) -> Option<V> {
        self.remember(at, key);
        self.now.remove(key)
    }

    /// The value, to be changed.
    pub(super) fn change(&mut self, at: OffsetDateTime, key: &str) -> Option<&mut V> {
        self.remember(at, key);
        self.now.get_mut(key)
    }

    fn remember(&mut self, at: OffsetDateTime, key: &str) {
        if self.keep.is_zero() {
            return;
        }
        while self.before.front().is_some_and(|(when, ..)| *when + self.keep < at) {
            self.before.pop_front();
        }
        self.before.push_back((at, key.to_owned(), self.now.get(key).cloned()));
    }

    /// Everything as it was at a time, in the order of keys. Further back than is remembered, it is as
    /// far back as that.
    pub(super) fn as_of(&self, then: OffsetDateTime) -> Vec<(&str, &V)> {
        let mut changed: BTreeMap<&str, Option<&V>> = BTreeMap::new();
        for (_, key, value) in self.before.iter().filter(|(when, ..)| *when > then) {
            changed.entry(key).or_insert(value.as_ref());
        }
        if changed.is_empty() {
            return self.now.iter().map(|(key, value)| (key.as_str(), value)).collect();
        }
        let kept = self.now.iter().map(|(key, value)| (key.as_str(), value));
        let mut all: BTreeMap<&str, &V> = kept.filter(|(key, _)| !changed.contains_key(key)).collect();
        all.extend(changed.into_iter().filter_map(|(key, value)| Some((key, value?))));
        all.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_shown_as_it_was_and_is_forgotten_in_time() {
        let at = |seconds| OffsetDateTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut map = Tracked::new(Duration::from_secs(60));
        map.found("old".to_owned(), 1);
        map.insert(at(10), "new".to_owned(), 2);
        *map.change(at(20), "new").unwrap() += 1;
        map.remove(at(30), "old");
        let shown = |map: &Tracked<i32>, then| -> Vec<(String, i32)> {
            map.as_of(at(then)).into_iter().map(|(key, value)| (key.to_owned(), *value)).collect()
        };
        let of = |pairs: &[(&str, i32)]| -> Vec<(String, i32)> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect()
        };
        assert_eq!(shown(&map, 5), of(&[("old", 1)]));
        assert_eq!(shown(&map, 15), of(&[("new", 2), ("old", 1)]));
        assert_eq!(shown(&map, 25), of(&[("new", 3), ("old", 1)]));
        assert_eq!(shown(&map, 30), of(&[("new", 3)]));
        map.insert(at(200), "late".to_owned(), 4);
        assert_eq!(map.before.len(), 1, "changes of long ago are dropped");
    }

    #[test]
    fn with_nothing_to_keep_nothing_is_kept() {
        let mut map = Tracked::new(Duration::ZERO);
        map.insert(OffsetDateTime::UNIX_EPOCH, "a".to_owned(), 1);
        assert!(map.before.is_empty());
        assert_eq!(map.as_of(OffsetDateTime::UNIX_EPOCH - Duration::from_secs(9)), [("a", &1)]);
    }
}
