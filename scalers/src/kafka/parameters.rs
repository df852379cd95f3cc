//! The parameters of a `kafka` trigger, and the rules between them.

use std::sync::OnceLock;

use regex::Regex;
use serde::Deserialize;

use super::aws::AwsParameters;
use super::lag::{Policy, Rules};
use super::login::{Encryption, Sasl, Switch, check_name, encryption, msk, password_login};
use super::partitions::go_ranges;
use crate::clients::kafka::{Endpoint, Login, Question, TokenSource, Topics};
use crate::params::{AUTHENTICATION, Field, METADATA, METADATA_AUTHENTICATION, Parameters, Source};
use crate::scaler::Trigger;

/// Where KEDA reads what names the cluster, the group and the topic.
pub const METADATA_ENVIRONMENT: &[Source] = &[Source::Metadata, Source::Environment];

/// The parameters of a `kafka` trigger.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kafka {
    /// The brokers that are asked for all others: `host:port`, a list with commas.
    bootstrap_servers: Vec<String>,
    /// The consumer group whose offsets count.
    pub consumer_group: String,
    /// The topic. Left out, all topics of the group count.
    pub topic: Option<String>,
    /// Only these partitions of `topic` count: numbers and ranges, `1-4,8`.
    partition_limitation: Option<String>,
    /// Messages per replica.
    lag_threshold: i64,
    /// The trigger is active above this lag.
    pub activation_lag_threshold: i64,
    /// Where a consumer begins that finds no committed offset: `latest` or `earliest`.
    offset_reset_policy: Policy,
    /// The value may ask for more replicas than there are partitions.
    allow_idle_consumers: bool,
    /// Partitions in which the group comes no further count for activation only.
    exclude_persistent_lag: bool,
    /// Partitions without a committed offset count as no messages.
    #[serde(rename = "scaleToZeroOnInvalidOffset")]
    scale_to_zero_on_invalid_offset: bool,
    /// The value asks for no more replicas than there are partitions with a lag.
    limit_to_partitions_with_lag: bool,
    /// The value asks for a number of replicas that the partitions can be shared among evenly: 1, 2, 3 or 6 of 6.
    ensure_even_distribution_of_partitions: bool,
    /// For KEDA's client; with `false` it needs `topic`.
    full_metadata: bool,
    /// For KEDA's client: the version of Kafka, such as `2.8.0`. Versions are negotiated here.
    version: Option<String>,
    /// `enable` to speak TLS, or `disable`.
    tls: Switch,
    /// Takes any certificate of the brokers.
    unsafe_ssl: bool,
    /// PEM of the authority that issued the brokers' certificates.
    ca: Option<String>,
    /// PEM of the client certificate.
    cert: Option<String>,
    /// PEM of the client certificate's key.
    key: Option<String>,
    /// The password of `key`, where it is encrypted.
    key_password: Option<String>,
    /// How to log in: `none`, `plaintext`, `scram_sha256`, `scram_sha512` or `oauthbearer`. `gssapi` is not supported.
    sasl: Option<Sasl>,
    /// The user, or the id of an OAuth2 client.
    username: Option<String>,
    /// The user's password, or the secret of an OAuth2 client.
    password: Option<String>,
    /// Where the token of `oauthbearer` comes from: `bearer`, which is the default, asks `oauthTokenEndpointUri`; `aws_msk_iam` signs one
    /// with credentials of AWS.
    sasl_token_provider: Option<TokenProvider>,
    /// What the token is to be good for, a list with commas.
    scopes: Option<String>,
    /// The URL that tokens come from.
    oauth_token_endpoint_uri: Option<String>,
    /// SASL extensions that are shown with the token, as `name=value,name=value`.
    oauth_extensions: Option<String>,
    /// The region of the Amazon MSK cluster.
    aws_region: Option<String>,
}

