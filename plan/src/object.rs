//! The plan of one ScaledObject.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sakidori_api::ScaledObject;
use sakidori_calendars::SaleCalendarTrigger;
use sakidori_engine::prescale::{
    Assumed, Baseline, LeadTime, Limit, Occurrence, Occurrences, Profile, Timeline, Trigger, Wish,
};

use crate::phase::{Own, Phase, phases};

/// The floors of one ScaledObject.
#[derive(Clone, Debug)]
pub struct ObjectPlan {
    pub namespace: String,
    pub name: String,
    /// `Deployment/web`.
    pub target: String,
    pub min_replica_count: i32,
    pub max_replica_count: i32,
    pub phases: Vec<Phase>,
    pub sales: Vec<Sale>,
    pub highest_floor: i32,
    pub pod_seconds: f64,
    timeline: Timeline,
    /// The trigger asks for `leadTime: auto`, or `baseline: observed`, so that the plan assumes one.
    pub assumes: Assumes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assumes {
    pub lead: bool,
    /// The baseline that was assumed.
    pub baseline: Option<i32>,
}

/// One occurrence and what one trigger makes of it.
#[derive(Clone, Debug)]
pub struct Sale {
    /// The index among the object's sale-calendar triggers.
    pub trigger: usize,
    pub occurrence: Arc<Occurrence>,
    /// `Err` for a cap.
    pub floor: Result<Profile, Limit>,
    /// Of the phases that it causes.
    pub pod_seconds: f64,
}

impl Sale {
    /// From the first ramp instant until the floor is gone, or from when to when the cap holds.
    pub fn span(&self) -> (Timestamp, Timestamp) {
        match &self.floor {
            Ok(profile) => (profile.climbs_at, profile.gone_at),
            Err(limit) => (limit.from, limit.until),
        }
    }
}

/// `Deployment/web`.
pub(crate) fn target_of(object: &ScaledObject) -> String {
    let reference = &object.spec.scale_target_ref;
    let kind = reference.kind.as_deref().unwrap_or("Deployment");
    format!("{kind}/{}", reference.name)
}

impl ObjectPlan {
    /// The steps of each phase: instants and floors, the first at its beginning. A year has many; so they are not kept.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (&Phase, Vec<(Timestamp, i32)>)> {
        let ends = self.phases.first().zip(self.phases.last());
        let mut steps = ends
            .map(|(first, last)| self.timeline.steps(first.from, last.to))
            .unwrap_or_default()
            .into_iter()
            .peekable();
        self.phases.iter().map(move |phase| {
            let mut own = vec![(phase.from, phase.floor.0)];
            while let Some(step) = steps.next_if(|step| step.at < phase.to) {
                let floor = step.level.floor;
                if step.at > phase.from && own.last().is_none_or(|(_, last)| *last != floor) {
                    own.push((step.at, floor));
                }
            }
            (phase, own)
        })
    }
}

/// A trigger with the occurrences of its calendar that it selects.
pub(crate) type Selected = (SaleCalendarTrigger, Vec<Arc<Occurrence>>);

impl ObjectPlan {
    pub(crate) fn new(
        object: &ScaledObject,
        selected: &[Selected],
        baseline: Option<i32>,
        lead: SignedDuration,
        (from, to): (Timestamp, Timestamp),
    ) -> Self {
        let own = Own {
            min: object.min_replicas(),
            max: object.max_replicas(),
        };
        // Observed baselines are not below minReplicaCount, and somebody with no other word expects a pod at least.
        let assumed = Assumed {
            baseline: baseline.unwrap_or(1).max(own.min),
            lead,
        };
        let triggers: Vec<_> = selected
            .iter()
            .map(|(trigger, occurrences)| Trigger {
                key: trigger.calendar.clone(),
                settings: trigger.settings.clone(),
                occurrences: Occurrences {
                    known: occurrences.clone().into(),
                    complete: true,
                },
            })
            .collect();
        let timeline = Timeline::planned(&triggers, assumed);
        let limits: Vec<_> = triggers
            .iter()
            .enumerate()
            .flat_map(|(index, trigger)| {
                let lead = match trigger.settings.lead_time {
                    LeadTime::Fixed(lead) => lead,
                    LeadTime::Auto => assumed.lead,
                };
                trigger
                    .occurrences
                    .known
                    .iter()
                    .filter_map(move |one| Limit::new(index, &trigger.settings, one, lead))
            })
            .collect();
        let phases = phases(&timeline, own, (from, to));
        let mut costs: BTreeMap<&str, f64> = BTreeMap::new();
        for phase in &phases {
            if let Some(cause) = &phase.cause {
                *costs.entry(&cause.id).or_default() += phase.pod_seconds;
            }
        }
        let floors = timeline
            .profiles()
            .iter()
            .map(|profile| (profile.trigger, &profile.occurrence, Ok(profile.clone())));
        let caps = limits
            .iter()
            .map(|limit| (limit.trigger, &limit.occurrence, Err(limit.clone())));
        let mut sales: Vec<_> = floors
            .chain(caps)
            .map(|(trigger, occurrence, floor)| Sale {
                trigger,
                occurrence: occurrence.clone(),
                pod_seconds: if floor.is_ok() {
                    // Of two triggers with a floor for the same occurrence, the first has its cost.
                    costs.remove(occurrence.id.as_str()).unwrap_or_default()
                } else {
                    0.0
                },
                floor,
            })
            .filter(|sale| {
                let (begins, ends) = sale.span();
                begins < to && ends > from
            })
            .collect();
        sales.sort_by(|one, other| {
            (one.occurrence.start, &one.occurrence.id, one.trigger).cmp(&(
                other.occurrence.start,
                &other.occurrence.id,
                other.trigger,
            ))
        });
        let settings = || triggers.iter().map(|trigger| &trigger.settings);
        let observes = settings().any(|one| {
            matches!(one.baseline, Baseline::Observed(_)) && !matches!(one.wish, Wish::Limit(_))
        });
        Self {
            namespace: object.metadata.namespace.clone().unwrap_or_default(),
            name: object.metadata.name.clone().unwrap_or_default(),
            target: target_of(object),
            min_replica_count: own.min,
            max_replica_count: own.max,
            highest_floor: phases
                .iter()
                .map(|phase| phase.floor.0.max(phase.floor.1))
                .max()
                .unwrap_or(0),
            pod_seconds: phases.iter().map(|phase| phase.pod_seconds).sum(),
            phases,
            sales,
            timeline,
            assumes: Assumes {
                lead: settings().any(|one| one.lead_time == LeadTime::Auto),
                baseline: observes.then_some(assumed.baseline),
            },
        }
    }
}
