//! The floors of all occurrences and triggers of one object, put together over time.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::occurrence::Occurrence;
use super::profile::Profile;
use super::settings::{Overlap, Settings, Wish};
use super::stretch::Stretches;
use crate::time::after;

/// What an occurrence allows at most, while it runs: for work that makes room for the sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The index of the trigger among the object's `sale-calendar` triggers.
    pub trigger: usize,
    pub occurrence: Arc<Occurrence>,
    pub replicas: i32,
    /// When the floors of the sale begin to climb: the room is there when it is needed.
    pub from: Timestamp,
    /// The end of the hold.
    pub until: Timestamp,
}

impl Limit {
    /// `None` for a trigger that sets a floor.
    pub fn new(
        trigger: usize,
        settings: &Settings,
        occurrence: &Arc<Occurrence>,
        lead: SignedDuration,
    ) -> Option<Self> {
        let Wish::Limit(replicas) = settings.wish else {
            return None;
        };
        Some(Self {
            trigger,
            occurrence: occurrence.clone(),
            replicas,
            from: after(after(occurrence.start, -lead), -settings.ramp_up),
            until: after(occurrence.end, settings.hold_after),
        })
    }
}

/// All profiles and limits of one object.
///
/// - Triggers and occurrences with `overlap: max` make the highest of their floors; those with `overlap: sum` add up. The
///   higher of the two counts.
/// - Where a floor still climbs when another one's hold ends, the lower of their two peaks holds until the climb is complete.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// By the instant at which they begin to climb.
    pub(super) profiles: Vec<Profile>,
    /// The ends of holds, ascending, with the floor at that moment.
    pub(super) hold_ends: Vec<(Timestamp, i32)>,
    /// The longest life of a profile: how far back one has to look for those that live.
    pub(super) longest: SignedDuration,
    pub(super) limits: Vec<Limit>,
}

/// What holds at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// 0 is none.
    pub floor: i32,
    /// The occurrence with the highest floor of its own.
    pub cause: Option<Arc<Occurrence>>,
    /// The lowest limit, with its occurrence.
    pub limit: Option<(i32, Arc<Occurrence>)>,
    pub max_replicas: Option<i32>,
    /// Within the climb or the hold of an occurrence.
    pub active: bool,
}

/// The bounds of the HPA at a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub min: i32,
    pub max: i32,
}

/// The instant from which a level holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub at: Timestamp,
    pub level: Level,
}

impl Level {
    /// What these make together at `at`: those that live, the last to climb first, each with its floor; what hand-overs hold; and
    /// the lowest limit.
    pub(super) fn of<'a>(
        living: impl Iterator<Item = (&'a Profile, i32)>,
        bridge: i32,
        limit: Option<(i32, Arc<Occurrence>)>,
        at: Timestamp,
    ) -> Self {
        let (mut highest, mut sum) = (0, 0_i32);
        let mut cause: Option<(i32, &Profile)> = None;
        let mut level = Self {
            limit,
            ..Self::default()
        };
        for (profile, floor) in living {
            match profile.overlap {
                Overlap::Max => highest = highest.max(floor),
                Overlap::Sum => sum = sum.saturating_add(floor),
            }
            level.max_replicas = level.max_replicas.max(profile.max_replicas);
            level.active |= profile.is_active_at(at);
            if floor > cause.map_or(0, |(highest, _)| highest) {
                cause = Some((floor, profile));
            }
        }
        level.floor = highest.max(sum).max(bridge);
        level.cause = cause.map(|(_, profile)| profile.occurrence.clone());
        level
    }

    /// The HPA's bounds, where the object itself asks for these. The maximum is raised while there is a floor, also while it
    /// falls; a limit wins over everything; the minimum is never above the maximum.
    pub fn bounds(&self, min_replica_count: i32, max_replica_count: i32) -> Bounds {
        let raised = max_replica_count.max(self.max_replicas.unwrap_or(0));
        let limit = self
            .limit
            .as_ref()
            .map_or(i32::MAX, |(replicas, _)| *replicas);
        // An HPA has at least one replica at most.
        let max = raised.min(limit).max(1);
        Bounds {
            min: min_replica_count.max(self.floor).min(max),
            max,
        }
    }
}

impl Timeline {
    pub fn new(profiles: impl IntoIterator<Item = Profile>, limits: Vec<Limit>) -> Self {
        let mut profiles: Vec<_> = profiles.into_iter().collect();
        profiles.sort_by_key(|profile| profile.climbs_at);
        let mut hold_ends: Vec<_> = profiles
            .iter()
            .map(|profile| (profile.holds_until, profile.falls_from))
            .collect();
        hold_ends.sort_unstable();
        let longest = profiles
            .iter()
            .map(|profile| profile.gone_at.duration_since(profile.climbs_at))
            .max()
            .unwrap_or_default();
        Self {
            profiles,
            hold_ends,
            longest,
            limits,
        }
    }

