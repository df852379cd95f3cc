//! Who asks: kube-apiserver's delegated authentication, in its order.
//!
//! 1. A front proxy (kube-apiserver's aggregation layer) names the user in headers, and proves itself by a client
//!    certificate of the request-header CA.
//! 2. A client certificate of the cluster's client CA names the user.
//! 3. A bearer token, which the API server reviews.
//! 4. Without any of these: `system:anonymous`. Credentials that are there and wrong are 401, never anonymous.

pub(crate) mod certificate;
mod request_header;
mod token;
pub(crate) mod trust;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderMap;

use crate::reviews::Reviews;
use crate::spell::SharedSpell;
use crate::status::Failure;
use crate::tls::Peer;
use token::{TokenReader, bearer_token};
use trust::Trust;

pub(crate) const ANONYMOUS: &str = "system:anonymous";
const AUTHENTICATED_GROUP: &str = "system:authenticated";
const UNAUTHENTICATED_GROUP: &str = "system:unauthenticated";

/// Who asks, as Kubernetes' reviews name them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) groups: Vec<String>,
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

impl User {
    fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.to_owned(),
            groups: vec![UNAUTHENTICATED_GROUP.to_owned()],
            ..Self::default()
        }
    }

    /// With the group that everybody has who proved who they are.
    fn authenticated(mut self) -> Self {
        let known = [AUTHENTICATED_GROUP, UNAUTHENTICATED_GROUP];
        if self.name != ANONYMOUS
            && !self
                .groups
                .iter()
                .any(|group| known.contains(&group.as_str()))
        {
            self.groups.push(AUTHENTICATED_GROUP.to_owned());
        }
        self
    }
}

/// Who asks, and through whom.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Caller {
    pub(crate) user: User,
    /// Whether the front proxy says so, which has authorized this very request before it passed it on.
    pub(crate) through_front_proxy: bool,
}

impl Caller {
    fn direct(user: User) -> Self {
        Self {
            user,
            through_front_proxy: false,
        }
    }
}

/// Tells who asks.
pub(crate) struct Authenticator {
    trust: Arc<ArcSwapOption<Trust>>,
    tokens: TokenReader,
    refusing: SharedSpell,
}

impl Authenticator {
    pub(crate) fn new(trust: Arc<ArcSwapOption<Trust>>, reviews: Arc<Reviews>) -> Self {
        Self {
            trust,
            tokens: TokenReader::new(reviews),
            refusing: SharedSpell::default(),
        }
    }

    /// Who sent a request with these headers over a connection to this peer.
    ///
    /// # Errors
    /// 401 for credentials that are wrong, 503 while they can't be judged.
    pub(crate) async fn authenticate(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
    ) -> Result<Caller, Failure> {
        if let Some(chain) = peer.chain() {
            let trust = self.trust.load_full().ok_or_else(|| {
                Failure::unavailable(format!(
                    "{} has not been read yet: client certificates can't be judged",
                    trust::OBJECT
                ))
            })?;
            match by_certificate(&trust, chain, headers) {
                Ok(caller) => return Ok(caller),
                // A wrong certificate beside a good token does no harm; kube-apiserver goes on to the token too.
                Err(_) if bearer_token(headers).is_some() => {}
                Err(problem) => {
                    let error = problem.to_string();
                    if self.refusing.fails(&error) {
                        tracing::info!(
                            error,
                            "a client certificate was refused; more are told at debug"
                        );
                    } else {
                        tracing::debug!(error, "a client certificate was refused");
                    }
                    return Err(Failure::unauthorized());
                }
            }
        }
        match bearer_token(headers) {
            Some(token) => Ok(Caller::direct(
                self.tokens.user(token).await?.authenticated(),
            )),
            None => Ok(Caller::direct(User::anonymous())),
        }
    }
}

