//! `kubernetes-resource`: a number under a key of a ConfigMap or Secret in the ScaledObject's namespace.
//!
//! The value is the number itself, or a JSON or YAML document that has it at `valueLocation`. Needs no credentials: the operator's own
//! permission to `get` ConfigMaps and Secrets of the namespace is enough. An object or key that is missing, and a value that is no number,
//! are errors, which keep replicas. Behind a number may stand a space and anything else (`42 jobs`); KEDA also takes what begins like a number
//! for one (`1,000` for 1), which would scale in.
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
//!     - type: kubernetes-resource
//!       metadata:
//!         resourceKind: ConfigMap
//!         resourceName: sale
//!         key: forecast.json
//!         format: json
//!         valueLocation: osaka.orders
//!         targetValue: "500"
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use sakidori_engine::Quantity;
use serde::Deserialize;

use crate::answers::Freshness;
use crate::limits::{LARGE, apart};
use crate::metric::{MetricSpec, Reading};
use crate::metrics_api::Format as DocumentFormat;
use crate::metrics_api::value::{self, Found};
use crate::params::{self, Field, METADATA, ParameterSet, Parameters};
use crate::registry::Kind;
use crate::scaler::{
    BuildError, Cluster, Context, Scaler, ScalerError, StoreKind, Stored, Trigger,
};

/// The parameters of a `kubernetes-resource` trigger.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    /// `ConfigMap` or `Secret`.
    resource_kind: StoreKind,
    /// Its name. It is in the ScaledObject's namespace.
    resource_name: String,
    /// The key of its `data`.
    key: String,
    /// What stands under the key: `number`, `json` or `yaml`.
    format: Format,
    /// Where the number stands in the document: a GJSON path for `json`, keys with dots between them for `yaml`.
    value_location: Option<String>,
    /// How the number is written: `float64`, `int64` (what is behind the point does not count), or `quantity` such as `1.5k`.
    value_type: ValueType,
    /// The number per replica. Above 0.
    target_value: f64,
    /// The trigger is active above this number.
    activation_target_value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Number,
    Json,
    Yaml,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ValueType {
    Float64,
    Int64,
    Quantity,
}

impl Parameters for Resource {
    const FIELDS: &'static [Field] = &[
        Field::required("resourceKind", METADATA),
        Field::required("resourceName", METADATA),
        Field::required("key", METADATA),
        Field::with_default("format", METADATA, "number"),
        Field::optional("valueLocation", METADATA),
        Field::with_default("valueType", METADATA, "float64"),
        Field::required("targetValue", METADATA),
        Field::with_default("activationTargetValue", METADATA, "0"),
    ];

    fn check_of(&self, trigger: &Trigger) -> Vec<String> {
        let mut broken = Vec::new();
        if self.target_value <= 0.0 && !trigger.is_part_of_a_formula {
            broken.push("targetValue must be a float greater than 0".to_owned());
        }
        match (self.format, &self.value_location) {
            (Format::Number, Some(_)) => {
                broken.push("valueLocation is only supported with json or yaml format".to_owned());
            }
            (Format::Json, None) => {
                broken.push("valueLocation is required for json format".to_owned());
            }
            (Format::Yaml, None) => {
                broken.push("valueLocation is required for yaml format".to_owned());
            }
            (_, Some(location)) if location.len() > value::LONGEST_LOCATION => {
                broken.push(format!(
                    "valueLocation is {} bytes long: expected {} at most",
                    location.len(),
                    value::LONGEST_LOCATION
                ));
            }
            _ => {}
        }
        broken
    }
}

pub const KIND: Kind = Kind {
    name: "kubernetes-resource",
    label: "kubernetesResourceScaler",
    fields: Resource::fields,
    passes_metadata_on: false,
    build,
};

fn build(trigger: &Trigger, context: &Context) -> Result<Box<dyn Scaler>, BuildError> {
    let resource: Resource = params::parse(trigger)?;
    let kind = resource.resource_kind.to_string().to_lowercase();
    let name = format!("{kind}-{}-{}", resource.resource_name, resource.key);
    Ok(Box::new(ResourceScaler {
        metric: [MetricSpec::milli(trigger, &name, resource.target_value)?],
        namespace: trigger.namespace.clone(),
        cluster: Arc::clone(&context.cluster),
        resource: Arc::new(resource),
    }))
}

