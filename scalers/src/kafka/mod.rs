//! `kafka`: how many messages of a topic a consumer group has yet to read.
//!
//! For each partition that is the offset of its end less the offset that the group has committed. The sum over all partitions is the
//! value, but for what would make consumers that have no partition to read: unless `allowIdleConsumers`, it is at most `lagThreshold`
//! for each partition.
//!
//! A partition in which the group has committed nothing counts as one message with `offsetResetPolicy: latest`, and with all messages
//! up to its end with `earliest`; with `scaleToZeroOnInvalidOffset` it counts as none.
//!
//! Without `topic`, all topics count that the group has committed anything of; those of the whole cluster for a group that has committed
//! nothing, so that it can begin. Brokers show a user no topic that it may not `DESCRIBE`, so such a topic doesn't count then; name the
//! topic, and it is an error.
//!
//! With `excludePersistentLag`, a partition in which the group has come no further for 5 s counts for activation, but
//! not for the number of replicas: a message that can't be processed is no work for more consumers.
//!
//! All triggers with the same brokers and credentials share one client, and its connections. Permissions: `DESCRIBE` on the topics and
//! on the group (Kafka's `READ` includes it). A topic, a partition or a permission that is missing is an error: the HPA keeps its
//! replicas.
//!
//! Logins: a password (`sasl: plaintext`, `scram_sha256`, `scram_sha512`), a token of an OAuth2 client (`sasl: oauthbearer`, with
//! `username` and `password` as the client's id and secret), or of Amazon MSK (`saslTokenProvider: aws_msk_iam`). Kerberos
//! (`gssapi`) is not supported. With `tls: enable`, the brokers' certificates are checked against `ca` and the system's authorities.
//!
//! ```yaml
//! apiVersion: v1
//! kind: Secret
//! metadata:
//!   name: orders-kafka
//! stringData:
//!   sasl: scram_sha512
//!   username: worker
//!   password: secret
//!   tls: enable
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: TriggerAuthentication
//! metadata:
//!   name: orders-kafka
//! spec:
//!   secretTargetRef:
//!     - parameter: sasl
//!       name: orders-kafka
//!       key: sasl
//!     - parameter: username
//!       name: orders-kafka
//!       key: username
//!     - parameter: password
//!       name: orders-kafka
//!       key: password
//!     - parameter: tls
//!       name: orders-kafka
//!       key: tls
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: ScaledObject
//! metadata:
//!   name: orders
//! spec:
//!   scaleTargetRef:
//!     name: orders
//!   triggers:
//!     - type: kafka
//!       metadata:
//!         bootstrapServers: kafka.shop:9092
//!         consumerGroup: orders
//!         topic: orders
//!         lagThreshold: "50"
//!       authenticationRef:
//!         name: orders-kafka
//! ```

mod aws;
mod lag;
mod login;
mod parameters;
mod partitions;
mod scaler;

use crate::params;
use crate::params::ParameterSet;
use crate::registry::Kind;
use crate::scaler::{BuildError, Context, Scaler, Trigger};

pub use self::aws::AwsParameters;
pub use self::lag::{Policy, Rules};
pub use self::login::{Encryption, Sasl, Switch, check_name, encryption, msk, password_login};
pub use self::parameters::METADATA_ENVIRONMENT;
use self::parameters::{Kafka, Kerberos};
pub use self::partitions::ranges;
pub use self::scaler::LagScaler;

pub const KIND: Kind = Kind {
    name: "kafka",
    label: "kafkaScaler",
    fields: <(Kafka, (AwsParameters, Kerberos))>::fields,
    passes_metadata_on: false,
    build,
};

fn build(trigger: &Trigger, context: &Context) -> Result<Box<dyn Scaler>, BuildError> {
    let (parameters, (aws, _)): (Kafka, (AwsParameters, Kerberos)) = params::parse(trigger)?;
    let name = match &parameters.topic {
        Some(topic) => format!("kafka-{topic}"),
        None => format!("kafka-{}-topics", parameters.consumer_group),
    };
    let endpoint = parameters.endpoint(trigger, &aws);
    let scaler = LagScaler::new(
        trigger,
        context,
        &name,
        endpoint.map_err(BuildError::Invalid)?,
        parameters.question().map_err(BuildError::Invalid)?,
        parameters.rules(),
        parameters.activation_lag_threshold,
    )?;
    Ok(Box::new(scaler))
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
        assert_eq!(scaler.metrics()[0].name, "s0-kafka-orders");
        assert_eq!(scaler.metrics()[0].target.to_string(), "50");
    }

    #[test]
    fn metric_names_are_kedas() {
        for (topic, name) in [
            ("a.b/c", "s3-kafka-a-b-c"),
            ("orders_eu", "s3-kafka-orders_eu"),
            ("", "s3-kafka-my-group-topics"),
        ] {
            let mut trigger = Trigger::new("kafka").metadata([
                ("bootstrapServers", "b:9092"),
                ("consumerGroup", "my.group"),
                ("topic", topic),
            ]);
            trigger.index = 3;
            let scaler = build(&trigger, &example::context(Vec::new())).unwrap();
            assert_eq!(scaler.metrics()[0].name, name);
            assert_eq!(scaler.metrics()[0].target.to_string(), "10");
        }
    }
}
