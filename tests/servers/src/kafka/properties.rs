//! The broker's configuration.

use std::fmt::Write as _;
use std::path::Path;

use super::{KafkaListener, USERS};

/// Warnings, to its output.
pub(super) const LOG: &str = r#"
Configuration:
  Appenders: {Console: {name: out, PatternLayout: {pattern: "%d %p %c{1} %m%n"}}}
  Loggers: {Root: {level: WARN, AppenderRef: {ref: out}}}
"#;

/// One node that does everything, keeps little and waits for nobody.
const COMMON: &str = "\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=2
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:app;User:CN=client
ssl.keystore.type=PEM
ssl.truststore.type=PEM
";

pub(super) fn of_server(dir: &Path, ports: &[u16], controller: u16) -> String {
    let dir = dir.display();
    let mut text = COMMON.to_owned();
    let mut line = |name: &str, value: &str| {
        // Writing to a String never fails.
        let _ = writeln!(text, "{name}={value}");
    };
    let names: Vec<(&str, &str)> = KafkaListener::ALL.iter().map(|one| name(*one)).collect();
    let addresses: Vec<String> = names
        .iter()
        .zip(ports)
        .map(|((name, _), port)| format!("{name}://127.0.0.1:{port}"))
        .collect();
    let addresses = addresses.join(",");
    let protocols: Vec<String> = names
        .iter()
        .map(|(name, protocol)| format!("{name}:{protocol}"))
        .collect();
    line("advertised.listeners", &addresses);
    line(
        "listeners",
        &format!("{addresses},CONTROLLER://127.0.0.1:{controller}"),
    );
    line(
        "listener.security.protocol.map",
        &format!("{},CONTROLLER:PLAINTEXT", protocols.join(",")),
    );
    line(
        "controller.quorum.voters",
        &format!("1@127.0.0.1:{controller}"),
    );
    line("log.dirs", &format!("{dir}/data"));
    line("ssl.truststore.location", &format!("{dir}/ca.pem"));
    for (listener, keys, client) in [
        ("sasltls", "server", "none"),
        ("mutual", "server", "required"),
        ("othername", "other", "none"),
        ("expired", "expired", "none"),
    ] {
        let of = |property: &str| format!("listener.name.{listener}.ssl.{property}");
        line(&of("keystore.type"), "PEM");
        line(&of("keystore.location"), &format!("{dir}/{keys}.pem"));
        line(&of("client.auth"), client);
    }
    let users: Vec<String> = USERS
        .iter()
        .map(|(user, password)| format!("user_{user}=\"{password}\""))
        .collect();
    let module = "org.apache.kafka.common.security";
    for listener in ["sasl", "sasltls"] {
        let of = |property: &str| format!("listener.name.{listener}.{property}");
        let scram = format!("{module}.scram.ScramLoginModule required;");
        line(
            &of("sasl.enabled.mechanisms"),
            "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        );
        line(
            &of("plain.sasl.jaas.config"),
            &format!(
                "{module}.plain.PlainLoginModule required {};",
                users.join(" ")
            ),
        );
        line(&of("scram-sha-256.sasl.jaas.config"), &scram);
        line(&of("scram-sha-512.sasl.jaas.config"), &scram);
    }
    line("listener.name.token.sasl.enabled.mechanisms", "OAUTHBEARER");
    line(
        "listener.name.token.oauthbearer.sasl.jaas.config",
        &format!(
            "{module}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";"
        ),
    );
    text
}

/// A listener's name in the configuration, and its protocol.
fn name(listener: KafkaListener) -> (&'static str, &'static str) {
    match listener {
        KafkaListener::Plain => ("PLAIN", "PLAINTEXT"),
        KafkaListener::Sasl => ("SASL", "SASL_PLAINTEXT"),
        KafkaListener::SaslTls => ("SASLTLS", "SASL_SSL"),
        KafkaListener::Token => ("TOKEN", "SASL_PLAINTEXT"),
        KafkaListener::Mutual => ("MUTUAL", "SSL"),
        KafkaListener::OtherName => ("OTHERNAME", "SSL"),
        KafkaListener::Expired => ("EXPIRED", "SSL"),
    }
}
