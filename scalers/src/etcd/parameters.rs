//! The parameters of an `etcd` trigger.

use std::time::Duration;

use serde::Deserialize;

use crate::clients::etcd::{Endpoints, Login};
use crate::clients::grpc::Address;
use crate::clients::tls::{Identity, TlsSettings};
use crate::params::{AUTHENTICATION, Field, METADATA, Parameters, Source};

/// etcd's own port for clients.
const PORT: u16 = 2379;

const AUTHENTICATION_ENVIRONMENT: &[Source] = &[Source::Authentication, Source::Environment];

/// The parameters of an `etcd` trigger.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EtcdParameters {
    /// The endpoints of one etcd, with commas between them: `HOST:PORT`, with or without `http://` or `https://` before it.
    endpoints: Vec<String>,
    /// The key.
    pub watch_key: String,
    /// The number per replica.
    pub value: f64,
    /// The trigger is active above this number.
    pub activation_value: f64,
    /// How often, in seconds, the server tells watchers that it is there (etcd's `--watch-progress-notify-interval`). A
    /// watch that is silent for twice as long is opened anew, at the next endpoint.
    watch_progress_notify_interval: i64,
    /// The user. Without one, etcd's authentication must be off.
    username: Option<String>,
    /// The user's password.
    password: Option<String>,
    /// `enable` speaks TLS.
    tls: Tls,
    /// The client certificate, PEM.
    cert: Option<String>,
    /// The client certificate's private key, PEM.
    key: Option<String>,
    /// The password of an encrypted `key`.
    key_password: Option<String>,
    /// PEM of authorities that are trusted besides the system's.
    ca: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Tls {
    Enable,
    Disable,
}

impl Parameters for EtcdParameters {
    const FIELDS: &'static [Field] = &[
        Field::required("endpoints", METADATA),
        Field::required("watchKey", METADATA),
        Field::required("value", METADATA),
        Field::with_default("activationValue", METADATA, "0"),
        Field::with_default("watchProgressNotifyInterval", METADATA, "600"),
        Field::optional("username", AUTHENTICATION_ENVIRONMENT),
        Field::optional("password", AUTHENTICATION_ENVIRONMENT).secret(),
        Field::with_default("tls", AUTHENTICATION, "disable"),
        Field::optional("cert", AUTHENTICATION),
        Field::optional("key", AUTHENTICATION).secret(),
        Field::optional("keyPassword", AUTHENTICATION).secret(),
        Field::optional("ca", AUTHENTICATION),
    ];

    fn check(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut rule = |holds: bool, text: &str| {
            if !holds {
                broken.push(text.to_owned());
            }
        };
        rule(
            self.watch_progress_notify_interval > 0,
            "watchProgressNotifyInterval must be greater than 0",
        );
        if self.tls == Tls::Enable {
            let (cert, key) = (self.cert.is_some(), self.key.is_some());
            rule(cert || !key, "cert must be provided with key");
            rule(key || !cert, "key must be provided with cert");
        }
        let (user, password) = (self.username.is_some(), self.password.is_some());
        rule(user || !password, "username must be provided with password");
        rule(password || !user, "password must be provided with username");
        broken.extend(self.addresses().err());
        broken
    }
}

impl EtcdParameters {
    /// Whom to talk to, and how.
    ///
    /// # Errors
    /// For an endpoint that is none.
    pub(super) fn endpoints(&self) -> Result<Endpoints, String> {
        let login = self.username.clone().zip(self.password.clone());
        Ok(Endpoints {
            addresses: self.addresses()?,
            tls: self.tls_settings(),
            login: login.map(|(username, password)| Login { username, password }),
        })
    }

    fn given(&self) -> impl Iterator<Item = &str> {
        let endpoints = self.endpoints.iter().map(String::as_str);
        endpoints.filter(|endpoint| !endpoint.is_empty())
    }

    fn addresses(&self) -> Result<Vec<Address>, String> {
        let mut addresses = Vec::new();
        for endpoint in self.given() {
            let address = address(endpoint).ok_or_else(|| {
                // Not quoted: it may hold a password.
                "endpoints holds what is no endpoint: expected HOST:PORT, http://HOST:PORT or https://HOST:PORT, such as \
                 etcd-0.etcd.shop.svc:2379"
                    .to_owned()
            })?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err("endpoints holds no endpoint".to_owned());
        }
        Ok(addresses)
    }

    /// The first endpoint's scheme speaks for all (etcd's own client).
    fn tls_settings(&self) -> Option<TlsSettings> {
        let first = self.given().next().unwrap_or_default();
        match (scheme(first), self.tls) {
            (Some("http"), _) | (None, Tls::Disable) => None,
            (_, Tls::Disable) => Some(TlsSettings::default()),
            (_, Tls::Enable) => Some(TlsSettings {
                ca: self.ca.clone(),
                identity: self.identity(),
                insecure: false,
            }),
        }
    }

    fn identity(&self) -> Option<Identity> {
        Some(Identity {
            certificate: self.cert.clone()?,
            key: self.key.clone()?,
            key_password: self.key_password.clone(),
        })
    }

