//! The steps of a timeline, put together to what a person sees: climbs, holds and falls.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sakidori_engine::prescale::{Bounds, Level, Occurrence, Stretch, Timeline};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Hold,
    Climb,
    Fall,
}

impl Shape {
    fn of(from: i32, to: i32) -> Self {
        match to.cmp(&from) {
            Ordering::Less => Self::Fall,
            Ordering::Equal => Self::Hold,
            Ordering::Greater => Self::Climb,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Climb => "climb",
            Self::Fall => "fall",
        }
    }
}

/// A time in which a floor stays, climbs or falls, for one occurrence.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    pub from: Timestamp,
    pub to: Timestamp,
    pub shape: Shape,
    /// The floor at `from`, and at `to`. 0 is none.
    pub floor: (i32, i32),
    /// The HPA's bounds at the highest floor of the phase.
    pub bounds: Bounds,
    pub cause: Option<Arc<Occurrence>>,
    /// The lowest limit, with its occurrence.
    pub limit: Option<(i32, Arc<Occurrence>)>,
    /// The HPA's maximum is raised to this.
    pub raised_max: Option<i32>,
    /// The floor is that of the sale before, held for the next one.
    pub handed_over: bool,
    /// Of what the floor keeps above `minReplicaCount`.
    pub pod_seconds: f64,
}

/// What an object asks for by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    pub min: i32,
    pub max: i32,
}

impl Own {
    /// Pods that a floor keeps running and that would not run without it.
    fn extra(self, floor: i32, bounds: Bounds) -> i32 {
        (floor.min(bounds.max) - self.min).max(0)
    }
}

/// The phases from `from` to `to`, without those in which nothing holds.
///
/// Each is within one stretch of the timeline, but holds go on over turns that change nothing (a sale under a higher one).
pub(crate) fn phases(
    timeline: &Timeline,
    own: Own,
    (from, to): (Timestamp, Timestamp),
) -> Vec<Phase> {
    let mut phases: Vec<Phase> = Vec::new();
    for stretch in timeline.stretches(from, to) {
        match of_one(&stretch, own) {
            Some(phase) => phases.push(phase),
            None => of_several(&stretch, own, &mut phases),
        }
    }
    join_holds(&mut phases);
    // Where a ramp leads to is the next phase's first floor, not its own last step.
    let mut next: Option<(Timestamp, i32)> = None;
    for phase in phases.iter_mut().rev() {
        if phase.shape != Shape::Hold && phase.to < to {
            phase.floor.1 = next
                .filter(|(at, _)| *at == phase.to)
                .map_or(0, |(_, floor)| floor);
        }
        next = Some((phase.from, phase.floor.0));
    }
    phases
}

/// The phase of one occurrence alone, which is what most of a year is made of. `None` where it is not all there is, or has no
/// floor yet.
fn of_one(stretch: &Stretch<'_>, own: Own) -> Option<Phase> {
    let mut floors = stretch.alone()?;
    let mut level = stretch.level();
    let (mut start, first) = floors.next().filter(|(_, floor)| *floor > 0)?;
    let mut last = first;
    let mut pod_seconds = 0.0;
    let extra = |floor: i32| own.extra(floor, level.bounds(own.min, own.max));
    for (at, floor) in floors {
        pod_seconds += f64::from(extra(last)) * seconds(start, at);
        (start, last) = (at, floor);
    }
    pod_seconds += f64::from(extra(last)) * seconds(start, stretch.to);
    level.floor = first.max(last);
    Some(Phase {
        from: stretch.from,
        to: stretch.to,
        shape: Shape::of(first, last),
        floor: (first, last),
        bounds: level.bounds(own.min, own.max),
        cause: level.cause,
        limit: level.limit,
        raised_max: level.max_replicas.filter(|max| *max > own.max),
        handed_over: false,
        pod_seconds,
    })
}

