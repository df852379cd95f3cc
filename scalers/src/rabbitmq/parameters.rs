//! The parameters of a `rabbitmq` trigger, and the rules between them.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::login;
use super::mode::{Mode, Operation};
use crate::clients::tls::{Identity, TlsSettings};
use crate::http::OAuthParameters;
use crate::params::{
    AUTHENTICATION, Field, GoDuration, METADATA, METADATA_AUTHENTICATION, ParameterSet, Parameters,
    Source,
};
use crate::scaler::Trigger;

/// The parameters of a `rabbitmq` trigger.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RabbitMq {
    /// The queue, or with `useRegex` the expression that the queues' names match.
    pub queue_name: String,
    /// What is measured: `QueueLength`, `MessageRate`, `DeliverGetRate`, `PublishedToDeliveredRatio` or
    /// `ExpectedQueueConsumptionTime`.
    mode: String,
    /// The target, in the mode's unit: messages, messages per second, a ratio, seconds. With neither `mode` nor `value` it is 20
    /// messages.
    value: f64,
    /// Messages per replica.
    queue_length: f64,
    /// The trigger is active above this value.
    pub activation_value: f64,
    /// `amqp://`, `amqps://`, `http://` or `https://` with host, port and virtual host, perhaps with user and password.
    pub host: String,
    /// `amqp`, `http`, or `auto`: by the scheme of `host`.
    protocol: String,
    /// The virtual host, not encoded; wins over the one in `host`.
    pub vhost_name: Option<String>,
    /// `queueName` is a regular expression.
    pub use_regex: bool,
    /// Counts only messages that are ready.
    pub exclude_unacknowledged: bool,
    /// The most queues that an expression may match.
    pub page_size: i64,
    /// What several queues are together: their `sum`, `avg` or `max`.
    operation: String,
    /// How long an answer of the management API may take: a duration such as `5s`, or milliseconds. Left out, or 0, it is the
    /// operator's `KEDA_HTTP_DEFAULT_TIMEOUT`: 3 s.
    timeout: Option<GoDuration>,
    /// The user; wins over the one in `host`.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// PEM of the authority that issued the broker's certificate.
    ca: Option<String>,
    /// PEM of the client certificate.
    cert: Option<String>,
    /// PEM of the client certificate's key.
    key: Option<String>,
    /// The password of `key`, where it is encrypted.
    key_password: Option<String>,
    /// `enable` to use `ca`, `cert` and `key`, or `disable`.
    tls: String,
    /// Takes any certificate of the broker.
    pub unsafe_ssl: bool,
    /// The resource that an Azure workload identity asks a token for. Not supported yet.
    pub workload_identity_resource: Option<String>,
}

impl Parameters for RabbitMq {
    const FIELDS: &'static [Field] = &[
        Field::required("queueName", METADATA),
        Field::with_default("mode", METADATA, UNKNOWN),
        Field::with_default("value", METADATA, "0"),
        Field::with_default("queueLength", METADATA, "0").deprecated("use mode and value"),
        Field::with_default("activationValue", METADATA, "0"),
        Field::required(
            "host",
            &[
                Source::Metadata,
                Source::Authentication,
                Source::Environment,
            ],
        ),
        Field::with_default("protocol", METADATA_AUTHENTICATION, "auto"),
        Field::optional("vhostName", METADATA_AUTHENTICATION),
        Field::with_default("useRegex", METADATA, "false"),
        Field::with_default("excludeUnacknowledged", METADATA, "false"),
        Field::with_default("pageSize", METADATA, "100"),
        Field::with_default("operation", METADATA, "sum"),
        Field::optional("timeout", METADATA),
        Field::optional("username", &[Source::Authentication, Source::Environment]),
        Field::optional("password", &[Source::Authentication, Source::Environment]).secret(),
        Field::optional("ca", AUTHENTICATION),
        Field::optional("cert", AUTHENTICATION),
        Field::optional("key", AUTHENTICATION).secret(),
        Field::optional("keyPassword", AUTHENTICATION).secret(),
        Field::with_default("tls", AUTHENTICATION, "disable"),
        Field::with_default("unsafeSsl", METADATA, "false"),
        Field::optional("workloadIdentityResource", AUTHENTICATION),
    ];
}

/// All parameters of a trigger, and what they mean together.
pub struct RabbitMqParameters {
    pub parameters: RabbitMq,
    pub settings: Settings,
    /// Given when the login is by OAuth2.
    pub oauth: Option<OAuthParameters>,
}

