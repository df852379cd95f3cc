//! `apache-kafka`: how many messages of one or more topics a consumer group has yet to read.
//!
//! It counts as [`kafka`](kafka.md) does, with the same client. What differs is KEDA's:
//!
//! - `topic` is a list with commas.
//! - Without `topic`, all topics of the cluster count, also those that the group doesn't read, and the group has to have members: without
//!   any the trigger fails. Name the topics.
//! - Logins are passwords, or `aws_msk_iam`. There is no `oauthbearer`, and no `unsafeSsl`.
//!
//! Permissions: `DESCRIBE` on the topics and on the group, as for `kafka`.
//!
//! A topic of the list that isn't there is an error, and so is a topic of which `partitionLimitation` leaves nothing: the HPA keeps its
//! replicas. KEDA counts both as zero.
//!
//! ```yaml
//! apiVersion: v1
//! kind: Secret
//! metadata:
//!   name: orders-kafka
//! stringData:
//!   username: worker
//!   password: secret
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: TriggerAuthentication
//! metadata:
//!   name: orders-kafka
//! spec:
//!   secretTargetRef:
//!     - parameter: username
//!       name: orders-kafka
//!       key: username
//!     - parameter: password
//!       name: orders-kafka
//!       key: password
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: ScaledObject
//! metadata:
//!   name: orders
//! spec:
//!   scaleTargetRef:
//!     name: orders
//!   triggers:
//!     - type: apache-kafka
//!       metadata:
//!         bootstrapServers: kafka.shop:9092
//!         consumerGroup: orders
//!         topic: orders-eu,orders-us
//!         lagThreshold: "50"
//!         sasl: scram_sha512
//!         tls: enable
//!       authenticationRef:
//!         name: orders-kafka
//! ```

use serde::Deserialize;

use crate::clients::kafka::{Endpoint, Login, PartitionIds, Question, Topics};
use crate::kafka::{
    AwsParameters, Encryption, LagScaler, METADATA_ENVIRONMENT, Policy, Rules, Sasl, Switch,
    check_name, encryption, msk, password_login, ranges,
};
use crate::params::{
    self, AUTHENTICATION, Field, METADATA, METADATA_AUTHENTICATION, ParameterSet, Parameters,
};
use crate::registry::Kind;
use crate::scaler::{BuildError, Context, Scaler, Trigger};

/// The parameters of an `apache-kafka` trigger.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApacheKafka {
    /// The brokers that are asked for all others: `host:port`, a list with commas.
    bootstrap_servers: Vec<String>,
    /// The consumer group whose offsets count.
    consumer_group: String,
    /// The topics, a list with commas. Left out, all topics of the cluster count.
    topic: Option<Vec<String>>,
    /// Only these partitions of each topic count: numbers and ranges, `1-4,8`.
    partition_limitation: Option<String>,
    /// Messages per replica.
    lag_threshold: i64,
    /// The trigger is active above this lag.
    activation_lag_threshold: i64,
    /// Where a consumer begins that finds no committed offset: `latest` or `earliest`.
    offset_reset_policy: Policy,
    /// The value may ask for more replicas than there are partitions.
    allow_idle_consumers: Option<bool>,
    /// Partitions in which the group comes no further count for activation only.
    exclude_persistent_lag: Option<bool>,
    /// Partitions without a committed offset count as no messages.
    scale_to_zero_on_invalid_offset: Option<bool>,
    /// The value asks for no more replicas than there are partitions with a lag.
    limit_to_partitions_with_lag: Option<bool>,
    /// The value asks for a number of replicas that the partitions can be shared among evenly: 1, 2, 3 or 6 of 6.
    ensure_even_distribution_of_partitions: Option<bool>,
    /// How to log in: `none`, `plaintext`, `scram_sha256`, `scram_sha512` or `aws_msk_iam`. `gssapi` is not supported, as in KEDA.
    sasl: Sasl,
    /// The user.
    username: Option<String>,
    /// The user's password.
    password: Option<String>,
    /// The region of the Amazon MSK cluster.
    aws_region: Option<String>,
    /// `enable` to speak TLS, or `disable`.
    tls: Switch,
    /// PEM of the client certificate.
    cert: Option<String>,
    /// PEM of the client certificate's key.
    key: Option<String>,
    /// The password of `key`, where it is encrypted.
    key_password: Option<String>,
    /// PEM of the authority that issued the brokers' certificates.
    ca: Option<String>,
}

