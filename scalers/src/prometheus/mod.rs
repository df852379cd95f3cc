//! `prometheus`: the one number that a PromQL query gives, from Prometheus or whatever speaks its query API (Thanos, Mimir,
//! VictoriaMetrics, Amazon Managed Service for Prometheus).
//!
//! The query is asked for the present moment (`/api/v1/query`) and must give one element, or a scalar. Several elements are an error: put
//! them together with `sum(...)` or `max(...)`. Without any element, and for infinity and NaN, the number is 0, unless
//! `ignoreNullValues` is `false`: then those are errors, and the HPA keeps its replicas. **Set it to `false`** where a
//! series that is gone (a job that isn't scraped any more, a metric that was renamed) must not scale down; the
//! default is KEDA's.
//!
//! Whatever else goes wrong is an error: a refused query is told in Prometheus' own words, and an answer with another status than
//! `success`, without a `result`, or of range vectors and histograms is never 0. Thanos leaves out stores that don't answer, and the
//! number gets smaller: `queryParameters: partial_response=false` makes that an error.
//!
//! Needs nothing but the right to query: no login, a user, a token, a client certificate, a header, an OAuth2
//! client. Without `authModes`, and with an identity on AWS (`podIdentity.provider: aws`, access keys, or `identityOwner: operator`), requests are
//! signed for Amazon Managed Service for Prometheus (SigV4); that identity needs `aps:QueryMetrics`. The managed services of
//! Google and Azure are not supported by this version.
//!
//! ```yaml
//! apiVersion: v1
//! kind: Secret
//! metadata:
//!   name: prometheus
//! stringData:
//!   username: scaler
//!   password: secret
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: TriggerAuthentication
//! metadata:
//!   name: prometheus
//! spec:
//!   secretTargetRef:
//!     - parameter: username
//!       name: prometheus
//!       key: username
//!     - parameter: password
//!       name: prometheus
//!       key: password
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: ScaledObject
//! metadata:
//!   name: checkout
//! spec:
//!   scaleTargetRef:
//!     name: checkout
//!   triggers:
//!     - type: prometheus
//!       metadata:
//!         serverAddress: http://prometheus.monitoring.svc:9090
//!         query: sum(rate(http_requests_total{service="checkout"}[2m]))
//!         threshold: "100"
//!         activationThreshold: "0.5"
//!         ignoreNullValues: "false"
//!         authModes: basic
//!       authenticationRef:
//!         name: prometheus
//! ```

pub(crate) mod answer;
mod identity;
mod points;
pub(crate) mod question;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use self::identity::AwsParameters;
use self::question::Question;
use crate::answers::Freshness;
use crate::clients::prometheus::{Asker, Server};
use crate::http::{AuthenticationParameters, headers};
use crate::metric::{MetricSpec, Reading};
use crate::observer::tell;
use crate::params::{self, Field, GoDuration, METADATA, ParameterSet, Parameters};
use crate::registry::Kind;
use crate::scaler::{BuildError, Context, Scaler, ScalerError, Trigger};

/// The parameters of a `prometheus` trigger, besides those of its authentication.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Prometheus {
    /// The server's URL, with the path under which its API is, if it has one. `/api/v1/query` is appended to it as it stands.
    server_address: String,
    /// The query, in PromQL. It must give one element, or a scalar.
    query: String,
    /// More parameters of the request, as `name=value,name=value`.
    query_parameters: Option<BTreeMap<String, String>>,
    /// The number per replica.
    threshold: f64,
    /// The trigger is active above this number.
    activation_threshold: f64,
    /// The request's parameter `namespace`, which some servers want (Thanos Querier on OpenShift).
    namespace: Option<String>,
    /// Headers of the request, as `name=value,name=value`. A header that `authModes` sets goes before one of the same name.
    custom_headers: Option<BTreeMap<String, String>>,
    /// Whether a query without a result, and one that gives infinity or NaN, counts as 0. With `false` it is an error.
    ignore_null_values: bool,
    /// Takes any certificate of the server.
    unsafe_ssl: bool,
    /// How long an answer may take: a duration such as `5s`, or milliseconds; 30 s at most. Left out, or 0, it is the operator's
    /// `KEDA_HTTP_DEFAULT_TIMEOUT`: 3 s.
    timeout: Option<GoDuration>,
}

impl Parameters for Prometheus {
    const FIELDS: &'static [Field] = &[
        Field::required("serverAddress", METADATA),
        Field::required("query", METADATA),
        Field::optional("queryParameters", METADATA),
        Field::required("threshold", METADATA),
        Field::with_default("activationThreshold", METADATA, "0"),
        Field::optional("namespace", METADATA),
        Field::optional("customHeaders", METADATA),
        Field::with_default("ignoreNullValues", METADATA, "true"),
        Field::with_default("unsafeSsl", METADATA, "false"),
        Field::optional("timeout", METADATA),
    ];

    fn check(&self) -> Vec<String> {
        let address = self
            .question()
            .err()
            .map(|problem| format!("serverAddress {problem}"));
        let headers = headers("customHeaders", self.custom_headers.iter().flatten()).err();
        address.into_iter().chain(headers).collect()
    }
}

