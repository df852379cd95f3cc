//! A small map whose entries end: the answers of TokenReview and SubjectAccessReview.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// At most `capacity` entries, each with its own lifetime. When it is full, the entry that would end first makes room:
/// somebody who sprays keys costs reviews, never memory.
pub(crate) struct TtlCache<K, V> {
    capacity: usize,
    entries: Mutex<HashMap<K, Entry<V>>>,
}

struct Entry<V> {
    value: V,
    ends: Instant,
}

impl<K: Hash + Eq + Clone, V: Clone> TtlCache<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            entries: Mutex::new(HashMap::new()),
        }
    }

    pub(crate) fn get(&self, key: &K, now: Instant) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .get(key)
            .filter(|entry| now < entry.ends)
            .map(|entry| entry.value.clone())
    }

    pub(crate) fn insert(&self, key: K, value: V, lifetime: Duration, now: Instant) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.capacity && !entries.contains_key(&key) {
            entries.retain(|_, entry| now < entry.ends);
            if entries.len() >= self.capacity {
                let first = entries
                    .iter()
                    .min_by_key(|(_, entry)| entry.ends)
                    .map(|(key, _)| key.clone());
                if let Some(first) = first {
                    entries.remove(&first);
                }
            }
        }
        entries.insert(
            key,
            Entry {
                value,
                ends: now + lifetime,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_ends_with_its_lifetime() {
        let cache = TtlCache::new(10);
        let start = Instant::now();
        cache.insert("a", 1, Duration::from_secs(10), start);
        assert_eq!(cache.get(&"a", start + Duration::from_secs(9)), Some(1));
        assert_eq!(cache.get(&"a", start + Duration::from_secs(10)), None);
    }

    #[test]
    fn it_never_grows_beyond_its_capacity() {
        let cache = TtlCache::new(3);
        let start = Instant::now();
        for key in 0..100_u64 {
            cache.insert(key, key, Duration::from_secs(10 + key), start);
        }
        let left: Vec<u64> = (0..100)
            .filter(|key| cache.get(key, start).is_some())
            .collect();
        assert_eq!(left.len(), 3);
        assert!(left.contains(&99), "the newest entry stays: {left:?}");
    }
}
