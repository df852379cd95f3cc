//! `metrics-api`: one number out of an HTTP answer, in JSON, YAML, XML or Prometheus' text format.
//!
//! With `aggregateFromKubeServiceEndpoints` every ready endpoint of the Service in `url` is asked instead, and their numbers are
//! put together. One that doesn't answer makes the reading fail, and the HPA keeps its replicas; KEDA leaves it out, so that a
//! sum gets smaller by an error, and replicas fewer.
//!
//! Needs what the server wants for a GET: nothing, an API key, a user, a token, a client
//! certificate; for the endpoints of a Service also the operator's permission to list EndpointSlices.
//!
//! ```yaml
//! apiVersion: keda.sh/v1alpha1
//! kind: ScaledObject
//! metadata:
//!   name: checkout
//! spec:
//!   scaleTargetRef:
//!     name: checkout
//!   triggers:
//!     - type: metrics-api
//!       metadata:
//!         url: http://stats.shop.svc:8080/api/v1/queues
//!         valueLocation: queues.0.waiting
//!         targetValue: "10"
//!         activationTargetValue: "3"
//! ```

mod effort;
mod exposition;
pub(crate) mod value;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use reqwest::{Client, Url};
use serde::Deserialize;

use crate::answers::Freshness;
use crate::http::{Authentication, AuthenticationParameters, host_of, parse_url};
use crate::metric::{MetricSpec, Reading};
use crate::params::{self, Field, GoDuration, METADATA, ParameterSet, Parameters};
use crate::registry::Kind;
use crate::scaler::{BuildError, Cluster, Context, Endpoint, Scaler, ScalerError, Trigger};

/// Endpoints of a Service that are asked at the same time (KEDA: 5).
const ENDPOINTS_AT_ONCE: usize = 5;

/// The parameters of a `metrics-api` trigger, besides those of its authentication.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetricsApi {
    /// The number per replica. Needed, and above 0.
    target_value: Option<f64>,
    /// The trigger is active above this number.
    activation_target_value: f64,
    /// The URL to get.
    url: String,
    /// What the answer is: `json`, `yaml`, `xml` or `prometheus`.
    format: Format,
    /// Where the number stands: a GJSON path for `json`, keys with dots between them for `yaml` and `xml`, a metric with labels
    /// such as `jobs{queue="a"}` for `prometheus`.
    value_location: String,
    /// Takes any certificate of the server.
    unsafe_ssl: bool,
    /// Asks each ready endpoint of the Service in `url` (`http://SERVICE.NAMESPACE...`) instead of the Service.
    aggregate_from_kube_service_endpoints: bool,
    /// How the endpoints' numbers are put together: `average`, `sum`, `max` or `min`.
    aggregation_type: Aggregation,
    /// How long an answer may take: a duration such as `5s`, or milliseconds. Left out, or 0, it is the operator's
    /// `KEDA_HTTP_DEFAULT_TIMEOUT`: 3 s.
    timeout: Option<GoDuration>,
}

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Format {
    Prometheus,
    Json,
    Xml,
    Yaml,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Aggregation {
    Average,
    Sum,
    Max,
    Min,
}

impl Parameters for MetricsApi {
    const FIELDS: &'static [Field] = &[
        Field::optional("targetValue", METADATA),
        Field::with_default("activationTargetValue", METADATA, "0"),
        Field::required("url", METADATA),
        Field::with_default("format", METADATA, "json"),
        Field::required("valueLocation", METADATA),
        Field::with_default("unsafeSsl", METADATA, "false"),
        Field::with_default("aggregateFromKubeServiceEndpoints", METADATA, "false"),
        Field::with_default("aggregationType", METADATA, "average"),
        Field::optional("timeout", METADATA),
    ];

    fn check_of(&self, trigger: &Trigger) -> Vec<String> {
        let mut broken = Vec::new();
        if self.target_value.is_none_or(|target| target <= 0.0) && !trigger.is_part_of_a_formula {
            broken.push("no targetValue given in metadata: expected a number above 0".to_owned());
        }
        match parse_url(&self.url) {
            Err(problem) => broken.push(format!("url {problem}")),
            Ok(url) if self.aggregate_from_kube_service_endpoints => {
                broken.extend(service_of(&url).err());
            }
            Ok(_) => {}
        }
        if self.value_location.len() > value::LONGEST_LOCATION {
            broken.push(format!(
                "valueLocation is {} bytes long: expected {} at most",
                self.value_location.len(),
                value::LONGEST_LOCATION
            ));
        }
        if self.format == Format::Prometheus {
            let problem = exposition::parse_selector(&self.value_location).err();
            broken.extend(problem.map(|problem| format!("valueLocation: {problem}")));
        }
        broken
    }
}