    /// What holds at `at`.
    pub fn at(&self, at: Timestamp) -> Level {
        let bridge = self.living(at).map(|profile| self.bridge(profile, at));
        let limit = self
            .limits
            .iter()
            .filter(|limit| limit.from <= at && at < limit.until)
            .min_by_key(|limit| limit.replicas)
            .map(|limit| (limit.replicas, limit.occurrence.clone()));
        let floors = self
            .living(at)
            .map(|profile| (profile, profile.floor_at(at)));
        Level::of(floors, bridge.max().unwrap_or(0), limit, at)
    }

    /// The floor of one trigger at `at`, and whether it is active: what it publishes as a metric.
    pub fn of_trigger(&self, trigger: usize, at: Timestamp) -> (i32, bool) {
        let (mut highest, mut sum, mut active) = (0, 0_i32, false);
        for profile in self.living(at).filter(|one| one.trigger == trigger) {
            let floor = profile.floor_at(at);
            highest = highest.max(floor);
            if profile.overlap == Overlap::Sum {
                sum = sum.saturating_add(floor);
            }
            active |= profile.is_active_at(at);
        }
        (highest.max(sum), active)
    }

    /// The first instant after `at` at which what holds may be another.
    pub fn next_instant(&self, at: Timestamp) -> Option<Timestamp> {
        let living = self
            .living(at)
            .filter_map(|profile| profile.next_change(at));
        let coming = self
            .profiles
            .get(self.begun(at))
            .map(|profile| profile.climbs_at);
        let limits = self
            .limits
            .iter()
            .flat_map(|limit| [limit.from, limit.until])
            .filter(|instant| *instant > at);
        living.chain(coming).chain(limits).min()
    }

    /// The first instant after `at` at which what holds is another.
    pub fn next_change(&self, at: Timestamp) -> Option<Timestamp> {
        let level = self.at(at);
        self.instants(at).find(|instant| self.at(*instant) != level)
    }

    /// What holds at `from`, and every change until `to`.
    pub fn steps(&self, from: Timestamp, to: Timestamp) -> Vec<Step> {
        let mut steps = vec![Step {
            at: from,
            level: self.at(from),
        }];
        for step in self.stretches(from, to).flat_map(|one| one.steps()) {
            if steps.last().is_none_or(|last| last.level != step.level) {
                steps.push(step);
            }
        }
        steps
    }

    /// The time from `from` to `to`, cut where anything begins, turns or ends.
    pub fn stretches(&self, from: Timestamp, to: Timestamp) -> Stretches<'_> {
        Stretches::new(self, from, to)
    }

    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    pub(super) fn instants(&self, from: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.next_instant(from), |at| self.next_instant(*at))
    }

    /// How many profiles have begun to climb at `at`.
    fn begun(&self, at: Timestamp) -> usize {
        self.profiles
            .partition_point(|profile| profile.climbs_at <= at)
    }

    /// The profiles that have begun at `at` and aren't gone.
    fn living(&self, at: Timestamp) -> impl Iterator<Item = &Profile> {
        let oldest = after(at, -self.longest);
        self.profiles[..self.begun(at)]
            .iter()
            .rev()
            .take_while(move |profile| profile.climbs_at >= oldest)
            .filter(move |profile| at < profile.gone_at)
    }

    /// The floor that keeps the hand-over to `next`, which climbs at `at`, from dipping: the lower of the peaks of `next` and of
    /// what ended its hold since `next` began to climb. Their sales are then less than leadTime and rampUp apart.
    pub(super) fn bridge(&self, next: &Profile, at: Timestamp) -> i32 {
        if at >= next.complete_at || at >= next.holds_until {
            return 0;
        }
        let first = self
            .hold_ends
            .partition_point(|(end, _)| *end <= next.climbs_at);
        self.hold_ends[first..]
            .iter()
            .take_while(|(end, _)| *end <= at)
            .map(|(_, peak)| *peak)
            .max()
            .unwrap_or(0)
            .min(next.peak)
    }
}