impl Parameters for ApacheKafka {
    const FIELDS: &'static [Field] = &[
        Field::required("bootstrapServers", METADATA_ENVIRONMENT),
        Field::required("consumerGroup", METADATA_ENVIRONMENT),
        Field::optional("topic", METADATA_ENVIRONMENT),
        Field::optional("partitionLimitation", METADATA),
        Field::with_default("lagThreshold", METADATA, "10"),
        Field::with_default("activationLagThreshold", METADATA, "0"),
        Field::with_default("offsetResetPolicy", METADATA, "latest"),
        Field::optional("allowIdleConsumers", METADATA),
        Field::optional("excludePersistentLag", METADATA),
        Field::optional("scaleToZeroOnInvalidOffset", METADATA),
        Field::optional("limitToPartitionsWithLag", METADATA),
        Field::optional("ensureEvenDistributionOfPartitions", METADATA),
        Field::with_default("sasl", METADATA_AUTHENTICATION, "none"),
        Field::optional("username", AUTHENTICATION),
        Field::optional("password", AUTHENTICATION).secret(),
        Field::optional("awsRegion", METADATA),
        Field::with_default("tls", METADATA_AUTHENTICATION, "disable"),
        Field::optional("cert", AUTHENTICATION),
        Field::optional("key", AUTHENTICATION).secret(),
        Field::optional("keyPassword", AUTHENTICATION).secret(),
        Field::optional("ca", AUTHENTICATION),
    ];

    /// KEDA's rules, in its words where it has some.
    fn check(&self) -> Vec<String> {
        let given = |flag: Option<bool>| flag.unwrap_or_default();
        let limited = given(self.limit_to_partitions_with_lag);
        let rules = [
            (
                self.lag_threshold <= 0,
                "lagThreshold must be a positive number",
            ),
            (
                self.activation_lag_threshold < 0,
                "activationLagThreshold must be a positive number",
            ),
            (
                given(self.allow_idle_consumers) && limited,
                "allowIdleConsumers and limitToPartitionsWithLag cannot be set simultaneously",
            ),
            (
                self.topic.is_none() && limited,
                "topic must be specified when using limitToPartitionsWithLag",
            ),
        ];
        let broken = rules.iter().filter(|(broken, _)| *broken);
        let mut broken: Vec<String> = broken.map(|(_, rule)| (*rule).to_owned()).collect();
        broken.extend(check_name("consumerGroup", &self.consumer_group));
        let topics = self.topic.iter().flatten();
        broken.extend(topics.filter_map(|topic| check_name("topic", topic)));
        broken.extend(self.limitation().err());
        broken
    }
}

impl ApacheKafka {
    fn limitation(&self) -> Result<Option<PartitionIds>, String> {
        self.partition_limitation.as_deref().map(ranges).transpose()
    }

    fn question(&self) -> Result<Question, String> {
        let topics = match &self.topic {
            Some(topics) => {
                let named = topics.iter().filter(|topic| !topic.is_empty());
                Topics::Named(named.cloned().collect(), self.limitation()?)
            }
            None => Topics::OfActiveGroup,
        };
        Ok(Question {
            group: self.consumer_group.clone(),
            topics,
        })
    }

    fn rules(&self) -> Rules {
        let given = |flag: Option<bool>| flag.unwrap_or_default();
        Rules {
            policy: self.offset_reset_policy,
            zero_without_offset: given(self.scale_to_zero_on_invalid_offset),
            exclude_persistent: given(self.exclude_persistent_lag),
            threshold: self.lag_threshold,
            allow_idle: given(self.allow_idle_consumers),
            only_with_lag: given(self.limit_to_partitions_with_lag),
            even_shares: given(self.ensure_even_distribution_of_partitions),
        }
    }

    fn endpoint(&self, trigger: &Trigger, aws: &AwsParameters) -> Result<Endpoint, String> {
        let tls = encryption(&Encryption {
            tls: self.tls,
            ca: &self.ca,
            cert: &self.cert,
            key: &self.key,
            key_password: &self.key_password,
            insecure: false,
        });
        let tls = tls.map_err(|_| "can't set only one of cert or key when using TLS")?;
        for (parameter, both) in [
            ("sasl", in_both(trigger, "sasl")),
            ("tls", in_both(trigger, "tls")),
        ] {
            if both {
                return Err(format!(
                    "unable to set `{parameter}` in both ScaledObject and TriggerAuthentication together"
                ));
            }
        }
        let login = match self.sasl {
            Sasl::None => Login::Nobody,
            Sasl::Oauthbearer => {
                return Err("SASL/OAUTHBEARER is not implemented yet: use kafka".to_owned());
            }
            Sasl::AwsMskIam => {
                let region = self.aws_region.clone();
                let region = region.ok_or("awsRegion must be set when using AWS MSK IAM")?;
                if tls.is_none() {
                    return Err("TLS must be enabled when using AWS MSK IAM".to_owned());
                }
                Login::Token(msk(region, trigger, aws)?)
            }
            sasl => match (&self.username, &self.password) {
                (Some(username), Some(password)) => {
                    password_login(sasl, username.clone(), password.clone())?
                }
                _ if sasl == Sasl::Plaintext => {
                    let rule = "username and password must be set when using SASL/PLAINTEXT";
                    return Err(rule.to_owned());
                }
                _ => {
                    return Err(
                        "username and password must be set when using SASL/SCRAM".to_owned()
                    );
                }
            },
        };
        let servers = self.bootstrap_servers.clone();
        Ok(Endpoint::new(servers, tls, login))
    }
}

