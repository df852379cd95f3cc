//! The steps of a timeline, put together to what a person sees: climbs, holds and falls.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;
use sakidori_engine::prescale::{Bounds, Level, Occurrence, Overlap, Timeline};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Hold,
    Climb,
    Fall,
}

impl Shape {
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
    /// The steps within: instants and floors, the first at `from`.
    pub steps: Vec<(Timestamp, i32)>,
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
    /// Pods that a level keeps running and that would not run without it.
    fn extra(self, level: &Level) -> i32 {
        if level.floor == 0 {
            return 0;
        }
        let bounds = level.bounds(self.min, self.max);
        (level.floor.min(bounds.max) - self.min).max(0)
    }
}

/// The phases from `from` to `to`, without those in which nothing holds.
pub(crate) fn phases(
    timeline: &Timeline,
    turns: &BTreeSet<Timestamp>,
    own: Own,
    (from, to): (Timestamp, Timestamp),
) -> Vec<Phase> {
    let steps = timeline.steps(from, to);
    let ends = steps.iter().skip(1).map(|step| step.at).chain([to]);
    let mut phases: Vec<Phase> = Vec::new();
    for (step, end) in steps.iter().zip(ends) {
        if step.level.floor == 0 && step.level.limit.is_none() {
            continue;
        }
        // A fall begins with a time in which nothing has fallen yet, which may have no step of its own.
        let cuts = turns.range((Bound::Excluded(step.at), Bound::Excluded(end)));
        let starts: Vec<_> = [step.at].into_iter().chain(cuts.copied()).collect();
        let ends = starts.iter().skip(1).copied().chain([end]);
        for (start, end) in starts.iter().zip(ends) {
            take(
                &mut phases,
                timeline,
                turns,
                own,
                &step.level,
                (*start, end),
            );
        }
    }
    join_holds(&mut phases);
    // Where a ramp leads to is the next phase's first floor, not its own last step.
    for phase in &mut phases {
        if phase.shape != Shape::Hold && phase.to < to {
            phase.floor.1 = timeline.at(phase.to).floor;
        }
    }
    phases
}

fn take(
    phases: &mut Vec<Phase>,
    timeline: &Timeline,
    turns: &BTreeSet<Timestamp>,
    own: Own,
    level: &Level,
    (start, end): (Timestamp, Timestamp),
) {
    let floor = level.floor;
    let bounds = level.bounds(own.min, own.max);
    let pod_seconds = f64::from(own.extra(level)) * end.duration_since(start).as_secs_f64();
    match phases.last_mut() {
        Some(last) if last.goes_on(start, level, turns) => {
            if floor != last.floor.1 {
                last.shape = if floor > last.floor.1 {
                    Shape::Climb
                } else {
                    Shape::Fall
                };
                last.steps.push((start, floor));
                if bounds.min > last.bounds.min {
                    last.bounds = bounds;
                }
            }
            last.floor.1 = floor;
            last.to = end;
            last.pod_seconds += pod_seconds;
        }
        _ => phases.push(Phase {
            from: start,
            to: end,
            shape: Shape::Hold,
            floor: (floor, floor),
            steps: vec![(start, floor)],
            bounds,
            cause: level.cause.clone(),
            limit: level.limit.clone(),
            raised_max: level.max_replicas.filter(|max| *max > own.max),
            handed_over: is_handed_over(timeline, start, floor),
            pod_seconds,
        }),
    }
}

/// Turns that change nothing (a sale under a higher one) make no phases.
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
    /// A phase ends where a profile turns, and where a ramp goes over into another that goes the other way.
    fn goes_on(&self, start: Timestamp, level: &Level, turns: &BTreeSet<Timestamp>) -> bool {
        let floor = level.floor;
        self.to == start
            && self.cause == level.cause
            && self.limit == level.limit
            && !turns.contains(&start)
            && match self.shape {
                Shape::Hold => true,
                Shape::Climb => floor >= self.floor.1,
                Shape::Fall => floor <= self.floor.1,
            }
    }
}

/// Whether the floor is above what the living occurrences make of themselves.
fn is_handed_over(timeline: &Timeline, at: Timestamp, held: i32) -> bool {
    let (mut highest, mut sum) = (0, 0_i32);
    for profile in timeline.profiles() {
        if profile.climbs_at > at {
            break;
        }
        let floor = profile.floor_at(at);
        match profile.overlap {
            Overlap::Max => highest = highest.max(floor),
            Overlap::Sum => sum = sum.saturating_add(floor),
        }
    }
    held > highest.max(sum)
}
