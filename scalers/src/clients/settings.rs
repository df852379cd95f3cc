//! What holds for all clients of the process: KEDA's environment variables, and the proxies of the environment.

use std::time::Duration;

use reqwest::{NoProxy, Proxy};

use super::tls_floor::TlsFloor;
use crate::params::without_credentials;

/// The settings of all clients. The default is KEDA's, without proxies.
#[derive(Clone)]
pub struct ClientSettings {
    /// How long an HTTP answer may take where the trigger doesn't say: `KEDA_HTTP_DEFAULT_TIMEOUT`, in milliseconds.
    pub http_timeout: Duration,
    /// Whether HTTP connections are used again: not with `KEDA_HTTP_DISABLE_KEEP_ALIVE`.
    pub http_keep_alive: bool,
    /// What TLS with event sources may be at worst: `KEDA_HTTP_MIN_TLS_VERSION`, `KEDA_HTTP_TLS_CIPHER_LIST`.
    pub oldest_tls: TlsFloor,
    /// In the order in which they are tried.
    proxies: Vec<Proxy>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            http_timeout: Duration::from_secs(3),
            http_keep_alive: true,
            oldest_tls: TlsFloor::default(),
            proxies: Vec::new(),
        }
    }
}

/// KEDA: CreateHTTPClient takes this for a timeout of 0 or less.
const TIMEOUT_FOR_NONE: Duration = Duration::from_millis(300);

/// Never reached through a proxy: this machine (Go's http.ProxyFromEnvironment), and what it alone can ask who it is (the metadata
/// of clouds).
const OWN: &str = "localhost,127.0.0.0/8,::1,169.254.0.0/16,fe80::/10";

impl ClientSettings {
    /// The settings that an environment gives: the variables above, and `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY` in capital or
    /// small letters. An empty variable is an absent one.
    ///
    /// # Errors
    /// One sentence per variable that isn't what it should be, without credentials.
    pub fn from_environment(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<String>> {
        let given = |name: &str| {
            let value = lookup(name)?.trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        let mut settings = Self::default();
        let mut problems = Vec::new();
        if let Some(text) = given("KEDA_HTTP_DEFAULT_TIMEOUT") {
            match text.parse::<i64>() {
                Ok(millis) => {
                    let timeout = u64::try_from(millis).ok().filter(|millis| *millis > 0);
                    settings.http_timeout = timeout.map_or(TIMEOUT_FOR_NONE, Duration::from_millis);
                }
                Err(_) => problems.push(format!(
                    "KEDA_HTTP_DEFAULT_TIMEOUT is {text:?}: expected a whole number of milliseconds"
                )),
            }
        }
        match given("KEDA_HTTP_DISABLE_KEEP_ALIVE").as_deref() {
            None | Some("0" | "f" | "F" | "FALSE" | "false" | "False") => {}
            Some("1" | "t" | "T" | "TRUE" | "true" | "True") => settings.http_keep_alive = false,
            Some(text) => problems.push(format!(
                "KEDA_HTTP_DISABLE_KEEP_ALIVE is {text:?}: expected true or false"
            )),
        }
        const VERSION: &str = "KEDA_HTTP_MIN_TLS_VERSION";
        const SUITES: &str = "KEDA_HTTP_TLS_CIPHER_LIST";
        let version = given(VERSION).unwrap_or_else(|| "TLS12".to_owned());
        let suites = given(SUITES).unwrap_or_default();
        match TlsFloor::parse((VERSION, &version), (SUITES, &suites)) {
            Ok(floor) => settings.oldest_tls = floor,
            Err(found) => problems.extend(found),
        }
        let either = |name: &str| given(name).or_else(|| given(&name.to_lowercase()));
        let except = format!("{OWN},{}", either("NO_PROXY").unwrap_or_default());
        let kinds = [
            ("HTTP_PROXY", Proxy::http::<String> as fn(String) -> _),
            ("HTTPS_PROXY", Proxy::https::<String>),
        ];
        for (name, proxy) in kinds {
            let Some(url) = either(name) else { continue };
            match proxy(url.clone()) {
                Ok(proxy) => settings
                    .proxies
                    .push(proxy.no_proxy(NoProxy::from_string(&except))),
                Err(_) => problems.push(format!(
                    "{name} is {:?}: expected a URL such as http://proxy.shop:3128",
                    shown(&url)
                )),
            }
        }
        if problems.is_empty() {
            Ok(settings)
        } else {
            Err(problems)
        }
    }

    pub(super) fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }
}

/// A proxy's URL without its user: `user:password@host` needs no scheme before it.
fn shown(url: &str) -> String {
    match url.contains("://") {
        true => without_credentials(url),
        false => match url.rsplit_once('@') {
            Some((_, host)) => format!("***@{host}"),
            None => url.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::TlsVersion;

    fn settings(environment: &[(&str, &str)]) -> Result<ClientSettings, Vec<String>> {
        ClientSettings::from_environment(|name| {
            let found = environment.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_given_is_kedas_default() {
        for environment in [&[][..], &[("KEDA_HTTP_DEFAULT_TIMEOUT", " ")]] {
            let found = settings(environment).ok().unwrap();
            assert_eq!(found.http_timeout, Duration::from_secs(3));
            assert_eq!(found.oldest_tls, TlsFloor::default());
            assert!(found.http_keep_alive && found.proxies.is_empty());
        }
    }

    #[test]
    fn kedas_variables_count() {
        let found = settings(&[
            ("KEDA_HTTP_DEFAULT_TIMEOUT", "1500"),
            ("KEDA_HTTP_DISABLE_KEEP_ALIVE", "True"),
            ("KEDA_HTTP_MIN_TLS_VERSION", "TLS13"),
            ("HTTPS_PROXY", "http://user:hunter2@proxy:3128"),
            ("http_proxy", "proxy:3128"),
        ]);
        let found = found.ok().unwrap();
        assert_eq!(found.http_timeout, Duration::from_millis(1500));
        assert_eq!(found.oldest_tls.oldest, TlsVersion::Tls13);
        assert!(!found.http_keep_alive);
        assert_eq!(found.proxies.len(), 2);
        for none in ["0", "-5"] {
            let found = settings(&[("KEDA_HTTP_DEFAULT_TIMEOUT", none)])
                .ok()
                .unwrap();
            assert_eq!(found.http_timeout, TIMEOUT_FOR_NONE);
        }
    }

    #[test]
    fn all_bad_values_are_told_without_credentials() {
        let problems = settings(&[
            ("KEDA_HTTP_DEFAULT_TIMEOUT", "3s"),
            ("KEDA_HTTP_DISABLE_KEEP_ALIVE", "yes"),
            ("KEDA_HTTP_MIN_TLS_VERSION", "TLS11"),
            ("HTTP_PROXY", "http://user:hunter2@"),
            ("https_proxy", "user:hunter2@ho st"),
        ])
        .err()
        .unwrap();
        assert_eq!(problems.len(), 5, "{problems:?}");
        for (problem, starts) in problems.iter().zip([
            "KEDA_HTTP_DEFAULT_TIMEOUT is \"3s\": expected a whole number",
            "KEDA_HTTP_DISABLE_KEEP_ALIVE is \"yes\": expected true",
            "KEDA_HTTP_MIN_TLS_VERSION is \"TLS11\": TLS 1.0 and 1.1",
            "HTTP_PROXY is \"http://***@\"",
            "HTTPS_PROXY is \"***@ho st\"",
        ]) {
            assert!(problem.starts_with(starts), "{problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }
}
