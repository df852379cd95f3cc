//! The lengths of what happens.

use jiff::SignedDuration;

/// A learnt lead time is a minute at least, so a sale can be no nearer than that and its ramp.
pub struct Pace {
    /// From the moment when the operator learns of a sale to its start.
    pub first_in: SignedDuration,
    pub second_in: SignedDuration,
    /// The three parameters of the triggers.
    pub ramp_up: SignedDuration,
    pub hold_after: SignedDuration,
    pub ramp_down: SignedDuration,
    /// Long enough to see that the calendar's server is gone: it is asked every 30 s.
    pub first_lasts: SignedDuration,
    pub second_lasts: SignedDuration,
    /// What a pod takes to become Ready in the first sale, and in the second.
    pub pods_start_in: SignedDuration,
    pub slow_pods_start_in: SignedDuration,
}

impl Pace {
    /// The ramps are those of the manifests.
    pub const SHOWN: Self = Self {
        first_in: SignedDuration::from_secs(120),
        second_in: SignedDuration::from_secs(120),
        ramp_up: SignedDuration::from_secs(30),
        hold_after: SignedDuration::from_secs(5),
        ramp_down: SignedDuration::from_secs(30),
        first_lasts: SignedDuration::from_secs(50),
        second_lasts: SignedDuration::from_secs(15),
        pods_start_in: SignedDuration::from_secs(2),
        slow_pods_start_in: SignedDuration::from_secs(30),
    };

    /// Pods of 24 s are the fastest that make the lead time longer by more than their own times vary.
    pub const QUICK: Self = Self {
        first_in: SignedDuration::from_secs(76),
        second_in: SignedDuration::from_secs(86),
        ramp_up: SignedDuration::from_secs(10),
        hold_after: SignedDuration::from_secs(2),
        ramp_down: SignedDuration::from_secs(10),
        second_lasts: SignedDuration::from_secs(10),
        slow_pods_start_in: SignedDuration::from_secs(24),
        ..Self::SHOWN
    };
}
