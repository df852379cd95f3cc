//! The floor of one occurrence over time.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::occurrence::Occurrence;
use super::settings::{Factor, Overlap, Settings, Wish};
use crate::time::after;

/// Steps of a ramp are no closer than this. The HPA controller looks at an HPA every 15 s, so finer steps would only be writes
/// that nobody acts on; and a floor of 1,000 replicas is no 1,000 writes per object.
pub const STEP_SPACING: SignedDuration = SignedDuration::from_secs(15);

/// Clocks differ by seconds, or by an offset from UTC that somebody took for none.
const BELIEVED_WITHIN: SignedDuration = SignedDuration::from_hours(24);

/// The floor of one occurrence, for one trigger: see the picture in [`super`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The index of the trigger among the object's `sale-calendar` triggers.
    pub trigger: usize,
    pub occurrence: Arc<Occurrence>,
    pub baseline: i32,
    pub peak: i32,
    pub climbs_at: Timestamp,
    pub complete_at: Timestamp,
    pub holds_until: Timestamp,
    /// The floor at the end of the hold: the peak, unless the occurrence was taken away while the floor still climbed.
    pub falls_from: i32,
    pub gone_at: Timestamp,
    pub overlap: Overlap,
    pub max_replicas: Option<i32>,
}

impl Profile {
    /// `None` for a trigger that sets a limit and no floor.
    pub fn new(
        trigger: usize,
        settings: &Settings,
        occurrence: &Arc<Occurrence>,
        baseline: i32,
        lead: SignedDuration,
    ) -> Option<Self> {
        let peak = match settings.wish {
            Wish::Replicas(replicas) => replicas,
            Wish::Times(Factor::Fixed(multiplier)) => multiplier.of(baseline),
            Wish::Times(Factor::OfEvent) => occurrence.multiplier.unwrap_or_default().of(baseline),
            Wish::Limit(_) => return None,
        };
        let complete_at = after(occurrence.start, -lead);
        let holds_until = after(occurrence.end, settings.hold_after);
        Some(Self {
            trigger,
            occurrence: occurrence.clone(),
            baseline: baseline.min(peak),
            peak,
            climbs_at: after(complete_at, -settings.ramp_up),
            complete_at,
            holds_until,
            falls_from: peak,
            gone_at: after(holds_until, settings.ramp_down),
            overlap: settings.overlap,
            max_replicas: settings.max_replicas,
        })
    }

    /// The same with a hold that ends at `at`, at a floor of `from`.
    pub fn cut(self, at: Timestamp, from: i32) -> Self {
        let ramp_down = self.gone_at.duration_since(self.holds_until);
        Self {
            holds_until: at,
            falls_from: from,
            gone_at: after(at, ramp_down),
            ..self
        }
    }

    /// The same as what is known to have begun, and to have been complete, whatever the clock says: one that is behind (another
    /// machine's, after a change of the leader) takes no floor away. Where a day is between them, the other clock was the wrong one.
    pub(super) fn begun_by(self, now: Timestamp, complete: bool) -> Self {
        if after(now, BELIEVED_WITHIN) < self.climbs_at {
            return self;
        }
        Self {
            climbs_at: self.climbs_at.min(now),
            complete_at: match complete {
                true => self.complete_at.min(now),
                false => self.complete_at,
            },
            ..self
        }
    }

    /// The floor at `at`; 0 is none.
    pub fn floor_at(&self, at: Timestamp) -> i32 {
        #[cfg(test)]
        looks::count();
        if at < self.climbs_at || at >= self.gone_at {
            0
        } else if at >= self.holds_until {
            self.falls_from - self.fall().reached_at(at)
        } else if at >= self.complete_at {
            self.peak
        } else {
            self.baseline + self.climb().reached_at(at)
        }
    }

    /// Whether the occurrence keeps the object active: from the first ramp instant to the end of the hold.
    pub fn is_active_at(&self, at: Timestamp) -> bool {
        self.climbs_at <= at && at < self.holds_until
    }

    /// The first instant after `at` at which the floor or the activity changes.
    pub fn next_change(&self, at: Timestamp) -> Option<Timestamp> {
        if at < self.climbs_at {
            Some(self.climbs_at)
        } else if at < self.complete_at.min(self.holds_until) {
            // A hold that is over before the climb is: the occurrence was taken away.
            let step = self.climb().next_step(at).unwrap_or(self.complete_at);
            Some(step.min(self.holds_until))
        } else if at < self.holds_until {
            Some(self.holds_until)
        } else if at < self.gone_at {
            Some(self.fall().next_step(at).unwrap_or(self.gone_at))
        } else {
            None
        }
    }

