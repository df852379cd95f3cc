//! What a scrape looks at beside the facts: what the term of leading knows of its objects anyway.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sakidori_api::ScaledObject;
use sakidori_engine::ObjectKey;
use sakidori_engine::prescale::{Assumed, LEAD_UNTIL_LEARNT, Timeline, Trigger};

use crate::authentications::Known;
use crate::calendars::Calendars;
use crate::clock::Clock;
use crate::hpa;
use crate::hpa_index::HpaIndex;
use crate::objects::Objects;
use crate::prepare::Prepared;
use crate::sales;

/// The days whose floors are shown.
pub const DAYS: usize = 7;
pub const DAY: SignedDuration = SignedDuration::from_hours(24);

/// What a replica that leads knows.
#[derive(Clone)]
pub struct View {
    pub objects: Arc<Objects>,
    pub hpas: Arc<HpaIndex>,
    pub calendars: Arc<Calendars>,
    pub authentications: Known,
    pub clock: Clock,
}

/// One object as it stands.
pub struct Live {
    pub object: Arc<ScaledObject>,
    pub prepared: Option<Arc<Prepared>>,
    /// The bounds of its HPA, as they were last asked for.
    pub bounds: Option<(i32, i32)>,
    /// What its HPA wants.
    pub desired: Option<i32>,
}

impl View {
    pub fn live(&self, key: &ObjectKey) -> Option<Live> {
        let object = self.objects.object(key)?;
        let wanted = self.objects.hpa(key);
        let bounds = wanted.and_then(|wanted| hpa::bounds(&wanted.desired));
        let uid = object.metadata.uid.as_deref();
        let hpas = self.hpas.owned_by(key, uid);
        let status = hpas.first().and_then(|hpa| hpa.status.as_ref());
        Some(Live {
            prepared: self.objects.prepared(key),
            bounds: bounds.map(|bounds| (bounds.min, bounds.max)),
            desired: status.map(|status| status.desired_replicas),
            object,
        })
    }

    /// The highest floor of each of the next days, as far as the calendars tell today. What is observed when a sale comes near counts as it is
    /// now.
    pub fn planned(&self, key: &ObjectKey, live: &Live, replicas: Option<i32>) -> Vec<i32> {
        let sales = sales::of_object(key, &live.object);
        let triggers: Vec<Trigger> = sales
            .iter()
            .map(|sale| {
                sale.trigger(|calendar, selector| self.calendars.peeked(calendar, selector))
            })
            .collect();
        let least = live.object.min_replicas();
        let assumed = Assumed {
            baseline: replicas.unwrap_or(1).max(least),
            lead: LEAD_UNTIL_LEARNT,
        };
        highest_by_day(&Timeline::planned(&triggers, assumed), self.clock.now())
    }

    /// How many there are, by kind and namespace.
    pub fn authentications(&self) -> BTreeMap<(&'static str, String), usize> {
        self.authentications.count()
    }
}

fn highest_by_day(timeline: &Timeline, now: Timestamp) -> Vec<i32> {
    (0..DAYS)
        .map(|day| {
            let from = now.saturating_add(DAY * day as i32).unwrap_or(now);
            let to = from.saturating_add(DAY).unwrap_or(from);
            let steps = timeline.steps(from, to);
            let floors = steps.iter().map(|step| step.level.floor);
            floors.max().unwrap_or(0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sakidori_engine::prescale::{Occurrence, Occurrences};

    use super::*;

    #[test]
    fn each_day_has_the_highest_floor_that_holds_in_it() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let at = |hours: i64| now + SignedDuration::from_hours(hours);
        let sale = |start: i64, end: i64| {
            Arc::new(Occurrence {
                id: start.to_string(),
                source: String::new(),
                name: "sale".to_owned(),
                start: at(start),
                end: at(end),
                labels: BTreeMap::new(),
                multiplier: None,
            })
        };
        let declared: sakidori_api::Trigger = serde_json::from_value(serde_json::json!({
            "type": "sale-calendar",
            "metadata": {
                "calendar": "sales", "desiredReplicas": "30",
                "leadTime": "0s", "rampUp": "0", "holdAfter": "0s", "rampDown": "0",
            },
        }))
        .unwrap();
        let trigger = Trigger {
            key: "sale".to_owned(),
            settings: sales::parse(&declared).unwrap().settings,
            occurrences: Occurrences {
                // Over midnight from the second day to the third, and beyond all that is shown.
                known: [sale(47, 50), sale(200, 300)].into(),
                complete: true,
            },
        };
        let assumed = Assumed {
            baseline: 1,
            lead: SignedDuration::ZERO,
        };
        let timeline = Timeline::planned(&[trigger], assumed);
        assert_eq!(highest_by_day(&timeline, now), [0, 30, 30, 0, 0, 0, 0]);
    }
}
