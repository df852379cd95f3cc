//! `podIdentity`: the identity that a cloud gives to a pod.

use sakidori_api::PodIdentity as Declared;
use sakidori_scalers::PodIdentity;
use sakidori_scalers::clients::aws::AwsIdentity;
use tracing::warn;

use super::Resolution;
use crate::references::Reference;

/// The parameter in which KEDA's AWS triggers find their role.
const ROLE_PARAMETER: &str = "awsRoleArn";

impl Resolution<'_, '_> {
    pub(super) async fn pod_identity(&mut self, declared: &Declared) {
        match declared.provider.as_str() {
            "" | "none" => {}
            "aws" => match self.aws(declared).await {
                Ok(identity) => {
                    if let Some(role) = &identity.role_arn {
                        let parameters = &mut self.resolved.parameters;
                        parameters.insert(ROLE_PARAMETER.to_owned(), role.clone());
                    }
                    self.resolved.pod_identity = Some(PodIdentity::Aws(identity));
                }
                Err(problem) => self.problem("podIdentity", &problem),
            },
            "aws-eks" => {
                warn!(authentication = %self.object, "podIdentity.provider aws-eks is deprecated: use aws");
                match self.workload_role().await {
                    Ok(Some(role)) => {
                        let parameters = &mut self.resolved.parameters;
                        parameters.insert(ROLE_PARAMETER.to_owned(), role);
                    }
                    // As in KEDA: the trigger goes on with whatever other credentials it has.
                    Ok(None) => {}
                    Err(problem) => self.problem("podIdentity", &problem),
                }
            }
            provider @ ("azure-workload" | "gcp") => {
                let problem =
                    format!("is {provider:?}: not supported by this version: it comes later");
                self.problem("podIdentity.provider", &problem);
            }
            other => {
                let problem =
                    format!("is {other:?}: expected none, aws, aws-eks, azure-workload or gcp");
                self.problem("podIdentity.provider", &problem);
            }
        }
    }

    /// The identity on AWS: the operator's own, a role that it assumes, or the role of the target's pods.
    pub(super) async fn aws(&mut self, declared: &Declared) -> Result<AwsIdentity, String> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let role = given(&declared.role_arn);
        let is_workload = declared.identity_owner.as_deref() == Some("workload");
        let role = match (role, is_workload) {
            (Some(_), true) => {
                return Err(
                    "roleArn can't be set where identityOwner is \"workload\": the role is then that of the target's ServiceAccount"
                        .to_owned(),
                );
            }
            (role, false) => role,
            (None, true) => Some(self.workload_role().await?.ok_or(
                "the target's ServiceAccount has no annotation eks.amazonaws.com/role-arn that names its role",
            )?),
        };
        Ok(AwsIdentity {
            role_arn: role,
            external_id: given(&declared.external_id),
        })
    }

    /// The role that the target's ServiceAccount is annotated with.
    async fn workload_role(&mut self) -> Result<Option<String>, String> {
        let name = self.environment.service_account(self.used).await?;
        let account = Reference::service_account(&self.owner.namespace, &name);
        self.used.insert(account.clone());
        match self.references.get(self.owner, &account).await {
            Ok(Some(found)) => found.field("/roleArn"),
            Ok(None) => Err(format!(
                "{account}, as which the target's pods run, doesn't exist"
            )),
            Err(error) => Err(error.to_string()),
        }
    }
}
