//! The steps of a timeline, put together to what a person sees: climbs, holds and falls.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use sakidori_engine::prescale::{Bounds, Level, Occurrence, Overlap, Step, Timeline};

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
        let seconds = f64::from(own.extra(&step.level)) * end.duration_since(step.at).as_secs_f64();
        match phases.last_mut() {
            Some(last) if last.goes_on(step, turns) => {
                let floor = step.level.floor;
                if floor != last.floor.1 {
                    last.shape = if floor > last.floor.1 {
                        Shape::Climb
                    } else {
                        Shape::Fall
                    };
                    last.steps.push((step.at, floor));
                    let bounds = step.level.bounds(own.min, own.max);
                    if bounds.min > last.bounds.min {
                        last.bounds = bounds;
                    }
                }
                last.floor.1 = floor;
                last.to = end;
                last.pod_seconds += seconds;
            }
            _ => phases.push(Phase {
                from: step.at,
                to: end,
                shape: Shape::Hold,
                floor: (step.level.floor, step.level.floor),
                steps: vec![(step.at, step.level.floor)],
                bounds: step.level.bounds(own.min, own.max),
                cause: step.level.cause.clone(),
                limit: step.level.limit.clone(),
                raised_max: step.level.max_replicas.filter(|max| *max > own.max),
                handed_over: is_handed_over(timeline, step),
                pod_seconds: seconds,
            }),
        }
    }
    // Where a ramp leads to is the next phase's first floor, not its own last step.
    for phase in &mut phases {
        if phase.shape != Shape::Hold && phase.to < to {
            phase.floor.1 = timeline.at(phase.to).floor;
        }
    }
    phases
}

impl Phase {
    fn goes_on(&self, step: &Step, turns: &BTreeSet<Timestamp>) -> bool {
        let level = &step.level;
        let same = self.to == step.at && self.cause == level.cause && self.limit == level.limit;
        if !same {
            return false;
        }
        let floor = level.floor;
        if floor == self.floor.1 && self.shape == Shape::Hold {
            return true;
        }
        // A ramp ends where a profile turns; and where one goes over into another that goes the other way.
        !turns.contains(&step.at)
            && match self.shape {
                Shape::Hold => true,
                Shape::Climb => floor >= self.floor.1,
                Shape::Fall => floor <= self.floor.1,
            }
    }
}

/// Whether the floor is above what the living occurrences make of themselves.
fn is_handed_over(timeline: &Timeline, step: &Step) -> bool {
    let (mut highest, mut sum) = (0, 0_i32);
    for profile in timeline.profiles() {
        if profile.climbs_at > step.at {
            break;
        }
        let floor = profile.floor_at(step.at);
        match profile.overlap {
            Overlap::Max => highest = highest.max(floor),
            Overlap::Sum => sum = sum.saturating_add(floor),
        }
    }
    step.level.floor > highest.max(sum)
}
