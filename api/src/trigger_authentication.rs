//! TriggerAuthentication and ClusterTriggerAuthentication: where a trigger's credentials come from.
//!
//! Every source yields parameters by name; where several yield the same one, the later wins. The order is that of
//! the fields in KEDA's resolver: env, filePath, configMapTargetRef, secretTargetRef, hashiCorpVault, azureKeyVault,
//! gcpSecretManager, awsSecretManager, boundServiceAccountToken, oauth2.

use std::collections::BTreeMap;
use std::fmt;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where credentials come from.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "keda.sh",
    version = "v1alpha1",
    kind = "TriggerAuthentication",
    plural = "triggerauthentications",
    shortname = "ta",
    shortname = "triggerauth",
    namespaced,
    status = "TriggerAuthenticationStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A TriggerAuthentication says where the triggers of its namespace get their credentials.",
    printcolumn = r#"{"name": "PodIdentity", "type": "string", "jsonPath": ".spec.podIdentity.provider"}"#,
    printcolumn = r#"{"name": "Secret", "type": "string", "jsonPath": ".spec.secretTargetRef[*].name"}"#,
    printcolumn = r#"{"name": "Env", "type": "string", "jsonPath": ".spec.env[*].name"}"#,
    printcolumn = r#"{"name": "VaultAddress", "type": "string", "jsonPath": ".spec.hashiCorpVault.address"}"#,
    printcolumn = r#"{"name": "ScaledObjects", "type": "string", "jsonPath": ".status.scaledobjects", "priority": 1}"#,
    printcolumn = r#"{"name": "ScaledJobs", "type": "string", "jsonPath": ".status.scaledjobs", "priority": 1}"#
)]
pub struct TriggerAuthenticationSpec {
    /// The identity that the cloud gives to a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_identity: Option<PodIdentity>,
    /// Parameters from Secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_target_ref: Vec<TargetRef>,
    /// Parameters from ConfigMaps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_map_target_ref: Vec<TargetRef>,
    /// Parameters from the environment of the scale target's container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvRef>,
    /// A file with all parameters as one JSON object of texts, below the operator's `--filepath-auth-root-path`; only
    /// in a ClusterTriggerAuthentication. It replaces all other sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_path: Option<String>,
    /// Parameters from HashiCorp Vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashi_corp_vault: Option<HashiCorpVault>,
    /// Parameters from Azure Key Vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure_key_vault: Option<AzureKeyVault>,
    /// Parameters from Google Secret Manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcp_secret_manager: Option<GcpSecretManager>,
    /// Parameters from AWS Secrets Manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws_secret_manager: Option<AwsSecretManager>,
    /// Parameters that are tokens of service accounts, requested when needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bound_service_account_token: Vec<BoundServiceAccountToken>,
    /// An OAuth2 grant for triggers that speak HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2>,
}

// A type of its own because kube ties a kind to the type of its spec.
/// Where credentials come from. Secrets and ConfigMaps are those of the cluster object namespace
/// (`KEDA_CLUSTER_OBJECT_NAMESPACE`, else the operator's own).
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, JsonSchema,
)]
#[serde(transparent)]
#[kube(
    group = "keda.sh",
    version = "v1alpha1",
    kind = "ClusterTriggerAuthentication",
    plural = "clustertriggerauthentications",
    shortname = "cta",
    shortname = "clustertriggerauth",
    status = "TriggerAuthenticationStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A ClusterTriggerAuthentication says where the triggers of any namespace get their credentials.",
    printcolumn = r#"{"name": "PodIdentity", "type": "string", "jsonPath": ".spec.podIdentity.provider"}"#,
    printcolumn = r#"{"name": "Secret", "type": "string", "jsonPath": ".spec.secretTargetRef[*].name"}"#,
    printcolumn = r#"{"name": "Env", "type": "string", "jsonPath": ".spec.env[*].name"}"#,
    printcolumn = r#"{"name": "FilePath", "type": "string", "jsonPath": ".spec.filePath"}"#,
    printcolumn = r#"{"name": "VaultAddress", "type": "string", "jsonPath": ".spec.hashiCorpVault.address"}"#,
    printcolumn = r#"{"name": "ScaledObjects", "type": "string", "jsonPath": ".status.scaledobjects", "priority": 1}"#,
    printcolumn = r#"{"name": "ScaledJobs", "type": "string", "jsonPath": ".status.scaledjobs", "priority": 1}"#
)]
pub struct ClusterTriggerAuthenticationSpec(pub TriggerAuthenticationSpec);

