//! The time of this process: it starts with the wall clock and then runs evenly.
//!
//! The engine and the election compare times with each other. A wall clock that is set back would stop all polls and let two
//! replicas lead; one that is set forward would end cooldowns. So the wall clock is read once; from then on counts what has passed.
//!
//! Also what passes while the machine is suspended counts (Linux' `CLOCK_BOOTTIME`; the monotonic clock stands still then): to
//! the others a lease has ended meanwhile. A virtual machine that is paused from outside may have no clock that shows it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Timestamp,
    since: Duration,
}

impl Clock {
    pub fn start() -> Self {
        Self {
            started: Timestamp::now(),
            since: since_boot(),
        }
    }

    pub fn now(&self) -> Timestamp {
        let passed = since_boot().saturating_sub(self.since);
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        self.started
            .saturating_add(passed)
            .unwrap_or(Timestamp::MAX)
    }
}

#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    // It is there since Linux 2.6.39, and never negative.
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// Since the first call: the clock of others than Linux is for trying things out.
#[cfg(not(target_os = "linux"))]
fn since_boot() -> Duration {
    use std::sync::LazyLock;
    use std::time::Instant;
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    FIRST.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back_and_starts_with_the_wall_clock() {
        let clock = Clock::start();
        let first = clock.now();
        assert!(clock.now() >= first);
        assert!(first.duration_since(Timestamp::now()).abs() < SignedDuration::from_secs(60));
    }
}
