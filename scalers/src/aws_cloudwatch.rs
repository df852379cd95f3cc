//! `aws-cloudwatch`: the newest value of a metric of Amazon CloudWatch, or of an expression over metrics.
//!
//! Looked at are `metricCollectionTime` seconds that end a whole number of periods (`metricStatPeriod`) ago, `metricEndTimeOffset`
//! seconds back: CloudWatch's values come late. Where there is no value in them, the value is `minMetricValue`; with
//! `ignoreNullValues: "false"` it is an error instead, and the HPA keeps its replicas.
//!
//! Permission on AWS: `cloudwatch:GetMetricData`.
//!
//! ```yaml
//! apiVersion: keda.sh/v1alpha1
//! kind: TriggerAuthentication
//! metadata:
//!   name: orders-aws
//! spec:
//!   podIdentity:
//!     provider: aws
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: ScaledObject
//! metadata:
//!   name: orders
//! spec:
//!   scaleTargetRef:
//!     name: orders
//!   triggers:
//!     - type: aws-cloudwatch
//!       metadata:
//!         namespace: AWS/ApplicationELB
//!         metricName: RequestCountPerTarget
//!         dimensionName: LoadBalancer;TargetGroup
//!         dimensionValue: app/orders/50dc6c495c0c9188;targetgroup/orders/943f017f100becff
//!         metricStat: Sum
//!         metricStatPeriod: "60"
//!         targetMetricValue: "500"
//!         minMetricValue: "0"
//!         awsRegion: eu-west-1
//!       authenticationRef:
//!         name: orders-aws
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use crate::answers::Freshness;
use crate::aws::AwsParameters;
use crate::clients::aws::AwsClient;
use crate::clients::aws::cloudwatch::{Metric, MetricValue};
use crate::metric::{MetricSpec, Reading};
use crate::params::{self, Field, METADATA, ParameterSet, Parameters};
use crate::registry::Kind;
use crate::scaler::{BuildError, Context, Scaler, ScalerError, Trigger};

/// The parameters of an `aws-cloudwatch` trigger.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CloudWatch {
    /// The metric's namespace. Needed without `expression`.
    namespace: Option<String>,
    /// The metric. Needed without `expression`.
    metric_name: Option<String>,
    /// The names of the metric's dimensions, with `;` between. Needed without `expression`.
    dimension_name: Option<Vec<String>>,
    /// Their values, in the same order, with `;` between.
    dimension_value: Option<Vec<String>>,
    /// An expression or query in CloudWatch's language, instead of a metric.
    expression: Option<String>,
    /// The value that one replica stands for.
    target_metric_value: f64,
    /// The trigger is active above this value.
    activation_target_metric_value: Option<f64>,
    /// The value where CloudWatch has none.
    min_metric_value: f64,
    /// Whether no value counts as `minMetricValue`. Otherwise it is an error.
    ignore_null_values: bool,
    /// How far back values are looked for, in seconds: whole periods.
    metric_collection_time: i64,
    /// What is made of the measurements of a period: `Average`, `Sum`, `Maximum`, `p99` and what else CloudWatch knows.
    metric_stat: String,
    /// Only measurements in this unit count.
    metric_unit: Option<String>,
    /// How long a period is, in seconds: 1, 5, 10, 30, or whole minutes.
    metric_stat_period: i64,
    /// How long ago the last period ends, in seconds.
    metric_end_time_offset: i64,
    /// The account that the metric is in, where it isn't one's own.
    aws_account_id: Option<String>,
}

impl Parameters for CloudWatch {
    const FIELDS: &'static [Field] = &[
        Field::optional("namespace", METADATA),
        Field::optional("metricName", METADATA),
        Field::optional("dimensionName", METADATA).separator(';'),
        Field::optional("dimensionValue", METADATA).separator(';'),
        Field::optional("expression", METADATA),
        Field::required("targetMetricValue", METADATA),
        Field::optional("activationTargetMetricValue", METADATA),
        Field::required("minMetricValue", METADATA),
        Field::with_default("ignoreNullValues", METADATA, "true"),
        Field::with_default("metricCollectionTime", METADATA, "300"),
        Field::with_default("metricStat", METADATA, "Average"),
        Field::optional("metricUnit", METADATA),
        Field::with_default("metricStatPeriod", METADATA, "300"),
        Field::with_default("metricEndTimeOffset", METADATA, "0"),
        Field::optional("awsAccountId", METADATA),
    ];

    fn check(&self) -> Vec<String> {
        let mut broken = Vec::new();
        broken.extend(self.metric().err());
        let (period, collection) = (self.metric_stat_period, self.metric_collection_time);
        match check_period(period) {
            Err(rule) => broken.push(rule),
            Ok(()) if collection < 0 || collection % period != 0 => broken.push(format!(
                "metricCollectionTime must be greater than 0 and a multiple of metricStatPeriod({period}), {collection} is given"
            )),
            Ok(()) => {}
        }
        broken
    }
}

