//! Who asks: kube-apiserver's delegated authentication, in its order.
//!
//! 1. A front proxy (kube-apiserver's aggregation layer) names the user in headers, and proves itself by a client
//!    certificate of the request-header CA.
//! 2. A client certificate of the cluster's client CA names the user.
//! 3. A bearer token, which the API server reviews.
//! 4. Without any of these: `system:anonymous`. Credentials that are there and wrong are 401, never anonymous.

mod certificate;
mod request_header;
mod token;
pub(crate) mod trust;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderMap;

use crate::reviews::Reviews;
use crate::status::Failure;
use crate::tls::Peer;
use token::{TokenReader, bearer_token};
use trust::Trust;

const ANONYMOUS: &str = "system:anonymous";
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

/// Tells who asks.
pub(crate) struct Authenticator {
    trust: Arc<ArcSwapOption<Trust>>,
    tokens: TokenReader,
}

impl Authenticator {
    pub(crate) fn new(trust: Arc<ArcSwapOption<Trust>>, reviews: Arc<Reviews>) -> Self {
        Self {
            trust,
            tokens: TokenReader::new(reviews),
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
    ) -> Result<User, Failure> {
        if let Some(chain) = peer.chain() {
            let trust = self.trust.load_full().ok_or_else(|| {
                Failure::unavailable(format!(
                    "{} has not been read yet: client certificates can't be judged",
                    trust::OBJECT
                ))
            })?;
            match by_certificate(&trust, chain, headers) {
                Ok(user) => return Ok(user.authenticated()),
                // A wrong certificate beside a good token does no harm; kube-apiserver goes on to the token too.
                Err(_) if bearer_token(headers).is_some() => {}
                Err(problem) => {
                    tracing::info!(%problem, "a client certificate was refused");
                    return Err(Failure::unauthorized());
                }
            }
        }
        match bearer_token(headers) {
            Some(token) => Ok(self.tokens.user(token).await?.authenticated()),
            None => Ok(User::anonymous()),
        }
    }
}

/// The user whom a certificate, or the front proxy that it proves, names; else why it names nobody.
fn by_certificate(
    trust: &Trust,
    chain: &certificate::Chain,
    headers: &HeaderMap,
) -> Result<User, String> {
    let front_proxy = match &trust.front_proxy {
        Some(front_proxy) => match front_proxy.user(chain, headers) {
            Ok(user) => return Ok(user),
            Err(problem) => format!("not the front proxy: {problem}"),
        },
        None => "no request-header CA is known".to_owned(),
    };
    let Some(clients) = &trust.clients else {
        return Err(format!("{front_proxy}; no client CA is known"));
    };
    clients
        .verify(chain)
        .and_then(|()| certificate::user(chain))
        .map_err(|problem| format!("{front_proxy}; not a client: {problem}"))
}
