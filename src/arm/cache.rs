//! What does not change from one look to the next, kept for a short while.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Values by key, each good for so long.
pub(super) struct Cache<T> {
    good_for: Duration,
    values: Mutex<BTreeMap<String, (Instant, T)>>,
}

/// Most values that are kept: more than a fleet has targets. Beyond it, all are read anew.
const MOST: usize = 20_000;

impl<T: Clone> Cache<T> {
    pub(super) fn new(good_for: Duration) -> Self {
        Self { good_for, values: Mutex::default() }
    }

    /// The value, read if it is not known. What is not there is asked again next time.
    pub(super) async fn or_read<E>(
        &self,
        key: &str,
        read: impl Future<Output = Result<Option<T>, E>>,
    ) -> Result<Option<T>, E> {
        if let Some(known) = self.get(key) {
            return Ok(Some(known));
        }
        let found = read.await?;
        if let Some(found) = &found {
            self.put(key, found.clone());
        }
        Ok(found)
    }

    fn get(&self, key: &str) -> Option<T> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.get(key).filter(|(at, _)| at.elapsed() < self.good_for).map(|(_, value)| value.clone())
    }

    fn put(&self, key: &str, value: T) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        if values.len() >= MOST {
            values.clear();
        }
        values.insert(key.to_owned(), (Instant::now(), value));
    }

    pub(super) fn forget(&self, key: &str) {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD_FOR: Duration = Duration::from_secs(60);

    /// What is given out for a key if `found` is what a read would find.
    async fn ask(cache: &Cache<u32>, key: &str, found: Option<u32>) -> Option<u32> {
        cache.or_read(key, async { Ok::<_, ()>(found) }).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_found_is_known_for_a_while_and_what_was_not_is_asked_again() {
        let cache = Cache::new(GOOD_FOR);
        assert_eq!(ask(&cache, "a", None).await, None);
        assert_eq!(ask(&cache, "a", Some(1)).await, Some(1));
        assert_eq!(ask(&cache, "b", Some(2)).await, Some(2));
        tokio::time::advance(GOOD_FOR - Duration::from_millis(1)).await;
        assert_eq!(ask(&cache, "a", Some(3)).await, Some(1));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(ask(&cache, "a", Some(3)).await, Some(3));
        cache.forget("a");
        assert_eq!(ask(&cache, "a", Some(4)).await, Some(4));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_kept_than_a_fleet_has() {
        let cache = Cache::new(GOOD_FOR);
        for key in 0..MOST {
            cache.put(&key.to_string(), 0);
        }
        assert_eq!(ask(&cache, "0", Some(1)).await, Some(0));
        cache.put("one more", 0);
        assert_eq!(ask(&cache, "0", Some(1)).await, Some(1));
        assert_eq!(ask(&cache, "one more", Some(1)).await, Some(0));
    }
}