fn of_several(stretch: &Stretch<'_>, own: Own, phases: &mut Vec<Phase>) {
    let steps = stretch.steps();
    let ends = steps.iter().skip(1).map(|step| step.at).chain([stretch.to]);
    for (step, end) in steps.iter().zip(ends) {
        let (at, level) = (step.at, &step.level);
        if level.floor == 0 && level.limit.is_none() {
            continue;
        }
        let floor = level.floor;
        let bounds = level.bounds(own.min, own.max);
        let pod_seconds = f64::from(own.extra(floor, bounds)) * seconds(at, end);
        // At its first instant the sale before may still have its whole floor.
        let handed_over = stretch.is_handed_over(just_before(end));
        match phases.last_mut() {
            Some(last) if at > stretch.from && last.goes_on(at, level) => {
                last.handed_over |= handed_over;
                if floor != last.floor.1 {
                    last.shape = Shape::of(last.floor.1, floor);
                    if bounds.min > last.bounds.min {
                        last.bounds = bounds;
                    }
                }
                last.floor.1 = floor;
                last.to = end;
                last.pod_seconds += pod_seconds;
            }
            _ => phases.push(Phase {
                from: at,
                to: end,
                shape: Shape::Hold,
                floor: (floor, floor),
                bounds,
                cause: level.cause.clone(),
                limit: level.limit.clone(),
                raised_max: level.max_replicas.filter(|max| *max > own.max),
                handed_over,
                pod_seconds,
            }),
        }
    }
}

