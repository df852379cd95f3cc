//! The time of this process: it starts with the wall clock and then runs evenly.
//!
//! The engine and the election compare times with each other. A wall clock that is set back would stop all polls and let two
//! replicas lead; one that is set forward would end cooldowns. So the wall clock is read once; from then on counts what has passed.
//!
//! Also what passes while the machine is suspended counts ([`Moment`]): to the others a lease has ended meanwhile. A virtual machine
//! that is paused from outside may have no clock that shows it.

use jiff::{SignedDuration, Timestamp};
use sakidori_values::Moment;

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Timestamp,
    since: Moment,
}

impl Clock {
    pub fn start() -> Self {
        Self {
            started: Timestamp::now(),
            since: Moment::now(),
        }
    }

    pub fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.since.elapsed()).unwrap_or(SignedDuration::MAX);
        self.started
            .saturating_add(passed)
            .unwrap_or(Timestamp::MAX)
    }
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
