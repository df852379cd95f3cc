//! What `external` and `external-push` share: a scaler that is a gRPC server of the user's own, spoken with in KEDA's protocol
//! `externalscaler.ExternalScaler`.
//!
//! The server names the metrics. It is asked for them at each poll, as KEDA does, and what it named last stands until it names others:
//! a server that fails, or names none, takes nothing away.

mod parameters;
mod protocol;
mod push;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::answers::Freshness;
use crate::clients::grpc::{Endpoint, Server};
use crate::metric::{MetricSpec, Reading};
use crate::params;
use crate::scaler::{BuildError, Context, Push, Scaler, ScalerError, Trigger};
pub(crate) use parameters::ExternalParameters;
use protocol::{
    GET_METRIC_SPEC, GET_METRICS, GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse,
    IS_ACTIVE, IsActiveResponse, MetricValue, ScaledObjectRef,
};

/// How long the server may take for one answer. (KEDA waits for ever.)
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The same while an object is prepared, which others wait for: an answer that comes later is learnt by a poll.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Metrics that are asked for at the same time.
const METRICS_AT_ONCE: usize = 5;
/// An HPA with more metrics than this is a server's mistake.
const MOST_METRICS: usize = 100;

/// Builds the scaler of either trigger type.
pub(crate) fn build(
    trigger: &Trigger,
    context: &Context,
    pushes: bool,
) -> Result<Box<dyn Scaler>, BuildError> {
    let parameters: ExternalParameters = params::parse(trigger)?;
    let endpoint = Endpoint {
        address: parameters.address().map_err(BuildError::Invalid)?,
        tls: parameters.tls(),
    };
    let server = context.clients.grpc.server(&endpoint);
    let server = server.map_err(|error| BuildError::Invalid(parameters::renamed(&error)))?;
    // Whatever the server names, a metric type that no external metric has is the user's mistake, and told at once.
    MetricSpec::integer(trigger, "", 1)?;
    Ok(Box::new(ExternalScaler {
        object: object_ref(trigger),
        secrets: secrets(trigger),
        trigger: trigger.clone(),
        pushes,
        server,
        named: Mutex::default(),
    }))
}

struct ExternalScaler {
    trigger: Trigger,
    object: ScaledObjectRef,
    /// Values that went to the server and must not come back in its words.
    secrets: Vec<String>,
    /// Whether it is an `external-push`.
    pushes: bool,
    server: Arc<Server>,
    named: Mutex<Named>,
}

/// What the server named last.
#[derive(Default)]
struct Named {
    metrics: Vec<MetricSpec>,
    /// A stream keeps them current, so that nobody has to ask.
    streamed: bool,
}

#[async_trait]
impl Scaler for ExternalScaler {
    fn metrics(&self) -> Vec<MetricSpec> {
        self.named().metrics.clone()
    }

    async fn learn_metrics(&self) -> Result<(), ScalerError> {
        if self.server.is_silent() {
            // A thousand objects of one server that hangs must not take the turns of all others.
            let error = "it left the last call unanswered".to_owned();
            return Err(ScalerError::Unreachable(error).at(&self.server.address().to_string()));
        }
        self.ask_for_metrics(FIRST_ANSWER_TIMEOUT).await
    }

    async fn read(&self, _: &Freshness) -> Result<Vec<Reading>, ScalerError> {
        if !self.named().streamed {
            self.ask_for_metrics(ANSWER_TIMEOUT).await?;
        }
        let names: Vec<String> = self.metrics().into_iter().map(|it| it.name).collect();
        let values = stream::iter(names)
            .map(|name| self.value(name))
            .buffered(METRICS_AT_ONCE)
            .try_collect();
        let active = self.call(IS_ACTIVE, self.object.clone(), ANSWER_TIMEOUT);
        let (values, active): (Vec<(String, f64)>, IsActiveResponse) =
            futures::try_join!(values, active)?;
        Ok(values
            .into_iter()
            .map(|(metric, value)| Reading {
                metric,
                value,
                active: active.result,
            })
            .collect())
    }

    fn push(&self) -> Option<&dyn Push> {
        self.pushes.then_some(self as &dyn Push)
    }
}

impl ExternalScaler {
    async fn ask_for_metrics(&self, within: Duration) -> Result<(), ScalerError> {
        let answer: GetMetricSpecResponse = self
            .call(GET_METRIC_SPEC, self.object.clone(), within)
            .await?;
        let metrics = metrics(&self.trigger, &answer);
        let metrics = metrics.map_err(|error| self.malformed("GetMetricSpec", &error))?;
        let mut named = self.named();
        // A stream that opened meanwhile knows better.
        if !named.streamed {
            named.metrics = metrics;
        }
        Ok(())
    }

