//! A timeline in pieces: within each, every profile holds, climbs or falls, and nothing begins or ends.
//!
//! [`Timeline::at`] says what holds at one instant, by looking for the profiles that live then. Whoever wants a whole year asks
//! here: one sweep finds the living ones of every piece, and a ramp costs as much as it has steps.

use std::sync::Arc;

use jiff::Timestamp;

use super::occurrence::Occurrence;
use super::profile::{Floors, Profile};
use super::timeline::{Level, Step, Timeline};

/// A time within which no profile and no limit begins, turns or ends.
#[derive(Clone, Debug)]
pub struct Stretch<'a> {
    pub from: Timestamp,
    pub to: Timestamp,
    /// The last to climb first.
    living: Vec<&'a Profile>,
    /// What hand-overs hold.
    bridge: i32,
    limit: Option<(i32, Arc<Occurrence>)>,
}

impl<'a> Stretch<'a> {
    /// The profiles that live, the last to climb first.
    pub fn living(&self) -> &[&'a Profile] {
        &self.living
    }

    /// The floors of the one profile that is all there is. `None` where several live, where none does, and within a hand-over.
    pub fn alone(&self) -> Option<Floors<'a>> {
        match self.living[..] {
            [profile] if self.bridge == 0 => Some(profile.floors(self.from, self.to)),
            _ => None,
        }
    }

    /// What holds at `from`.
    pub fn level(&self) -> Level {
        let floors = self
            .living
            .iter()
            .map(|one| (*one, one.floor_at(self.from)));
        Level::of(floors, self.bridge, self.limit.clone(), self.from)
    }

    /// Whether a hand-over keeps the floor at `at` above what the profiles make of themselves.
    pub fn is_handed_over(&self, at: Timestamp) -> bool {
        let floors = self.living.iter().map(|one| (*one, one.floor_at(at)));
        self.bridge > Level::of(floors, 0, None, at).floor
    }

    /// What holds at `from`, and every change until `to`.
    pub fn steps(&self) -> Vec<Step> {
        let mut coming: Vec<_> = self
            .living
            .iter()
            .map(|one| one.floors(self.from, self.to).peekable())
            .collect();
        let mut floors: Vec<_> = self.living.iter().map(|one| (*one, 0)).collect();
        let mut steps: Vec<Step> = Vec::new();
        let mut next = Some(self.from);
        while let Some(at) = next {
            next = None;
            for (coming, (_, floor)) in coming.iter_mut().zip(&mut floors) {
                if let Some((_, reached)) = coming.next_if(|(instant, _)| *instant <= at) {
                    *floor = reached;
                }
                next = next
                    .into_iter()
                    .chain(coming.peek().map(|(at, _)| *at))
                    .min();
            }
            let level = Level::of(
                floors.iter().copied(),
                self.bridge,
                self.limit.clone(),
                self.from,
            );
            if steps.last().is_none_or(|last| last.level != level) {
                steps.push(Step { at, level });
            }
        }
        steps
    }
}

/// Goes through a timeline from one turn to the next.
pub struct Stretches<'a> {
    timeline: &'a Timeline,
    /// All instants at which something begins, turns or ends.
    turns: std::iter::Peekable<std::vec::IntoIter<Timestamp>>,
    at: Timestamp,
    to: Timestamp,
    /// The indices of the profiles that live, ascending, each with the highest peak whose hold ended since it began to climb.
    living: Vec<(usize, i32)>,
    /// The indices of the limits that hold.
    limits: Vec<usize>,
    /// The indices of those that come, the next one last.
    coming_limits: Vec<usize>,
    begun: usize,
    held: usize,
}