/// KEDA's parameters of Kerberos.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "known, so that nobody is told of a misspelling")]
pub struct Kerberos {
    /// Not supported.
    keytab: Option<String>,
    /// Not supported.
    realm: Option<String>,
    /// Not supported.
    kerberos_config: Option<String>,
    /// Not supported.
    kerberos_service_name: Option<String>,
    /// Not supported.
    #[serde(rename = "kerberosDisableFAST")]
    kerberos_disable_fast: bool,
}

impl Parameters for Kerberos {
    const FIELDS: &'static [Field] = &[
        Field::optional("keytab", AUTHENTICATION).secret(),
        Field::optional("realm", AUTHENTICATION),
        Field::optional("kerberosConfig", AUTHENTICATION),
        Field::optional("kerberosServiceName", AUTHENTICATION),
        Field::with_default("kerberosDisableFAST", AUTHENTICATION, "false"),
    ];
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum TokenProvider {
    Bearer,
    AwsMskIam,
}

impl Parameters for Kafka {
    const FIELDS: &'static [Field] = &[
        Field::required("bootstrapServers", METADATA_ENVIRONMENT),
        Field::required("consumerGroup", METADATA_ENVIRONMENT),
        Field::optional("topic", METADATA_ENVIRONMENT),
        Field::optional("partitionLimitation", METADATA),
        Field::with_default("lagThreshold", METADATA, "10"),
        Field::with_default("activationLagThreshold", METADATA, "0"),
        Field::with_default("offsetResetPolicy", METADATA, "latest"),
        Field::with_default("allowIdleConsumers", METADATA, "false"),
        Field::with_default("excludePersistentLag", METADATA, "false"),
        Field::with_default("scaleToZeroOnInvalidOffset", METADATA, "false"),
        Field::with_default("limitToPartitionsWithLag", METADATA, "false"),
        Field::with_default("ensureEvenDistributionOfPartitions", METADATA, "false"),
        Field::with_default("fullMetadata", METADATA, "true"),
        Field::optional("version", METADATA),
        Field::with_default("tls", METADATA_AUTHENTICATION, "disable"),
        Field::with_default("unsafeSsl", METADATA, "false"),
        Field::optional("ca", AUTHENTICATION),
        Field::optional("cert", AUTHENTICATION),
        Field::optional("key", AUTHENTICATION).secret(),
        Field::optional("keyPassword", AUTHENTICATION).secret(),
        Field::optional("sasl", METADATA_AUTHENTICATION),
        Field::optional("username", AUTHENTICATION),
        Field::optional("password", AUTHENTICATION).secret(),
        Field::optional("saslTokenProvider", METADATA_AUTHENTICATION),
        Field::optional("scopes", AUTHENTICATION),
        Field::optional("oauthTokenEndpointUri", AUTHENTICATION),
        Field::optional("oauthExtensions", AUTHENTICATION),
        Field::optional("awsRegion", METADATA),
    ];

    /// KEDA's rules, in its words.
    fn check(&self) -> Vec<String> {
        let no_topic = self.topic.is_none();
        let rules = [
            (
                self.lag_threshold <= 0,
                "\"lagThreshold\" must be positive number",
            ),
            (
                self.activation_lag_threshold < 0,
                "\"activationLagThreshold\" must be a non-negative number",
            ),
            (
                self.allow_idle_consumers && self.limit_to_partitions_with_lag,
                "allowIdleConsumers and limitToPartitionsWithLag cannot be set simultaneously",
            ),
            (
                no_topic && self.limit_to_partitions_with_lag,
                "topic must be specified when using limitToPartitionsWithLag",
            ),
            (
                self.limit_to_partitions_with_lag && self.ensure_even_distribution_of_partitions,
                "limitToPartitionsWithLag and ensureEvenDistributionOfPartitions cannot be set simultaneously",
            ),
            (
                no_topic && self.ensure_even_distribution_of_partitions,
                "topic must be specified when using ensureEvenDistributionOfPartitions",
            ),
            (
                no_topic && !self.full_metadata,
                "topic must be specified when fullMetadata is false",
            ),
        ];
        let broken = rules.iter().filter(|(broken, _)| *broken);
        let mut broken: Vec<String> = broken.map(|(_, rule)| (*rule).to_owned()).collect();
        broken.extend(check_name("consumerGroup", &self.consumer_group));
        broken.extend(
            self.topic
                .iter()
                .filter_map(|topic| check_name("topic", topic)),
        );
        broken.extend(self.limitation().err());
        if let Some(version) = &self.version
            && !is_version(version)
        {
            broken.push(format!(
                "error parsing kafka version: invalid version `{version}`"
            ));
        }
        broken
    }
}

