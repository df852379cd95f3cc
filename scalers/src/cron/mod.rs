//! `cron`: a number of replicas between a start and an end, each given as a cron schedule in a time zone.
//!
//! Reads nothing but the clock, so it needs no permissions and no credentials. The metric is `desiredReplicas` within the
//! window and 0 outside, and its target is 1, so that the HPA arrives at that number; the trigger is active within the
//! window.
//!
//! Schedules are robfig/cron's, as in KEDA: minute, hour, day of month, month, day of week; a day matches when its number
//! *or* its weekday does, if both are restricted. A `TZ=` prefix overrules `timezone`. A start or end in the hour that
//! clocks skip happens at the first instant after it; in the hour that they repeat, the first of the two counts.
//!
//! The HPA leaves a number of replicas alone that is within 10 % of the wanted one (its tolerance), so that 47 replicas
//! stay where 45 are wanted.
//!
//! ```yaml
//! apiVersion: keda.sh/v1alpha1
//! kind: ScaledObject
//! metadata:
//!   name: storefront
//! spec:
//!   scaleTargetRef:
//!     name: storefront
//!   maxReplicaCount: 20
//!   triggers:
//!     - type: cron
//!       metadata:
//!         timezone: Asia/Tokyo
//!         start: 0 8 * * MON-FRI
//!         end: 0 20 * * MON-FRI
//!         desiredReplicas: "10"
//! ```

mod window;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sakidori_calendars::cron::Schedule;
use sakidori_calendars::time_zone;
use serde::Deserialize;

use crate::answers::Freshness;
use crate::metric::{MetricSpec, Reading};
use crate::params::{self, Field, METADATA, ParameterSet, Parameters};
use crate::registry::Kind;
use crate::scaler::{BuildError, Context, Scaler, ScalerError, Trigger};

/// The parameters of a `cron` trigger.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cron {
    /// When the window opens: a schedule such as `0 8 * * MON-FRI`.
    start: String,
    /// When it closes. Must differ from `start`.
    end: String,
    /// The IANA time zone of both, such as `Asia/Tokyo`.
    timezone: String,
    /// The replicas within the window. Not 0.
    desired_replicas: i64,
}

impl Parameters for Cron {
    const FIELDS: &'static [Field] = &[
        Field::required("start", METADATA),
        Field::required("end", METADATA),
        Field::required("timezone", METADATA),
        Field::required("desiredReplicas", METADATA),
    ];

    fn check(&self) -> Vec<String> {
        let mut broken = Vec::new();
        if let Err(error) = Schedule::parse(&self.start) {
            broken.push(format!("error parsing start schedule: {error}"));
        }
        if let Err(error) = Schedule::parse(&self.end) {
            broken.push(format!("error parsing end schedule: {error}"));
        }
        if let Err(error) = time_zone(&self.timezone) {
            broken.push(format!("unable to load timezone: {error}"));
        }
        if self.start == self.end {
            broken.push("start and end can not have exactly same time input".to_owned());
        }
        if self.desired_replicas == 0 {
            broken.push("no desiredReplicas specified".to_owned());
        }
        broken
    }
}

pub const KIND: Kind = Kind {
    name: "cron",
    label: "cronScaler",
    fields: Cron::fields,
    passes_metadata_on: false,
    build,
};

fn build(trigger: &Trigger, _: &Context) -> Result<Box<dyn Scaler>, BuildError> {
    let cron: Cron = params::parse(trigger)?;
    // `check` has parsed them once, so these errors don't happen.
    let scaler = CronScaler {
        metric: [MetricSpec::integer(trigger, &metric_name(&cron), 1)?],
        start: Schedule::parse(&cron.start).map_err(invalid)?,
        end: Schedule::parse(&cron.end).map_err(invalid)?,
        zone: time_zone(&cron.timezone).map_err(invalid)?,
        desired_replicas: cron.desired_replicas,
    };
    Ok(Box::new(scaler))
}

fn invalid(error: impl ToString) -> BuildError {
    BuildError::Invalid(error.to_string())
}

struct CronScaler {
    metric: [MetricSpec; 1],
    start: Schedule,
    end: Schedule,
    zone: TimeZone,
    desired_replicas: i64,
}

#[async_trait]
impl Scaler for CronScaler {
    fn metrics(&self) -> Vec<MetricSpec> {
        self.metric.to_vec()
    }

    async fn read(&self, _: &Freshness) -> Result<Vec<Reading>, ScalerError> {
        Ok(vec![self.reading_at(Timestamp::now())])
    }
}

impl CronScaler {
    fn reading_at(&self, now: Timestamp) -> Reading {
        let active = window::contains(now, &self.zone, &self.start, &self.end);
        Reading {
            metric: self.metric[0].name.clone(),
            value: if active {
                self.desired_replicas as f64
            } else {
                0.0
            },
            active,
        }
    }
}