impl Prometheus {
    fn question(&self) -> Result<Question, String> {
        Question::new(
            &self.server_address,
            &self.query,
            self.namespace.as_deref(),
            self.query_parameters.iter().flatten(),
        )
    }
}

pub const KIND: Kind = Kind {
    name: "prometheus",
    label: "prometheusScaler",
    fields: <(Prometheus, (AwsParameters, AuthenticationParameters))>::fields,
    passes_metadata_on: false,
    build,
};

fn build(trigger: &Trigger, context: &Context) -> Result<Box<dyn Scaler>, BuildError> {
    let (parameters, (aws, authentication)): (
        Prometheus,
        (AwsParameters, AuthenticationParameters),
    ) = params::parse(trigger)?;
    let signing =
        identity::of(trigger, aws, authentication.has_modes()).map_err(BuildError::Invalid)?;
    let timeout = parameters.timeout.map(|timeout| timeout.0);
    let asker = Asker {
        authentication,
        headers: parameters.custom_headers.clone().unwrap_or_default(),
        signing,
        insecure: parameters.unsafe_ssl,
        timeout: context.clients.http.timeout(timeout),
    };
    Ok(Box::new(PrometheusScaler {
        metric: [MetricSpec::milli(
            trigger,
            "prometheus",
            parameters.threshold,
        )?],
        question: parameters
            .question()
            .map_err(|problem| BuildError::Invalid(format!("serverAddress {problem}")))?,
        server: Server::of(&context.clients, &asker).map_err(BuildError::Invalid)?,
        parameters,
    }))
}

struct PrometheusScaler {
    metric: [MetricSpec; 1],
    parameters: Prometheus,
    question: Question,
    server: Arc<Server>,
}

#[async_trait]
impl Scaler for PrometheusScaler {
    fn metrics(&self) -> Vec<MetricSpec> {
        self.metric.to_vec()
    }

    async fn read(&self, freshness: &Freshness) -> Result<Vec<Reading>, ScalerError> {
        let found = self.server.answer(&self.question, freshness).await?;
        let (ignore, query) = (self.parameters.ignore_null_values, &self.parameters.query);
        if found.is_nothing() {
            tell(|observer| observer.answered_nothing(ignore));
        }
        let value = answer::settle(&found, ignore, query)
            .map_err(|error| error.at(&self.question.host()))?;
        Ok(vec![Reading {
            metric: self.metric[0].name.clone(),
            value,
            active: value > self.parameters.activation_threshold,
        }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    fn problems(pairs: &[(&'static str, &'static str)]) -> String {
        let trigger = Trigger::new("prometheus").metadata(pairs.iter().copied());
        let scaler = build(&trigger, &example::context(Vec::new()));
        scaler.err().map(|e| e.to_string()).unwrap_or_default()
    }

    const GIVEN: [(&str, &str); 3] = [
        ("serverAddress", "http://prometheus:9090"),
        ("query", "up"),
        ("threshold", "1.5"),
    ];

    #[test]
    fn the_example_builds() {
        for trigger in example::triggers(include_str!("mod.rs")) {
            let scaler = build(&trigger, &example::context(Vec::new())).unwrap();
            assert_eq!(scaler.metrics()[0].name, "s0-prometheus");
        }
    }

    #[test]
    fn the_threshold_has_thousandths() {
        let mut trigger = Trigger::new("prometheus").metadata(GIVEN);
        trigger.index = 3;
        let scaler = build(&trigger, &example::context(Vec::new())).unwrap();
        let metric = scaler.metrics().remove(0);
        assert_eq!(metric.name, "s3-prometheus");
        assert_eq!(metric.target.milli(), 1500);
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let found = problems(&[
            ("threshold", "one"),
            ("ignoreNullValues", "xxxx"),
            ("customHeaders", "key1=value1,key2"),
            ("queryParameters", "a=b=c"),
            ("timeout", "-1"),
        ]);
        for parameter in [
            "serverAddress",
            "query",
            "threshold",
            "ignoreNullValues",
            "customHeaders",
            "queryParameters",
            "timeout",
        ] {
            assert!(
                found.contains(&format!("{parameter:?}")),
                "{parameter}: {found}"
            );
        }
    }

    #[test]
    fn what_can_be_no_request_is_refused_without_secrets() {
        for (parameter, value, problem) in [
            (
                "serverAddress",
                "ftp://u:hunter2@x",
                "serverAddress has the scheme \"ftp\"",
            ),
            (
                "serverAddress",
                "prometheus:9090",
                "serverAddress has no scheme",
            ),
            (
                "customHeaders",
                "X-Tenant=a,a b=hunter2",
                "customHeaders \"a b\" can't be a header's name",
            ),
            (
                "customHeaders",
                "X-Tenant=a\u{1}hunter2",
                "header x-tenant can't be",
            ),
            (
                "credentialsFromEnv",
                "GOOGLE",
                "Google Cloud's managed Prometheus is not supported",
            ),
        ] {
            let given = [GIVEN.as_slice(), &[(parameter, value)]].concat();
            let found = problems(&given);
            assert!(found.contains(problem), "{found}");
            assert!(!found.contains("hunter2"), "{found}");
        }
    }
}