fn just_before(end: Timestamp) -> Timestamp {
    end.checked_sub(SignedDuration::from_nanos(1))
        .unwrap_or(end)
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

fn join_holds(phases: &mut Vec<Phase>) {
    phases.dedup_by(|next, last| {
        let same = last.shape == Shape::Hold
            && next.shape == Shape::Hold
            && last.to == next.from
            && last.floor == next.floor
            && last.bounds == next.bounds
            && last.cause == next.cause
            && last.limit == next.limit
            && last.handed_over == next.handed_over;
        if same {
            last.to = next.to;
            last.pod_seconds += next.pod_seconds;
        }
        same
    });
}

impl Phase {
    /// Within a stretch, a phase ends where another occurrence is the highest, and where a climb becomes a fall.
    fn goes_on(&self, start: Timestamp, level: &Level) -> bool {
        let floor = level.floor;
        self.to == start
            && self.cause == level.cause
            && self.limit == level.limit
            && match self.shape {
                Shape::Hold => true,
                Shape::Climb => floor >= self.floor.1,
                Shape::Fall => floor <= self.floor.1,
            }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ops::Bound;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use sakidori_engine::prescale::{
        Assumed, Baseline, LeadTime, Occurrences, Overlap, Settings, Step, Trigger, Wish,
    };

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn minutes(minutes: i64) -> SignedDuration {
        SignedDuration::from_mins(minutes)
    }

    /// A trigger with its occurrences, all within some days, so that many touch each other.
    fn any_trigger() -> impl Strategy<Value = Trigger> {
        let occurrence = (0i64..40_000, 60i64..8_000);
        let times = (0i64..40, 0i64..40, 0i64..40, 0i64..60);
        let wish = prop_oneof![3 => (1i32..300).prop_map(Wish::Replicas), 1 => (0i32..200).prop_map(Wish::Limit)];
        (
            vec(occurrence, 0..5),
            times,
            wish,
            0i32..40,
            any::<bool>(),
            proptest::option::of(1i32..400),
        )
            .prop_map(
                |(spans, (lead, up, hold, down), wish, baseline, sum, max_replicas)| {
                    let mut known: Vec<_> = spans
                        .into_iter()
                        .map(|(start, length)| {
                            Arc::new(Occurrence {
                                id: format!("{start}-{length}"),
                                source: String::new(),
                                name: format!("{start}"),
                                start: at(start),
                                end: at(start + length),
                                labels: Default::default(),
                                multiplier: None,
                            })
                        })
                        .collect();
                    known.sort_by_key(|one| one.start);
                    Trigger {
                        key: String::new(),
                        settings: Settings {
                            wish,
                            baseline: Baseline::Replicas(baseline),
                            lead_time: LeadTime::Fixed(minutes(lead)),
                            ramp_up: minutes(up),
                            hold_after: minutes(hold),
                            ramp_down: minutes(down),
                            max_replicas,
                            overlap: if sum { Overlap::Sum } else { Overlap::Max },
                            ..Settings::default()
                        },
                        occurrences: Occurrences {
                            known: known.into(),
                            complete: true,
                        },
                    }
                },
            )
    }

    fn limits(triggers: &[Trigger]) -> Vec<(Timestamp, Timestamp)> {
        let limits = triggers.iter().flat_map(|trigger| {
            let LeadTime::Fixed(lead) = trigger.settings.lead_time else {
                unreachable!()
            };
            trigger.occurrences.known.iter().filter_map(move |one| {
                sakidori_engine::prescale::Limit::new(0, &trigger.settings, one, lead)
            })
        });
        limits.map(|limit| (limit.from, limit.until)).collect()
    }

    /// The phases from one look at every step: what [`phases`] has to be, and costs a thousand times as much.
    fn walked(
        timeline: &Timeline,
        triggers: &[Trigger],
        own: Own,
        (from, to): (Timestamp, Timestamp),
    ) -> Vec<Phase> {
        let mut turns: BTreeSet<Timestamp> = BTreeSet::new();
        for one in timeline.profiles() {
            turns.extend([one.climbs_at, one.complete_at, one.holds_until, one.gone_at]);
        }
        turns.extend(
            limits(triggers)
                .into_iter()
                .flat_map(|(from, until)| [from, until]),
        );
        let steps = timeline.steps(from, to);
        let ends = steps.iter().skip(1).map(|step| step.at).chain([to]);
        let mut phases: Vec<Phase> = Vec::new();
        for (Step { at, level }, end) in steps.iter().zip(ends) {
            if level.floor == 0 && level.limit.is_none() {
                continue;
            }
            let cuts = turns.range((Bound::Excluded(*at), Bound::Excluded(end)));
            let starts: Vec<_> = [*at].into_iter().chain(cuts.copied()).collect();
            let ends = starts.iter().skip(1).copied().chain([end]);
            for (start, end) in starts.iter().copied().zip(ends) {
                let bounds = level.bounds(own.min, own.max);
                let pod_seconds = f64::from(own.extra(level.floor, bounds)) * seconds(start, end);
                let (mut highest, mut sum) = (0, 0);
                for one in timeline.profiles() {
                    let floor = one.floor_at(just_before(end));
                    match one.overlap {
                        Overlap::Max => highest = highest.max(floor),
                        Overlap::Sum => sum += floor,
                    }
                }
                let handed_over = level.floor > highest.max(sum);
                match phases.last_mut() {
                    Some(last) if !turns.contains(&start) && last.goes_on(start, level) => {
                        last.handed_over |= handed_over;
                        if level.floor != last.floor.1 {
                            last.shape = Shape::of(last.floor.1, level.floor);
                            if bounds.min > last.bounds.min {
                                last.bounds = bounds;
                            }
                        }
                        last.floor.1 = level.floor;
                        last.to = end;
                        last.pod_seconds += pod_seconds;
                    }
                    _ => {
                        phases.push(Phase {
                            from: start,
                            to: end,
                            shape: Shape::Hold,
                            floor: (level.floor, level.floor),
                            bounds,
                            cause: level.cause.clone(),
                            limit: level.limit.clone(),
                            raised_max: level.max_replicas.filter(|max| *max > own.max),
                            handed_over,
                            pod_seconds,
                        });
                    }
                }
            }
        }
        join_holds(&mut phases);
        for phase in &mut phases {
            if phase.shape != Shape::Hold && phase.to < to {
                phase.floor.1 = timeline.at(phase.to).floor;
            }
        }
        phases
    }

    const ASSUMED: Assumed = Assumed {
        baseline: 1,
        lead: SignedDuration::ZERO,
    };

    proptest! {
        #[test]
        fn phases_are_those_of_a_look_at_every_step(
            triggers in vec(any_trigger(), 0..4), min in 0i32..50, room in 1i32..200, from in -8_000i64..40_000, length in 1i64..50_000,
        ) {
            let timeline = Timeline::planned(&triggers, ASSUMED);
            let own = Own { min, max: min + room };
            let span = (at(from), at(from + length));
            let found = phases(&timeline, own, span);
            let expected = walked(&timeline, &triggers, own, span);
            prop_assert_eq!(found.len(), expected.len());
            for (one, other) in found.iter().zip(&expected) {
                // Sums in another order.
                prop_assert!((one.pod_seconds - other.pod_seconds).abs() < 1e-3 * other.pod_seconds.max(1.0));
                let other = Phase { pod_seconds: one.pod_seconds, ..other.clone() };
                prop_assert_eq!(one, &other);
            }
        }
    }
}
