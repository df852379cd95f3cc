//! `awsSecretManager` of an authentication.

use std::sync::Arc;

use sakidori_api::{AwsSecretManager, AwsSecretManagerSecret};
use sakidori_scalers::clients::aws::AwsAccess;
use serde_json::{Map, Value};

use super::Resolution;
use super::outside::text;
use crate::credentials::{AwsSecret, Credential};

impl Resolution<'_, '_> {
    pub(super) async fn aws_secrets(&mut self, manager: &AwsSecretManager) {
        let access = match self.aws_access(manager).await {
            Ok(access) => access,
            Err((field, problem)) => {
                return self.problem(&format!("awsSecretManager.{field}"), &problem);
            }
        };
        for (index, secret) in manager.secrets.iter().enumerate() {
            let region = manager.region.clone();
            let value = self.in_aws(&access, region, secret).await;
            let field = format!("awsSecretManager.secrets[{index}]");
            self.set(&field, &secret.parameter, value);
        }
    }

    async fn aws_access(
        &mut self,
        manager: &AwsSecretManager,
    ) -> Result<AwsAccess, (&'static str, String)> {
        if let Some(identity) = &manager.pod_identity {
            match identity.provider.as_str() {
                "" | "none" => {}
                "aws" => {
                    let identity = self.aws(identity).await;
                    return identity
                        .map(AwsAccess::Identity)
                        .map_err(|problem| ("podIdentity", problem));
                }
                other => {
                    let problem = format!("is {other:?}: expected \"aws\" or \"none\"");
                    return Err(("podIdentity.provider", problem));
                }
            }
        }
        let Some(keys) = &manager.credentials else {
            let problem = "accessKey and accessSecretKey are required without a podIdentity";
            return Err(("credentials", problem.to_owned()));
        };
        let at = |field: &'static str| move |problem: String| (field, problem);
        let reference = &keys.access_key.value_from.secret_key_ref;
        let access_key_id = self.secret_key(reference).await;
        let reference = &keys.access_secret_key.value_from.secret_key_ref;
        let secret_access_key = self.secret_key(reference).await;
        let session_token = match &keys.access_token {
            Some(token) => {
                let token = self.secret_key(&token.value_from.secret_key_ref).await;
                Some(token.map_err(at("credentials.accessToken"))?)
            }
            None => None,
        };
        Ok(AwsAccess::Keys {
            access_key_id: access_key_id.map_err(at("credentials.accessKey"))?,
            secret_access_key: secret_access_key.map_err(at("credentials.accessSecretKey"))?,
            session_token,
        })
    }

    async fn in_aws(
        &mut self,
        access: &AwsAccess,
        region: Option<String>,
        secret: &AwsSecretManagerSecret,
    ) -> Result<String, String> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let credential = Credential::AwsSecret(Arc::new(AwsSecret {
            access: access.clone(),
            region: given(&region),
            name: secret.name.clone(),
            version_id: given(&secret.version_id),
            version_stage: given(&secret.version_stage),
        }));
        let shown = credential.to_string();
        let fields = self.credential(credential).await?;
        let whole = text(&fields, "text")?;
        let Some(key) = given(&secret.secret_key) else {
            return Ok(whole.to_owned());
        };
        let object: Map<String, Value> = serde_json::from_str(whole)
            .map_err(|_| format!("{shown}: expected a JSON object, because secretKey is given"))?;
        let value = text(&object, &key).map(str::to_owned);
        value.map_err(|problem| format!("{shown}: {problem}"))
    }
}