impl Kafka {
    pub fn rules(&self) -> Rules {
        Rules {
            policy: self.offset_reset_policy,
            zero_without_offset: self.scale_to_zero_on_invalid_offset,
            exclude_persistent: self.exclude_persistent_lag,
            threshold: self.lag_threshold,
            allow_idle: self.allow_idle_consumers,
            only_with_lag: self.limit_to_partitions_with_lag,
            even_shares: self.ensure_even_distribution_of_partitions,
        }
    }

    /// # Errors
    /// As [`Parameters::check`], which comes first.
    pub fn question(&self) -> Result<Question, String> {
        let topics = match &self.topic {
            Some(topic) => Topics::Named([topic.clone()].into(), self.limitation()?),
            None => Topics::OfGroup,
        };
        Ok(Question {
            group: self.consumer_group.clone(),
            topics,
        })
    }

    fn limitation(&self) -> Result<Option<crate::clients::kafka::PartitionIds>, String> {
        self.partition_limitation
            .as_deref()
            .map(go_ranges)
            .transpose()
    }

    /// # Errors
    /// The rule of the login or of TLS that is broken, in KEDA's words.
    pub fn endpoint(&self, trigger: &Trigger, aws: &AwsParameters) -> Result<Endpoint, String> {
        let tls = encryption(&Encryption {
            tls: self.tls,
            ca: &self.ca,
            cert: &self.cert,
            key: &self.key,
            key_password: &self.key_password,
            insecure: self.unsafe_ssl,
        })?;
        let user = || {
            let username = self.username.as_ref().ok_or("no username given")?;
            let password = self.password.as_ref().ok_or("no password given")?;
            Ok::<_, &str>((username.clone(), password.clone()))
        };
        let login = match self.sasl {
            None | Some(Sasl::None) => Login::Nobody,
            Some(Sasl::Oauthbearer) => {
                let token = match self.sasl_token_provider {
                    Some(TokenProvider::AwsMskIam) => self.msk(trigger, aws, tls.is_some()),
                    Some(TokenProvider::Bearer) | None => user()
                        .map_err(str::to_owned)
                        .and_then(|user| self.oauth(user)),
                };
                Login::Token(token.map_err(|why| {
                    format!("error parsing OAuth token provider configuration: {why}")
                })?)
            }
            Some(mechanism) => {
                let (username, password) = user()?;
                password_login(mechanism, username, password)?
            }
        };
        Ok(Endpoint::new(self.bootstrap_servers.clone(), tls, login))
    }

    fn oauth(&self, (client_id, client_secret): (String, String)) -> Result<TokenSource, String> {
        let uri = self.oauth_token_endpoint_uri.clone();
        let list = |text: &Option<String>| -> Vec<String> {
            let text = text.as_deref().unwrap_or_default();
            text.split(',').map(str::to_owned).collect()
        };
        let extensions = match &self.oauth_extensions {
            Some(_) => list(&self.oauth_extensions),
            None => Vec::new(),
        };
        Ok(TokenSource::OAuth {
            uri: uri.ok_or("no oauth token endpoint uri given")?,
            client_id,
            client_secret,
            scopes: list(&self.scopes),
            extensions: extensions
                .iter()
                .map(|extension| match extension.split_once('=') {
                    Some((name, value)) if !value.contains('=') => {
                        Ok((name.to_owned(), value.to_owned()))
                    }
                    _ => Err("invalid OAuthBearer extension, must be of format key=value"),
                })
                .collect::<Result<_, _>>()?,
        })
    }

