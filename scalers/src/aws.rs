//! What triggers on AWS share: where it is asked and as whom, and the scaler of those that count something.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use crate::answers::Freshness;
use crate::clients::aws::{Account, AwsAccess, AwsClient, AwsIdentity, Question};
use crate::http::parse_url;
use crate::metric::{MetricSpec, Reading};
use crate::params::{
    AUTHENTICATION, Field, METADATA, METADATA_AUTHENTICATION, ParameterSet, Parameters, Source,
};
use crate::scaler::{Context, PodIdentity, Scaler, ScalerError, Trigger};

/// The parameters that all triggers on AWS have.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Aws {
    /// The region, such as `eu-west-1`.
    aws_region: String,
    /// Where AWS's API is, for stand-ins and private endpoints: `http://localstack.shop:4566`. Left out, it is AWS's own.
    aws_endpoint: Option<String>,
    /// Whose identity counts where the TriggerAuthentication has no `podIdentity`: `pod` takes the keys or the role of the
    /// TriggerAuthentication, or the keys in the environment of the target's container; `operator` is the operator itself.
    identity_owner: Option<String>,
    /// The role to assume; with `identityOwner: pod` it wins over keys.
    aws_role_arn: Option<String>,
    /// The ID of the access key; in the TriggerAuthentication also `awsAccessKeyId`.
    #[serde(rename = "awsAccessKeyID")]
    _aws_access_key_id: Option<String>,
    /// The access key itself. It has to stand where its ID does: in the TriggerAuthentication, or in the environment.
    #[serde(rename = "awsSecretAccessKey")]
    _aws_secret_access_key: Option<String>,
    /// The session of temporary keys in the TriggerAuthentication.
    #[serde(rename = "awsSessionToken")]
    _aws_session_token: Option<String>,
}

impl Parameters for Aws {
    const FIELDS: &'static [Field] = &[
        Field::required("awsRegion", METADATA_AUTHENTICATION),
        Field::optional("awsEndpoint", METADATA),
        Field::optional("identityOwner", METADATA),
        Field::optional("awsRoleArn", AUTHENTICATION),
        Field::optional(
            "awsAccessKeyID",
            &[
                Source::Authentication,
                Source::Metadata,
                Source::Environment,
            ],
        )
        .aliases(&["awsAccessKeyId"]),
        Field::optional(
            "awsSecretAccessKey",
            &[Source::Authentication, Source::Environment],
        )
        .secret(),
        Field::optional("awsSessionToken", AUTHENTICATION).secret(),
    ];

    fn check(&self) -> Vec<String> {
        let endpoint = self.aws_endpoint.as_deref();
        let problem = endpoint.and_then(|endpoint| parse_url(endpoint).err());
        problem
            .map(|problem| format!("awsEndpoint {problem}"))
            .into_iter()
            .collect()
    }
}

/// Where AWS is asked, and as whom.
pub struct AwsParameters(Account);

impl AwsParameters {
    /// What the trigger's questions go to.
    pub fn client(self, context: &Context) -> Arc<AwsClient> {
        context.clients.aws.client(self.0)
    }
}

impl ParameterSet for AwsParameters {
    fn fields() -> Vec<&'static Field> {
        Aws::fields()
    }

    fn read(
        trigger: &Trigger,
        known: &[&'static Field],
        problems: &mut Vec<String>,
    ) -> Option<Self> {
        let aws = <Aws as ParameterSet>::read(trigger, known, problems);
        let owner = aws.as_ref().and_then(|aws| aws.identity_owner.as_deref());
        let role = aws.as_ref().and_then(|aws| aws.aws_role_arn.clone());
        match access(trigger, owner, role) {
            Ok(access) => aws.map(|aws| {
                Self(Account {
                    access,
                    region: aws.aws_region,
                    endpoint: aws.aws_endpoint,
                })
            }),
            Err(problem) => {
                problems.push(problem);
                None
            }
        }
    }
}

/// A scaler whose value is a number of something.
pub struct Count<Q> {
    pub metric: MetricSpec,
    /// It is active above this.
    pub activation: i64,
    pub question: Q,
    pub aws: Arc<AwsClient>,
}

