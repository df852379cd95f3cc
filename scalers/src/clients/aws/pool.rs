//! SDK configurations by identity.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::identity::IdentityCache;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sts::config::SharedHttpClient;

use super::client::{Account, AwsClient};
use super::credentials::{Chain, Role, Shared, WebIdentity};
use super::http::SdkHttp;
use super::{AwsAccess, AwsIdentity};
use crate::clients::http::HttpPool;
use crate::clients::tls::TlsSettings;
use crate::scaler::ScalerError;

/// Whose credentials nobody asked for this long are forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(2 * 60 * 60);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// A whole operation, tries included: a poll must not hang on it.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// All identities on AWS, and the clients that are them.
pub struct AwsPool {
    pool: Arc<HttpPool>,
    http: OnceLock<SdkHttp>,
    /// A client lives as long as a scaler refers to it.
    clients: Mutex<HashMap<Account, Weak<AwsClient>>>,
    /// By region.
    bases: tokio::sync::Mutex<HashMap<Option<String>, SdkConfig>>,
    shared: Mutex<HashMap<Key, Entry>>,
}

/// An identity, and the region whose STS is asked.
type Key = (AwsIdentity, Option<String>);
/// Credentials, and when somebody asked for them last.
type Entry = (Shared, Instant);

/// The configuration of an SDK client, made for one access and region.
pub struct AwsConfig {
    pub sdk: SdkConfig,
    shared: Option<Shared>,
    /// A region that is none.
    wrong_region: Option<String>,
}

impl AwsConfig {
    /// Whether there are credentials, in words that the SDK does not have. To be asked before the configuration is used.
    ///
    /// # Errors
    /// Why there are none, without secrets.
    pub async fn check(&self) -> Result<(), ScalerError> {
        if let Some(region) = &self.wrong_region {
            let problem = format!(
                "the region is {region:?}: expected letters, digits and '-', such as eu-west-1"
            );
            return Err(ScalerError::Malformed(problem));
        }
        match &self.shared {
            Some(shared) => shared.get(SystemTime::now()).await.map(drop),
            None => Ok(()),
        }
    }
}

impl AwsPool {
    pub fn new(pool: Arc<HttpPool>) -> Self {
        Self {
            pool,
            http: OnceLock::new(),
            clients: Mutex::default(),
            bases: tokio::sync::Mutex::default(),
            shared: Mutex::default(),
        }
    }

    /// The client of an account: one for all triggers that are the same there.
    pub fn client(self: &Arc<Self>, account: Account) -> Arc<AwsClient> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&account).and_then(Weak::upgrade) {
            return client;
        }
        clients.retain(|_, client| client.strong_count() > 0);
        let client = Arc::new(AwsClient::new(account.clone(), Arc::clone(self)));
        clients.insert(account, Arc::downgrade(&client));
        client
    }

    /// What everything on AWS is asked through.
    pub(super) fn http(&self) -> SdkHttp {
        let new = || SdkHttp(self.pool.client(&TlsSettings::default()));
        self.http.get_or_init(new).clone()
    }

    /// How long a question of a poll may take.
    pub(super) fn within(&self) -> Duration {
        self.pool.timeout(None)
    }

    /// The configuration for questions of polls: each is asked once, the next poll is the next try.
    pub(super) fn for_polls(&self, sdk: &SdkConfig, endpoint: Option<&str>) -> SdkConfig {
        let timeouts = TimeoutConfig::builder().operation_timeout(self.within());
        let mut config = match endpoint {
            None => sdk.clone().into_builder(),
            Some(endpoint) => at(endpoint, sdk).into_builder(),
        };
        config.set_retry_config(Some(RetryConfig::disabled()));
        config.set_timeout_config(Some(timeouts.build()));
        config.build()
    }

    /// The configuration of a client. `region` is the environment's (`AWS_REGION`) if not given. Endpoints are AWS's, or the
    /// environment's (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_STS`, ...).
    pub async fn config(&self, access: &AwsAccess, region: Option<&str>) -> AwsConfig {
        let base = self.base(region).await;
        let (provider, shared) = match access {
            AwsAccess::Identity(identity) => {
                let shared = self.shared(&base, identity, region);
                let provider = SharedCredentialsProvider::new(shared.clone());
                (provider, Some(shared))
            }
            AwsAccess::Keys {
                access_key_id,
                secret_access_key,
                session_token,
            } => {
                let keys = Credentials::new(
                    access_key_id,
                    secret_access_key,
                    session_token.clone(),
                    None,
                    "keys",
                );
                (SharedCredentialsProvider::new(keys), None)
            }
        };
        AwsConfig {
            sdk: base.into_builder().credentials_provider(provider).build(),
            shared,
            wrong_region: region
                .filter(|region| !is_region(region))
                .map(str::to_owned),
        }
    }

    /// What all configurations for a region have in common.
    async fn base(&self, region: Option<&str>) -> SdkConfig {
        let mut bases = self.bases.lock().await;
        let key = region.map(str::to_owned);
        if let Some(base) = bases.get(&key) {
            return base.clone();
        }
        // Not from the machine's metadata, like Go's SDK: where there is none, asking takes longer than anyone waits.
        let region = RegionProviderChain::first_try(key.clone().map(Region::new))
            .or_else(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new());
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_WITHIN)
            .operation_timeout(ANSWER_WITHIN)
            .build();
        let base = aws_config::defaults(BehaviorVersion::latest())
            .region(region)
            .http_client(SharedHttpClient::new(self.http()))
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(2))
            // They are kept here, for all clients of an identity.
            .identity_cache(IdentityCache::no_cache())
            .load()
            .await;
        bases.insert(key, base.clone());
        base
    }

    /// The credentials of an identity: one for all who are it.
    fn shared(&self, base: &SdkConfig, identity: &AwsIdentity, region: Option<&str>) -> Shared {
        let key = (identity.clone(), region.map(str::to_owned));
        let now = Instant::now();
        {
            let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            shared.retain(|_, (_, used)| now.duration_since(*used) < FORGET_AFTER);
            if let Some((found, used)) = shared.get_mut(&key) {
                *used = now;
                return found.clone();
            }
        }
        let made = match &identity.role_arn {
            None => own(base),
            Some(role_arn) => {
                let own = self.shared(base, &AwsIdentity::default(), region);
                let provider = SharedCredentialsProvider::new(own.clone());
                let config = base.clone().into_builder();
                let config = config.credentials_provider(provider).build();
                Shared::new(Role {
                    sts: aws_sdk_sts::Client::new(&config),
                    own,
                    web_identity: web_identity(base, role_arn),
                    role_arn: role_arn.clone(),
                    external_id: identity.external_id.clone(),
                })
            }
        };
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        // Another may have been as quick.
        shared.entry(key).or_insert((made, now)).0.clone()
    }
}