    /// The floor at `from`, and each change until `to`; the profile does not turn in between.
    pub(super) fn floors(&self, from: Timestamp, to: Timestamp) -> Floors<'_> {
        let (stairs, climbs) =
            if self.climbs_at <= from && from < self.complete_at.min(self.holds_until) {
                (Some(self.climb()), true)
            } else if self.holds_until <= from && from < self.gone_at {
                (Some(self.fall()), false)
            } else {
                (None, true)
            };
        let stairs = stairs.filter(|stairs| stairs.nanos() > 0);
        Floors {
            profile: self,
            climbs,
            next: Some((from, self.floor_at(from))),
            step: stairs.as_ref().map_or(0, |stairs| stairs.step_at(from)),
            steps: stairs.as_ref().map_or(0, Stairs::steps),
            stairs,
            to,
        }
    }

    /// What the floor holds over its whole life, in replica seconds.
    pub fn replica_seconds(&self) -> f64 {
        let mut sum = 0.0;
        let mut at = self.climbs_at;
        while let Some(next) = self.next_change(at) {
            sum += f64::from(self.floor_at(at)) * next.duration_since(at).as_secs_f64();
            at = next;
        }
        sum
    }

    fn climb(&self) -> Stairs {
        Stairs {
            from: self.climbs_at,
            to: self.complete_at,
            height: self.peak - self.baseline,
            eager: true,
        }
    }

    fn fall(&self) -> Stairs {
        Stairs {
            from: self.holds_until,
            to: self.gone_at,
            height: self.falls_from,
            eager: false,
        }
    }
}

/// A climb or a fall by `height` replicas in whole steps: the nth of N comes when n/N of the time has passed.
#[derive(Clone, Debug)]
struct Stairs {
    from: Timestamp,
    to: Timestamp,
    height: i32,
    /// Rounds up what a step does not reach exactly: a floor climbs rather early, and falls rather late.
    eager: bool,
}

impl Stairs {
    fn nanos(&self) -> i128 {
        self.to.as_nanosecond() - self.from.as_nanosecond()
    }

    fn steps(&self) -> i128 {
        let room = self.nanos() / STEP_SPACING.as_nanos();
        i128::from(self.height).min(room).max(1)
    }

    /// The step on which one is at `at`; not for stairs without a length.
    fn step_at(&self, at: Timestamp) -> i128 {
        let nanos = self.nanos();
        let passed = (at.as_nanosecond() - self.from.as_nanosecond()).clamp(0, nanos);
        passed * self.steps() / nanos
    }

    /// Replicas climbed or fallen by at `at`.
    fn reached_at(&self, at: Timestamp) -> i32 {
        if self.nanos() <= 0 {
            return self.height;
        }
        self.reached_on(self.step_at(at), self.steps())
    }

    /// Replicas climbed or fallen by on `step` of `steps`.
    fn reached_on(&self, step: i128, steps: i128) -> i32 {
        let height = i128::from(self.height);
        let reached = if self.eager {
            (height * step + steps - 1) / steps
        } else {
            height * step / steps
        };
        i32::try_from(reached).unwrap_or(self.height)
    }

    fn next_step(&self, at: Timestamp) -> Option<Timestamp> {
        if self.nanos() <= 0 || at >= self.to {
            return None;
        }
        self.instant_of(self.step_at(at) + 1, self.steps())
    }

    fn instant_of(&self, step: i128, steps: i128) -> Option<Timestamp> {
        // Rounded up: the first nanosecond at which `step_at` counts the step.
        let nanos = (step * self.nanos() + steps - 1) / steps;
        Timestamp::from_nanosecond(self.from.as_nanosecond() + nanos).ok()
    }
}

/// Goes up or down the stairs of a profile, without looking for its place anew at each step.
#[derive(Clone, Debug)]
pub struct Floors<'a> {
    profile: &'a Profile,
    stairs: Option<Stairs>,
    climbs: bool,
    step: i128,
    steps: i128,
    next: Option<(Timestamp, i32)>,
    to: Timestamp,
}

impl<'a> Floors<'a> {
    pub fn profile(&self) -> &'a Profile {
        self.profile
    }
}

