//! What admission refuses and warns of, and what only a plan can see.

use jiff::{SignedDuration, Timestamp};
use sakidori_api::{Need, ScaledObject, resize_warnings_of_pod};
use sakidori_calendars::SaleCalendarTrigger;
use sakidori_engine::nearest;

use crate::around::Around;
use crate::calendars::Calendars;
use crate::finding::{Finding, Severity};
use crate::manifests::Origin;
use crate::object::{ObjectPlan, Selected, target_of};

const TRIGGER: &str = "sale-calendar";

/// Less than what is read beyond a period.
const LONG_ENOUGH: SignedDuration = SignedDuration::from_hours(90 * 24);

struct Told<'a> {
    origin: &'a Origin,
    object: String,
    findings: &'a mut Vec<Finding>,
}

impl<'a> Told<'a> {
    fn of(origin: &'a Origin, object: &ScaledObject, findings: &'a mut Vec<Finding>) -> Self {
        Self {
            origin,
            object: called(object),
            findings,
        }
    }

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
    let mut told = Told::of(origin, object, findings);
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
        if let Some(problem) = parsed.floor_above(object.max_replicas()) {
            told.tell(Severity::Error, format!("{path}.{problem}"));
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

/// What is wrong with `inPlaceResize`, and what the object and its target's template say against it.
pub(crate) fn resize(
    origin: &Origin,
    object: &ScaledObject,
    around: &Around,
    findings: &mut Vec<Finding>,
) {
    let mut told = Told::of(origin, object, findings);
    let settings = match object.resize_settings() {
        Ok(None) => return,
        Ok(Some(settings)) => settings,
        Err(problems) => {
            for problem in problems {
                told.tell(Severity::Error, problem);
            }
            return;
        }
    };
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let of_pod = around
        .target(&target_of(object), namespace)
        // LimitRanges are not among what a plan reads.
        .map(|target| resize_warnings_of_pod(&settings, &target.pod, None));
    let warnings = object.resize_warnings(&settings);
    for warning in warnings.into_iter().chain(of_pod.unwrap_or_default()) {
        told.tell(Severity::Warning, warning);
    }
}

/// Ramps that are always under way, for at least the time in which admission looks for an occurrence. Admission, which knows when a
/// series ends, refuses the trigger where it doesn't.
pub(crate) fn ramps(
    origin: &Origin,
    object: &ScaledObject,
    selected: &[Selected],
    (from, to): (Timestamp, Timestamp),
    findings: &mut Vec<Finding>,
) {
    let mut told = Told::of(origin, object, findings);
    let least = from.checked_add(LONG_ENOUGH).unwrap_or(Timestamp::MAX);
    for (trigger, occurrences) in selected {
        if let Some(text) = trigger.endless_ramp(occurrences, (from, to.max(least))) {
            told.tell(Severity::Warning, text);
        }
    }
}

/// What stands in the way of the floors: the HPA's own behavior, and quotas of the namespace.
pub(crate) fn around(
    origin: &Origin,
    object: &ScaledObject,
    plan: &ObjectPlan,
    around: &Around,
    findings: &mut Vec<Finding>,
) {
    let mut told = Told::of(origin, object, findings);
    let mut floors = plan
        .sales
        .iter()
        .filter_map(|sale| sale.floor.as_ref().ok());
    // The same words for each sale: the first is enough.
    if let Some(text) = floors.find_map(|floor| object.held_by_behavior(floor)) {
        told.tell(Severity::Warning, text);
    }
    let highest = plan.phases.iter().map(|phase| phase.bounds.min);
    let target = around.target(&plan.target, &plan.namespace);
    let need = Need {
        floor: highest.max().unwrap_or(0),
        running: target.map_or(0, |target| target.running),
        pod: target.map(|target| &target.pod),
    };
    for quota in around.quotas(&plan.namespace) {
        if let Some(text) = need.refused_by(quota) {
            told.tell(Severity::Warning, text);
        }
    }
}

/// What is to be said of a plan that was made.
pub(crate) fn plan(
    origin: &Origin,
    object: &ScaledObject,
    plan: &ObjectPlan,
    selected: &[Selected],
    findings: &mut Vec<Finding>,
) {
    let mut told = Told::of(origin, object, findings);
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
