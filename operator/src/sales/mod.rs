//! `sale-calendar`: triggers that the engine reads itself, from calendars. They are built here and not in the scalers' crate because
//! nothing of them is ever polled: the engine is told their occurrences, and says what each publishes.

mod pods;
mod tell;

use sakidori_api::{ScaledObject, Trigger as Declared};
use sakidori_calendars::SaleCalendarTrigger;
use sakidori_engine::prescale::{self, Occurrences, Settings};
use sakidori_engine::selector::Selector;
use sakidori_engine::{ObjectKey, Quantity};
use sakidori_scalers::{MetricSpec, MetricType, metric_name};

use crate::calendars::CalendarRef;

pub use pods::look;
pub use tell::SaleNews;

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

/// A `sale-calendar` trigger of an object, as its preparation read it.
#[derive(Clone, Debug)]
pub struct PreparedSale {
    /// Its place in `spec.triggers`.
    index: usize,
    /// See [`sakidori_engine::prescale::Trigger::key`].
    key: String,
    metric: String,
    calendar: CalendarRef,
    selector: Selector,
    settings: Settings,
}

impl PreparedSale {
    /// The trigger with what `pick` says of its calendar.
    pub fn trigger(
        &self,
        pick: impl FnOnce(&CalendarRef, &Selector) -> Occurrences,
    ) -> prescale::Trigger {
        prescale::Trigger {
            key: self.key.clone(),
            settings: self.settings.clone(),
            occurrences: pick(&self.calendar, &self.selector),
        }
    }
}

/// The object's sale triggers. One that can't be parsed is left out: it fails the preparation.
pub fn of_object(key: &ObjectKey, object: &ScaledObject) -> Vec<PreparedSale> {
    let mut sales: Vec<PreparedSale> = Vec::new();
    let declared = object.spec.triggers.iter().enumerate();
    for (index, declared) in declared.filter(|(_, one)| is_sale(&one.type_)) {
        let Ok(parsed) = parse(declared) else {
            continue;
        };
        let mut name = name(declared);
        while sales.iter().any(|one| one.key == name) {
            name.push('+');
        }
        sales.push(PreparedSale {
            index,
            key: name,
            metric: metric(index, &parsed).name,
            calendar: calendar(&parsed, &key.namespace),
            selector: parsed.selector,
            settings: parsed.settings,
        });
    }
    sales
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn keys(triggers: Value) -> Vec<String> {
        let spec = json!({"scaleTargetRef": {"name": "web"}, "triggers": triggers});
        let object = ScaledObject::new("web", serde_json::from_value(spec).unwrap());
        let sales = of_object(&ObjectKey::new("shop", "web"), &object);
        sales.into_iter().map(|one| one.key).collect()
    }

    #[test]
    fn each_trigger_is_known_by_a_key_of_its_own_which_its_numbers_are_no_part_of() {
        let sale = |name: &str, matching: &str, floor: &str| {
            let metadata =
                json!({"calendar": "sales", "match": matching, "desiredReplicas": floor});
            json!({"type": "sale-calendar", "name": name, "metadata": metadata})
        };
        let three = keys(json!([
            sale("", "tier=S", "3"),
            sale("big", "", "9"),
            sale("", "tier=S", "5"),
        ]));
        assert_eq!(three, ["/sales?tier=S", "big", "/sales?tier=S+"]);
        let edited = keys(json!([sale("", "tier=S", "4"), sale("big", "tier=A", "9")]));
        assert_eq!(edited, three[..2]);
        // Also where somebody gives the name that another one has anyway.
        let named = keys(json!([sale("", "", "3"), sale("/sales?", "", "3")]));
        assert_eq!(named, ["/sales?", "/sales?+"]);
    }
}