#[async_trait]
impl<Q: Question<Answer = i64>> Scaler for Count<Q> {
    fn metrics(&self) -> Vec<MetricSpec> {
        vec![self.metric.clone()]
    }

    async fn read(&self, freshness: &Freshness) -> Result<Vec<Reading>, ScalerError> {
        let count = self.aws.answer(&self.question, freshness).await?;
        Ok(vec![Reading {
            metric: self.metric.name.clone(),
            value: count as f64,
            active: count > self.activation,
        }])
    }
}

/// As whom AWS is asked (KEDA: GetAwsAuthorization).
///
/// # Errors
/// When keys are needed that aren't there.
pub fn access(
    trigger: &Trigger,
    owner: Option<&str>,
    role_arn: Option<String>,
) -> Result<AwsAccess, String> {
    if let Some(PodIdentity::Aws(identity)) = &trigger.pod_identity {
        let mut identity = identity.clone();
        identity.role_arn = identity.role_arn.or(role_arn);
        return Ok(AwsAccess::Identity(identity));
    }
    match (owner, role_arn) {
        (None | Some("pod"), None) => keys(trigger),
        (None | Some("pod"), role_arn) => Ok(AwsAccess::Identity(AwsIdentity {
            role_arn,
            external_id: None,
        })),
        // Whatever else it is called: KEDA knows no other owner.
        (Some(_), _) => Ok(AwsAccess::Identity(AwsIdentity::default())),
    }
}