impl ParameterSet for RabbitMqParameters {
    fn fields() -> Vec<&'static Field> {
        <(RabbitMq, OAuthParameters)>::fields()
    }

    fn read(
        trigger: &Trigger,
        known: &[&'static Field],
        problems: &mut Vec<String>,
    ) -> Option<Self> {
        let (parameters, oauth): (RabbitMq, OAuthParameters) =
            ParameterSet::read(trigger, known, problems)?;
        match parameters.settings(&oauth) {
            Ok(settings) => Some(Self {
                oauth: login::is_oauth(&oauth).then_some(oauth),
                parameters,
                settings,
            }),
            Err(broken) => {
                problems.extend(broken);
                None
            }
        }
    }
}

/// KEDA's default of `mode`, which stands for none.
const UNKNOWN: &str = "Unknown";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Amqp,
    Http,
}

/// What the parameters mean together.
#[derive(Debug, PartialEq)]
pub struct Settings {
    pub protocol: Protocol,
    pub mode: Mode,
    /// The target.
    pub value: f64,
    /// Of the queues that an expression matches; `None` without an expression.
    pub operation: Option<Operation>,
    pub timeout: Option<Duration>,
}

impl RabbitMq {
    /// # Errors
    /// All broken rules, in KEDA's words where KEDA has the rule.
    fn settings(&self, oauth: &OAuthParameters) -> Result<Settings, Vec<String>> {
        let mut broken = Vec::new();
        let protocol = self.protocol().map_err(|rule| broken.push(rule)).ok();
        if self.tls != "enable" && self.tls != "disable" {
            // The value stands in an authentication, so it isn't shown.
            broken.push("incorrect value for TLS given: expected enable or disable".to_owned());
        }
        if self.cert.is_some() != self.key.is_some() {
            broken.push("both key and certificate must be provided".to_owned());
        }
        if self.page_size < 1 {
            broken.push("pageSize should be 1 or greater".to_owned());
        }
        if self.username.is_some() != self.password.is_some() {
            broken.push("username and password must be given together".to_owned());
        }
        broken.extend(login::broken_rule(self, oauth, protocol).map(str::to_owned));
        if protocol == Some(Protocol::Amqp) {
            for (name, given) in [
                ("useRegex", self.use_regex),
                ("excludeUnacknowledged", self.exclude_unacknowledged),
            ] {
                if given {
                    broken.push(format!("configure {name}=true only with HTTP protocol"));
                }
            }
        }
        let target = self.target(protocol).map_err(|rule| broken.push(rule)).ok();
        let operation = self.operation().map_err(|rule| broken.push(rule)).ok();
        match (protocol, target, operation) {
            (Some(protocol), Some((mode, value)), Some(operation)) if broken.is_empty() => {
                Ok(Settings {
                    protocol,
                    mode,
                    value,
                    operation,
                    timeout: self.timeout.map(|timeout| timeout.0),
                })
            }
            _ => Err(broken),
        }
    }

    /// The TLS setting, when `tls` is enabled.
    pub fn tls_settings(&self) -> Option<TlsSettings> {
        let identity = self.cert.clone().zip(self.key.clone());
        (self.tls == "enable").then(|| TlsSettings {
            ca: self.ca.clone(),
            identity: identity.map(|(certificate, key)| Identity {
                certificate,
                key,
                key_password: self.key_password.clone(),
            }),
            insecure: self.unsafe_ssl,
        })
    }

    fn protocol(&self) -> Result<Protocol, String> {
        match self.protocol.as_str() {
            "amqp" => Ok(Protocol::Amqp),
            "http" => Ok(Protocol::Http),
            "auto" => {
                // Go's parser takes schemes without anything behind them, which the URL parser here refuses.
                let scheme = match Url::parse(&self.host) {
                    Ok(url) => url.scheme().to_owned(),
                    Err(_) => self
                        .host
                        .split_once("://")
                        .map_or("", |(scheme, _)| scheme)
                        .to_lowercase(),
                };
                match scheme.as_str() {
                    "amqp" | "amqps" => Ok(Protocol::Amqp),
                    "http" | "https" => Ok(Protocol::Http),
                    // Text before a colon that isn't a scheme may be part of a secret.
                    _ if !self.host.contains("://") => {
                        Err("unknown host URL scheme: ``".to_owned())
                    }
                    scheme => Err(format!("unknown host URL scheme: `{scheme}`")),
                }
            }
            other => Err(format!(
                "the protocol has to be either `amqp`, `http`, or `auto` but is `{other}`"
            )),
        }
    }

