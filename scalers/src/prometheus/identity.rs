//! Who asks, where that is an identity that a cloud gives.

use serde::Deserialize;

use crate::clients::aws::{AwsAccess, AwsIdentity};
use crate::clients::prometheus::Signing;
use crate::params::{AUTHENTICATION, Field, METADATA, METADATA_AUTHENTICATION, Parameters, Source};
use crate::scaler::{PodIdentity, Trigger};

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
    aws_secret_access_key: Option<String>,
    /// The session token of a temporary access key.
    aws_session_token: Option<String>,
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
    let Some(access) = access(aws, trigger.pod_identity.as_ref())? else {
        return Ok(None);
    };
    if cfg!(not(feature = "aws")) {
        return Err("this build signs no requests for AWS (Cargo feature aws)".to_owned());
    }
    Ok(Some(Signing { access, region }))
}

/// KEDA's order (`GetAwsAuthorization`).
fn access(
    given: AwsParameters,
    identity: Option<&PodIdentity>,
) -> Result<Option<AwsAccess>, String> {
    if let Some(PodIdentity::Aws(identity)) = identity {
        return Ok(Some(AwsAccess::Identity(identity.clone())));
    }
    match given.identity_owner.as_deref() {
        None | Some("pod") => {}
        // Whatever else it is called: KEDA knows no other owner.
        Some(_) => return Ok(Some(AwsAccess::Identity(AwsIdentity::default()))),
    }
    if let Some(role_arn) = given.aws_role_arn {
        return Ok(Some(AwsAccess::Identity(AwsIdentity {
            role_arn: Some(role_arn),
            external_id: None,
        })));
    }
    match (given.aws_access_key_id, given.aws_secret_access_key) {
        (None, _) => Ok(None),
        (Some(access_key_id), Some(secret_access_key)) => Ok(Some(AwsAccess::Keys {
            access_key_id,
            secret_access_key,
            session_token: given.aws_session_token,
        })),
        (Some(_), None) => {
            Err("awsSecretAccessKey not found, though awsAccessKeyID is given".to_owned())
        }
    }
}

#[cfg(feature = "aws")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::params;

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
                "awsSecretAccessKey not found, though awsAccessKeyID is given",
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
