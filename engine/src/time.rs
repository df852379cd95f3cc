//! Arithmetic on times that can't overflow: a period comes from a user.

use jiff::{SignedDuration, Timestamp};

/// `time + duration`, at most the end of time.
pub(crate) fn after(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.checked_add(duration)
        .unwrap_or(if duration.is_negative() {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        })
}

/// `duration * part / whole`, for parts of a spread.
pub(crate) fn share(duration: SignedDuration, part: u64, whole: u64) -> SignedDuration {
    let nanos = duration.as_nanos().max(0) * i128::from(part) / i128::from(whole.max(1));
    SignedDuration::from_nanos_i128(nanos)
}