fn in_both(trigger: &Trigger, name: &str) -> bool {
    let given = |value: Option<&String>| value.is_some_and(|value| !value.is_empty());
    given(trigger.metadata.get(name)) && given(trigger.authentication.get(name))
}

pub const KIND: Kind = Kind {
    name: "apache-kafka",
    label: "apacheKafkaScaler",
    fields: <(ApacheKafka, AwsParameters)>::fields,
    passes_metadata_on: false,
    build,
};

fn build(trigger: &Trigger, context: &Context) -> Result<Box<dyn Scaler>, BuildError> {
    let (parameters, aws): (ApacheKafka, AwsParameters) = params::parse(trigger)?;
    let name = match &parameters.topic {
        Some(topics) => format!("kafka-{}", topics.join(",")),
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

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn trigger(metadata: Pairs, authentication: Pairs) -> Trigger {
        Trigger::new("apache-kafka")
            .metadata([("bootstrapServers", "b:9092"), ("consumerGroup", "g")])
            .metadata(metadata.iter().copied())
            .authentication(authentication.iter().copied())
    }

    #[test]
    fn the_example_works() {
        let [trigger] = &example::triggers(include_str!("apache_kafka.rs"))[..] else {
            panic!("one trigger");
        };
        let scaler = crate::build(trigger, &example::context(Vec::new())).unwrap();
        assert_eq!(scaler.metrics()[0].name, "s0-kafka-orders-eu,orders-us");
    }

    #[test]
    fn metric_names_and_topics_are_kedas() {
        let all: [(&str, &str, Option<&[&str]>); 4] = [
            ("a", "s0-kafka-a", Some(&["a"])),
            ("a, b.c", "s0-kafka-a,b-c", Some(&["a", "b.c"])),
            ("b,,a,b", "s0-kafka-b,,a,b", Some(&["a", "b"])),
            ("", "s0-kafka-g-topics", None),
        ];
        for (topic, name, topics) in all {
            let trigger = trigger(&[("topic", topic)], &[]);
            let scaler = build(&trigger, &example::context(Vec::new())).unwrap();
            assert_eq!(scaler.metrics()[0].name, name);
            let parameters: ApacheKafka = params::parse(&trigger).unwrap();
            let expected = match topics {
                Some(names) => {
                    let names = names.iter().map(|name| (*name).to_owned());
                    Topics::Named(names.collect(), None)
                }
                None => Topics::OfActiveGroup,
            };
            assert_eq!(parameters.question().unwrap().topics, expected);
        }
    }

    #[test]
    fn broken_rules_have_kedas_words() {
        let table: &[(Pairs, Pairs, &str)] = &[
            (
                &[("lagThreshold", "0"), ("activationLagThreshold", "-1")],
                &[],
                "lagThreshold must be a positive number; activationLagThreshold must be a positive number",
            ),
            (
                &[("limitToPartitionsWithLag", "true")],
                &[],
                "topic must be specified when using limitToPartitionsWithLag",
            ),
            (
                &[("topic", "t"), ("partitionLimitation", "1-x")],
                &[],
                "partitionLimitation has \"1-x\": expected numbers and ranges such as 1-4,8",
            ),
            (
                &[("tls", "enable")],
                &[("key", "k")],
                "can't set only one of cert or key when using TLS",
            ),
            (
                &[("sasl", "plaintext")],
                &[("username", "u")],
                "username and password must be set when using SASL/PLAINTEXT",
            ),
            (
                &[("sasl", "none")],
                &[("sasl", "none")],
                "unable to set `sasl` in both ScaledObject and TriggerAuthentication together",
            ),
            (
                &[("sasl", "aws_msk_iam"), ("tls", "enable")],
                &[],
                "awsRegion must be set when using AWS MSK IAM",
            ),
            (
                &[("sasl", "aws_msk_iam"), ("awsRegion", "eu-west-1")],
                &[],
                "TLS must be enabled when using AWS MSK IAM",
            ),
        ];
        for (metadata, authentication, message) in table {
            let found = build(
                &trigger(metadata, authentication),
                &example::context(Vec::new()),
            );
            assert_eq!(found.err().unwrap().to_string(), *message, "{metadata:?}");
        }
    }

    #[test]
    fn amazons_login_is_a_token() {
        let keys = [("awsAccessKeyID", "id"), ("awsSecretAccessKey", "hunter2")];
        let metadata = [
            ("sasl", "aws_msk_iam"),
            ("awsRegion", "eu-west-1"),
            ("tls", "enable"),
        ];
        let trigger = trigger(&metadata, &keys);
        let (parameters, aws): (ApacheKafka, AwsParameters) = params::parse(&trigger).unwrap();
        let endpoint = parameters.endpoint(&trigger, &aws);
        assert_eq!(
            endpoint.is_ok_and(|endpoint| matches!(endpoint.login, Login::Token(_))),
            cfg!(feature = "aws")
        );
    }
}
