//! What admission refuses and warns of, and what only a plan can see.

use sakidori_api::ScaledObject;
use sakidori_calendars::SaleCalendarTrigger;
use sakidori_engine::nearest;

use crate::calendars::Calendars;
use crate::finding::{Finding, Severity};
use crate::manifests::Origin;
use crate::object::{ObjectPlan, Selected};

const TRIGGER: &str = "sale-calendar";

struct Told<'a> {
    origin: &'a Origin,
    object: String,
    findings: &'a mut Vec<Finding>,
}

impl Told<'_> {
    fn tell(&mut self, severity: Severity, message: String) {
        self.findings.push(Finding {
            severity,
            origin: self.origin.clone(),
            object: self.object.clone(),
            message,
        });
    }
}

fn called(object: &ScaledObject) -> String {
    let metadata = &object.metadata;
    let text = |name: &Option<String>| name.clone().unwrap_or_default();
    format!(
        "ScaledObject {}/{}",
        text(&metadata.namespace),
        text(&metadata.name)
    )
}

/// The object's own problems; the triggers that can be planned. `None` for an object without a sale-calendar trigger.
pub(crate) fn object(
    origin: &Origin,
    object: &ScaledObject,
    calendars: &Calendars,
    findings: &mut Vec<Finding>,
) -> Option<Vec<Selected>> {
    let mut told = Told {
        origin,
        object: called(object),
        findings,
    };
    for problem in object.problems() {
        told.tell(Severity::Error, problem.to_string());
    }
    let triggers = object.spec.triggers.iter().enumerate();
    let triggers: Vec<_> = triggers
        .filter(|(_, trigger)| trigger.type_ == TRIGGER)
        .collect();
    if triggers.is_empty() {
        return None;
    }
    if object.pause().is_some() {
        told.tell(
            Severity::Warning,
            "it is paused, so no floor takes effect".into(),
        );
    }
    let mut selected = Vec::new();
    for (index, trigger) in triggers {
        let path = format!("spec.triggers[{index}].metadata");
        let parsed = match SaleCalendarTrigger::parse(&trigger.metadata) {
            Ok(parsed) => parsed,
            Err(problems) => {
                for problem in problems {
                    told.tell(Severity::Error, format!("{path}.{problem}"));
                }
                continue;
            }
        };
        if let Some(floor) = parsed.floor_above(object.max_replicas()) {
            told.tell(
                Severity::Error,
                format!(
                    "{path}.desiredReplicas: {floor} is above maxReplicaCount ({}): raise it, or set maxReplicas",
                    object.max_replicas()
                ),
            );
        }
        let namespace = parsed
            .namespaced
            .then(|| object.metadata.namespace.as_deref().unwrap_or_default());
        let Some(all) = calendars.get(namespace, &parsed.calendar) else {
            let kind = if parsed.namespaced {
                "SaleCalendar"
            } else {
                "ClusterSaleCalendar"
            };
            let hint = nearest(&parsed.calendar, calendars.names(namespace))
                .map_or_else(String::new, |name| format!(", did you mean {name}?"));
            let place = namespace.map_or_else(String::new, |own| format!(" in namespace {own}"));
            told.tell(
                Severity::Error,
                format!(
                    "{path}.calendar: {:?}: no such {kind}{place}{hint}",
                    parsed.calendar
                ),
            );
            continue;
        };
        let occurrences = all
            .iter()
            .filter(|one| parsed.selector.matches(&one.labels))
            .cloned()
            .collect();
        selected.push((parsed, occurrences));
    }
    Some(selected)
}

/// What is to be said of a plan that was made.
pub(crate) fn plan(
    origin: &Origin,
    object: &ScaledObject,
    plan: &ObjectPlan,
    selected: &[Selected],
    findings: &mut Vec<Finding>,
) {
    let mut told = Told {
        origin,
        object: called(object),
        findings,
    };
    for (index, (trigger, _)) in selected.iter().enumerate() {
        if !plan.sales.iter().any(|sale| sale.trigger == index) {
            told.tell(
                Severity::Warning,
                format!(
                    "no occurrence of calendar {:?} that it selects is in the period",
                    trigger.calendar
                ),
            );
        }
    }
    // The first time that a floor does not fit, for each occurrence that it is for.
    let mut known = std::collections::BTreeSet::new();
    for phase in &plan.phases {
        let floor = phase.floor.0.max(phase.floor.1);
        let Some(cause) = phase.cause.as_ref().filter(|_| floor > phase.bounds.max) else {
            continue;
        };
        if !known.insert(&cause.name) {
            continue;
        }
        let message = match &phase.limit {
            Some((limit, by)) if *limit == phase.bounds.max => format!(
                "the cap of {limit} during {:?} wins over the floor of {floor} for {:?}",
                by.name, cause.name
            ),
            _ => format!(
                "the floor of {floor} for {:?} is above the maximum ({}): raise maxReplicaCount, or set maxReplicas",
                cause.name, phase.bounds.max
            ),
        };
        told.tell(Severity::Warning, message);
    }
}