impl CloudWatch {
    /// What is read.
    ///
    /// # Errors
    /// When there is neither an expression nor a whole metric.
    fn metric(&self) -> Result<Metric, String> {
        if let Some(expression) = &self.expression {
            return Ok(Metric::Expression(expression.clone()));
        }
        let namespace = self.namespace.clone().ok_or("namespace not given")?;
        let name = self.metric_name.clone().ok_or("metric name not given")?;
        let names = self
            .dimension_name
            .as_ref()
            .ok_or("dimension name not given")?;
        let values = self
            .dimension_value
            .as_ref()
            .ok_or("dimension value not given")?;
        if names.len() != values.len() {
            return Err(format!(
                "dimensionName and dimensionValue are not matching in size: {} names, {} values",
                names.len(),
                values.len()
            ));
        }
        let unit = self.metric_unit.clone();
        if let Some(unit) = unit.as_deref().filter(|unit| !UNITS.contains(unit)) {
            return Err(format!(
                "metricUnit '{unit}' is not one of [{}]",
                UNITS.join(" ")
            ));
        }
        Ok(Metric::Statistic {
            namespace,
            name,
            dimensions: names.iter().cloned().zip(values.iter().cloned()).collect(),
            statistic: self.metric_stat.clone(),
            unit,
        })
    }
}

/// Lengths of a period that CloudWatch has.
fn check_period(period: i64) -> Result<(), String> {
    match period {
        ..1 => Err(format!(
            "metricStatPeriod can not be smaller than 1, however, {period} is provided"
        )),
        1 | 5 | 10 | 30 => Ok(()),
        _ if period < 60 => Err(format!(
            "metricStatPeriod < 60 has to be one of [1, 5, 10, 30], however, {period} is provided"
        )),
        _ if period % 60 != 0 => Err(format!(
            "metricStatPeriod >= 60 has to be a multiple of 60, however, {period} is provided"
        )),
        _ => Ok(()),
    }
}

