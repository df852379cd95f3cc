//! `sale-calendar`: triggers that the engine reads itself, from calendars. They are built here and not in the scalers' crate because
//! nothing of them is ever polled: the engine is told their occurrences, and says what each publishes.

mod pods;

use sakidori_api::{ScaledObject, Trigger as Declared};
use sakidori_calendars::SaleCalendarTrigger;
use sakidori_engine::prescale::{Occurrences, Trigger};
use sakidori_engine::{ObjectKey, Quantity, SaleTrigger};
use sakidori_scalers::{MetricSpec, MetricType, metric_name};

use crate::calendars::{CalendarRef, Calendars};

pub use pods::look;

const KIND: &str = "sale-calendar";

pub fn is_sale(kind: &str) -> bool {
    kind == KIND
}

pub fn has_sales(object: &ScaledObject) -> bool {
    object.spec.triggers.iter().any(|one| is_sale(&one.type_))
}

/// The trigger's parameters.
///
/// # Errors
/// All that is wrong with them.
pub fn parse(declared: &Declared) -> Result<SaleCalendarTrigger, Vec<String>> {
    SaleCalendarTrigger::parse(&declared.metadata)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

/// The calendar that a trigger of an object in `namespace` names.
pub fn calendar(trigger: &SaleCalendarTrigger, namespace: &str) -> CalendarRef {
    CalendarRef {
        cluster: !trigger.namespaced,
        namespace: match trigger.namespaced {
            true => namespace.to_owned(),
            false => String::new(),
        },
        name: trigger.calendar.clone(),
    }
}

/// Under what the trigger publishes its floor.
pub fn metric(index: usize, trigger: &SaleCalendarTrigger) -> MetricSpec {
    MetricSpec {
        name: metric_name(index, &format!("{KIND}-{}", trigger.calendar)),
        target_type: MetricType::AverageValue,
        target: Quantity::from_integer(1),
    }
}

/// What admission says of one trigger's parameters, beside the object's maximum.
pub fn problems(declared: &Declared, max_replica_count: i32) -> Vec<String> {
    let trigger = match parse(declared) {
        Ok(trigger) => trigger,
        Err(problems) => return problems,
    };
    trigger.floor_above(max_replica_count).into_iter().collect()
}

/// The object's sale triggers, with what their calendars say now. One that can't be parsed is left out: it fails the preparation.
pub fn triggers(key: &ObjectKey, object: &ScaledObject, calendars: &Calendars) -> Vec<SaleTrigger> {
    let mut triggers: Vec<SaleTrigger> = Vec::new();
    let declared = object.spec.triggers.iter().enumerate();
    for (index, declared) in declared.filter(|(_, one)| is_sale(&one.type_)) {
        let Ok(parsed) = parse(declared) else {
            continue;
        };
        let reference = calendar(&parsed, &key.namespace);
        let occurrences = calendars.occurrences(key, &reference);
        let occurrences = occurrences.map_or_else(Occurrences::default, |all| Occurrences {
            known: all
                .known
                .iter()
                .filter(|one| parsed.selector.matches(&one.labels))
                .cloned()
                .collect(),
            complete: all.complete,
        });
        let mut name = name(declared);
        while triggers.iter().any(|one| one.trigger.key == name) {
            name.push('+');
        }
        triggers.push(SaleTrigger {
            index,
            metric: metric(index, &parsed).name,
            trigger: Trigger {
                key: name,
                settings: parsed.settings,
                occurrences,
            },
        });
    }
    triggers
}

/// What a trigger is known by over edits and restarts: its name, else what it picks.
fn name(declared: &Declared) -> String {
    let get = |parameter: &str| {
        declared
            .metadata
            .get(parameter)
            .map_or("", |text| text.trim())
    };
    match declared.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => name.to_owned(),
        None => format!(
            "{}/{}?{}",
            get("calendarKind"),
            get("calendar"),
            get("match")
        ),
    }
}