    /// The mode and the target value (KEDA: validateTrigger).
    fn target(&self, protocol: Option<Protocol>) -> Result<(Mode, f64), String> {
        const DEFAULT_QUEUE_LENGTH: f64 = 20.0;
        let unnamed = self.mode == UNKNOWN;
        if self.value < 0.0 || self.queue_length < 0.0 {
            return Err("value must be greater than 0".to_owned());
        }
        if self.queue_length == 0.0 && unnamed && self.value == 0.0 {
            return Ok((Mode::QueueLength, DEFAULT_QUEUE_LENGTH));
        }
        if self.queue_length != 0.0 {
            return if unnamed && self.value == 0.0 {
                Ok((Mode::QueueLength, self.queue_length))
            } else {
                Err("queueLength is deprecated; use mode and value".to_owned())
            };
        }
        if unnamed {
            return Err("mode must be specified".to_owned());
        }
        if self.value == 0.0 {
            return Err("value must be specified".to_owned());
        }
        let Some((_, mode)) = Mode::ALL.into_iter().find(|(name, _)| *name == self.mode) else {
            let [a, b, c, d, e] = Mode::ALL.map(|(name, _)| name);
            return Err(format!(
                "trigger mode {} must be one of {a}, {b}, {c}, {d} or {e}",
                self.mode
            ));
        };
        if protocol == Some(Protocol::Amqp) {
            if mode != Mode::QueueLength {
                return Err(format!(
                    "protocol amqp not supported; must be HTTP to use trigger mode {}",
                    self.mode
                ));
            }
            if let Some(GoDuration(timeout)) = self.timeout.filter(|timeout| !timeout.0.is_zero()) {
                let nanoseconds = timeout.as_nanos();
                return Err(format!(
                    "AMQP protocol doesn't support custom timeouts: {nanoseconds}"
                ));
            }
        }
        Ok((mode, self.value))
    }