/// Replica seconds that the floors of `steps` hold until `to`; `steps` as [`Timeline::steps`] gives them.
impl Step {
    pub fn replica_seconds(steps: &[Self], to: Timestamp) -> f64 {
        let ends = steps.iter().skip(1).map(|step| step.at).chain([to]);
        steps
            .iter()
            .zip(ends)
            .map(|(step, end)| {
                f64::from(step.level.floor) * end.duration_since(step.at).as_secs_f64()
            })
            .sum()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::profile::tests::{any_profile, at, occurrence, settings};
    use super::*;

    const LEAD: SignedDuration = SignedDuration::from_mins(15);

    pub(in crate::prescale) fn sale(name: &str, start: i64, end: i64, peak: i32) -> Profile {
        Profile::new(0, &settings(peak), &occurrence(name, start, end), 20, LEAD).unwrap()
    }

    pub(in crate::prescale) fn timeline(profiles: &[Profile]) -> Timeline {
        Timeline::new(profiles.to_vec(), Vec::new())
    }

    fn with_overlap(profiles: &[Profile], overlap: Overlap) -> Vec<Profile> {
        let with = |profile: &Profile| Profile {
            overlap,
            ..profile.clone()
        };
        profiles.iter().map(with).collect()
    }

    #[test]
    fn sales_that_run_together_make_the_highest_floor_or_the_sum() {
        let both = [
            sale("a", 10_000, 20_000, 100),
            sale("b", 12_000, 30_000, 60),
        ];
        assert_eq!(timeline(&both).at(at(15_000)).floor, 100);
        let sum = with_overlap(&both, Overlap::Sum);
        assert_eq!(timeline(&sum).at(at(15_000)).floor, 160);
        // What adds up is one side, the rest the other.
        let mut mixed = sum;
        mixed.push(sale("c", 12_000, 30_000, 170));
        assert_eq!(timeline(&mixed).at(at(15_000)).floor, 170);
        let level = timeline(&both).at(at(15_000));
        assert_eq!(level.cause.unwrap().name, "a");
    }

    #[test]
    fn a_short_gap_between_two_sales_makes_no_dip() {
        // The second climbs 25 minutes before its start; the first holds 10 minutes longer than it runs.
        let bridged = timeline(&[
            sale("a", 10_000, 20_000, 100),
            sale("b", 20_600 + 1400, 40_000, 100),
        ]);
        assert!((20_000..40_000).all(|second| bridged.at(at(second)).floor == 100));
        let apart = timeline(&[
            sale("a", 10_000, 20_000, 100),
            sale("b", 20_600 + 1600, 40_000, 100),
        ]);
        assert!((20_000..40_000).any(|second| apart.at(at(second)).floor < 90));
    }

    #[test]
    fn a_hand_over_does_not_dip_without_a_ramp_down_either() {
        let mut first = sale("a", 10_000, 20_000, 100);
        first.gone_at = first.holds_until;
        let second = sale("b", 21_500, 40_000, 60);
        let both = timeline(&[first, second]);
        assert!((20_000..40_000).all(|second| both.at(at(second)).floor >= 60));
    }

    #[test]
    fn a_limit_wins_over_a_floor() {
        let batch = Settings {
            wish: Wish::Limit(4),
            ..settings(0)
        };
        let limit = Limit::new(1, &batch, &occurrence("a", 10_000, 20_000), LEAD).unwrap();
        let both = Timeline::new([sale("a", 10_000, 20_000, 100)], vec![limit]);
        let level = both.at(at(15_000));
        assert_eq!(level.floor, 100);
        assert_eq!(level.bounds(1, 50), Bounds { min: 4, max: 4 });
        // From the first ramp instant to the end of the hold.
        assert_eq!(both.at(at(8500)).limit.as_ref().unwrap().0, 4);
        assert_eq!(both.at(at(8499)).limit, None);
        assert_eq!(both.at(at(20_600)).limit, None);
        assert_eq!(
            both.at(at(20_600)).bounds(1, 50),
            Bounds { min: 50, max: 50 }
        );
    }

    #[test]
    fn the_maximum_is_raised_while_there_is_a_floor() {
        let mut one = sale("a", 10_000, 20_000, 100);
        one.max_replicas = Some(300);
        let timeline = timeline(&[one]);
        for (second, bounds) in [
            (8499, (2, 80)),
            (8500, (20, 300)),
            (15_000, (100, 300)),
            (20_700, (95, 300)),
            (22_399, (2, 300)),
            (22_400, (2, 80)),
        ] {
            let found = timeline.at(at(second)).bounds(2, 80);
            assert_eq!((found.min, found.max), bounds, "{second}");
        }
        // It raises, and never lowers.
        assert_eq!(timeline.at(at(15_000)).bounds(2, 500).max, 500);
        assert_eq!(Level::default().bounds(0, 0), Bounds { min: 0, max: 1 });
    }

    #[test]
    fn steps_are_what_changes_with_its_cause() {
        let both = timeline(&[
            sale("a", 10_000, 20_000, 100),
            sale("b", 30_000, 40_000, 61),
        ]);
        let steps = both.steps(at(0), at(50_000));
        assert_eq!(steps[0].level, Level::default());
        let peaks: Vec<_> = steps
            .iter()
            .filter(|step| [100, 61].contains(&step.level.floor) && step.level.active)
            .map(|step| {
                (
                    step.at.as_second(),
                    step.level.cause.as_ref().unwrap().name.as_str(),
                )
            })
            .collect();
        assert_eq!(peaks, [(9100, "a"), (29_100, "b")]);
        assert_eq!(steps.last().unwrap().level, Level::default());
        let hours = Step::replica_seconds(&steps, at(50_000));
        let alone: f64 = both.profiles().iter().map(Profile::replica_seconds).sum();
        assert!((hours - alone).abs() < 1e-6, "{hours} {alone}");
    }

    #[test]
    fn ten_thousand_occurrences_are_walked_in_time() {
        let profiles: Vec<_> = (0..10_000)
            .map(|n| {
                sale(
                    &n.to_string(),
                    n * 3000,
                    n * 3000 + 1000,
                    60 + (n % 7) as i32,
                )
            })
            .collect();
        let timeline = timeline(&profiles);
        let steps = timeline.steps(at(-10_000), at(40_000_000));
        assert!(steps.len() > 10_000, "{}", steps.len());
    }

    proptest! {
        #[test]
        fn max_and_sum_are_what_they_are_called(profiles in vec(any_profile(), 0..6), second in 5000i64..40_000) {
            let now = at(second);
            let floors: Vec<i32> = profiles.iter().map(|profile| profile.floor_at(now)).collect();
            let max = timeline(&with_overlap(&profiles, Overlap::Max)).at(now).floor;
            let sum = timeline(&with_overlap(&profiles, Overlap::Sum)).at(now).floor;
            let highest_peak = profiles.iter().map(|profile| profile.peak).max().unwrap_or(0);
            prop_assert!(max >= floors.iter().copied().max().unwrap_or(0));
            prop_assert!(sum >= floors.iter().sum());
            prop_assert!(max <= highest_peak);
            prop_assert!(sum >= max);
            // Only a hand-over lifts it above them, and only while something climbs.
            let climbs = profiles.iter().any(|one| one.climbs_at <= now && now < one.complete_at);
            if !climbs {
                prop_assert_eq!(max, floors.iter().copied().max().unwrap_or(0));
                prop_assert_eq!(sum, floors.iter().sum::<i32>());
            }
        }

        #[test]
        fn no_floor_without_an_occurrence(profiles in vec(any_profile(), 0..6), second in 0i64..60_000) {
            let now = at(second);
            let level = timeline(&profiles).at(now);
            let alive = profiles.iter().any(|one| one.climbs_at <= now && now < one.gone_at);
            prop_assert!(alive || level == Level::default());
            prop_assert_eq!(level.active, profiles.iter().any(|one| one.is_active_at(now)));
        }

        #[test]
        fn one_more_occurrence_never_lowers_a_floor(
            profiles in vec(any_profile(), 1..6), second in 0i64..60_000,
        ) {
            let fewer = timeline(&profiles[1..]).at(at(second));
            prop_assert!(timeline(&profiles).at(at(second)).floor >= fewer.floor);
        }

        #[test]
        fn a_hand_over_never_dips(first in any_profile(), second in any_profile(), share in 1i64..=100) {
            let ramp_up = second.complete_at.duration_since(second.climbs_at);
            prop_assume!(ramp_up.as_secs() > 0);
            // Moved so that it has climbed for a share of its ramp when the first one's hold ends.
            let climbs_at = after(first.holds_until, -SignedDuration::from_secs((ramp_up.as_secs() * share / 100).max(1)));
            let by = climbs_at.duration_since(second.climbs_at);
            let second = Profile {
                climbs_at,
                complete_at: after(second.complete_at, by),
                holds_until: after(second.holds_until, by),
                gone_at: after(second.gone_at, by),
                ..second
            };
            let lower = first.peak.min(second.peak);
            let both = timeline(&[first.clone(), second.clone()]);
            let mut now = first.complete_at.max(second.climbs_at);
            while let Some(next) = both.next_instant(now).filter(|next| *next < second.holds_until) {
                if next >= first.complete_at {
                    prop_assert!(both.at(next).floor >= lower, "at {next}");
                }
                now = next;
            }
        }

        #[test]
        fn every_change_is_announced(profiles in vec(any_profile(), 0..5), nano in 5_000_000_000_000i64..40_000_000_000_000) {
            let timeline = timeline(&profiles);
            let now = Timestamp::from_nanosecond(nano.into()).unwrap();
            let level = timeline.at(now);
            match timeline.next_change(now) {
                Some(next) => {
                    let just_before = Timestamp::from_nanosecond(next.as_nanosecond() - 1).unwrap().max(now);
                    let before = timeline.at(just_before);
                    prop_assert_eq!(before, level);
                }
                None => prop_assert_eq!(level, Level::default()),
            }
        }
    }
}