/// The keys: both of the TriggerAuthentication, or the ID of the metadata or the environment with the secret of the environment. Never
/// one from here and one from there.
fn keys(trigger: &Trigger) -> Result<AwsAccess, String> {
    const ID: &str = "awsAccessKeyID";
    const SECRET: &str = "awsSecretAccessKey";
    let given = |text: Option<&String>| {
        let text = text.map(|text| text.trim()).filter(|text| !text.is_empty());
        text.map(str::to_owned)
    };
    let authenticated = |name: &str| given(trigger.authentication.get(name));
    let from_environment = |name: &str| {
        let variable = trigger.metadata.get(&format!("{name}FromEnv"));
        variable.and_then(|variable| given(trigger.environment.get(variable)))
    };
    let id = authenticated(ID).or_else(|| authenticated("awsAccessKeyId"));
    let (access_key_id, secret, session_token) = match id {
        Some(id) => (id, authenticated(SECRET), authenticated("awsSessionToken")),
        None => {
            let id = given(trigger.metadata.get(ID)).or_else(|| from_environment(ID));
            let id = id.ok_or_else(|| {
                format!(
                    "{ID} not found: give {ID} and {SECRET} or awsRoleArn in a TriggerAuthentication, or podIdentity \
                     aws there, or identityOwner: operator in the trigger"
                )
            })?;
            (id, from_environment(SECRET), None)
        }
    };
    let secret_access_key =
        secret.ok_or_else(|| format!("{SECRET} not found: it has to stand where {ID} does"))?;
    Ok(AwsAccess::Keys {
        access_key_id,
        secret_access_key,
        session_token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn trigger(metadata: Pairs<'_>, authentication: Pairs<'_>) -> Trigger {
        Trigger::new("aws-kinesis-stream")
            .metadata([("awsRegion", "eu-west-1")])
            .metadata(metadata.iter().copied())
            .authentication(authentication.iter().copied())
            .environment([("ID", "env-id"), ("SECRET", "env-secret"), ("EMPTY", "")])
    }

    fn account(trigger: &Trigger) -> Result<Account, String> {
        let parsed = params::parse::<AwsParameters>(trigger);
        parsed
            .map(|AwsParameters(account)| account)
            .map_err(|errors| errors.to_string())
    }

    /// `id/secret/session`, `role NAME`, `operator`, or the problem up to its colon.
    fn shown(trigger: &Trigger) -> String {
        match account(trigger).map(|account| account.access) {
            Ok(AwsAccess::Keys {
                access_key_id,
                secret_access_key,
                session_token,
            }) => {
                let session = session_token.unwrap_or_default();
                format!("{access_key_id}/{secret_access_key}/{session}")
            }
            Ok(AwsAccess::Identity(identity)) => identity
                .role_arn
                .map_or_else(|| "operator".to_owned(), |role| format!("role {role}")),
            Err(problem) => problem.split(':').next().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn keys_roles_and_owners_are_kedas() {
        const NO_ID: &str = "awsAccessKeyID not found";
        const NO_SECRET: &str = "awsSecretAccessKey not found";
        let id = ("awsAccessKeyID", "id");
        let secret = ("awsSecretAccessKey", "secret");
        let session = ("awsSessionToken", "session");
        let role = ("awsRoleArn", "r");
        let id_from_environment = ("awsAccessKeyIDFromEnv", "ID");
        let secret_from_environment = ("awsSecretAccessKeyFromEnv", "SECRET");
        let operator = ("identityOwner", "operator");
        let pod = ("identityOwner", "pod");
        let table: &[(Pairs<'_>, Pairs<'_>, &str)] = &[
            (&[], &[], NO_ID),
            (&[], &[id, secret], "id/secret/"),
            (&[pod], &[id, secret, session], "id/secret/session"),
            (&[], &[("awsAccessKeyId", "small"), secret], "small/secret/"),
            (
                &[],
                &[id, ("awsAccessKeyId", "small"), secret],
                "id/secret/",
            ),
            (&[], &[id], NO_SECRET),
            (&[], &[secret], NO_ID),
            (&[], &[id, secret, role], "role r"),
            (&[pod], &[role], "role r"),
            (
                &[id_from_environment, secret_from_environment],
                &[],
                "env-id/env-secret/",
            ),
            (&[id, secret_from_environment], &[], "id/env-secret/"),
            (
                &[id, id_from_environment, secret_from_environment],
                &[session],
                "id/env-secret/",
            ),
            (&[id_from_environment], &[secret], NO_SECRET),
            (&[id, secret], &[], NO_SECRET),
            (
                &[("awsAccessKeyIDFromEnv", "EMPTY"), secret_from_environment],
                &[],
                NO_ID,
            ),
            (
                &[id, ("awsSecretAccessKeyFromEnv", "ABSENT")],
                &[],
                NO_SECRET,
            ),
            // The secret has to stand where the ID does.
            (&[secret_from_environment], &[id], NO_SECRET),
            (&[operator], &[], "operator"),
            (&[operator], &[id, secret, role], "operator"),
            (&[("identityOwner", "somebody")], &[], "operator"),
        ];
        for (metadata, authentication, expected) in table {
            let found = shown(&trigger(metadata, authentication));
            assert_eq!(&found, expected, "{metadata:?} {authentication:?}");
        }
    }

    #[test]
    fn a_pod_identity_goes_before_keys() {
        let mut trigger = trigger(
            &[("identityOwner", "pod")],
            &[("awsAccessKeyID", "id"), ("awsSecretAccessKey", "secret")],
        );
        trigger.pod_identity = Some(PodIdentity::Aws(AwsIdentity::default()));
        assert_eq!(shown(&trigger), "operator");
        let role = ("awsRoleArn".to_owned(), "given".to_owned());
        trigger.authentication.extend([role]);
        assert_eq!(shown(&trigger), "role given");
        trigger.pod_identity = Some(PodIdentity::Aws(AwsIdentity {
            role_arn: Some("own".to_owned()),
            external_id: None,
        }));
        assert_eq!(shown(&trigger), "role own");
    }

    #[test]
    fn the_region_may_stand_in_the_authentication_and_the_endpoint_is_a_url() {
        let keys = [("awsAccessKeyID", "id"), ("awsSecretAccessKey", "hunter2")];
        let mut there = trigger(&[], &keys).authentication([("awsRegion", "us-east-1")]);
        there.metadata.clear();
        let found = account(&there).ok().unwrap();
        assert_eq!((found.region.as_str(), found.endpoint), ("us-east-1", None));
        there.authentication.remove("awsRegion");
        let problem = account(&there).err().unwrap();
        assert!(
            problem.starts_with(r#"missing required parameter "awsRegion""#),
            "{problem}"
        );

        let wrong = trigger(&[("awsEndpoint", "localhost:4566")], &keys);
        let problem = account(&wrong).err().unwrap();
        assert!(
            problem.starts_with("awsEndpoint has no scheme"),
            "{problem}"
        );
        assert!(!problem.contains("hunter2"));
    }
}
