//! A lock that a panic leaves usable.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; also after a panic of whoever held it. What is locked here is changed in single steps, so nothing is left half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