/// CloudWatch's units, in its own order.
const UNITS: &[&str] = &[
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

type CloudWatchParameters = (CloudWatch, AwsParameters);

pub const KIND: Kind = Kind {
    name: "aws-cloudwatch",
    label: "awsCloudwatchScaler",
    fields: CloudWatchParameters::fields,
    passes_metadata_on: false,
    build,
};

fn build(trigger: &Trigger, context: &Context) -> Result<Box<dyn Scaler>, BuildError> {
    let (parameters, aws): CloudWatchParameters = params::parse(trigger)?;
    let target = parameters.target_metric_value;
    Ok(Box::new(CloudWatchScaler {
        metric: [MetricSpec::milli(trigger, "aws-cloudwatch", target)?],
        activation: parameters
            .activation_target_metric_value
            .unwrap_or_default(),
        without_value: parameters
            .ignore_null_values
            .then_some(parameters.min_metric_value),
        question: MetricValue {
            metric: parameters.metric().map_err(BuildError::Invalid)?,
            period: parameters.metric_stat_period,
            collection_time: parameters.metric_collection_time,
            end_offset: parameters.metric_end_time_offset,
            account_id: parameters.aws_account_id,
        },
        aws: aws.client(context),
    }))
}

struct CloudWatchScaler {
    metric: [MetricSpec; 1],
    activation: f64,
    /// The value where there is none; `None` where that is an error.
    without_value: Option<f64>,
    question: MetricValue,
    aws: Arc<AwsClient>,
}

#[async_trait]
impl Scaler for CloudWatchScaler {
    fn metrics(&self) -> Vec<MetricSpec> {
        self.metric.to_vec()
    }

    async fn read(&self, freshness: &Freshness) -> Result<Vec<Reading>, ScalerError> {
        let found = self.aws.answer(&self.question, freshness).await?;
        let value = found.or(self.without_value).ok_or_else(|| {
            ScalerError::NotFound(
                "empty metric data received, ignoreNullValues is false, returning error".to_owned(),
            )
        })?;
        Ok(vec![Reading {
            metric: self.metric[0].name.clone(),
            value,
            active: value > self.activation,
        }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::aws::AwsIdentity;
    use crate::example;
    use crate::scaler::PodIdentity;

    #[test]
    fn the_example_works() {
        let [trigger] = &example::triggers(include_str!("aws_cloudwatch.rs"))[..] else {
            panic!("one trigger");
        };
        let mut trigger = trigger.clone();
        trigger.pod_identity = Some(PodIdentity::Aws(AwsIdentity::default()));
        let scaler = crate::build(&trigger, &example::context(Vec::new())).unwrap();
        assert_eq!(scaler.metrics()[0].name, "s0-aws-cloudwatch");
        assert_eq!(scaler.metrics()[0].target.to_string(), "500");
    }

    fn trigger() -> Trigger {
        Trigger::new("aws-cloudwatch").metadata([
            ("namespace", "App"),
            ("metricName", "Depth"),
            ("dimensionName", "Queue; Zone"),
            ("dimensionValue", "work;a,b"),
            ("targetMetricValue", "2.5"),
            ("minMetricValue", "0"),
            ("awsRegion", "eu-west-1"),
            ("identityOwner", "operator"),
        ])
    }

    fn parsed(trigger: &Trigger) -> Result<CloudWatch, String> {
        let parsed = params::parse::<CloudWatchParameters>(trigger);
        parsed
            .map(|(parameters, _)| parameters)
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn defaults_are_kedas() {
        let found = parsed(&trigger()).ok().unwrap();
        assert_eq!(
            (
                found.metric_collection_time,
                found.metric_stat_period,
                found.metric_end_time_offset,
                found.metric_stat.as_str(),
                found.ignore_null_values,
                found.activation_target_metric_value,
            ),
            (300, 300, 0, "Average", true, None)
        );
        let Ok(Metric::Statistic { dimensions, .. }) = found.metric() else {
            panic!("a metric");
        };
        let dimensions: Vec<(&str, &str)> = dimensions
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(dimensions, [("Queue", "work"), ("Zone", "a,b")]);
        let scaler = build(&trigger(), &example::context(Vec::new())).unwrap();
        assert_eq!(scaler.metrics()[0].target.to_string(), "2500m");
    }

    #[test]
    fn rules_are_kedas() {
        let expression = ("expression", "SELECT AVG(Depth) FROM App");
        for (changes, expected) in [
            (&[("namespace", "")][..], Err("namespace not given")),
            (&[("metricName", "")], Err("metric name not given")),
            (&[("dimensionName", "")], Err("dimension name not given")),
            (&[("dimensionValue", "")], Err("dimension value not given")),
            (&[("dimensionValue", "a")], Err("not matching in size")),
            (
                &[("metricUnit", "Apples")],
                Err("metricUnit 'Apples' is not one of [Seconds "),
            ),
            (&[("metricUnit", "Count/Second")], Ok(())),
            (
                &[expression, ("namespace", ""), ("metricUnit", "Apples")],
                Ok(()),
            ),
            (&[("metricStat", "p99.9")], Ok(())),
            (
                &[("targetMetricValue", "")],
                Err("missing required parameter \"targetMetricValue\""),
            ),
            (
                &[("minMetricValue", "")],
                Err("missing required parameter \"minMetricValue\""),
            ),
            (
                &[("metricStatPeriod", "0")],
                Err("can not be smaller than 1"),
            ),
            (
                &[("metricStatPeriod", "-60")],
                Err("can not be smaller than 1"),
            ),
            (
                &[("metricStatPeriod", "20")],
                Err("has to be one of [1, 5, 10, 30], however, 20"),
            ),
            (
                &[("metricStatPeriod", "90")],
                Err("multiple of 60, however, 90"),
            ),
            (&[("metricStatPeriod", "10")], Ok(())),
            (&[("metricStatPeriod", "60")], Ok(())),
            (
                &[("metricCollectionTime", "100")],
                Err("a multiple of metricStatPeriod(300), 100 is given"),
            ),
            (
                &[("metricCollectionTime", "-300")],
                Err("must be greater than 0"),
            ),
            (
                &[
                    ("metricCollectionTime", "600"),
                    ("metricEndTimeOffset", "-60"),
                ],
                Ok(()),
            ),
            (
                &[expression, ("metricCollectionTime", "1")],
                Err("multiple of metricStatPeriod"),
            ),
        ] {
            let found = parsed(&trigger().metadata(changes.iter().copied()));
            match (found, expected) {
                (Ok(_), Ok(())) => {}
                (Err(problem), Err(part)) => {
                    assert!(problem.contains(part), "{changes:?}: {problem}")
                }
                (found, _) => panic!("{changes:?}: {found:?}"),
            }
        }
    }
}