impl<'a> Stretches<'a> {
    pub(super) fn new(timeline: &'a Timeline, from: Timestamp, to: Timestamp) -> Self {
        let of_profiles = timeline.profiles.iter().flat_map(|profile| {
            [
                profile.climbs_at,
                profile.complete_at,
                profile.holds_until,
                profile.gone_at,
            ]
        });
        let of_limits = timeline
            .limits
            .iter()
            .flat_map(|limit| [limit.from, limit.until]);
        let mut turns: Vec<_> = of_profiles.chain(of_limits).collect();
        turns.sort_unstable();
        turns.dedup();
        let mut coming_limits: Vec<_> = (0..timeline.limits.len()).collect();
        coming_limits.sort_by_key(|index| std::cmp::Reverse(timeline.limits[*index].from));
        let mut stretches = Self {
            timeline,
            turns: turns.into_iter().peekable(),
            at: from,
            to,
            living: Vec::new(),
            limits: Vec::new(),
            coming_limits,
            begun: 0,
            held: 0,
        };
        while let Some(turn) = stretches.turns.next_if(|turn| *turn <= from) {
            stretches.pass(turn);
        }
        stretches
    }

    fn pass(&mut self, turn: Timestamp) {
        let Timeline {
            profiles,
            hold_ends,
            limits,
            ..
        } = self.timeline;
        while let Some((_, peak)) = hold_ends.get(self.held).filter(|(end, _)| *end <= turn) {
            self.held += 1;
            for (index, handed) in &mut self.living {
                if profiles[*index].climbs_at < turn {
                    *handed = (*handed).max(*peak);
                }
            }
        }
        self.living
            .retain(|(index, _)| turn < profiles[*index].gone_at);
        while let Some(profile) = profiles.get(self.begun).filter(|one| one.climbs_at <= turn) {
            if turn < profile.gone_at {
                self.living.push((self.begun, 0));
            }
            self.begun += 1;
        }
        let begins = |index: &mut usize| limits[*index].from <= turn;
        while let Some(index) = self.coming_limits.pop_if(begins) {
            self.limits.push(index);
        }
        self.limits.retain(|index| turn < limits[*index].until);
    }

    fn stretch(&self, to: Timestamp) -> Stretch<'a> {
        let Timeline {
            profiles, limits, ..
        } = self.timeline;
        let from = self.at;
        let bridges = self.living.iter().map(|(index, handed)| {
            let next = &profiles[*index];
            let climbs = from < next.complete_at && from < next.holds_until;
            if climbs { next.peak.min(*handed) } else { 0 }
        });
        Stretch {
            from,
            to,
            bridge: bridges.max().unwrap_or(0),
            living: self
                .living
                .iter()
                .rev()
                .map(|(index, _)| &profiles[*index])
                .collect(),
            limit: self
                .limits
                .iter()
                .min_by_key(|index| (limits[**index].replicas, **index))
                .map(|index| (limits[*index].replicas, limits[*index].occurrence.clone())),
        }
    }
}

impl<'a> Iterator for Stretches<'a> {
    type Item = Stretch<'a>;

    fn next(&mut self) -> Option<Stretch<'a>> {
        if self.at >= self.to {
            return None;
        }
        let turn = self.turns.next_if(|turn| *turn < self.to);
        let stretch = self.stretch(turn.unwrap_or(self.to));
        if let Some(turn) = turn {
            self.pass(turn);
        }
        self.at = turn.unwrap_or(self.to);
        Some(stretch)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::profile::looks;
    use super::super::profile::tests::{any_profile, at, occurrence};
    use super::super::settings::Overlap;
    use super::super::timeline::Limit;
    use super::super::timeline::tests::{sale, timeline};
    use super::*;
    use crate::time::after;

    /// What [`Timeline::steps`] says, from one look at every instant.
    fn walked(timeline: &Timeline, from: Timestamp, to: Timestamp) -> Vec<Step> {
        let level = timeline.at(from);
        let mut steps = vec![Step { at: from, level }];
        for at in timeline.instants(from).take_while(|at| *at < to) {
            let level = timeline.at(at);
            if steps.last().unwrap().level != level {
                steps.push(Step { at, level });
            }
        }
        steps
    }