/// KEDA's name, in which spaces are left out and the signs of a schedule become letters.
fn metric_name(cron: &Cron) -> String {
    let letters = |schedule: &str| {
        schedule
            .replace(' ', "")
            .replace('*', "x")
            .replace('/', "Sl")
            .replace('?', "Qm")
            .replace(',', "Cm")
    };
    format!(
        "cron-{}-{}-{}",
        cron.timezone,
        letters(&cron.start),
        letters(&cron.end)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;
    use crate::metric::MetricType;

    fn trigger(start: &str, end: &str) -> Trigger {
        Trigger::new("cron").metadata([
            ("start", start),
            ("end", end),
            ("timezone", "Europe/London"),
            ("desiredReplicas", "10"),
        ])
    }

    #[tokio::test]
    async fn the_example_works() {
        let [trigger] = &example::triggers(include_str!("mod.rs"))[..] else {
            panic!("one trigger");
        };
        let scaler = crate::build(trigger, &example::context(Vec::new())).unwrap();
        assert_eq!(
            scaler.metrics()[0].name,
            "s0-cron-Asia-Tokyo-08xxMON-FRI-020xxMON-FRI"
        );
        let reading = &scaler.read(&Freshness::now()).await.unwrap()[0];
        assert_eq!(reading.metric, scaler.metrics()[0].name);
        assert_eq!(reading.value, if reading.active { 10.0 } else { 0.0 });
    }

    #[test]
    fn metric_names_are_kedas() {
        let table = [
            (
                "*/5 8-18 1,15 * ?",
                "TZ=Asia/Tokyo 0 0 * * *",
                "s3-cron-Europe-London-xSl58-181Cm15xQm-TZ=AsiaSlTokyo00xxx",
            ),
            (
                "0 8 * * *",
                "0\t9 * * *",
                "s3-cron-Europe-London-08xxx-0\t9xxx",
            ),
        ];
        for (start, end, name) in table {
            let mut trigger = trigger(start, end);
            trigger.index = 3;
            let scaler = build(&trigger, &example::context(Vec::new())).unwrap();
            assert_eq!(scaler.metrics()[0].name, name);
        }
    }

    #[test]
    fn the_value_is_desired_replicas_within_the_window() {
        let cron: Cron = params::parse(&trigger("0 8 * * *", "0 18 * * *")).unwrap();
        let scaler = CronScaler {
            metric: [MetricSpec::integer(&Trigger::new("cron"), "cron", 1).unwrap()],
            start: Schedule::parse(&cron.start).unwrap(),
            end: Schedule::parse(&cron.end).unwrap(),
            zone: time_zone(&cron.timezone).unwrap(),
            desired_replicas: cron.desired_replicas,
        };
        for (now, value, active) in [
            ("2026-07-01T06:59:59Z", 0.0, false),
            ("2026-07-01T07:00:00Z", 10.0, true),
            ("2026-07-01T17:00:00Z", 0.0, false),
        ] {
            let reading = scaler.reading_at(now.parse().unwrap());
            assert_eq!((reading.value, reading.active), (value, active), "{now}");
        }
    }

    #[test]
    fn the_target_is_one_replica() {
        let mut trigger = trigger("0 8 * * *", "0 18 * * *");
        trigger.metric_type = Some(MetricType::Value);
        let scaler = build(&trigger, &example::context(Vec::new())).unwrap();
        let metric = &scaler.metrics()[0];
        assert_eq!(metric.target.to_string(), "1");
        assert_eq!(metric.target_type, MetricType::Value);
        trigger.metric_type = Some(MetricType::Utilization);
        assert!(build(&trigger, &example::context(Vec::new())).is_err());
    }

    #[test]
    fn all_problems_come_at_once() {
        let trigger = Trigger::new("cron").metadata([
            ("start", "0 8 * * 7"),
            ("end", "0 8 * * 7"),
            ("timezone", "Europe/Lundon"),
            ("desiredReplicas", "0"),
        ]);
        let problem = build(&trigger, &example::context(Vec::new()))
            .err()
            .unwrap();
        let schedule = r#"end of range (7) above maximum (6): "7" in the day of week field; Sunday is 0 or SUN"#;
        assert_eq!(
            problem.to_string(),
            format!(
                "error parsing start schedule: {schedule}; error parsing end schedule: {schedule}; unable to load timezone: \
                 unknown time zone Europe/Lundon, did you mean Europe/London?; start and end can not have exactly same time \
                 input; no desiredReplicas specified"
            )
        );
        let missing = build(&Trigger::new("cron"), &example::context(Vec::new())).err();
        for name in ["start", "end", "timezone", "desiredReplicas"] {
            assert!(
                missing
                    .as_ref()
                    .unwrap()
                    .to_string()
                    .contains(&format!("{name:?}"))
            );
        }
    }
}