    /// How long a watch may tell nothing.
    pub(super) fn longest_silence(&self) -> Duration {
        // Above 0, see `check`.
        let seconds = u64::try_from(self.watch_progress_notify_interval).unwrap_or(1);
        Duration::from_secs(seconds.saturating_mul(2))
    }
}

fn scheme(endpoint: &str) -> Option<&str> {
    endpoint.split_once("://").map(|(scheme, _)| scheme)
}

/// The host and port of an endpoint; a path behind it is none of etcd's, and left away.
fn address(endpoint: &str) -> Option<Address> {
    let bare = match endpoint.split_once("://") {
        Some(("http" | "https", rest)) => rest.split('/').next().unwrap_or_default(),
        Some(_) => return None,
        None => endpoint,
    };
    Address::parse_with_port(bare, PORT).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params;
    use crate::scaler::Trigger;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn parse(metadata: Pairs, authentication: Pairs) -> Result<EtcdParameters, String> {
        let trigger = Trigger::new("etcd")
            .metadata([("endpoints", "a:1"), ("watchKey", "k"), ("value", "5")])
            .metadata(metadata.iter().copied())
            .authentication(authentication.iter().copied());
        params::parse(&trigger).map_err(|error| error.to_string())
    }

    #[test]
    fn endpoints_are_addresses_with_or_without_a_scheme() {
        for (text, expected) in [
            ("a:1", "a:1"),
            ("a:1, b , c:3,", "a:1 b:2379 c:3"),
            ("http://a:1/,https://b", "a:1 b:2379"),
            ("[::1]:2379,fd00::1", "[::1]:2379 [fd00::1]:2379"),
            ("a:1,a:1", "a:1"),
        ] {
            let parsed = parse(&[("endpoints", text)], &[]).unwrap();
            let shown: Vec<_> = parsed.addresses().unwrap();
            let shown: Vec<_> = shown.iter().map(ToString::to_string).collect();
            assert_eq!(shown.join(" "), expected, "{text}");
        }
        for text in ["unix:///run/etcd", "http://u:hunter2@a:1", "a:port", ","] {
            let error = parse(&[("endpoints", text)], &[]).err().unwrap();
            assert!(error.contains("endpoints holds"), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_first_endpoints_scheme_decides_about_tls() {
        let authority = ("ca", "PEM");
        for (endpoints, authentication, expected) in [
            ("a:1", &[authority][..], None),
            ("a:1", &[authority, ("tls", "enable")], Some(true)),
            ("http://a:1", &[authority, ("tls", "enable")], None),
            ("https://a:1", &[authority], Some(false)),
            (
                "https://a:1,b:2",
                &[authority, ("tls", "enable")],
                Some(true),
            ),
            ("a:1,https://b:2", &[authority], None),
        ] {
            let parsed = parse(&[("endpoints", endpoints)], authentication).unwrap();
            let settings = parsed.endpoints().unwrap().tls;
            // `ca` belongs to `tls: enable`.
            let has_authority = settings.map(|settings| settings.ca.is_some());
            assert_eq!(has_authority, expected, "{endpoints}");
        }
    }

    #[test]
    fn rules_are_kedas() {
        for (metadata, authentication, expected) in [
            (
                &[("watchProgressNotifyInterval", "0")][..],
                &[][..],
                "watchProgressNotifyInterval must be greater than 0",
            ),
            (&[("value", "many")], &[], "\"value\""),
            (&[("watchKey", "")], &[], "\"watchKey\""),
            (&[], &[("tls", "on")], "must be one of [enable disable]"),
            (
                &[],
                &[("tls", "enable"), ("key", "K")],
                "cert must be provided with key",
            ),
            (
                &[],
                &[("tls", "enable"), ("cert", "C")],
                "key must be provided with cert",
            ),
            (
                &[],
                &[("username", "u")],
                "password must be provided with username",
            ),
            (
                &[],
                &[("password", "p")],
                "username must be provided with password",
            ),
        ] {
            let error = parse(metadata, authentication).err().unwrap();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        // Without TLS they don't count.
        assert!(parse(&[], &[("cert", "C")]).is_ok());
    }

    #[test]
    fn users_come_from_the_authentication_or_the_environment() {
        let from_environment = Trigger::new("etcd")
            .metadata([("endpoints", "a:1"), ("watchKey", "k"), ("value", "5")])
            .metadata([("usernameFromEnv", "USER"), ("passwordFromEnv", "PASSWORD")])
            .environment([("USER", "u"), ("PASSWORD", "p")]);
        let parsed: EtcdParameters = params::parse(&from_environment).unwrap();
        assert_eq!(parsed.endpoints().unwrap().login.unwrap().username, "u");
        let both = from_environment.authentication([("username", "other")]);
        let parsed: EtcdParameters = params::parse(&both).unwrap();
        assert_eq!(parsed.endpoints().unwrap().login.unwrap().username, "other");
        assert_eq!(parsed.longest_silence(), Duration::from_secs(1200));
    }
}
