//! Bearer tokens, which the API server knows by TokenReview.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use sha2::{Digest, Sha256};

use super::User;
use crate::reviews::Reviews;
use crate::status::Failure;
use crate::ttl_cache::TtlCache;

/// As kube-apiserver's delegation: so long may a revoked token still be good.
const LIFETIME: Duration = Duration::from_secs(10);
const CAPACITY: usize = 1024;

/// Tells whom a token belongs to.
pub(crate) struct TokenReader {
    reviews: Arc<Reviews>,
    /// By the token's hash, so that no token stays in memory; `None` is a token that is nobody's.
    known: TtlCache<[u8; 32], Option<User>>,
}

impl TokenReader {
    pub(crate) fn new(reviews: Arc<Reviews>) -> Self {
        Self {
            reviews,
            known: TtlCache::new(CAPACITY),
        }
    }

    /// # Errors
    /// 401 for a token that is nobody's, 503 when the API server can't be asked.
    pub(crate) async fn user(&self, token: &str) -> Result<User, Failure> {
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let user = match self.known.get(&key, Instant::now()) {
            Some(user) => user,
            None => {
                let user = self.review(token).await?;
                self.known
                    .insert(key, user.clone(), LIFETIME, Instant::now());
                user
            }
        };
        user.ok_or_else(Failure::unauthorized)
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
        let status = self.reviews.ask(&review).await?.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true));
        let Some(user) = user else {
            tracing::info!(
                reason = status.error.unwrap_or_default(),
                "a bearer token was refused"
            );
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