pub const KIND: Kind = Kind {
    name: "metrics-api",
    label: "metricsAPIScaler",
    fields: <(MetricsApi, AuthenticationParameters)>::fields,
    passes_metadata_on: false,
    build,
};

fn build(trigger: &Trigger, context: &Context) -> Result<Box<dyn Scaler>, BuildError> {
    let (parameters, authentication): (MetricsApi, AuthenticationParameters) =
        params::parse(trigger)?;
    let url = parse_url(&parameters.url)
        .map_err(|problem| BuildError::Invalid(format!("url {problem}")))?;
    let tls = authentication.tls(parameters.unsafe_ssl);
    let client = context
        .clients
        .http
        .client(&tls)
        .map_err(BuildError::Invalid)?;
    let timeout = parameters.timeout.map(|timeout| timeout.0);
    let name = format!("metric-api-{}", parameters.value_location);
    let target = parameters.target_value.unwrap_or_default();
    Ok(Box::new(MetricsApiScaler {
        metric: [MetricSpec::milli(trigger, &name, target)?],
        authentication: Authentication::new(authentication).map_err(BuildError::Invalid)?,
        client,
        timeout: context.clients.http.timeout(timeout),
        url,
        cluster: Arc::clone(&context.cluster),
        parameters,
    }))
}

struct MetricsApiScaler {
    metric: [MetricSpec; 1],
    parameters: MetricsApi,
    url: Url,
    timeout: Duration,
    authentication: Authentication,
    client: Arc<Client>,
    cluster: Arc<dyn Cluster>,
}

#[async_trait]
impl Scaler for MetricsApiScaler {
    fn metrics(&self) -> Vec<MetricSpec> {
        self.metric.to_vec()
    }

    async fn read(&self, _: &Freshness) -> Result<Vec<Reading>, ScalerError> {
        let value = if self.parameters.aggregate_from_kube_service_endpoints {
            self.read_endpoints().await?
        } else {
            self.read_url(self.url.clone()).await?
        };
        Ok(vec![Reading {
            metric: self.metric[0].name.clone(),
            value,
            active: value > self.parameters.activation_target_value,
        }])
    }
}

impl MetricsApiScaler {
    async fn read_url(&self, url: Url) -> Result<f64, ScalerError> {
        let answer = self.read_named(&url).await;
        answer.map_err(|error| error.at(&host_of(&url)))
    }

    async fn read_named(&self, url: &Url) -> Result<f64, ScalerError> {
        let answer = self.authentication.get(&self.client, url, self.timeout);
        let body = answer.await?.accepted()?;
        let format = self.parameters.format;
        let location = self.parameters.value_location.clone();
        let value = body
            .parse(move |body| value::extract(body, format, &location))
            .await
            .map_err(ScalerError::Malformed)?;
        if value.is_finite() {
            Ok(value)
        } else {
            // KEDA takes it for 0, and scales down.
            let location = &self.parameters.value_location;
            Err(ScalerError::Malformed(format!(
                "valueLocation {location:?} points to {value}, which no number of replicas follows from"
            )))
        }
    }

    async fn read_endpoints(&self) -> Result<f64, ScalerError> {
        let (service, namespace) = service_of(&self.url).map_err(ScalerError::Malformed)?;
        let endpoints = self
            .cluster
            .ready_endpoints(&namespace, &service)
            .await
            .map_err(|error| ScalerError::Unreachable(error.to_string()))?;
        let urls = endpoint_urls(&self.url, &endpoints);
        if urls.is_empty() {
            return Err(ScalerError::NotFound(format!(
                "the Service {namespace}/{service} has no ready endpoints"
            )));
        }
        let asked = urls.len();
        let answers: Vec<Result<f64, ScalerError>> = stream::iter(urls)
            .map(|url| self.read_url(url))
            .buffer_unordered(ENDPOINTS_AT_ONCE)
            .collect()
            .await;
        let failed = answers.iter().filter(|answer| answer.is_err()).count();
        let values: Result<Vec<f64>, ScalerError> = answers.into_iter().collect();
        let values = values.map_err(|error| {
            error.at(&format!(
                "{failed} of {asked} endpoints of the Service {namespace}/{service} failed"
            ))
        })?;
        Ok(aggregate(self.parameters.aggregation_type, &values))
    }
}

/// The Service and namespace that a URL's host names: `SERVICE.NAMESPACE`, with anything behind.
fn service_of(url: &Url) -> Result<(String, String), String> {
    let host = url.host_str().unwrap_or_default();
    let mut parts = host.split('.').filter(|part| !part.is_empty());
    match (parts.next(), parts.next()) {
        (Some(service), Some(namespace)) => Ok((service.to_owned(), namespace.to_owned())),
        _ => Err(format!(
            "invalid hostname {host} : expected at least 2 elements, first being service name and second being the namespace"
        )),
    }
}