    fn msk(
        &self,
        trigger: &Trigger,
        aws: &AwsParameters,
        encrypted: bool,
    ) -> Result<TokenSource, String> {
        if !encrypted {
            return Err("TLS is required for AWS MSK authentication".to_owned());
        }
        let region = self.aws_region.clone().ok_or("no awsRegion given")?;
        msk(region, trigger, aws)
    }
}

/// What KEDA's client takes for a version: `0.10.2.0`, `2.8.0`.
fn is_version(text: &str) -> bool {
    static VERSION: OnceLock<Option<Regex>> = OnceLock::new();
    let version =
        VERSION.get_or_init(|| Regex::new(r"^(0\.\d+\.\d+\.\d+|[1-9]\d*\.\d+\.\d+)$").ok());
    version
        .as_ref()
        .is_some_and(|version| version.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::kafka::{Mechanism, PartitionIds};
    use crate::{example, params};

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn trigger(metadata: Pairs, authentication: Pairs) -> Trigger {
        Trigger::new("kafka")
            .metadata([
                ("bootstrapServers", "b:9092, a:9092"),
                ("consumerGroup", "g"),
            ])
            .metadata(metadata.iter().copied())
            .authentication(authentication.iter().copied())
    }

    fn endpoint(metadata: Pairs, authentication: Pairs) -> Endpoint {
        let trigger = trigger(metadata, authentication);
        let (parameters, aws): (Kafka, AwsParameters) = params::parse(&trigger).unwrap();
        parameters.endpoint(&trigger, &aws).unwrap()
    }

    #[test]
    fn logins() {
        let user = [("username", "app"), ("password", "hunter2")];
        let password = |mechanism| Login::Password {
            mechanism,
            username: "app".to_owned(),
            password: "hunter2".to_owned(),
        };
        assert!(endpoint(&[], &user).login == Login::Nobody);
        assert!(endpoint(&[("sasl", "none")], &user).login == Login::Nobody);
        for (sasl, mechanism) in [
            ("plaintext", Mechanism::Plain),
            ("scram_sha256", Mechanism::ScramSha256),
            ("scram_sha512", Mechanism::ScramSha512),
        ] {
            assert!(endpoint(&[("sasl", sasl)], &user).login == password(mechanism));
            let given = [user.as_slice(), &[("sasl", sasl)]].concat();
            assert!(endpoint(&[], &given).login == password(mechanism));
        }
        let oauth = [
            ("sasl", "oauthbearer"),
            ("username", "app"),
            ("password", "hunter2"),
            ("oauthTokenEndpointUri", "http://idp/token"),
            ("scopes", "a,b"),
            ("oauthExtensions", "logicalCluster=lkc,identityPoolId=p"),
        ];
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = TokenSource::OAuth {
            uri: "http://idp/token".to_owned(),
            client_id: "app".to_owned(),
            client_secret: "hunter2".to_owned(),
            scopes: vec!["a".to_owned(), "b".to_owned()],
            extensions: vec![pair("logicalCluster", "lkc"), pair("identityPoolId", "p")],
        };
        assert!(endpoint(&[], &oauth).login == Login::Token(expected));
    }

    #[test]
    fn tls_is_enabled_in_either_place() {
        assert!(endpoint(&[], &[("ca", "x")]).tls.is_none());
        assert!(endpoint(&[("tls", "enable")], &[]).tls.is_some());
        let tls = endpoint(&[("unsafeSsl", "true")], &[("tls", "enable")]).tls;
        assert!(tls.unwrap().insecure);
    }

    #[test]
    fn topics_and_partitions() {
        let question = |metadata: Pairs| {
            let trigger = trigger(metadata, &[]);
            let parameters: Kafka = params::parse(&trigger).unwrap();
            parameters.question().unwrap().topics
        };
        let named = |ids| Topics::Named(["a,b".to_owned()].into(), ids);
        assert_eq!(question(&[("topic", "a,b")]), named(None));
        let limited = [("topic", "a,b"), ("partitionLimitation", "1-2")];
        assert_eq!(question(&limited), named(Some(PartitionIds(vec![1..=2]))));
        assert_eq!(question(&limited[1..]), Topics::OfGroup);
    }

    #[test]
    fn broken_rules_have_kedas_words() {
        let no_sasl: Pairs = &[];
        let table: &[(Pairs, Pairs, &str)] = &[
            (
                &[("lagThreshold", "0")],
                no_sasl,
                "\"lagThreshold\" must be positive number",
            ),
            (
                &[("activationLagThreshold", "-1")],
                no_sasl,
                "\"activationLagThreshold\" must be a non-negative number",
            ),
            (
                &[
                    ("topic", "t"),
                    ("allowIdleConsumers", "true"),
                    ("limitToPartitionsWithLag", "true"),
                ],
                no_sasl,
                "allowIdleConsumers and limitToPartitionsWithLag cannot be set simultaneously",
            ),
            (
                &[("limitToPartitionsWithLag", "true")],
                no_sasl,
                "topic must be specified when using limitToPartitionsWithLag",
            ),
            (
                &[
                    ("limitToPartitionsWithLag", "true"),
                    ("ensureEvenDistributionOfPartitions", "true"),
                    ("fullMetadata", "false"),
                ],
                no_sasl,
                "topic must be specified when using limitToPartitionsWithLag; \
                 limitToPartitionsWithLag and ensureEvenDistributionOfPartitions cannot be set simultaneously; \
                 topic must be specified when using ensureEvenDistributionOfPartitions; \
                 topic must be specified when fullMetadata is false",
            ),
            (
                &[("partitionLimitation", "a")],
                no_sasl,
                "invalid partition limitation: a",
            ),
            (
                &[("version", "1.2")],
                no_sasl,
                "error parsing kafka version: invalid version `1.2`",
            ),
            (
                &[("tls", "enable")],
                &[("cert", "c")],
                "key must be provided with cert",
            ),
            (
                &[("tls", "enable")],
                &[("key", "k")],
                "cert must be provided with key",
            ),
            (&[("sasl", "plaintext")], no_sasl, "no username given"),
            (
                &[("sasl", "scram_sha256")],
                &[("username", "app")],
                "no password given",
            ),
            (
                &[("sasl", "oauthbearer")],
                &[("username", "app"), ("password", "hunter2")],
                "error parsing OAuth token provider configuration: no oauth token endpoint uri given",
            ),
            (
                &[
                    ("sasl", "oauthbearer"),
                    ("saslTokenProvider", "aws_msk_iam"),
                ],
                no_sasl,
                "error parsing OAuth token provider configuration: TLS is required for AWS MSK authentication",
            ),
            (
                &[
                    ("sasl", "oauthbearer"),
                    ("saslTokenProvider", "aws_msk_iam"),
                    ("tls", "enable"),
                ],
                no_sasl,
                "error parsing OAuth token provider configuration: no awsRegion given",
            ),
            (
                &[("sasl", "gssapi")],
                &[("username", "app"), ("password", "hunter2")],
                "sasl gssapi (Kerberos) is not supported: use plaintext, scram_sha256, scram_sha512 or oauthbearer",
            ),
            (
                &[("tls", "enable")],
                &[("ca", "hunter2")],
                "ca holds no certificate: expected PEM",
            ),
            (
                &[("sasl", "md5")],
                no_sasl,
                "parameter \"sasl\" has the value \"md5\": \
                 must be one of [none plaintext scram_sha256 scram_sha512 oauthbearer gssapi aws_msk_iam]",
            ),
        ];
        for (metadata, authentication, message) in table {
            let trigger = trigger(metadata, authentication);
            let found = super::super::build(&trigger, &example::context(Vec::new()));
            let error = found.err().unwrap().to_string();
            assert_eq!(error, *message, "{metadata:?}");
        }
    }

    #[test]
    fn versions() {
        for (text, is) in [
            ("1.0.0", true),
            ("0.10.2.0", true),
            ("12.3.4", true),
            ("0.10.2", false),
            ("1.0", false),
            ("1.0.0.0", false),
            ("v1.0.0", false),
        ] {
            assert_eq!(is_version(text), is, "{text}");
        }
    }
}
