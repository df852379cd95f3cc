//! An endpoint as librdkafka's configuration.

use std::fmt::Write as _;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use super::{Endpoint, Login, Mechanism};
use crate::clients::tls::{TlsSettings, system_certificates};

/// What holds for all clients, with the reason where it isn't librdkafka's own value.
const ALWAYS: &[(&str, &str)] = &[
    ("client.id", "sakidori"),
    ("enable.auto.commit", "false"),
    // KEDA's: what an open transaction wrote counts, too.
    ("isolation.level", "read_uncommitted"),
    // To ask for a topic must not make it.
    ("allow.auto.create.topics", "false"),
    // A login that is refused is not tried ten times a second; a question that finds no connection makes a new client.
    ("reconnect.backoff.ms", "1000"),
    ("reconnect.backoff.max.ms", "10000"),
    ("socket.connection.setup.timeout.ms", "10000"),
    ("socket.timeout.ms", "10000"),
    ("socket.keepalive.enable", "true"),
    // No message is read; the largest answer is the list of all partitions of a cluster.
    ("fetch.max.bytes", "1048576"),
    ("message.max.bytes", "1000000"),
    ("receive.message.max.bytes", "33554432"),
    // Metrics of this client are nobody's business at the broker.
    ("enable.metrics.push", "false"),
];

/// The configuration of a client. `group` is one that its user may see: librdkafka looks up the coordinator of its own group, which it
/// has to have (see `sakidori-kafka-ffi`), and never becomes a member of it.
pub fn configuration(endpoint: &Endpoint, group: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Info);
    for (name, value) in ALWAYS {
        config.set(*name, *value);
    }
    config.set("bootstrap.servers", endpoint.servers.join(","));
    config.set("group.id", group);
    let login = !matches!(endpoint.login, Login::Nobody);
    let protocol = match (&endpoint.tls, login) {
        (None, false) => "plaintext",
        (None, true) => "sasl_plaintext",
        (Some(_), false) => "ssl",
        (Some(_), true) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(tls) = &endpoint.tls {
        encrypted(&mut config, tls);
    }
    match &endpoint.login {
        Login::Nobody => {}
        Login::Password {
            mechanism,
            username,
            password,
        } => {
            let mechanism = match mechanism {
                Mechanism::Plain => "PLAIN",
                Mechanism::ScramSha256 => "SCRAM-SHA-256",
                Mechanism::ScramSha512 => "SCRAM-SHA-512",
            };
            config.set("sasl.mechanisms", mechanism);
            config.set("sasl.username", username);
            config.set("sasl.password", password);
        }
        Login::Token(_) => {
            config.set("sasl.mechanisms", "OAUTHBEARER");
        }
    }
    config
}

fn encrypted(config: &mut ClientConfig, tls: &TlsSettings) {
    if tls.insecure {
        config.set("enable.ssl.certificate.verification", "false");
    } else {
        // With authorities of its own, librdkafka leaves out the system's.
        let authorities = format!(
            "{}\n{}",
            tls.ca.as_deref().unwrap_or_default(),
            system_authorities()
        );
        if !authorities.trim().is_empty() {
            config.set("ssl.ca.pem", authorities.trim());
        }
    }
    if let Some(identity) = &tls.identity {
        config.set("ssl.certificate.pem", &identity.certificate);
        config.set("ssl.key.pem", &identity.key);
        if let Some(password) = &identity.key_password {
            config.set("ssl.key.password", password);
        }
    }
}

/// The system's authorities as PEM.
fn system_authorities() -> &'static str {
    static PEM: OnceLock<String> = OnceLock::new();
    PEM.get_or_init(|| {
        let mut pem = String::new();
        for certificate in system_certificates() {
            // A line may be as long as it likes for OpenSSL 1.1 and later, but for other readers 64 is what PEM says.
            pem.push_str("-----BEGIN CERTIFICATE-----\n");
            for line in STANDARD.encode(certificate).as_bytes().chunks(64) {
                // Base64 is ASCII.
                let _ = writeln!(pem, "{}", String::from_utf8_lossy(line));
            }
            pem.push_str("-----END CERTIFICATE-----\n");
        }
        pem
    })
}

/// Why a client can't be made, without values.
pub fn describe(error: &KafkaError) -> String {
    match error {
        // Its description quotes the value.
        KafkaError::ClientConfig(_, _, name, _) => format!("librdkafka can't use its {name}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::tls::Identity;

    fn endpoint(tls: Option<TlsSettings>, login: Login) -> Endpoint {
        Endpoint::new(vec!["b:1".to_owned(), "a:1".to_owned()], tls, login)
    }

    fn password(mechanism: Mechanism) -> Login {
        Login::Password {
            mechanism,
            username: "app".to_owned(),
            password: "hunter2".to_owned(),
        }
    }

    #[test]
    fn the_protocol_follows_tls_and_login() {
        let tls = || Some(TlsSettings::default());
        for (endpoint, protocol, mechanism) in [
            (endpoint(None, Login::Nobody), "plaintext", None),
            (endpoint(tls(), Login::Nobody), "ssl", None),
            (
                endpoint(None, password(Mechanism::Plain)),
                "sasl_plaintext",
                Some("PLAIN"),
            ),
            (
                endpoint(tls(), password(Mechanism::ScramSha512)),
                "sasl_ssl",
                Some("SCRAM-SHA-512"),
            ),
            (
                endpoint(tls(), password(Mechanism::ScramSha256)),
                "sasl_ssl",
                Some("SCRAM-SHA-256"),
            ),
        ] {
            let config = configuration(&endpoint, "g");
            assert_eq!(config.get("security.protocol"), Some(protocol));
            assert_eq!(config.get("sasl.mechanisms"), mechanism);
            assert_eq!(config.get("bootstrap.servers"), Some("a:1,b:1"));
        }
    }

    #[test]
    fn the_systems_authorities_are_trusted_besides_the_given() {
        let tls = TlsSettings {
            ca: Some("-----BEGIN CERTIFICATE-----\nmine\n-----END CERTIFICATE-----\n".to_owned()),
            identity: Some(Identity {
                certificate: "c".to_owned(),
                key: "k".to_owned(),
                key_password: Some("hunter2".to_owned()),
            }),
            insecure: false,
        };
        let config = configuration(&endpoint(Some(tls.clone()), Login::Nobody), "g");
        let authorities = config.get("ssl.ca.pem").unwrap();
        assert!(authorities.starts_with("-----BEGIN CERTIFICATE-----\nmine\n"));
        let count = authorities.matches("-----BEGIN CERTIFICATE-----").count();
        assert_eq!(count, 1 + system_certificates().count());
        assert_eq!(config.get("ssl.key.password"), Some("hunter2"));
        let insecure = TlsSettings {
            insecure: true,
            ..tls
        };
        let config = configuration(&endpoint(Some(insecure), Login::Nobody), "g");
        assert_eq!(config.get("ssl.ca.pem"), None);
        assert_eq!(
            config.get("enable.ssl.certificate.verification"),
            Some("false")
        );
    }

    #[test]
    fn librdkafka_knows_all_of_it() {
        for (name, value) in ALWAYS {
            let mut config = ClientConfig::new();
            config.set(*name, *value);
            assert!(config.create_native_config().is_ok(), "{name}");
        }
    }

    #[test]
    fn values_are_not_told() {
        let mut config = ClientConfig::new();
        config.set("isolation.level", "hunter2");
        let error = config.create_native_config().err().unwrap();
        assert_eq!(describe(&error), "librdkafka can't use its isolation.level");
    }
}
