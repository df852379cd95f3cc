//! Bearer tokens, which the API server knows by TokenReview.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use sha2::{Digest, Sha256};

use super::User;
use crate::reviews::{Lane, Reviews};
use crate::spell::SharedSpell;
use crate::status::Failure;
use crate::ttl_cache::TtlCache;

/// As kube-apiserver's delegation: so long may a revoked token still be good.
const LIFETIME: Duration = Duration::from_secs(10);
const CAPACITY: usize = 1024;
/// A ServiceAccount's token has about 1 KiB, one of an OIDC provider with many groups up to some 10. Nothing longer is worth a review.
const MAX_LENGTH: usize = 16 * 1024;

/// Tells whom a token belongs to.
pub(crate) struct TokenReader {
    reviews: Arc<Reviews>,
    /// By the token's hash, so that no token stays in memory.
    known: TtlCache<[u8; 32], User>,
    /// The tokens that are nobody's, apart: somebody who makes them up must not push out the others.
    refused: TtlCache<[u8; 32], ()>,
    refusing: SharedSpell,
}

impl TokenReader {
    pub(crate) fn new(reviews: Arc<Reviews>) -> Self {
        Self {
            reviews,
            known: TtlCache::new(CAPACITY),
            refused: TtlCache::new(CAPACITY),
            refusing: SharedSpell::default(),
        }
    }

    /// # Errors
    /// 401 for a token that is nobody's, 429 when too many wait for a review, 503 when the API server can't be asked.
    pub(crate) async fn user(&self, token: &str) -> Result<User, Failure> {
        if token.len() > MAX_LENGTH {
            return Err(Failure::unauthorized());
        }
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(user) = self.known.get(&key, Instant::now()) {
            return Ok(user);
        }
        if self.refused.get(&key, Instant::now()).is_some() {
            return Err(Failure::unauthorized());
        }
        let Some(user) = self.review(token).await? else {
            self.refused.insert(key, (), LIFETIME, Instant::now());
            return Err(Failure::unauthorized());
        };
        self.known
            .insert(key, user.clone(), LIFETIME, Instant::now());
        Ok(user)
    }

    async fn review(&self, token: &str) -> Result<Option<User>, Failure> {
        let spec = TokenReviewSpec {
            token: Some(token.to_owned()),
            ..TokenReviewSpec::default()
        };
        let review = TokenReview {
            spec,
            ..TokenReview::default()
        };
        let status = self
            .reviews
            .ask(Lane::Tokens, &review)
            .await?
            .status
            .unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true));
        let Some(user) = user else {
            let error = status.error.unwrap_or_default();
            // Whoever makes tokens up is not to fill the log.
            if self.refusing.fails("") {
                tracing::info!(error, "a bearer token was refused; more are told at debug");
            } else {
                tracing::debug!(error, "a bearer token was refused");
            }
            return Ok(None);
        };
        Ok(Some(User {
            name: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        })
        .filter(|user| !user.name.is_empty()))
    }
}

/// The token of `Authorization: Bearer TOKEN`.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn only_a_bearer_token_is_one() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Basic abc", None),
            ("abc", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
            assert_eq!(bearer_token(&headers), token, "{value:?}");
        }
    }
}