struct ResourceScaler {
    metric: [MetricSpec; 1],
    namespace: String,
    resource: Arc<Resource>,
    cluster: Arc<dyn Cluster>,
}

#[async_trait]
impl Scaler for ResourceScaler {
    fn metrics(&self) -> Vec<MetricSpec> {
        self.metric.to_vec()
    }

    async fn read(&self, _: &Freshness) -> Result<Vec<Reading>, ScalerError> {
        let Resource {
            resource_kind: kind,
            resource_name: name,
            key,
            ..
        } = &*self.resource;
        let place = format!("{kind} {}/{name}", self.namespace);
        let stored = self.cluster.stored(*kind, &self.namespace, name, key);
        let value = match stored.await {
            Ok(Stored::Value(value)) => {
                let resource = Arc::clone(&self.resource);
                let number = match value.len() > LARGE {
                    true => apart(move || resource.number(&value)).await,
                    false => resource.number(&value),
                };
                number.map_err(|error| {
                    ScalerError::Malformed(format!("key {key} of {place}: {error}"))
                })
            }
            Ok(Stored::NoKey) => Err(ScalerError::NotFound(format!(
                "key {key} not found in {place}"
            ))),
            Ok(Stored::NoObject) => Err(ScalerError::NotFound(format!(
                "error getting {place}: there is none"
            ))),
            Err(error) => Err(ScalerError::Unreachable(error.to_string())),
        }
        .map_err(|error| error.at(&format!("error getting metric value from {kind}")))?;
        Ok(vec![Reading {
            metric: self.metric[0].name.clone(),
            value,
            active: value > self.resource.activation_target_value,
        }])
    }
}

impl Resource {
    /// The number that a value holds. Errors don't quote the value: it may be a Secret's.
    fn number(&self, value: &[u8]) -> Result<f64, String> {
        let document = match self.format {
            Format::Number => None,
            Format::Json => Some(DocumentFormat::Json),
            Format::Yaml => Some(DocumentFormat::Yaml),
        };
        let found = match document {
            None => {
                let text = std::str::from_utf8(value).map_err(|_| "it is no UTF-8 text")?;
                Found::Text(text.to_owned())
            }
            Some(format) => {
                let location = self.value_location.as_deref().unwrap_or_default();
                let found = value::find(value, format, location);
                found.map_err(|error| error.replacen("the answer", "its value", 1))?
            }
        };
        let number = match (found, self.value_type) {
            (Found::Number(number), ValueType::Float64 | ValueType::Quantity) => number,
            (Found::Number(number), ValueType::Int64) => number.trunc(),
            (Found::Text(text), ValueType::Quantity) => quantity(&text)?,
            // KEDA: a string in JSON is a quantity, one in YAML a number.
            (Found::Text(text), ValueType::Float64) if self.format == Format::Json => {
                quantity(&text)?
            }
            (Found::Text(_), ValueType::Int64) if self.format == Format::Json => {
                return Err(
                    "valueLocation must point to a number for valueType int64, got a string"
                        .to_owned(),
                );
            }
            (Found::Text(text), ValueType::Float64) => leading_number(&text)?,
            (Found::Text(text), ValueType::Int64) => leading_number(&text)?.trunc(),
        };
        if number.is_finite() {
            Ok(number)
        } else {
            Err("it is no finite number".to_owned())
        }
    }
}

fn quantity(text: &str) -> Result<f64, String> {
    let quantity: Result<Quantity, _> = text.trim().parse();
    quantity
        .map(Quantity::to_f64)
        .map_err(|_| "it is no quantity: expected one such as 5, 250m or 1.5k".to_owned())
}

