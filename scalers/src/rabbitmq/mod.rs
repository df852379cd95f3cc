//! `rabbitmq`: the length of a queue, or how fast messages come and go.
//!
//! Reads over AMQP (`amqp://`, `amqps://`) or from the management API (`http://`, `https://`); rates, regular expressions and
//! the count of unacknowledged messages exist in the management API only. Over AMQP the number counts the messages that
//! are ready; over HTTP those that wait for an acknowledgement count too, unless `excludeUnacknowledged`.
//!
//! Permissions on the broker: over AMQP the user needs access to the virtual host, and any permission on the queue (a
//! passive declaration changes nothing); over HTTP the tag `monitoring` (or `management` and access to the virtual host).
//!
//! Over HTTP an OAuth2 client can log in instead of a user: `oauthTokenURI`, `clientID` and `clientSecret` in the
//! TriggerAuthentication.
//!
//! A broker that answers without a count, as RabbitMQ does for some seconds after its start, is an error: the HPA keeps
//! its replicas. KEDA reads zero.
//!
//! ```yaml
//! apiVersion: v1
//! kind: Secret
//! metadata:
//!   name: orders-broker
//! stringData:
//!   host: amqp://worker:secret@rabbitmq.shop:5672/%2F
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: TriggerAuthentication
//! metadata:
//!   name: orders-broker
//! spec:
//!   secretTargetRef:
//!     - parameter: host
//!       name: orders-broker
//!       key: host
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: ScaledObject
//! metadata:
//!   name: orders
//! spec:
//!   scaleTargetRef:
//!     name: orders
//!   triggers:
//!     - type: rabbitmq
//!       metadata:
//!         queueName: orders
//!         mode: QueueLength
//!         value: "20"
//!         activationValue: "5"
//!       authenticationRef:
//!         name: orders-broker
//! ```

mod login;
mod management;
mod mode;
mod parameters;
mod uri;

use std::sync::Arc;

use async_trait::async_trait;

use self::management::Management;
use self::mode::{Counts, Mode};
use self::parameters::{Protocol, RabbitMq, RabbitMqParameters};
use crate::answers::Freshness;
use crate::clients::TlsFloor;
use crate::clients::amqp::{Broker, Endpoint, Mechanism};
use crate::clients::tls::TlsSettings;
use crate::metric::{MetricSpec, Reading};
use crate::params::{self, ParameterSet};
use crate::registry::Kind;
use crate::scaler::{BuildError, Context, Scaler, ScalerError, Trigger};

pub const KIND: Kind = Kind {
    name: "rabbitmq",
    label: "rabbitMQScaler",
    fields: RabbitMqParameters::fields,
    passes_metadata_on: false,
    build,
};

fn build(trigger: &Trigger, context: &Context) -> Result<Box<dyn Scaler>, BuildError> {
    let RabbitMqParameters {
        parameters,
        settings,
        oauth,
    } = params::parse(trigger)?;
    let name = format!(
        "rabbitmq-{}",
        management::query_escape(&parameters.queue_name)
    );
    let metric = MetricSpec::milli(trigger, &name, settings.value)?;
    let source = match settings.protocol {
        Protocol::Amqp => {
            let endpoint = endpoint(&parameters).map_err(BuildError::Invalid)?;
            Source::Amqp {
                broker: context.clients.amqp.broker(endpoint),
                queue: parameters.queue_name.clone(),
            }
        }
        Protocol::Http => {
            let tls = TlsSettings {
                insecure: parameters.unsafe_ssl,
                ..parameters.tls_settings().unwrap_or_default()
            };
            let client = context
                .clients
                .http
                .client(&tls)
                .map_err(BuildError::Invalid)?;
            let management = Management::new(
                client,
                context.clients.http.timeout(settings.timeout),
                login::authentication(&parameters, oauth).map_err(BuildError::Invalid)?,
                &parameters,
                settings.operation,
            );
            Source::Http(Box::new(management.map_err(BuildError::Invalid)?))
        }
    };
    Ok(Box::new(RabbitMqScaler {
        metric: [metric],
        source,
        mode: settings.mode,
        activation: parameters.activation_value,
    }))
}

