//! Who to be on AWS, for Amazon MSK.

use serde::Deserialize;

#[cfg(feature = "aws")]
use crate::aws::access;
#[cfg(feature = "aws")]
use crate::clients::aws::AwsAccess;
use crate::params::{AUTHENTICATION, Field, METADATA, Parameters, Source};
#[cfg(feature = "aws")]
use crate::scaler::Trigger;

/// The parameters that say who to be on AWS.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(not(feature = "aws"), expect(dead_code))]
pub struct AwsParameters {
    /// `pod`, for a role or keys that are given, or `operator`, for the operator's own identity on AWS.
    identity_owner: IdentityOwner,
    /// The role to assume on AWS.
    aws_role_arn: Option<String>,
    /// The id of an access key on AWS.
    #[serde(rename = "awsAccessKeyID")]
    _aws_access_key_id: Option<String>,
    /// The secret of the access key.
    #[serde(rename = "awsSecretAccessKey")]
    _aws_secret_access_key: Option<String>,
    /// The session token of a temporary access key.
    #[serde(rename = "awsSessionToken")]
    _aws_session_token: Option<String>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum IdentityOwner {
    Pod,
    Operator,
}

/// The authentication's keys go before the container's.
const KEYS: &[Source] = &[
    Source::Authentication,
    Source::Metadata,
    Source::Environment,
];

impl Parameters for AwsParameters {
    const FIELDS: &'static [Field] = &[
        Field::with_default("identityOwner", METADATA, "pod"),
        Field::optional("awsRoleArn", AUTHENTICATION),
        Field::optional("awsAccessKeyID", KEYS).aliases(&["awsAccessKeyId"]),
        Field::optional(
            "awsSecretAccessKey",
            &[Source::Authentication, Source::Environment],
        )
        .secret(),
        Field::optional("awsSessionToken", AUTHENTICATION).secret(),
    ];
}

#[cfg(feature = "aws")]
impl AwsParameters {
    /// # Errors
    /// KEDA's, for keys that aren't there.
    pub fn access(&self, trigger: &Trigger) -> Result<AwsAccess, String> {
        let owner = match self.identity_owner {
            IdentityOwner::Pod => "pod",
            IdentityOwner::Operator => "operator",
        };
        access(trigger, Some(owner), self.aws_role_arn.clone())
    }
}

#[cfg(all(test, feature = "aws"))]
mod tests {
    use super::*;
    use crate::clients::aws::AwsIdentity;
    use crate::params;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn access(metadata: Pairs, authentication: Pairs) -> Result<AwsAccess, String> {
        let trigger = Trigger::new("kafka")
            .metadata(metadata.iter().copied())
            .environment([("KEY", "id"), ("SECRET", "hunter2")])
            .authentication(authentication.iter().copied());
        let parameters: AwsParameters =
            params::parse(&trigger).map_err(|problems| problems.to_string())?;
        // What to do about it stands behind the colon.
        let first = |text: String| text.split(':').next().unwrap_or_default().to_owned();
        parameters.access(&trigger).map_err(first)
    }

    #[test]
    fn who_to_be() {
        let keys = || {
            Ok(AwsAccess::Keys {
                access_key_id: "id".to_owned(),
                secret_access_key: "hunter2".to_owned(),
                session_token: None,
            })
        };
        let role = |role: Option<&str>| {
            Ok(AwsAccess::Identity(AwsIdentity {
                role_arn: role.map(str::to_owned),
                external_id: None,
            }))
        };
        let given = [("awsAccessKeyId", "id"), ("awsSecretAccessKey", "hunter2")];
        assert!(access(&[], &given) == keys());
        let environment = [
            ("awsAccessKeyIDFromEnv", "KEY"),
            ("awsSecretAccessKeyFromEnv", "SECRET"),
        ];
        assert!(access(&environment, &[]) == keys());
        assert!(access(&environment, &[("awsRoleArn", "r")]) == role(Some("r")));
        assert!(access(&[("identityOwner", "operator")], &given) == role(None));
        assert!(access(&[], &[]) == Err("awsAccessKeyID not found".to_owned()));
        assert!(access(&environment[..1], &[]) == Err("awsSecretAccessKey not found".to_owned()));
    }
}