    /// Profiles of sales that were planned, and of some that were taken away.
    fn any_timeline() -> impl Strategy<Value = Timeline> {
        let profile = (
            any_profile(),
            any::<bool>(),
            proptest::option::of(0i64..1000),
        );
        let profile = profile.prop_map(|(profile, sum, cut)| {
            let overlap = if sum { Overlap::Sum } else { Overlap::Max };
            let profile = Profile { overlap, ..profile };
            let Some(share) = cut else { return profile };
            let active = profile.holds_until.duration_since(profile.climbs_at);
            let now = after(
                profile.climbs_at,
                SignedDuration::from_secs(active.as_secs() * share / 1000),
            );
            let floor = profile.floor_at(now);
            profile.cut(now, floor)
        });
        let limit =
            (5_000i64..30_000, 1i64..6_000, 0i32..9).prop_map(|(from, length, replicas)| Limit {
                trigger: 1,
                occurrence: occurrence(&from.to_string(), from, from + length),
                replicas,
                from: at(from),
                until: at(from + length),
            });
        (vec(profile, 0..7), vec(limit, 0..4))
            .prop_map(|(profiles, limits)| Timeline::new(profiles, limits))
    }

    #[test]
    fn a_year_costs_what_its_steps_cost() {
        // Each sale climbs in 40 steps and falls in 120.
        let year: Vec<_> = (0..365)
            .map(|n| sale(&n.to_string(), n * 86_400, n * 86_400 + 7200, 500))
            .collect();
        let of_year = timeline(&year);
        let (looks, steps) = looks::during(|| of_year.steps(at(-86_400), at(366 * 86_400)));
        assert_eq!(steps.len(), 365 * 162 + 1);
        assert!(looks < 365 * 170, "{looks}");
        // And of 10,000 sales, of which several always live, with a long one over all of them.
        let mut many: Vec<_> = (0..10_000)
            .map(|n| {
                sale(
                    &n.to_string(),
                    n * 3000,
                    n * 3000 + 1000,
                    500 + n as i32 % 7,
                )
            })
            .collect();
        many.push(sale("long", 0, 30_000_000, 450));
        let many = timeline(&many);
        let (looks, _) = looks::during(|| many.steps(at(-86_400), at(40_000_000)));
        assert!(looks < 10_001 * 200, "{looks}");
        let (looks, living) = looks::during(|| {
            many.stretches(at(-86_400), at(40_000_000))
                .map(|one| one.living().len())
                .sum::<usize>()
        });
        assert_eq!(looks, 0, "cutting it costs no look");
        assert!(living < 10_000 * 16, "{living}");
    }

    proptest! {
        #[test]
        fn steps_are_those_of_a_look_at_every_instant(
            timeline in any_timeline(), from in 0i64..40_000, length in 0i64..40_000,
        ) {
            let (from, to) = (at(from), at(from + length));
            prop_assert_eq!(timeline.steps(from, to), walked(&timeline, from, to));
        }

        #[test]
        fn stretches_are_whole_and_say_what_holds(
            timeline in any_timeline(), from in 0i64..40_000, length in 1i64..40_000, share in 0i64..1000,
        ) {
            let (from, to) = (at(from), at(from + length));
            let mut end = from;
            for stretch in timeline.stretches(from, to) {
                prop_assert_eq!(stretch.from, end);
                prop_assert!(stretch.from < stretch.to);
                end = stretch.to;
                let within = stretch.to.duration_since(stretch.from).as_nanos() * i128::from(share) / 1000;
                let now = after(stretch.from, SignedDuration::from_nanos_i128(within));
                let level = timeline.at(now);
                let own = Timeline { hold_ends: Vec::new(), ..timeline.clone() }.at(now).floor;
                prop_assert_eq!(stretch.is_handed_over(now), level.floor > own);
                if let Some(mut floors) = stretch.alone() {
                    let last = floors.clone().take_while(|(at, _)| *at <= now).last();
                    prop_assert_eq!(last.unwrap().1, level.floor);
                    prop_assert_eq!(floors.next().unwrap().0, stretch.from);
                }
                prop_assert_eq!(stretch.level(), timeline.at(stretch.from));
            }
            prop_assert_eq!(end, to);
        }
    }
}