/// A region becomes a part of host names, AWS's STS among them, which is shown the operator's token: `x.example.com/` would be a host
/// of the user's choice. AWS's longest has 15 characters, a label of a host name has 63.
fn is_region(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    !text.is_empty() && text.len() <= 63 && text.chars().all(allowed)
}

/// The configuration with another endpoint, and without what the environment says of endpoints: of a single service's that would go
/// before this one.
fn at(endpoint: &str, sdk: &SdkConfig) -> SdkConfig {
    let mut bare = SdkConfig::builder().endpoint_url(endpoint);
    bare.set_behavior_version(sdk.behavior_version());
    bare.set_region(sdk.region().cloned());
    bare.set_credentials_provider(sdk.credentials_provider());
    bare.set_identity_cache(sdk.identity_cache());
    bare.set_http_client(sdk.http_client());
    bare.set_sleep_impl(sdk.sleep_impl());
    bare.set_time_source(sdk.time_source());
    bare.build()
}

/// Who the operator's pod is.
fn own(base: &SdkConfig) -> Shared {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    // The SDK's order: keys go first.
    let role = match variable("AWS_ACCESS_KEY_ID") {
        None => variable("AWS_ROLE_ARN"),
        Some(_) => None,
    };
    if let Some(web_identity) = role.and_then(|role| web_identity(base, &role)) {
        return Shared::new(web_identity);
    }
    Shared::new(Chain(base.credentials_provider()))
}

fn web_identity(base: &SdkConfig, role_arn: &str) -> Option<WebIdentity> {
    let token_file = std::env::var("AWS_WEB_IDENTITY_TOKEN_FILE").ok();
    Some(WebIdentity {
        sts: aws_sdk_sts::Client::new(base),
        token_file: token_file.filter(|path| !path.is_empty())?,
        role_arn: role_arn.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::ClientSettings;

    #[tokio::test]
    async fn a_region_never_names_a_host() {
        for region in ["eu-west-1", "us-gov-east-1", "local"] {
            assert!(is_region(region), "{region}");
        }
        let http = Arc::new(HttpPool::new(ClientSettings::default()));
        let pool = AwsPool::new(http);
        let identity = AwsAccess::Identity(AwsIdentity::default());
        for region in [
            "",
            "x.example.com/",
            "x.example.com#",
            "a.b",
            "eu west",
            "@x",
        ] {
            let config = pool.config(&identity, Some(region)).await;
            let problem = config.check().await.unwrap_err().to_string();
            assert!(problem.contains("the region is"), "{region:?}: {problem}");
        }
    }
}
