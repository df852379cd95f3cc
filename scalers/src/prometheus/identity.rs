//! Who asks, where that is an identity that a cloud gives.

use serde::Deserialize;

#[cfg(feature = "aws")]
use crate::aws::access;
#[cfg(not(feature = "aws"))]
use crate::clients::aws::AwsAccess;
use crate::clients::prometheus::Signing;
use crate::params::{AUTHENTICATION, Field, METADATA, METADATA_AUTHENTICATION, Parameters, Source};
use crate::scaler::Trigger;

/// The parameters of an identity on AWS. Not `Debug`: it may hold keys.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AwsParameters {
    /// The region of a workspace of Amazon Managed Service for Prometheus. Left out, it is the operator's `AWS_REGION`.
    aws_region: Option<String>,
    /// With `operator`, requests are signed as the operator's own identity on AWS; with `pod`, as whom the TriggerAuthentication
    /// says.
    identity_owner: Option<String>,
    /// The role to assume for signing requests.
    aws_role_arn: Option<String>,
    /// The id of an access key that requests are signed with.
    #[serde(rename = "awsAccessKeyID")]
    aws_access_key_id: Option<String>,
    /// The access key's secret.
    #[serde(rename = "awsSecretAccessKey")]
    _aws_secret_access_key: Option<String>,
    /// The session token of a temporary access key.
    #[serde(rename = "awsSessionToken")]
    _aws_session_token: Option<String>,
}

impl Parameters for AwsParameters {
    const FIELDS: &'static [Field] = &[
        Field::optional("awsRegion", METADATA_AUTHENTICATION),
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
}

/// What a trigger says that has Google's identity in KEDA.
const GOOGLE: &str =
    "Google Cloud's managed Prometheus is not supported by this version: it comes later";

/// Whose signature the requests get, if any.
///
/// # Errors
/// What doesn't go together, or isn't supported.
pub fn of(
    trigger: &Trigger,
    aws: AwsParameters,
    has_modes: bool,
) -> Result<Option<Signing>, String> {
    if has_modes {
        return match trigger.pod_identity {
            None => Ok(None),
            // KEDA's words.
            Some(_) => Err(
                "pod identity cannot be enabled with other auth types: leave out authModes, or the podIdentity"
                    .to_owned(),
            ),
        };
    }
    let is_given = |value: Option<&String>| value.is_some_and(|value| !value.is_empty());
    let google = ["credentialsFromEnv", "credentialsFromEnvFile"]
        .iter()
        .any(|key| is_given(trigger.metadata.get(*key)));
    if google || is_given(trigger.authentication.get("GoogleApplicationCredentials")) {
        return Err(GOOGLE.to_owned());
    }
    let region = aws.aws_region.clone();
    if !aws.is_somebody(trigger) {
        return Ok(None);
    }
    let access = access(trigger, aws.identity_owner.as_deref(), aws.aws_role_arn)?;
    Ok(Some(Signing { access, region }))
}

#[cfg(not(feature = "aws"))]
fn access(_: &Trigger, _: Option<&str>, _: Option<String>) -> Result<AwsAccess, String> {
    Err("this build signs no requests for AWS (Cargo feature aws)".to_owned())
}

impl AwsParameters {
    /// Whether requests are to be signed at all.
    fn is_somebody(&self, trigger: &Trigger) -> bool {
        let owner = self.identity_owner.as_deref();
        trigger.pod_identity.is_some()
            || owner.is_some_and(|owner| owner != "pod")
            || self.aws_role_arn.is_some()
            || self.aws_access_key_id.is_some()
    }
}

#[cfg(feature = "aws")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::aws::{AwsAccess, AwsIdentity};
    use crate::params;
    use crate::scaler::PodIdentity;

    type Pairs = &'static [(&'static str, &'static str)];

    fn found(metadata: Pairs, authentication: Pairs, role: Option<&str>) -> String {
        let mut trigger = Trigger::new("prometheus")
            .metadata(metadata.iter().copied())
            .environment([("KEY", "env-id"), ("SECRET", "hunter2")])
            .authentication(authentication.iter().copied());
        trigger.pod_identity = role.map(|role| {
            PodIdentity::Aws(AwsIdentity {
                role_arn: (!role.is_empty()).then(|| role.to_owned()),
                external_id: None,
            })
        });
        let aws = params::parse::<AwsParameters>(&trigger).unwrap();
        match of(&trigger, aws, false) {
            Ok(None) => "nobody".to_owned(),
            Ok(Some(Signing { access, region })) => {
                let who = match access {
                    AwsAccess::Identity(identity) => {
                        identity.role_arn.unwrap_or("operator".to_owned())
                    }
                    AwsAccess::Keys { access_key_id, .. } => access_key_id,
                };
                format!("{who}@{}", region.unwrap_or_default())
            }
            Err(problem) => problem,
        }
    }

    #[test]
    fn who_signs_is_as_in_keda() {
        let keys: Pairs = &[("awsAccessKeyID", "id"), ("awsSecretAccessKey", "hunter2")];
        let role: Pairs = &[("awsRoleArn", "arn:role")];
        for (metadata, authentication, pod, expected) in [
            (&[("awsRegion", "eu")][..], &[][..], None, "nobody"),
            (&[], &[("awsRegion", "eu")], Some(""), "operator@eu"),
            (&[], &[], Some("arn:pod"), "arn:pod@"),
            (&[("identityOwner", "operator")], keys, None, "operator@"),
            (&[("identityOwner", "pod")], keys, None, "id@"),
            (&[], role, None, "arn:role@"),
            (
                &[],
                &[("awsAccessKeyId", "id"), ("awsSecretAccessKey", "hunter2")],
                None,
                "id@",
            ),
            (
                &[
                    ("awsAccessKeyIDFromEnv", "KEY"),
                    ("awsSecretAccessKeyFromEnv", "SECRET"),
                ],
                &[],
                None,
                "env-id@",
            ),
            (
                &[("awsAccessKeyID", "id")],
                &[],
                None,
                "awsSecretAccessKey not found: it has to stand where awsAccessKeyID does",
            ),
            (&[("identityOwner", "somebody")], &[], None, "operator@"),
            (
                &[],
                &[("GoogleApplicationCredentials", "{hunter2}")],
                None,
                GOOGLE,
            ),
        ] {
            assert_eq!(found(metadata, authentication, pod), expected);
        }
    }

    #[test]
    fn an_identity_beside_modes_is_refused() {
        let mut trigger = Trigger::new("prometheus");
        let aws = || params::parse::<AwsParameters>(&Trigger::new("prometheus")).unwrap();
        assert!(of(&trigger, aws(), true).is_ok_and(|signing| signing.is_none()));
        trigger.pod_identity = Some(PodIdentity::Aws(AwsIdentity::default()));
        let problem = of(&trigger, aws(), true).err().unwrap();
        assert!(problem.starts_with("pod identity cannot be enabled"));
    }
}