struct RabbitMqScaler {
    metric: [MetricSpec; 1],
    source: Source,
    mode: Mode,
    activation: f64,
}

enum Source {
    Amqp { broker: Arc<Broker>, queue: String },
    Http(Box<Management>),
}

#[async_trait]
impl Scaler for RabbitMqScaler {
    fn metrics(&self) -> Vec<MetricSpec> {
        self.metric.to_vec()
    }

    async fn read(&self, freshness: &Freshness) -> Result<Vec<Reading>, ScalerError> {
        let counts = match &self.source {
            Source::Amqp { broker, queue } => Counts {
                messages: broker.ready_messages(queue, freshness).await?.into(),
                ..Counts::default()
            },
            Source::Http(management) => management.read().await?,
        };
        let (value, active) = self.mode.measure(counts, self.activation);
        Ok(vec![Reading {
            metric: self.metric[0].name.clone(),
            value,
            active,
        }])
    }
}

/// Where to connect to over AMQP, and as whom: `vhostName`, `username` and `password` win over the URI.
///
/// # Errors
/// When `host` is no AMQP URI, or the queue's name is longer than AMQP allows. Quotes neither.
fn endpoint(parameters: &RabbitMq) -> Result<Endpoint, String> {
    /// AMQP's short string.
    const LONGEST_NAME: usize = 255;
    let uri = uri::parse(&parameters.host)
        .map_err(|error| format!("error parsing RabbitMQ connection string: {error}"))?;
    let vhost = parameters.vhost_name.clone().unwrap_or(uri.vhost);
    for (parameter, name) in [("queueName", &parameters.queue_name), ("vhostName", &vhost)] {
        if name.len() > LONGEST_NAME {
            return Err(format!(
                "{parameter} must not be longer than {LONGEST_NAME} bytes over AMQP"
            ));
        }
    }
    let tls = parameters.tls_settings();
    // The client certificate is the login where nothing else is (KEDA: buildAMQPConfig).
    let by_certificate = tls.as_ref().is_some_and(|tls| tls.identity.is_some())
        && parameters.username.is_none()
        && !uri.has_password;
    let (username, password) = match (&parameters.username, &parameters.password) {
        (Some(username), Some(password)) => (username.clone(), password.clone()),
        _ => (uri.username, uri.password),
    };
    let tls = uri.tls.then(|| tls.unwrap_or_default());
    if let Some(tls) = &tls {
        tls.client_config(TlsFloor::default())?;
    }
    Ok(Endpoint {
        host: uri.host,
        port: uri.port,
        vhost,
        username,
        password,
        mechanism: if by_certificate {
            Mechanism::External
        } else {
            uri.mechanism.unwrap_or(Mechanism::Plain)
        },
        tls,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    #[test]
    fn the_example_works() {
        let [trigger] = &example::triggers(include_str!("mod.rs"))[..] else {
            panic!("one trigger");
        };
        let scaler = crate::build(trigger, &example::context(Vec::new())).unwrap();
        assert_eq!(scaler.metrics()[0].name, "s0-rabbitmq-orders");
        assert_eq!(scaler.metrics()[0].target.to_string(), "20");
    }

    fn trigger(host: &str, queue: &str) -> Trigger {
        Trigger::new("rabbitmq").metadata([("host", host), ("queueName", queue)])
    }

    #[test]
    fn metric_names_are_kedas() {
        for (queue, name) in [
            ("orders", "s2-rabbitmq-orders"),
            ("namespace/name", "s2-rabbitmq-namespace-2Fname"),
            ("evaluate trials", "s2-rabbitmq-evaluate+trials"),
            ("a.b*c", "s2-rabbitmq-a-b-2Ac"),
        ] {
            let mut trigger = trigger("amqp://rabbit", queue);
            trigger.index = 2;
            let scaler = build(&trigger, &example::context(Vec::new())).unwrap();
            assert_eq!(scaler.metrics()[0].name, name);
        }
    }

    #[test]
    fn targets_have_thousandths() {
        let trigger = trigger("amqp://rabbit", "orders").metadata([("queueLength", "2.5")]);
        let scaler = build(&trigger, &example::context(Vec::new())).unwrap();
        assert_eq!(scaler.metrics()[0].target.to_string(), "2500m");
    }

    /// The endpoint of a trigger with these parameters of its authentication.
    fn endpoint_of(host: &str, authentication: &[(&str, &str)]) -> Result<Endpoint, String> {
        let trigger = trigger(host, "orders").authentication(authentication.iter().copied());
        let parsed: RabbitMqParameters =
            params::parse(&trigger).map_err(|errors| errors.to_string())?;
        endpoint(&parsed.parameters)
    }

    #[test]
    fn parameters_win_over_the_uri() {
        let found = endpoint_of(
            "amqp://u:p@rabbit/v",
            &[
                ("username", "me"),
                ("password", "mine"),
                ("vhostName", "a/b"),
            ],
        )
        .unwrap();
        let found = (
            found.username.as_str(),
            found.password.as_str(),
            found.vhost.as_str(),
        );
        assert_eq!(found, ("me", "mine", "a/b"));
        let found = endpoint_of("amqp://u:p@rabbit/v", &[]).unwrap();
        assert_eq!(found.to_string(), r#"amqp://rabbit:5672, virtual host "v""#);
    }

    #[test]
    fn tls_follows_the_scheme() {
        assert!(
            endpoint_of("amqp://rabbit", &[("tls", "enable")])
                .unwrap()
                .tls
                .is_none()
        );
        assert!(endpoint_of("amqps://rabbit", &[]).unwrap().tls.is_some());
    }

    #[test]
    fn a_client_certificate_is_the_login_where_no_password_is() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["client".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let key = key.serialize_pem();
        let identity = [
            ("tls", "enable"),
            ("cert", certificate.as_str()),
            ("key", key.as_str()),
        ];
        let login = [identity.as_slice(), &[("username", "u"), ("password", "p")]].concat();
        for (host, authentication, mechanism) in [
            ("amqps://rabbit", identity.as_slice(), Mechanism::External),
            ("amqps://u@rabbit", &identity, Mechanism::External),
            ("amqps://u:p@rabbit", &identity, Mechanism::Plain),
            ("amqps://rabbit", &login, Mechanism::Plain),
            ("amqps://rabbit", &[], Mechanism::Plain),
            (
                "amqps://rabbit?auth_mechanism=external",
                &[],
                Mechanism::External,
            ),
        ] {
            let found = endpoint_of(host, authentication).unwrap();
            assert_eq!(found.mechanism, mechanism, "{host}");
        }
    }

    #[test]
    fn what_can_not_be_connected_to_is_refused_at_once() {
        let long = "q".repeat(256);
        let table = [
            (
                trigger("amqp://user:hunter2@rabbit:port", "orders"),
                "error parsing RabbitMQ connection string: invalid port number",
            ),
            (
                trigger("amqp://rabbit", &long),
                "queueName must not be longer than 255 bytes over AMQP",
            ),
            (
                trigger("amqps://rabbit", "orders")
                    .authentication([("tls", "enable"), ("ca", "hunter2")]),
                "ca holds no certificate: expected PEM",
            ),
            (
                trigger("amqp://user:hunter2@rabbit", "orders").metadata([("protocol", "http")]),
                "error parsing RabbitMQ management URL: host has the scheme \"amqp\": expected an http:// or https:// URL",
            ),
        ];
        for (trigger, message) in table {
            let error = build(&trigger, &example::context(Vec::new()))
                .err()
                .unwrap();
            assert_eq!(error.to_string(), message);
        }
    }
}
