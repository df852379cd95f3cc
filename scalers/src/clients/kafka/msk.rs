//! Tokens of Amazon MSK: an address of its login, signed with credentials of AWS, in Base64. Nobody is asked for one.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::Mutex;
use url::Url;

use super::token::Token;
use crate::clients::Clients;
use crate::clients::aws::AwsAccess;
use crate::scaler::ScalerError;

/// Amazon's own signers give a token so long.
const GOOD_FOR: Duration = Duration::from_secs(900);
/// A new one is signed after this.
const USED_FOR: Duration = Duration::from_secs(600);

/// The tokens of one access to a region.
pub struct Tokens {
    region: String,
    access: AwsAccess,
    clients: Arc<Clients>,
    kept: Mutex<Option<(Token, Instant)>>,
}

impl Tokens {
    pub fn new(region: String, access: AwsAccess, clients: Arc<Clients>) -> Self {
        Self {
            region,
            access,
            clients,
            kept: Mutex::default(),
        }
    }

    /// # Errors
    /// Without credentials.
    pub async fn token(&self) -> Result<Token, ScalerError> {
        let mut kept = self.kept.lock().await;
        if let Some((token, signed)) = &*kept
            && signed.elapsed() < USED_FOR
        {
            return Ok(token.clone());
        }
        let config = self.clients.aws.config(&self.access, Some(&self.region));
        let config = config.await;
        config.check().await?;
        let nobody = || ScalerError::Unauthorized("there are no credentials of AWS".to_owned());
        let provider = config.sdk.credentials_provider().ok_or_else(nobody)?;
        let credentials = provider.provide_credentials().await;
        let credentials = credentials.map_err(|_| nobody())?;
        let value = signed(&self.region, &credentials, SystemTime::now())
            .map_err(|why| ScalerError::Unauthorized(format!("signing a token: {why}")))?;
        let token = Token {
            value,
            principal: credentials.access_key_id().to_owned(),
            extensions: Vec::new(),
        };
        *kept = Some((token.clone(), Instant::now()));
        Ok(token)
    }

    pub async fn forget(&self) {
        *self.kept.lock().await = None;
    }
}

/// The token of these credentials.
fn signed(region: &str, credentials: &Credentials, now: SystemTime) -> Result<String, String> {
    let host = format!("kafka.{region}.amazonaws.com");
    let mut url = Url::parse(&format!("https://{host}/?Action=kafka-cluster%3AConnect"))
        .map_err(|_| "awsRegion is no part of a host's name".to_owned())?;
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(GOOD_FOR);
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("kafka-cluster")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let request = SignableRequest::new(
        "GET",
        url.as_str(),
        std::iter::once(("host", host.as_str())),
        SignableBody::Bytes(&[]),
    );
    let (instructions, _) = sign(request.map_err(|error| error.to_string())?, &parameters)
        .map_err(|error| error.to_string())?
        .into_parts();
    for (name, value) in instructions.params() {
        url.query_pairs_mut().append_pair(name, value);
    }
    // It isn't part of what is signed.
    url.query_pairs_mut().append_pair("User-Agent", "sakidori");
    Ok(URL_SAFE_NO_PAD.encode(url.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_signed_address() {
        let credentials = Credentials::new("AKID", "hunter2", Some("st".to_owned()), None, "test");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let token = signed("eu-west-1", &credentials, now).unwrap();
        let url = String::from_utf8(URL_SAFE_NO_PAD.decode(&token).unwrap()).unwrap();
        assert!(!url.contains("hunter2"), "{url}");
        let url = Url::parse(&url).unwrap();
        assert_eq!(url.host_str(), Some("kafka.eu-west-1.amazonaws.com"));
        let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let value = |name: &str| {
            let found = query.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(value("Action"), Some("kafka-cluster:Connect"));
        assert_eq!(value("X-Amz-Algorithm"), Some("AWS4-HMAC-SHA256"));
        assert_eq!(
            value("X-Amz-Credential"),
            Some("AKID/20270115/eu-west-1/kafka-cluster/aws4_request")
        );
        assert_eq!(value("X-Amz-Expires"), Some("900"));
        assert_eq!(value("X-Amz-SignedHeaders"), Some("host"));
        assert_eq!(value("X-Amz-Security-Token"), Some("st"));
        assert_eq!(value("X-Amz-Signature").map(str::len), Some(64));
        assert_eq!(value("User-Agent"), Some("sakidori"));
    }
}