    /// One metric's value; `metric` is its full name.
    async fn value(&self, metric: String) -> Result<(String, f64), ScalerError> {
        // As the server named it, but with the dashes of KEDA's normalisation.
        let prefix = format!("s{}-", self.trigger.index);
        let bare = metric.strip_prefix(&prefix).unwrap_or(&metric).to_owned();
        let request = GetMetricsRequest {
            scaled_object_ref: Some(self.object.clone()),
            metric_name: bare.clone(),
        };
        let answer: GetMetricsResponse = self.call(GET_METRICS, request, ANSWER_TIMEOUT).await?;
        match sum(&answer.metric_values) {
            Ok(value) => Ok((metric, value)),
            Err(error) => Err(self.malformed("GetMetrics", &format!("metric {bare:?}: {error}"))),
        }
    }

    async fn call<Q, A>(
        &self,
        path: &'static str,
        question: Q,
        within: Duration,
    ) -> Result<A, ScalerError>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let answer = self.server.call(path, question, within).await;
        answer.map_err(|error| error.map(|text| self.without_secrets(text)))
    }

    fn malformed(&self, method: &str, error: &str) -> ScalerError {
        let place = format!("{method} at {}", self.server.address());
        ScalerError::Malformed(self.without_secrets(error.to_owned())).at(&place)
    }

    fn without_secrets(&self, text: String) -> String {
        let hide = |text: String, secret: &String| text.replace(secret, "***");
        self.secrets.iter().fold(text, hide)
    }

    fn named(&self) -> MutexGuard<'_, Named> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the server is told which trigger asks: with all of its metadata (KEDA), of which `xFromEnv` is the variable's value under the
/// same key, and is left out where the target's container has no such variable.
fn object_ref(trigger: &Trigger) -> ScaledObjectRef {
    let given = |(key, value): (&String, &String)| {
        let value = match key.ends_with("FromEnv") {
            true => trigger.environment.get(value)?,
            false => return Some((key.clone(), value.clone())),
        };
        (!value.is_empty()).then(|| (key.clone(), value.clone()))
    };
    ScaledObjectRef {
        name: trigger.object.clone(),
        namespace: trigger.namespace.clone(),
        scaler_metadata: trigger
            .metadata
            .iter()
            .filter_map(given)
            .collect::<BTreeMap<_, _>>(),
    }
}

/// The values that came from the environment: any of them may be a password. Very short ones are none, and hiding them would
/// make the server's words unreadable.
fn secrets(trigger: &Trigger) -> Vec<String> {
    const SHORTEST: usize = 4;
    let from_environment = trigger
        .metadata
        .iter()
        .filter(|(key, _)| key.ends_with("FromEnv"));
    from_environment
        .filter_map(|(_, variable)| trigger.environment.get(variable))
        .filter(|value| value.len() >= SHORTEST)
        .cloned()
        .collect()
}

/// The metrics that a server named, at least one.
fn metrics(trigger: &Trigger, answer: &GetMetricSpecResponse) -> Result<Vec<MetricSpec>, String> {
    let specs = &answer.metric_specs;
    if specs.is_empty() {
        return Err("it named no metric (got empty metric spec): expected one or more".to_owned());
    }
    if specs.len() > MOST_METRICS {
        return Err(format!(
            "it named {} metrics: expected {MOST_METRICS} at most",
            specs.len()
        ));
    }
    let metric = |spec: &protocol::MetricSpec| {
        let built = if spec.target_size_float > 0.0 {
            MetricSpec::milli(trigger, &spec.metric_name, spec.target_size_float)
        } else {
            MetricSpec::integer(trigger, &spec.metric_name, spec.target_size)
        };
        built.map_err(|error| error.to_string())
    };
    specs.iter().map(metric).collect()
}

