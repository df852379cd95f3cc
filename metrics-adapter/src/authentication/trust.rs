//! Whose certificates count: ConfigMap `kube-system/extension-apiserver-authentication`, which kube-apiserver publishes
//! for servers like this one, followed so that a rotated authority is known at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use futures::StreamExt;
use http::HeaderName;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use sakidori_engine::Spell;

use super::certificate::Authorities;
use super::request_header::FrontProxy;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";
/// For messages.
pub(crate) const OBJECT: &str = "ConfigMap kube-system/extension-apiserver-authentication";

/// Whose certificates count.
#[derive(Debug)]
pub(crate) struct Trust {
    /// None when the cluster has no aggregation layer: then headers name nobody.
    pub(crate) front_proxy: Option<FrontProxy>,
    /// None when the cluster has no client certificates.
    pub(crate) clients: Option<Authorities>,
}

#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{OBJECT}, key {key:?}: {problem}")]
pub(crate) struct TrustError {
    key: &'static str,
    problem: String,
}

impl Trust {
    /// Reads the ConfigMap's keys.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub(crate) fn read(keys: &BTreeMap<String, String>) -> Result<Self, TrustError> {
        let authorities =
            |key: &'static str| match keys.get(key).filter(|bundle| !bundle.is_empty()) {
                Some(bundle) => Authorities::from_pem(bundle)
                    .map(Some)
                    .map_err(|problem| TrustError { key, problem }),
                None => Ok(None),
            };
        let front_proxy = match authorities("requestheader-client-ca-file")? {
            Some(authorities) => Some(FrontProxy {
                authorities,
                allowed_names: list(keys, "requestheader-allowed-names")?,
                username_headers: headers(keys, "requestheader-username-headers")?,
                uid_headers: headers(keys, "requestheader-uid-headers")?,
                group_headers: headers(keys, "requestheader-group-headers")?,
                extra_header_prefixes: list(keys, "requestheader-extra-headers-prefix")?
                    .iter()
                    .map(|prefix| prefix.to_ascii_lowercase())
                    .collect(),
            }),
            None => None,
        };
        Ok(Self {
            front_proxy,
            clients: authorities("client-ca-file")?,
        })
    }
}

/// A JSON list of strings; absent is empty.
fn list(keys: &BTreeMap<String, String>, key: &'static str) -> Result<Vec<String>, TrustError> {
    match keys.get(key).filter(|text| !text.is_empty()) {
        Some(text) => serde_json::from_str(text).map_err(|error| TrustError {
            key,
            problem: format!("{text:?} is no JSON list of strings: {error}"),
        }),
        None => Ok(Vec::new()),
    }
}

fn headers(
    keys: &BTreeMap<String, String>,
    key: &'static str,
) -> Result<Vec<HeaderName>, TrustError> {
    list(keys, key)?
        .iter()
        .map(|name| {
            HeaderName::try_from(name.as_str()).map_err(|_| TrustError {
                key,
                problem: format!("{name:?} is no header name"),
            })
        })
        .collect()
}

/// Keeps `trust` as the ConfigMap says, for ever. While the ConfigMap is missing, wrong or can't be read, what was last
/// known stays.
pub(crate) async fn follow(client: kube::Client, trust: Arc<ArcSwapOption<Trust>>) {
    let object = Api::<ConfigMap>::namespaced(client, NAMESPACE);
    let changes = watcher::watch_object(object, NAME).default_backoff();
    let mut changes = std::pin::pin!(changes);
    let mut watching = Spell::default();
    let (none, mut known) = (BTreeMap::new(), None);
    while let Some(change) = changes.next().await {
        match change {
            // A watch that is begun anew shows what is known.
            Ok(Some(object)) if object.data == known => {}
            Ok(Some(object)) => match Trust::read(object.data.as_ref().unwrap_or(&none)) {
                Ok(read) => {
                    trust.store(Some(Arc::new(read)));
                    known = object.data;
                    tracing::info!("read {OBJECT}");
                }
                Err(error) => {
                    tracing::warn!(%error, "{OBJECT} can't be used: the authorities known before stay");
                }
            },
            Ok(None) => tracing::warn!(
                "{OBJECT} is missing: client certificates can't be judged until it is there"
            ),
            Err(error) => {
                let error = error.to_string();
                if watching.fails(Timestamp::now(), &error) {
                    tracing::warn!(error, "can't watch {OBJECT}: trying again");
                }
                continue;
            }
        }
        if watching.works() {
            tracing::info!("watching {OBJECT} again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &str, value: &str) -> Result<Trust, TrustError> {
        let authority = sakidori_test_cluster::pki::Authority::new("proxies").unwrap();
        let mut keys = BTreeMap::from([(
            "requestheader-client-ca-file".to_owned(),
            authority.certificate().to_owned(),
        )]);
        keys.insert(key.to_owned(), value.to_owned());
        Trust::read(&keys)
    }

    #[test]
    fn a_cluster_without_an_aggregation_layer_has_no_front_proxy() {
        let trust = Trust::read(&BTreeMap::new()).unwrap();
        assert!(trust.front_proxy.is_none() && trust.clients.is_none());
    }

    #[test]
    fn a_wrong_key_is_named() {
        for (key, value) in [
            ("client-ca-file", "no PEM"),
            ("requestheader-client-ca-file", "no PEM"),
            ("requestheader-allowed-names", "front-proxy"),
            ("requestheader-username-headers", r#"["X Remote User"]"#),
            ("requestheader-group-headers", r#"{"a": 1}"#),
        ] {
            let error = read(key, value).unwrap_err();
            assert_eq!(error.key, key, "{error}");
        }
        assert!(read("client-ca-file", "").unwrap().clients.is_none());
    }

    #[test]
    fn an_odd_certificate_does_not_spoil_the_bundle() {
        let authority = sakidori_test_cluster::pki::Authority::new("clients").unwrap();
        let odd = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let bundle = format!("{odd}{}", authority.certificate());
        assert!(read("client-ca-file", &bundle).unwrap().clients.is_some());
        assert!(read("client-ca-file", odd).is_err());
    }
}