    /// Only an expression needs one; without it KEDA doesn't look at the parameter.
    fn operation(&self) -> Result<Option<Operation>, String> {
        if !self.use_regex {
            return Ok(None);
        }
        match self.operation.as_str() {
            "sum" => Ok(Some(Operation::Sum)),
            "avg" => Ok(Some(Operation::Avg)),
            "max" => Ok(Some(Operation::Max)),
            other => Err(format!(
                "operation mode {other} must be one of sum, avg, max"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Trigger;
    use crate::params;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    const AMQP: &str = "amqp://user:hunter2@rabbit:5672/vhost";
    const HTTP: &str = "http://user:hunter2@rabbit:15672/vhost";

    fn trigger(host: &str, metadata: Pairs) -> Trigger {
        Trigger::new("rabbitmq")
            .metadata([("queueName", "orders"), ("host", host)])
            .metadata(metadata.iter().copied())
    }

    fn settings(trigger: &Trigger) -> Result<Settings, String> {
        let parsed: RabbitMqParameters =
            params::parse(trigger).map_err(|errors| errors.to_string())?;
        Ok(parsed.settings)
    }

    #[test]
    fn the_mode_and_its_target() {
        let table: &[(&str, Pairs, (Mode, f64))] = &[
            (AMQP, &[], (Mode::QueueLength, 20.0)),
            (AMQP, &[("mode", "Unknown")], (Mode::QueueLength, 20.0)),
            (AMQP, &[("queueLength", "7.5")], (Mode::QueueLength, 7.5)),
            (
                AMQP,
                &[("mode", "QueueLength"), ("value", "30")],
                (Mode::QueueLength, 30.0),
            ),
            // KEDA looks at the timeout only where a mode is given.
            (AMQP, &[("timeout", "1s")], (Mode::QueueLength, 20.0)),
            (
                HTTP,
                &[("mode", "MessageRate"), ("value", "2.5")],
                (Mode::MessageRate, 2.5),
            ),
            (
                HTTP,
                &[("mode", "ExpectedQueueConsumptionTime"), ("value", "60")],
                (Mode::ExpectedQueueConsumptionTime, 60.0),
            ),
        ];
        for (host, metadata, expected) in table {
            let found = settings(&trigger(host, metadata)).unwrap();
            assert_eq!((found.mode, found.value), *expected, "{metadata:?}");
        }
    }

    #[test]
    fn the_protocol_is_given_or_the_scheme_of_the_host() {
        for (host, protocol, expected) in [
            (AMQP, "auto", Protocol::Amqp),
            ("AMQPS://", "auto", Protocol::Amqp),
            ("https://", "auto", Protocol::Http),
            (HTTP, "http", Protocol::Http),
            (AMQP, "http", Protocol::Http),
        ] {
            let found = settings(&trigger(host, &[("protocol", protocol)])).unwrap();
            assert_eq!(found.protocol, expected, "{host} {protocol}");
        }
        let trigger = trigger(AMQP, &[]).authentication([("protocol", "http")]);
        assert_eq!(settings(&trigger).unwrap().protocol, Protocol::Http);
    }

    #[test]
    fn broken_rules_have_kedas_words() {
        let mode = |mode, value| [("mode", mode), ("value", value)];
        let table: &[(&str, Pairs, &str)] = &[
            (
                AMQP,
                &[("protocol", "stomp")],
                "the protocol has to be either `amqp`, `http`, or `auto` but is `stomp`",
            ),
            ("stomp://rabbit", &[], "unknown host URL scheme: `stomp`"),
            ("hunter2", &[], "unknown host URL scheme: ``"),
            (
                HTTP,
                &[("pageSize", "0")],
                "pageSize should be 1 or greater",
            ),
            (
                AMQP,
                &[("useRegex", "true")],
                "configure useRegex=true only with HTTP protocol",
            ),
            (
                AMQP,
                &[("excludeUnacknowledged", "true")],
                "configure excludeUnacknowledged=true only with HTTP protocol",
            ),
            (
                HTTP,
                &[("queueLength", "5"), ("value", "5")],
                "queueLength is deprecated; use mode and value",
            ),
            (
                HTTP,
                &[("queueLength", "5"), ("mode", "QueueLength")],
                "queueLength is deprecated; use mode and value",
            ),
            (HTTP, &[("value", "5")], "mode must be specified"),
            (HTTP, &[("mode", "QueueLength")], "value must be specified"),
            (
                HTTP,
                &mode("QueueLength", "-1"),
                "value must be greater than 0",
            ),
            (
                HTTP,
                &mode("Feelings", "5"),
                "trigger mode Feelings must be one of QueueLength, MessageRate, DeliverGetRate, \
                 PublishedToDeliveredRatio or ExpectedQueueConsumptionTime",
            ),
            (
                AMQP,
                &mode("MessageRate", "5"),
                "protocol amqp not supported; must be HTTP to use trigger mode MessageRate",
            ),
            (
                AMQP,
                &[("mode", "QueueLength"), ("value", "5"), ("timeout", "10")],
                "AMQP protocol doesn't support custom timeouts: 10000000",
            ),
            (
                HTTP,
                &[("useRegex", "true"), ("operation", "median")],
                "operation mode median must be one of sum, avg, max",
            ),
        ];
        for (host, metadata, message) in table {
            let error = settings(&trigger(host, metadata)).unwrap_err();
            assert_eq!(error, *message, "{metadata:?}");
        }
    }

    #[test]
    fn all_problems_come_at_once_and_without_secrets() {
        let trigger = trigger(
            AMQP,
            &[("useRegex", "true"), ("pageSize", "0"), ("value", "5")],
        )
        .authentication([("password", "hunter2"), ("tls", "hunter2")]);
        let error = settings(&trigger).unwrap_err();
        assert_eq!(error.matches("; ").count(), 4, "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn parameters_are_looked_up_where_keda_does() {
        let trigger = Trigger::new("rabbitmq")
            .metadata([("queueName", "orders"), ("hostFromEnv", "HOST")])
            .metadata([("usernameFromEnv", "USER"), ("passwordFromEnv", "PASSWORD")])
            .environment([("HOST", AMQP), ("USER", "environment"), ("PASSWORD", "p")])
            .authentication([("username", "authentication"), ("vhostName", "v")]);
        let found: RabbitMq = params::parse(&trigger).unwrap();
        assert_eq!(found.host, AMQP);
        assert_eq!(found.username.as_deref(), Some("authentication"));
        assert_eq!(found.vhost_name.as_deref(), Some("v"));
    }
}
