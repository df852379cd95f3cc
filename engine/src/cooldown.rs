//! When an inactive object may be scaled in.

use jiff::{SignedDuration, Timestamp};

use crate::object::ScaledObject;
use crate::time::after;

/// Whether the cooldown is over at `now`. Both bounds are strict, as in KEDA.
///
/// KEDA: an object that was active waits `cooldownPeriod` from then. One that never was (its target was scaled by
/// someone else) waits `initialCooldownPeriod` from its creation.
pub(crate) fn is_over(
    object: &ScaledObject,
    last_active: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    let end = match last_active {
        Some(time) => after(time, object.cooldown_period),
        None => after(object.created_at, object.initial_cooldown_period),
    };
    end < now
}

/// How far `lastActiveTime` may lag behind in the status while the object stays active: a fifth of the cooldown, at
/// most a minute, at least 1 s. A restart counts an active object as active until the restart, so nothing is lost by it.
/// A paused object is the exception: nobody polled it since, so what its status says is all that a restart knows.
pub(crate) fn status_lag(object: &ScaledObject) -> SignedDuration {
    if object.switches.pause.is_some() {
        return SignedDuration::from_nanos(1);
    }
    (object.cooldown_period / 5).clamp(SignedDuration::from_secs(1), SignedDuration::from_secs(60))
}

/// The time of last activity to go on with after a restart at `now`.
///
/// `lastActiveTime` in the status lags behind while an object is active, so one that was active when the status was
/// last written counts as active until `now`. So a restart never shortens a cooldown.
pub(crate) fn remembered(
    status: Option<Timestamp>,
    was_active: bool,
    now: Timestamp,
) -> Option<Timestamp> {
    if !was_active {
        return status;
    }
    let now = whole_second(now);
    Some(status.map_or(now, |time| time.max(now)))
}

/// The status holds whole seconds: rounded up, so that what a restart reads is never earlier than what was meant.
pub(crate) fn whole_second(time: Timestamp) -> Timestamp {
    let part = SignedDuration::from_nanos(i64::from(
        time.subsec_nanosecond().rem_euclid(1_000_000_000),
    ));
    if part.is_zero() {
        time
    } else {
        after(time, SignedDuration::from_secs(1) - part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::tests::object;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_cooldown_runs_from_the_last_activity() {
        let object = ScaledObject {
            cooldown_period: SignedDuration::from_secs(300),
            ..object()
        };
        assert!(!is_over(&object, Some(at(1000)), at(1300)));
        assert!(is_over(&object, Some(at(1000)), at(1301)));
    }

    #[test]
    fn an_object_never_active_waits_for_the_initial_cooldown() {
        let object = ScaledObject {
            created_at: at(1000),
            initial_cooldown_period: SignedDuration::from_secs(60),
            ..object()
        };
        assert!(!is_over(&object, None, at(1060)));
        assert!(is_over(&object, None, at(1061)));
    }

    #[test]
    fn a_period_beyond_the_end_of_time_never_ends() {
        let object = ScaledObject {
            cooldown_period: SignedDuration::MAX,
            ..object()
        };
        assert!(!is_over(&object, Some(at(0)), at(1_000_000_000)));
    }

    #[test]
    fn a_restart_never_shortens_a_cooldown() {
        let now = at(99) + SignedDuration::from_millis(1);
        assert_eq!(remembered(Some(at(10)), true, now), Some(at(100)));
        assert_eq!(remembered(None, true, now), Some(at(100)));
        assert_eq!(remembered(Some(at(10)), false, now), Some(at(10)));
        assert_eq!(remembered(Some(at(200)), true, now), Some(at(200)));
        assert_eq!(remembered(None, false, now), None);
    }

    #[test]
    fn times_are_rounded_up_to_what_the_status_can_hold() {
        for (milli, second) in [(5000, 5), (5001, 6), (5999, 6), (-1500, -1)] {
            assert_eq!(
                whole_second(Timestamp::from_millisecond(milli).unwrap()),
                at(second),
                "{milli}"
            );
        }
    }

    #[test]
    fn the_status_of_a_paused_object_does_not_lag() {
        let mut object = object();
        object.switches.pause = Some(crate::object::Pause::Whole);
        assert_eq!(status_lag(&object), SignedDuration::from_nanos(1));
    }

    #[test]
    fn the_status_lags_by_a_fifth_of_the_cooldown_within_bounds() {
        for (cooldown, lag) in [(0, 1), (5, 1), (100, 20), (300, 60), (86_400, 60)] {
            let object = ScaledObject {
                cooldown_period: SignedDuration::from_secs(cooldown),
                ..object()
            };
            assert_eq!(
                status_lag(&object),
                SignedDuration::from_secs(lag),
                "cooldown {cooldown}"
            );
        }
    }
}
