//! When a source was asked, by a clock of this process that runs evenly and also while the machine is suspended: a reading that was young
//! before that is old after it.

use std::time::Duration;

/// A moment by this machine's clock. Those of different machines have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Nanoseconds since the machine was started, or less than 0 for what another one tells of before: 292 years in both directions.
    nanoseconds: i64,
}

impl Moment {
    pub fn now() -> Self {
        Self {
            nanoseconds: whole(since_start()),
        }
    }

    /// So long before this one.
    #[must_use]
    pub fn before(self, distance: Duration) -> Self {
        Self {
            nanoseconds: self.nanoseconds.saturating_sub(whole(distance)),
        }
    }

    /// So long after this one.
    #[must_use]
    pub fn after(self, distance: Duration) -> Self {
        Self {
            nanoseconds: self.nanoseconds.saturating_add(whole(distance)),
        }
    }

    /// How long ago it is; 0 for what is still to come.
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// How long it is after an earlier one; 0 where that is later.
    pub fn since(self, earlier: Self) -> Duration {
        let nanoseconds = self.nanoseconds.saturating_sub(earlier.nanoseconds);
        Duration::from_nanos(nanoseconds.try_into().unwrap_or_default())
    }
}

fn whole(duration: Duration) -> i64 {
    duration.as_nanos().try_into().unwrap_or(i64::MAX)
}

#[cfg(target_os = "linux")]
fn since_start() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    // It is there since Linux 2.6.39, and never negative.
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// Since the first call: the clock of others than Linux is for trying things out.
#[cfg(not(target_os = "linux"))]
fn since_start() -> Duration {
    use std::sync::LazyLock;
    use std::time::Instant;
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    FIRST.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_have_no_end_that_could_be_passed() {
        let (now, hour) = (Moment::now(), Duration::from_secs(3600));
        assert!(now.elapsed() < hour);
        assert!(now.before(hour).elapsed() >= hour);
        assert_eq!(now.after(hour).elapsed(), Duration::ZERO);
        assert_eq!(now.after(hour).since(now), hour);
        assert_eq!(now.since(now.after(hour)), Duration::ZERO);
        // A machine that was started an hour ago may be told of a reading of yesterday.
        let ancient = now.before(Duration::MAX).before(Duration::MAX);
        assert!(ancient.elapsed() > hour * 24 * 365 * 100);
        assert!(now.after(Duration::MAX).after(Duration::MAX) > now);
    }
}