/// The URL of each endpoint, each address once. The URL's port counts where the endpoint has it, else the scheme's own (KEDA).
fn endpoint_urls(service: &Url, endpoints: &[Endpoint]) -> Vec<Url> {
    let wanted = service.port_or_known_default();
    // A Service may have tens of thousands.
    let mut seen = HashSet::new();
    let mut urls = Vec::new();
    for endpoint in endpoints {
        if !seen.insert(endpoint.address.as_str()) {
            continue;
        }
        let host = if endpoint.address.contains(':') {
            format!("[{}]", endpoint.address)
        } else {
            endpoint.address.clone()
        };
        let port = wanted.filter(|port| endpoint.ports.contains(port));
        let mut url = service.clone();
        if url.set_host(Some(&host)).is_ok() && url.set_port(port).is_ok() {
            urls.push(url);
        }
    }
    urls
}

/// One number for at least one.
fn aggregate(how: Aggregation, values: &[f64]) -> f64 {
    let sum = values.iter().sum::<f64>();
    match how {
        Aggregation::Average => sum / values.len() as f64,
        Aggregation::Sum => sum,
        Aggregation::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Aggregation::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    fn built(metadata: &[(&'static str, &'static str)]) -> Result<Vec<MetricSpec>, String> {
        let trigger = Trigger::new("metrics-api").metadata(metadata.iter().copied());
        let scaler = build(&trigger, &example::context(Vec::new()));
        scaler
            .map(|scaler| scaler.metrics().to_vec())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_builds() {
        for trigger in example::triggers(include_str!("mod.rs")) {
            let scaler = build(&trigger, &example::context(Vec::new())).unwrap();
            assert_eq!(scaler.metrics()[0].name, "s0-metric-api-queues-0-waiting");
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let problems =
            built(&[("url", "ftp://x"), ("format", "toml"), ("timeout", "soon")]).unwrap_err();
        for expected in [
            "\"format\"",
            "toml",
            "\"timeout\"",
            "soon",
            "\"valueLocation\"",
        ] {
            assert!(problems.contains(expected), "{expected}: {problems}");
        }
        let problems = built(&[
            ("url", "http://stats"),
            ("valueLocation", "a{"),
            ("format", "prometheus"),
            ("aggregateFromKubeServiceEndpoints", "true"),
        ])
        .unwrap_err();
        for expected in [
            "no targetValue given",
            "invalid hostname stats",
            "valueLocation",
        ] {
            assert!(problems.contains(expected), "{expected}: {problems}");
        }
    }

    #[test]
    fn a_location_that_could_exhaust_the_stack_is_refused() {
        let location: &'static str = "@this|".repeat(20_000).leak();
        let problems = built(&[
            ("url", "http://stats"),
            ("valueLocation", location),
            ("targetValue", "1"),
        ])
        .unwrap_err();
        let expected = "valueLocation is 120000 bytes long: expected 1024 at most";
        assert!(problems.contains(expected), "{problems}");
    }

    #[test]
    fn endpoints_get_the_urls_of_the_service() {
        let urls = |url: &str, endpoints: &[(&str, &[u16])]| -> Vec<String> {
            let endpoints: Vec<Endpoint> = endpoints
                .iter()
                .map(|(address, ports)| Endpoint {
                    address: (*address).to_owned(),
                    ports: ports.to_vec(),
                })
                .collect();
            let urls = endpoint_urls(&Url::parse(url).unwrap(), &endpoints);
            urls.into_iter().map(String::from).collect()
        };
        assert_eq!(
            urls(
                "http://stats.shop.svc:8080/q?a=1",
                &[("10.0.0.1", &[8080]), ("10.0.0.1", &[9]), ("fd00::1", &[9])]
            ),
            ["http://10.0.0.1:8080/q?a=1", "http://[fd00::1]/q?a=1"]
        );
        assert_eq!(
            urls("https://stats.shop/q", &[("10.0.0.1", &[443])]),
            ["https://10.0.0.1/q"]
        );
    }

    #[test]
    fn numbers_are_put_together() {
        let values = [1.0, 2.0, 6.0];
        for (how, value) in [
            (Aggregation::Average, 3.0),
            (Aggregation::Sum, 9.0),
            (Aggregation::Max, 6.0),
            (Aggregation::Min, 1.0),
        ] {
            assert_eq!(aggregate(how, &values), value);
        }
    }
}