/// What the HPA makes of a metric's values: it adds them up, and one below zero counts as none (KEDA). No value, or one that is no
/// number, is an error: KEDA takes it for 0, which scales in.
fn sum(values: &[MetricValue]) -> Result<f64, String> {
    if values.is_empty() {
        return Err("it gave no value: expected one".to_owned());
    }
    let value = |value: &MetricValue| {
        if !value.metric_value_float.is_finite() {
            Err(format!(
                "it gave {}: expected a number",
                value.metric_value_float
            ))
        } else if value.metric_value_float > 0.0 {
            Ok(value.metric_value_float)
        } else {
            Ok((value.metric_value as f64).max(0.0))
        }
    };
    values.iter().map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MetricType;

    fn named(
        specs: &[(&str, i64, f64)],
        metric_type: Option<MetricType>,
    ) -> Result<Vec<String>, String> {
        let mut trigger = Trigger::new("external");
        trigger.index = 3;
        trigger.metric_type = metric_type;
        let specs = specs
            .iter()
            .map(|(name, size, float)| protocol::MetricSpec {
                metric_name: (*name).to_owned(),
                target_size: *size,
                target_size_float: *float,
            });
        let answer = GetMetricSpecResponse {
            metric_specs: specs.collect(),
        };
        let shown =
            |spec: MetricSpec| format!("{} {:?} {}", spec.name, spec.target_type, spec.target);
        metrics(&trigger, &answer).map(|specs| specs.into_iter().map(shown).collect())
    }

    #[test]
    fn the_server_names_metrics_and_targets() {
        let cases = [
            (("queue", 5, 0.0), "s3-queue AverageValue 5"),
            (("queue", 5, 2.5), "s3-queue AverageValue 2500m"),
            (("queue", 5, -1.0), "s3-queue AverageValue 5"),
            (("queue", 5, f64::NAN), "s3-queue AverageValue 5"),
            (("a/b.c:d%e(f)", 1, 0.0), "s3-a-b-c-d-e-f- AverageValue 1"),
            (("", 1, 0.0), "s3- AverageValue 1"),
            (("queue", -5, 0.0), "s3-queue AverageValue -5"),
        ];
        for (spec, expected) in cases {
            assert_eq!(named(&[spec], None).unwrap(), [expected], "{spec:?}");
        }
        let two = [("a", 1, 0.0), ("b", 0, 0.0005)];
        assert_eq!(
            named(&two, Some(MetricType::Value)).unwrap(),
            ["s3-a Value 1", "s3-b Value 1m"]
        );
        assert!(
            named(&[], None)
                .unwrap_err()
                .contains("got empty metric spec")
        );
        assert!(
            named(&[("a", 1, 0.0); 101], None)
                .unwrap_err()
                .contains("named 101")
        );
    }

    #[test]
    fn values_are_added_up_and_what_is_none_is_an_error() {
        let sum = |values: &[(i64, f64)]| {
            let values: Vec<MetricValue> = values
                .iter()
                .map(|(whole, float)| MetricValue {
                    metric_name: "queue".to_owned(),
                    metric_value: *whole,
                    metric_value_float: *float,
                })
                .collect();
            sum(&values).ok()
        };
        for (values, expected) in [
            (&[(7, 0.0)][..], Some(7.0)),
            (&[(7, 2.5)], Some(2.5)),
            (&[(7, -2.5)], Some(7.0)),
            (&[(-7, 0.0)], Some(0.0)),
            (&[(7, 0.0), (-3, 0.0), (0, 0.5)], Some(7.5)),
            (&[(0, 0.0)], Some(0.0)),
            (&[(0, f64::NAN)], None),
            (&[(5, f64::INFINITY)], None),
            (&[(5, 0.0), (0, f64::NEG_INFINITY)], None),
            (&[], None),
        ] {
            assert_eq!(sum(values), expected, "{values:?}");
        }
    }

    #[test]
    fn the_server_is_given_all_metadata_and_nothing_else() {
        let trigger = Trigger::new("external")
            .metadata([
                ("scalerAddress", "scaler:1"),
                ("queue", "orders"),
                ("tokenFromEnv", "TOKEN"),
                ("emptyFromEnv", "EMPTY"),
                ("absentFromEnv", "ABSENT"),
            ])
            .environment([("TOKEN", "hunter2"), ("EMPTY", ""), ("OTHER", "x")])
            .authentication([("tlsClientKey", "key")]);
        let object = object_ref(&trigger);
        let given: Vec<_> = object
            .scaler_metadata
            .iter()
            .map(|(k, v)| (&**k, &**v))
            .collect();
        assert_eq!(
            given,
            [
                ("queue", "orders"),
                ("scalerAddress", "scaler:1"),
                ("tokenFromEnv", "hunter2")
            ]
        );
        assert_eq!(secrets(&trigger), ["hunter2"]);
    }
}