impl Iterator for Floors<'_> {
    type Item = (Timestamp, i32);

    fn next(&mut self) -> Option<(Timestamp, i32)> {
        #[cfg(test)]
        looks::count();
        let this = self.next.take()?;
        if let Some(stairs) = &self.stairs
            && self.step < self.steps
        {
            self.step += 1;
            let reached = stairs.reached_on(self.step, self.steps);
            let floor = if self.climbs {
                self.profile.baseline + reached
            } else {
                self.profile.falls_from - reached
            };
            self.next = stairs
                .instant_of(self.step, self.steps)
                .filter(|at| *at < self.to)
                .map(|at| (at, floor));
        }
        Some(this)
    }
}

/// How often a floor is worked out, for tests of what a year costs.
#[cfg(test)]
pub(in crate::prescale) mod looks {
    use std::cell::Cell;

    thread_local!(static LOOKS: Cell<usize> = const { Cell::new(0) });

    pub(super) fn count() {
        LOOKS.set(LOOKS.get() + 1);
    }

    pub(in crate::prescale) fn during<T>(work: impl FnOnce() -> T) -> (usize, T) {
        let before = LOOKS.get();
        let made = work();
        (LOOKS.get() - before, made)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::prescale::{Baseline, LeadTime};

    pub(in crate::prescale) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    pub(in crate::prescale) fn occurrence(name: &str, start: i64, end: i64) -> Arc<Occurrence> {
        Arc::new(Occurrence {
            id: name.to_owned(),
            source: String::new(),
            name: name.to_owned(),
            start: at(start),
            end: at(end),
            labels: Default::default(),
            multiplier: None,
        })
    }

    pub(in crate::prescale) fn settings(replicas: i32) -> Settings {
        Settings {
            wish: Wish::Replicas(replicas),
            baseline: Baseline::Replicas(20),
            lead_time: LeadTime::Fixed(SignedDuration::from_mins(15)),
            ..Settings::default()
        }
    }

    fn profile(baseline: i32, peak: i32, times: [i64; 5]) -> Profile {
        let [start, length, lead, up, down] = times;
        let settings = Settings {
            ramp_up: SignedDuration::from_secs(up),
            ramp_down: SignedDuration::from_secs(down),
            ..settings(peak)
        };
        let occurrence = occurrence("sale", start, start + length);
        let lead = SignedDuration::from_secs(lead);
        Profile::new(0, &settings, &occurrence, baseline, lead).unwrap()
    }

    /// Every change with the floor from then on.
    fn changes(profile: &Profile) -> Vec<(i64, i32)> {
        let mut at = Timestamp::MIN;
        let mut changes = Vec::new();
        while let Some(next) = profile.next_change(at) {
            changes.push((next.as_second(), profile.floor_at(next)));
            at = next;
        }
        changes
    }

    #[test]
    fn a_floor_climbs_holds_and_falls() {
        // 20 to 24 in a minute, complete 100 s before the start at 1000; the hold ends 600 s after the end at 2000.
        let profile = profile(20, 24, [1000, 1000, 100, 60, 60]);
        assert_eq!(
            changes(&profile),
            [
                (840, 20),
                (855, 21),
                (870, 22),
                (885, 23),
                (900, 24),
                (2600, 24),
                (2615, 18),
                (2630, 12),
                (2645, 6),
                (2660, 0),
            ]
        );
        assert_eq!(
            profile.replica_seconds(),
            15.0 * (20 + 21 + 22 + 23) as f64 + 1700.0 * 24.0 + 15.0 * (24 + 18 + 12 + 6) as f64
        );
    }

    #[test]
    fn without_ramps_it_is_a_box() {
        let profile = profile(20, 50, [1000, 1000, 0, 0, 0]);
        assert_eq!(changes(&profile), [(1000, 50), (2600, 0)]);
        assert!(profile.is_active_at(at(2599)) && !profile.is_active_at(at(2600)));
    }

    #[test]
    fn a_peak_below_the_baseline_is_held_flat() {
        let profile = profile(20, 5, [1000, 1000, 100, 60, 0]);
        assert_eq!(changes(&profile), [(840, 5), (900, 5), (2600, 0)]);
    }

    #[test]
    fn a_multiplier_takes_the_baseline_times_what_the_event_says() {
        let mut event = (*occurrence("sale", 1000, 2000)).clone();
        event.multiplier = Some("3.5".parse().unwrap());
        let event = Arc::new(event);
        for (wish, peak) in [
            (Wish::Times(Factor::OfEvent), 70),
            (Wish::Times(Factor::Fixed("1.1".parse().unwrap())), 22),
            (Wish::Replicas(3), 3),
        ] {
            let settings = Settings {
                wish,
                ..settings(0)
            };
            let profile = Profile::new(0, &settings, &event, 20, SignedDuration::ZERO);
            assert_eq!(profile.unwrap().peak, peak, "{wish:?}");
        }
        let silent = Settings {
            wish: Wish::Times(Factor::OfEvent),
            ..settings(0)
        };
        let profile = Profile::new(0, &silent, &occurrence("x", 1, 2), 20, SignedDuration::ZERO);
        assert_eq!(profile.unwrap().peak, 20);
        let limit = Settings {
            wish: Wish::Limit(4),
            ..settings(0)
        };
        assert_eq!(
            Profile::new(0, &limit, &event, 20, SignedDuration::ZERO),
            None
        );
    }

    pub(in crate::prescale) fn any_profile() -> impl Strategy<Value = Profile> {
        (
            0i32..200,
            1i32..2000,
            (
                10_000i64..20_000,
                1i64..5000,
                0i64..4000,
                0i64..3000,
                0i64..3000,
            ),
        )
            .prop_map(|(baseline, peak, (start, length, lead, up, down))| {
                profile(baseline, peak, [start, length, lead, up, down])
            })
    }

    proptest! {
        #[test]
        fn ramps_are_monotone_exact_and_complete_in_time(profile in any_profile()) {
            let changes = changes(&profile);
            prop_assert!(changes.len() < 500, "steps are at least 15 s apart");
            for pair in changes.windows(2) {
                let [(before, low), (after, high)] = pair else { unreachable!() };
                prop_assert!(before < after);
                if at(*after) <= profile.complete_at {
                    prop_assert!(low <= high, "climbs");
                } else if at(*after) > profile.holds_until {
                    prop_assert!(low >= high, "falls");
                }
            }
            prop_assert_eq!(profile.floor_at(profile.complete_at), profile.peak);
            prop_assert_eq!(profile.floor_at(profile.occurrence.start), profile.peak);
            prop_assert_eq!(profile.floor_at(profile.occurrence.end), profile.peak);
            prop_assert_eq!(profile.floor_at(profile.gone_at), 0);
        }

        #[test]
        fn there_is_no_floor_without_its_occurrence(profile in any_profile(), second in 0i64..60_000) {
            let floor = profile.floor_at(at(second));
            prop_assert!((0..=profile.peak).contains(&floor));
            if at(second) < profile.climbs_at || at(second) >= profile.gone_at {
                prop_assert_eq!(floor, 0);
            }
        }

        #[test]
        fn nothing_changes_between_two_changes(profile in any_profile(), nano in 0i64..60_000_000_000_000) {
            let now = Timestamp::from_nanosecond(nano.into()).unwrap();
            let last = Timestamp::from_nanosecond(i128::from(nano) - 1).unwrap();
            if profile.floor_at(now) != profile.floor_at(last) {
                prop_assert_eq!(profile.next_change(last), Some(now));
            }
            // The instants themselves are exact: one nanosecond before, it has not happened.
            if let Some(next) = profile.next_change(now) {
                let just_before = Timestamp::from_nanosecond(next.as_nanosecond() - 1).unwrap().max(now);
                prop_assert_eq!(profile.floor_at(just_before), profile.floor_at(now));
            }
        }

        #[test]
        fn one_that_is_cut_falls_from_where_it_is(profile in any_profile(), share in 0i64..1000) {
            let active = profile.holds_until.duration_since(profile.climbs_at);
            let now = after(profile.climbs_at, SignedDuration::from_secs(active.as_secs() * share / 1000));
            let floor = profile.floor_at(now);
            let cut = profile.clone().cut(now, floor);
            prop_assert!(!cut.is_active_at(now));
            let mut instant = now;
            let mut last = cut.floor_at(now);
            prop_assert!(last == floor || cut.gone_at == now);
            while let Some(next) = cut.next_change(instant) {
                prop_assert!(cut.floor_at(next) <= last);
                last = cut.floor_at(next);
                instant = next;
            }
            prop_assert_eq!(last, 0);
            prop_assert_eq!(instant.duration_since(now), profile.gone_at.duration_since(profile.holds_until));
        }
    }
}
