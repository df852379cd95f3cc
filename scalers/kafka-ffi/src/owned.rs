//! An object of librdkafka's that is freed once, when its owner is dropped.

use std::ptr::NonNull;

pub(crate) struct Owned<T> {
    object: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// `None` for null.
    ///
    /// # Safety
    /// `object` is null, or the caller's to free with `free`, which nobody else does.
    pub(crate) unsafe fn new(object: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        NonNull::new(object).map(|object| Self { object, free })
    }

    pub(crate) fn native(&self) -> *mut T {
        self.object.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: as whoever made it promised, and it is dropped once.
        unsafe { (self.free)(self.object.as_ptr()) }
    }
}
