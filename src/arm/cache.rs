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
