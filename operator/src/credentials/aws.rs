//! `awsSecretManager`: reads secrets of AWS Secrets Manager.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::SdkError;
use sakidori_scalers::clients::Clients;
use sakidori_scalers::clients::aws::{AwsAccess, failure};

use super::{Fetched, fields};

/// A secret, and who reads it. No `Debug`: it may hold keys.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AwsSecret {
    pub access: AwsAccess,
    /// The environment's if not given.
    pub region: Option<String>,
    /// Or its ARN.
    pub name: String,
    pub version_id: Option<String>,
    pub version_stage: Option<String>,
}

impl fmt::Display for AwsSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the secret {:?} of AWS Secrets Manager", self.name)
    }
}

/// AWS Secrets Manager.
pub struct SecretsManager {
    pub clients: Arc<Clients>,
    pub refresh: Duration,
}

impl SecretsManager {
    pub async fn fetch(&self, secret: &AwsSecret) -> Result<Fetched, String> {
        let region = secret.region.as_deref();
        let config = self.clients.aws.config(&secret.access, region).await;
        config.check().await.map_err(|error| error.to_string())?;
        let answer = Client::new(&config.sdk)
            .get_secret_value()
            .secret_id(&secret.name)
            .set_version_id(secret.version_id.clone())
            .set_version_stage(secret.version_stage.clone())
            .send()
            .await;
        let content = match answer {
            Ok(answer) => {
                let text = answer
                    .secret_string
                    .ok_or("its value is no text (SecretString)")?;
                Some(fields([("text", text)]))
            }
            Err(SdkError::ServiceError(refused))
                if refused.err().is_resource_not_found_exception() =>
            {
                None
            }
            Err(error) => return Err(failure(&error).to_string()),
        };
        Ok(Fetched {
            content,
            again_in: self.refresh,
            session: None,
        })
    }
}