/// Who uses a TriggerAuthentication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TriggerAuthenticationStatus {
    /// Names of ScaledObjects, joined by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaledobjects: Option<String>,
    /// Names of ScaledJobs, joined by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaledjobs: Option<String>,
}

/// The identity that a cloud gives to a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodIdentity {
    /// `azure-workload`, `gcp`, `aws`, `aws-eks` (deprecated) or `none`.
    #[schemars(extend("enum" = ["azure-workload", "gcp", "aws", "aws-eks", "none"]))]
    pub provider: String,
    /// Azure: the client id of the identity to use instead of the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_id: Option<String>,
    /// Azure: the tenant instead of the operator's; needs `identityId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_tenant_id: Option<String>,
    /// Azure: the authority host instead of the operator's; needs `identityTenantId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_authority_host: Option<String>,
    /// AWS: the role to assume; not together with `identityOwner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// AWS: the external id to assume `roleArn` with.
    #[serde(
        default,
        rename = "externalID",
        skip_serializing_if = "Option::is_none"
    )]
    pub external_id: Option<String>,
    /// AWS: whose role is used, the operator's (`keda`) or the scale target's (`workload`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["keda", "workload"]))]
    pub identity_owner: Option<String>,
}

/// A parameter from one key of a Secret or ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// The trigger's parameter that gets the value.
    pub parameter: String,
    /// The name of the Secret or ConfigMap.
    pub name: String,
    /// The key in it.
    pub key: String,
}

/// A parameter from an environment variable of the scale target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvRef {
    /// The trigger's parameter that gets the value.
    pub parameter: String,
    /// The variable's name.
    pub name: String,
    /// The container; the first one if absent, whatever `scaleTargetRef.envSourceContainerName` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
}

/// Parameters from HashiCorp Vault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HashiCorpVault {
    /// Vault's URL.
    pub address: String,
    /// How to log in: `token` or `kubernetes`.
    #[schemars(extend("enum" = ["token", "kubernetes"]))]
    pub authentication: String,
    /// What to read; at least one.
    #[schemars(length(min = 1))]
    pub secrets: Vec<VaultSecret>,
    /// Vault Enterprise's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What to log in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<VaultCredential>,
    /// `kubernetes`: the role to log in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// `kubernetes`: the mount path of the login method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
}

/// What to log in to Vault with. Its `Debug` does not show the token.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultCredential {
    /// `token`: the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// `kubernetes`: the path of the file with the service account's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// `kubernetes`: the service account to request a token for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
}

impl fmt::Debug for VaultCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultCredential")
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field("service_account", &self.service_account)
            .field("service_account_name", &self.service_account_name)
            .finish()
    }
}

/// A parameter from one key of a secret in Vault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultSecret {
    /// The trigger's parameter that gets the value.
    pub parameter: String,
    /// The path in Vault.
    pub path: String,
    /// The key in it.
    pub key: String,
    /// The engine that answers: `secret`, `secretV2`, `pki`, or empty for either version of `secret`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["", "secretV2", "secret", "pki"]))]
    pub type_: Option<String>,
    /// `pki`: the certificate to ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pki_data: Option<VaultPki>,
}

/// The certificate to ask Vault for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultPki {
    /// The common name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// Alternative DNS names, joined by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alt_names: Option<String>,
    /// Alternative IP addresses, joined by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_sans: Option<String>,
    /// Alternative URIs, joined by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri_sans: Option<String>,
    /// Alternative names of other types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_sans: Option<String>,
    /// How long the certificate is valid, such as `24h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// `pem`, `der` or `pem_bundle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// A credential that is itself in a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValueFromSecret {
    /// Where the value comes from.
    pub value_from: SecretSource,
}

/// `valueFrom` of a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretSource {
    /// The Secret and its key.
    pub secret_key_ref: SecretKeyRef,
}