/// The user whom a certificate, or the front proxy that it proves, names; else why it names nobody.
fn by_certificate(
    trust: &Trust,
    chain: &certificate::Chain,
    headers: &HeaderMap,
) -> Result<Caller, String> {
    let not_proxy = match &trust.front_proxy {
        Some(front_proxy) => match front_proxy.user(chain, headers) {
            Ok(user) => {
                return Ok(Caller {
                    user: user.authenticated(),
                    through_front_proxy: true,
                });
            }
            Err(problem) => format!("not the front proxy: {problem}"),
        },
        None => "no request-header CA is known".to_owned(),
    };
    let Some(clients) = &trust.clients else {
        return Err(format!("{not_proxy}; no client CA is known"));
    };
    match clients
        .verify(chain)
        .and_then(|()| certificate::user(chain))
    {
        Ok(user) => Ok(Caller::direct(user.authenticated())),
        Err(problem) => Err(format!("{not_proxy}; not a client: {problem}")),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    use sakidori_test_cluster::pki::Authority;

    use super::*;

    fn trust(proxies: &Authority, clients: &Authority, allowed_names: &str) -> Trust {
        let keys = [
            ("requestheader-client-ca-file", proxies.certificate()),
            ("client-ca-file", clients.certificate()),
            ("requestheader-allowed-names", allowed_names),
            (
                "requestheader-username-headers",
                r#"["X-Remote-User", "X-Other-User"]"#,
            ),
            ("requestheader-uid-headers", r#"["X-Remote-Uid"]"#),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
            (
                "requestheader-extra-headers-prefix",
                r#"["X-Remote-Extra-"]"#,
            ),
        ];
        Trust::read(
            &keys
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        )
        .unwrap()
    }

    fn chain(
        authority: &Authority,
        name: &str,
        organizations: &[&str],
    ) -> Vec<CertificateDer<'static>> {
        let identity = authority.issue(name, organizations, &[]).unwrap();
        vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()]
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn the_front_proxy_names_the_user_in_all_its_headers() {
        let (proxies, clients) = (
            Authority::new("proxies").unwrap(),
            Authority::new("clients").unwrap(),
        );
        let said = headers(&[
            ("x-remote-user", ""),
            ("x-other-user", "jane"),
            ("x-remote-uid", "42"),
            ("x-remote-group", "shop"),
            ("x-remote-group", "till"),
            ("x-remote-extra-example.org%2fscopes", "read"),
            ("x-remote-extra-example.org%2fscopes", "write"),
        ]);
        let trust = trust(&proxies, &clients, r#"["front-proxy"]"#);
        let caller = by_certificate(&trust, &chain(&proxies, "front-proxy", &[]), &said).unwrap();
        let extra = BTreeMap::from([(
            "example.org/scopes".to_owned(),
            vec!["read".to_owned(), "write".to_owned()],
        )]);
        let groups = ["shop", "till", AUTHENTICATED_GROUP]
            .map(str::to_owned)
            .to_vec();
        let user = User {
            name: "jane".to_owned(),
            uid: "42".to_owned(),
            groups,
            extra,
        };
        assert_eq!(
            caller,
            Caller {
                user,
                through_front_proxy: true
            }
        );
    }

    #[test]
    fn only_the_front_proxy_is_believed() {
        let (proxies, clients) = (
            Authority::new("proxies").unwrap(),
            Authority::new("clients").unwrap(),
        );
        let stranger = Authority::new("proxies").unwrap();
        let said = headers(&[
            ("x-remote-user", "admin"),
            ("x-remote-group", "system:masters"),
        ]);
        let one_name = r#"["front-proxy"]"#;
        for (allowed_names, certificate, expected) in [
            (one_name, chain(&proxies, "front-proxy", &[]), Some("admin")),
            (one_name, chain(&proxies, "somebody", &[]), None),
            ("[]", chain(&proxies, "somebody", &[]), Some("admin")),
            ("", chain(&proxies, "somebody", &[]), Some("admin")),
            ("[]", chain(&stranger, "front-proxy", &[]), None),
            // A client is who it is, whatever it says.
            (
                "[]",
                chain(&clients, "front-proxy", &[]),
                Some("front-proxy"),
            ),
        ] {
            let trust = trust(&proxies, &clients, allowed_names);
            let caller = by_certificate(&trust, &certificate, &said);
            let name = caller.as_ref().map(|caller| caller.user.name.as_str());
            assert_eq!(name.ok(), expected, "{allowed_names}: {caller:?}");
        }
    }

    #[test]
    fn a_client_certificate_names_user_and_groups() {
        let (proxies, clients) = (
            Authority::new("proxies").unwrap(),
            Authority::new("clients").unwrap(),
        );
        let trust = trust(&proxies, &clients, "[]");
        let caller = by_certificate(
            &trust,
            &chain(&clients, "jane", &["shop"]),
            &HeaderMap::new(),
        )
        .unwrap();
        let groups = ["shop", AUTHENTICATED_GROUP].map(str::to_owned).to_vec();
        let user = User {
            name: "jane".to_owned(),
            groups,
            ..User::default()
        };
        assert_eq!(caller, Caller::direct(user));
    }

    #[test]
    fn anonymous_is_never_authenticated() {
        assert_eq!(
            User::anonymous().authenticated().groups,
            [UNAUTHENTICATED_GROUP]
        );
    }
}
