//! What both trigger types say of TLS and logins.

use serde::Deserialize;

use super::aws::AwsParameters;
use crate::clients::kafka::{Login, Mechanism, TokenSource};
use crate::clients::tls::{Identity, TlsSettings};
use crate::scaler::Trigger;

/// KEDA's names of logins. Not each trigger type has each of them.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum Sasl {
    #[serde(rename = "none")]
    None,
    #[serde(rename = "plaintext")]
    Plaintext,
    #[serde(rename = "scram_sha256")]
    ScramSha256,
    #[serde(rename = "scram_sha512")]
    ScramSha512,
    #[serde(rename = "oauthbearer")]
    Oauthbearer,
    #[serde(rename = "gssapi")]
    Gssapi,
    #[serde(rename = "aws_msk_iam")]
    AwsMskIam,
}

/// On or off, in KEDA's words.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    Enable,
    Disable,
}

/// The parameters of TLS.
pub struct Encryption<'a> {
    pub tls: Switch,
    pub ca: &'a Option<String>,
    pub cert: &'a Option<String>,
    pub key: &'a Option<String>,
    pub key_password: &'a Option<String>,
    pub insecure: bool,
}

/// The TLS setting, when TLS is enabled.
///
/// # Errors
/// For half a client certificate.
pub fn encryption(given: &Encryption<'_>) -> Result<Option<TlsSettings>, &'static str> {
    if given.tls == Switch::Disable {
        return Ok(None);
    }
    let identity = match (given.cert, given.key) {
        (Some(certificate), Some(key)) => Some(Identity {
            certificate: certificate.clone(),
            key: key.clone(),
            key_password: given.key_password.clone(),
        }),
        (Some(_), None) => return Err("key must be provided with cert"),
        (None, Some(_)) => return Err("cert must be provided with key"),
        (None, None) => None,
    };
    Ok(Some(TlsSettings {
        ca: given.ca.clone(),
        identity,
        insecure: given.insecure,
    }))
}

/// # Errors
/// For a login that isn't by password.
pub fn password_login(sasl: Sasl, username: String, password: String) -> Result<Login, String> {
    let mechanism = match sasl {
        Sasl::Plaintext => Mechanism::Plain,
        Sasl::ScramSha256 => Mechanism::ScramSha256,
        Sasl::ScramSha512 => Mechanism::ScramSha512,
        Sasl::Gssapi => {
            return Err(
                "sasl gssapi (Kerberos) is not supported: use plaintext, scram_sha256, scram_sha512 or oauthbearer"
                    .to_owned(),
            );
        }
        Sasl::None | Sasl::Oauthbearer | Sasl::AwsMskIam => {
            return Err("this sasl is not one of the trigger type".to_owned());
        }
    };
    Ok(Login::Password {
        mechanism,
        username,
        password,
    })
}

/// # Errors
/// When it isn't said who to be on AWS.
#[cfg(feature = "aws")]
pub fn msk(region: String, trigger: &Trigger, aws: &AwsParameters) -> Result<TokenSource, String> {
    let access = aws.access(trigger)?;
    Ok(TokenSource::MskIam { region, access })
}

#[cfg(not(feature = "aws"))]
pub fn msk(_: String, _: &Trigger, _: &AwsParameters) -> Result<TokenSource, String> {
    Err("aws_msk_iam is not in this build: it was made without the feature aws".to_owned())
}

/// What can't be in the name of a topic or a group.
pub fn check_name(parameter: &str, name: &str) -> Option<String> {
    name.contains('\0')
        .then(|| format!("{parameter} holds a zero byte"))
}