/// One key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The name of the Secret.
    pub name: String,
    /// The key in it.
    pub key: String,
}

/// Parameters from Azure Key Vault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AzureKeyVault {
    /// The vault's URL.
    pub vault_uri: String,
    /// What to read; at least one.
    #[schemars(length(min = 1))]
    pub secrets: Vec<AzureKeyVaultSecret>,
    /// The application to log in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<AzureKeyVaultCredentials>,
    /// The identity to log in with instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_identity: Option<PodIdentity>,
    /// The cloud, where it is not Azure's public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<AzureKeyVaultCloud>,
}

/// The application to log in to Azure as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AzureKeyVaultCredentials {
    /// The application's id.
    pub client_id: String,
    /// The tenant's id.
    pub tenant_id: String,
    /// The application's secret.
    pub client_secret: ValueFromSecret,
}

/// A parameter from a secret in Azure Key Vault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AzureKeyVaultSecret {
    /// The trigger's parameter that gets the value.
    pub parameter: String,
    /// The secret's name.
    pub name: String,
    /// The secret's version; the latest if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Which of Azure's clouds holds the vault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AzureKeyVaultCloud {
    /// The cloud's name, such as `AzureUSGovernmentCloud`, or `Private`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `Private`: the resource to request a token for.
    #[serde(
        default,
        rename = "keyVaultResourceURL",
        skip_serializing_if = "Option::is_none"
    )]
    pub key_vault_resource_url: Option<String>,
    /// `Private`: where to log in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_directory_endpoint: Option<String>,
}

/// Parameters from Google Secret Manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GcpSecretManager {
    /// What to read; at least one.
    #[schemars(length(min = 1))]
    pub secrets: Vec<GcpSecretManagerSecret>,
    /// The service account to log in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<GcpCredentials>,
    /// The identity to log in with instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_identity: Option<PodIdentity>,
}

/// The service account to log in to Google as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GcpCredentials {
    /// The service account's key, as JSON.
    pub client_secret: ValueFromSecret,
}

/// A parameter from a secret in Google Secret Manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GcpSecretManagerSecret {
    /// The trigger's parameter that gets the value.
    pub parameter: String,
    /// The secret's id.
    pub id: String,
    /// The secret's version; `latest` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Parameters from AWS Secrets Manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsSecretManager {
    /// What to read; at least one.
    #[schemars(length(min = 1))]
    pub secrets: Vec<AwsSecretManagerSecret>,
    /// The access keys to log in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<AwsSecretManagerCredentials>,
    /// The identity to log in with instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_identity: Option<PodIdentity>,
    /// The region, such as `ap-northeast-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// The access keys to log in to AWS with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsSecretManagerCredentials {
    /// The access key's id.
    pub access_key: ValueFromSecret,
    /// The access key's secret.
    pub access_secret_key: ValueFromSecret,
    /// The session's token, for temporary keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<ValueFromSecret>,
}

/// A parameter from a secret in AWS Secrets Manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsSecretManagerSecret {
    /// The trigger's parameter that gets the value.
    pub parameter: String,
    /// The secret's name or ARN.
    pub name: String,
    /// The secret's version by id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// The secret's version by stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_stage: Option<String>,
    /// The key in the secret, where that is a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<String>,
}

/// A parameter that is a service account's token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BoundServiceAccountToken {
    /// The trigger's parameter that gets the token.
    pub parameter: String,
    /// The service account.
    pub service_account_name: String,
}

/// An OAuth2 grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuth2 {
    /// `clientCredentials`, which is also the default.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "clientCredentials", "enum" = ["clientCredentials"]))]
    pub type_: Option<String>,
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<ValueFromSecret>,
    /// Where to get the token.
    pub token_url: String,
    /// The scopes to ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Further parameters of the request for the token.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub token_url_params: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_a_manifest_never_shows_in_debug() {
        let spec: TriggerAuthenticationSpec = serde_json::from_value(serde_json::json!({
            "hashiCorpVault": {
                "address": "http://vault", "authentication": "token", "secrets": [],
                "credential": {"token": "hunter2"},
            },
        }))
        .unwrap();
        let shown = format!("{spec:?}");
        assert!(
            shown.contains("***") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