/// The number at a text's beginning. Go's `Sscanf`, by which KEDA reads it, stops at whatever is no digit; here that has to be a space.
fn leading_number(text: &str) -> Result<f64, String> {
    let number = text.split_ascii_whitespace().next().unwrap_or_default();
    let is_decimal = number.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
        && number.ends_with(|c: char| c.is_ascii_digit() || c == '.');
    let parsed = number.parse().ok().filter(|_| is_decimal);
    parsed.ok_or_else(|| "it is no number: expected one such as 5 or 2.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::Clients;
    use crate::example;
    use crate::scaler::{ClusterError, Endpoint, Pod};

    /// A cluster that holds one object `shop/sale` with one key `orders`.
    struct Holds(StoreKind, &'static [u8]);

    #[async_trait]
    impl Cluster for Holds {
        async fn pods(&self, _: &str, _: &str) -> Result<Vec<Pod>, ClusterError> {
            Ok(Vec::new())
        }
        async fn ready_endpoints(&self, _: &str, _: &str) -> Result<Vec<Endpoint>, ClusterError> {
            Ok(Vec::new())
        }
        async fn stored(
            &self,
            kind: StoreKind,
            namespace: &str,
            name: &str,
            key: &str,
        ) -> Result<Stored, ClusterError> {
            Ok(match (namespace, name, key) {
                ("down", ..) => return Err(ClusterError("no answer".to_owned())),
                ("shop", "sale", "orders") if kind == self.0 => Stored::Value(self.1.to_vec()),
                ("shop", "sale", _) if kind == self.0 => Stored::NoKey,
                _ => Stored::NoObject,
            })
        }
    }

    fn trigger(metadata: &[(&'static str, &'static str)]) -> Trigger {
        let mut trigger = Trigger::new("kubernetes-resource")
            .metadata([
                ("resourceKind", "ConfigMap"),
                ("resourceName", "sale"),
                ("key", "orders"),
                ("targetValue", "2.5"),
            ])
            .metadata(metadata.iter().copied());
        trigger.namespace = "shop".to_owned();
        trigger
    }

    fn built(trigger: &Trigger, kind: StoreKind, value: &'static [u8]) -> Box<dyn Scaler> {
        let context = Context {
            clients: Arc::new(Clients::default()),
            cluster: Arc::new(Holds(kind, value)),
        };
        crate::build(trigger, &context).unwrap()
    }

    fn number(metadata: &[(&'static str, &'static str)], value: &str) -> Result<f64, String> {
        let resource: Resource = params::parse(&trigger(metadata)).unwrap();
        resource.number(value.as_bytes())
    }

    #[test]
    fn numbers_are_read_as_keda_reads_them() {
        let cases: [(&str, &str, Option<f64>); 24] = [
            ("float64", "12", Some(12.0)),
            ("float64", " 12.5\n", Some(12.5)),
            ("float64", "-3", Some(-3.0)),
            ("float64", "+1e3", Some(1000.0)),
            ("float64", "42 jobs", Some(42.0)),
            ("float64", "", None),
            ("float64", "jobs", None),
            ("float64", "1,000", None),
            ("float64", "1.5GB", None),
            ("float64", "NaN", None),
            ("float64", "inf", None),
            ("float64", "-infinity", None),
            ("float64", "1e999", None),
            ("float64", "0x10", None),
            ("int64", "12", Some(12.0)),
            ("int64", "12.9", Some(12.0)),
            ("int64", "-12.9", Some(-12.0)),
            ("int64", "twelve", None),
            ("quantity", "1.5k", Some(1500.0)),
            ("quantity", "250m\n", Some(0.25)),
            ("quantity", "2Ki", Some(2048.0)),
            ("quantity", "12", Some(12.0)),
            ("quantity", "12 jobs", None),
            ("quantity", "", None),
        ];
        for (value_type, value, expected) in cases {
            let read = number(&[("valueType", value_type)], value).ok();
            assert_eq!(read, expected, "{value_type} {value:?}");
        }
    }

    #[test]
    fn documents_hold_numbers_and_strings() {
        const JSON: &str = r#"{"n": 7.9, "s": "1.5k", "t": "jobs", "o": {"a": [1, 2]}, "b": true}"#;
        const YAML: &str = "n: 7.9\ns: 1.5k\nt: '12 jobs'\no:\n  a: [1, 2]\nb: true\n";
        let cases = [
            ("json", "float64", "n", Some(7.9)),
            ("json", "float64", "s", Some(1500.0)),
            ("json", "float64", "t", None),
            ("json", "float64", "o.a.#", Some(2.0)),
            ("json", "float64", "o", None),
            ("json", "float64", "b", None),
            ("json", "float64", "missing", None),
            ("json", "int64", "n", Some(7.0)),
            ("json", "int64", "s", None),
            ("json", "quantity", "s", Some(1500.0)),
            ("json", "quantity", "n", Some(7.9)),
            ("yaml", "float64", "n", Some(7.9)),
            ("yaml", "float64", "t", Some(12.0)),
            ("yaml", "float64", "s", None),
            ("yaml", "quantity", "s", Some(1500.0)),
            ("yaml", "int64", "n", Some(7.0)),
            ("yaml", "float64", "o.a.1", Some(2.0)),
            ("yaml", "float64", "o.a", None),
            ("yaml", "float64", "b", None),
        ];
        for (format, value_type, location, expected) in cases {
            let metadata = [
                ("format", format),
                ("valueType", value_type),
                ("valueLocation", location),
            ];
            let document = if format == "json" { JSON } else { YAML };
            let read = number(&metadata, document);
            assert_eq!(read.clone().ok(), expected, "{metadata:?} {read:?}");
        }
        let broken = number(&[("format", "json"), ("valueLocation", "a")], "<html>").unwrap_err();
        assert_eq!(broken, "its value is no JSON");
    }

    #[tokio::test]
    async fn a_value_is_read_and_what_is_missing_is_named() {
        let scaler = built(&trigger(&[]), StoreKind::ConfigMap, b"5");
        let metric = scaler.metrics().remove(0);
        assert_eq!(
            (metric.name.as_str(), metric.target.milli()),
            ("s0-configmap-sale-orders", 2500)
        );
        let reading = scaler.read(&Freshness::now()).await.unwrap().remove(0);
        assert_eq!((reading.value, reading.active), (5.0, true));

        let at_activation = trigger(&[("activationTargetValue", "5")]);
        let reading = built(&at_activation, StoreKind::ConfigMap, b"5")
            .read(&Freshness::now())
            .await;
        assert!(!reading.unwrap()[0].active, "at the activation value");

        let no_key = trigger(&[("key", "stock.osaka")]);
        let scaler = built(&no_key, StoreKind::ConfigMap, b"5");
        assert_eq!(scaler.metrics()[0].name, "s0-configmap-sale-stock-osaka");
        assert_eq!(
            scaler
                .read(&Freshness::now())
                .await
                .unwrap_err()
                .to_string(),
            "not found: error getting metric value from ConfigMap: key stock.osaka not found in ConfigMap shop/sale"
        );
        let no_object = built(&trigger(&[]), StoreKind::Secret, b"5");
        assert_eq!(
            no_object
                .read(&Freshness::now())
                .await
                .unwrap_err()
                .to_string(),
            "not found: error getting metric value from ConfigMap: error getting ConfigMap shop/sale: there is none"
        );
        let mut down = trigger(&[]);
        down.namespace = "down".to_owned();
        let error = built(&down, StoreKind::ConfigMap, b"5")
            .read(&Freshness::now())
            .await
            .unwrap_err();
        assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
    }

    #[tokio::test]
    async fn a_secrets_value_is_never_quoted() {
        for metadata in [
            vec![],
            vec![("valueType", "quantity")],
            vec![("format", "json"), ("valueLocation", "a")],
            vec![("format", "yaml"), ("valueLocation", "a")],
        ] {
            let trigger = trigger(&metadata).metadata([("resourceKind", "Secret")]);
            let scaler = built(&trigger, StoreKind::Secret, b"hunter2");
            let error = scaler
                .read(&Freshness::now())
                .await
                .unwrap_err()
                .to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_example_builds() {
        let trigger = example::triggers(include_str!("kubernetes_resource.rs")).remove(0);
        let scaler = crate::build(&trigger, &example::context(Vec::new())).unwrap();
        assert_eq!(scaler.metrics()[0].name, "s0-configmap-sale-forecast-json");
    }

    #[test]
    fn what_is_wrong_is_said_in_kedas_words() {
        for (metadata, expected) in [
            (
                vec![("targetValue", "0")],
                "targetValue must be a float greater than 0",
            ),
            (
                vec![("valueLocation", "a")],
                "valueLocation is only supported with json or yaml format",
            ),
            (
                vec![("format", "json")],
                "valueLocation is required for json format",
            ),
            (
                vec![("format", "yaml")],
                "valueLocation is required for yaml format",
            ),
            (vec![("format", "xml")], "\"format\""),
            (
                vec![("resourceKind", "configmap")],
                "did you mean \"ConfigMap\"?",
            ),
            (vec![("targetValue", "")], "\"targetValue\""),
        ] {
            let error = crate::build(&trigger(&metadata), &example::context(Vec::new()))
                .err()
                .unwrap();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
