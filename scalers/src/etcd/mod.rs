//! `etcd`: the number that stands in a key of etcd.
//!
//! The key is read at each poll, and watched between them: a put of a number above `activationValue` activates the target at once. That the
//! number is no longer above it is seen by polls only. A key that isn't there is an error, and so is a value that is no number,
//! NaN or infinite; KEDA's watch takes a value that is no number for 0.
//!
//! One of the `endpoints` is used at a time: when it fails, the next one that answers. What stands before the first of them decides
//! how all are spoken with: `https://` is TLS (with the system's authorities, where `tls` is `disable`), `http://` is plain text, and without
//! either it is as `tls` says. Without a port it is 2379.
//!
//! The user needs the permission to read the key. A user is also accepted by an etcd whose authentication is off.
//!
//! ```yaml
//! apiVersion: v1
//! kind: Secret
//! metadata:
//!   name: packers-etcd
//! stringData:
//!   username: packers
//!   password: secret
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: TriggerAuthentication
//! metadata:
//!   name: packers-etcd
//! spec:
//!   secretTargetRef:
//!     - parameter: username
//!       name: packers-etcd
//!       key: username
//!     - parameter: password
//!       name: packers-etcd
//!       key: password
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: ScaledObject
//! metadata:
//!   name: packers
//! spec:
//!   scaleTargetRef:
//!     name: packers
//!   triggers:
//!     - type: etcd
//!       metadata:
//!         endpoints: etcd-0.etcd.shop.svc:2379,etcd-1.etcd.shop.svc:2379
//!         watchKey: parcels/waiting
//!         value: "20"
//!         activationValue: "5"
//!       authenticationRef:
//!         name: packers-etcd
//! ```

mod parameters;
mod push;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::parameters::EtcdParameters;
use crate::answers::Freshness;
use crate::clients::etcd::Etcd;
use crate::metric::{MetricSpec, Reading};
use crate::params::{self, ParameterSet};
use crate::registry::Kind;
use crate::scaler::{BuildError, Context, Push, Scaler, ScalerError, Trigger};

/// How much of a value is shown that is no number.
const LONGEST_SHOWN: usize = 30;

pub const KIND: Kind = Kind {
    name: "etcd",
    label: "etcdScaler",
    fields: EtcdParameters::fields,
    passes_metadata_on: false,
    build,
};

fn build(trigger: &Trigger, context: &Context) -> Result<Box<dyn Scaler>, BuildError> {
    let parameters: EtcdParameters = params::parse(trigger)?;
    let endpoints = parameters.endpoints().map_err(BuildError::Invalid)?;
    let etcd = context.clients.etcd.client(&endpoints);
    let name = format!("etcd-{}", parameters.watch_key);
    Ok(Box::new(EtcdScaler {
        metric: [MetricSpec::milli(trigger, &name, parameters.value)?],
        etcd: etcd.map_err(BuildError::Invalid)?,
        activation: parameters.activation_value,
        longest_silence: parameters.longest_silence(),
        key: parameters.watch_key,
        object: format!("{}/{}", trigger.namespace, trigger.object),
    }))
}

struct EtcdScaler {
    metric: [MetricSpec; 1],
    etcd: Arc<Etcd>,
    key: String,
    activation: f64,
    /// How long a watch may tell nothing.
    longest_silence: Duration,
    /// For the log.
    object: String,
}

#[async_trait]
impl Scaler for EtcdScaler {
    fn metrics(&self) -> Vec<MetricSpec> {
        self.metric.to_vec()
    }

    async fn read(&self, freshness: &Freshness) -> Result<Vec<Reading>, ScalerError> {
        let value = self.value(freshness).await?;
        Ok(vec![Reading {
            metric: self.metric[0].name.clone(),
            value,
            active: value > self.activation,
        }])
    }

    fn push(&self) -> Option<&dyn Push> {
        Some(self)
    }
}

impl EtcdScaler {
    async fn value(&self, freshness: &Freshness) -> Result<f64, ScalerError> {
        self.number_in(self.etcd.value(&self.key, freshness).await?)
    }

    /// What is there now, whatever others have asked.
    async fn newest_value(&self) -> Result<f64, ScalerError> {
        self.number_in(self.etcd.newest_value(&self.key).await?)
    }

    fn number_in(&self, value: Option<Arc<[u8]>>) -> Result<f64, ScalerError> {
        let here = |error: ScalerError| error.at(&self.etcd.to_string());
        let key = &self.key;
        // The end is KEDA's.
        let value = value.ok_or_else(|| {
            here(ScalerError::NotFound(format!(
                "watchKey {key} doesn't exist"
            )))
        })?;
        number(&value)
            .map_err(|error| here(ScalerError::Malformed(format!("watchKey {key} {error}"))))
    }
}

/// A value as a number. No space and no end of a line is taken away, as KEDA takes none.
fn number(value: &[u8]) -> Result<f64, String> {
    let text = String::from_utf8_lossy(value);
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => {
            let shown: String = text.chars().take(LONGEST_SHOWN).collect();
            Err(format!(
                "has the value {shown:?}: expected a number such as 5 or 2.5, and nothing around it"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    #[tokio::test]
    async fn the_example_builds_and_pushes() {
        for trigger in example::triggers(include_str!("mod.rs")) {
            let scaler = build(&trigger, &example::context(Vec::new())).unwrap();
            let metric = &scaler.metrics()[0];
            assert_eq!(metric.name, "s0-etcd-parcels-waiting");
            assert_eq!(metric.target.to_string(), "20");
            assert!(scaler.push().is_some());
        }
    }

    #[test]
    fn values_are_numbers_and_nothing_else() {
        for (value, expected) in [
            ("5", Some(5.0)),
            ("-2.5", Some(-2.5)),
            ("+1e3", Some(1000.0)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("", None),
            ("5\n", None),
            (" 5", None),
            ("1,000", None),
            ("many", None),
            ("NaN", None),
            ("-inf", None),
            ("1e400", None),
        ] {
            assert_eq!(number(value.as_bytes()).ok(), expected, "{value:?}");
        }
        let long = number("x".repeat(5000).as_bytes()).unwrap_err();
        assert!(long.len() < 200, "{long}");
        assert!(number(&[0xff, 0xfe]).is_err());
    }
}
