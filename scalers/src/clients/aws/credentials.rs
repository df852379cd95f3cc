//! Credentials of an identity: fetched once for all who are it, and again before they end.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_sts::Client;
use aws_sdk_sts::types::Credentials as StsCredentials;
use tokio::sync::Mutex;

use super::error::failure;
use crate::scaler::ScalerError;

/// Credentials are replaced this long before they end: STS gives them for an hour, or for 15 minutes at least.
const EARLY: Duration = Duration::from_secs(5 * 60);
/// After a failure, while the credentials are still good.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// The same without any: as long as those who ask together wait for one another.
const REMEMBERED: Duration = Duration::from_secs(1);
/// KEDA's name in AWS's audit log.
const SESSION: &str = "KEDA";

/// Where credentials come from.
#[async_trait]
pub(super) trait Source: Send + Sync {
    /// # Errors
    /// Why there are none, without secrets.
    async fn fetch(&self) -> Result<Credentials, ScalerError>;
}

/// The credentials of one identity. Cheap to clone.
#[derive(Clone)]
pub(super) struct Shared(Arc<Inner>);

struct Inner {
    source: Box<dyn Source>,
    held: Mutex<Option<Held>>,
    /// The last failure without any credentials, and until when it is the answer.
    failed: std::sync::Mutex<Option<(ScalerError, Instant)>>,
}

struct Held {
    credentials: Credentials,
    /// After a failure: not before this.
    try_again: Option<Instant>,
}

impl Shared {
    pub(super) fn new(source: impl Source + 'static) -> Self {
        Self(Arc::new(Inner {
            source: Box::new(source),
            held: Mutex::default(),
            failed: std::sync::Mutex::default(),
        }))
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, Option<(ScalerError, Instant)>> {
        self.0.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Credentials that are good now.
    ///
    /// # Errors
    /// Why there are none, without secrets.
    pub(super) async fn get(&self, now: SystemTime) -> Result<Credentials, ScalerError> {
        // Held while asking: those who wait share one answer.
        let mut held = self.0.held.lock().await;
        let good_for = |credentials: &Credentials| match credentials.expiry() {
            Some(end) => end.duration_since(now).unwrap_or_default(),
            None => Duration::MAX,
        };
        if let Some(held) = held.as_ref() {
            let left = good_for(&held.credentials);
            let waits = held.try_again.is_some_and(|at| Instant::now() < at);
            if left > EARLY || (waits && !left.is_zero()) {
                return Ok(held.credentials.clone());
            }
        }
        if let Some((problem, until)) = self.failed().clone()
            && Instant::now() < until
        {
            return Err(problem);
        }
        match self.0.source.fetch().await {
            Ok(credentials) => {
                *self.failed() = None;
                *held = Some(Held {
                    credentials: credentials.clone(),
                    try_again: None,
                });
                Ok(credentials)
            }
            Err(problem) => match held.as_mut() {
                Some(held) if !good_for(&held.credentials).is_zero() => {
                    held.try_again = Some(Instant::now() + TRY_AGAIN);
                    Ok(held.credentials.clone())
                }
                _ => {
                    // Those who wait for the lock would all ask again, one after the other.
                    *self.failed() = Some((problem.clone(), Instant::now() + REMEMBERED));
                    Err(problem)
                }
            },
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the credentials of an identity")
    }
}

impl ProvideCredentials for Shared {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let found = self.get(SystemTime::now()).await;
            found.map_err(CredentialsError::provider_error)
        })
    }
}

/// The SDK's own chain: keys in the environment, a profile, the machine's or the container's role.
pub(super) struct Chain(pub Option<SharedCredentialsProvider>);

#[async_trait]
impl Source for Chain {
    async fn fetch(&self) -> Result<Credentials, ScalerError> {
        let found = match &self.0 {
            Some(chain) => chain.provide_credentials().await.ok(),
            None => None,
        };
        found.ok_or_else(|| {
            let message = "the operator has no identity on AWS: give its ServiceAccount the annotation eks.amazonaws.com/role-arn, \
             or its environment AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
            ScalerError::Unauthorized(message.to_owned())
        })
    }
}

/// A role that is assumed with the token of the operator's ServiceAccount (IRSA).
pub(super) struct WebIdentity {
    pub sts: Client,
    pub token_file: String,
    pub role_arn: String,
}

#[async_trait]
impl Source for WebIdentity {
    async fn fetch(&self) -> Result<Credentials, ScalerError> {
        let Self { role_arn, .. } = self;
        let failed = |why: ScalerError| {
            why.at(&format!(
                "assuming the role {role_arn} with AWS_WEB_IDENTITY_TOKEN_FILE"
            ))
        };
        // Read each time: the kubelet replaces it.
        let token = tokio::fs::read_to_string(&self.token_file)
            .await
            .map_err(|error| failed(ScalerError::Unauthorized(error.to_string())))?;
        let answer = self
            .sts
            .assume_role_with_web_identity()
            .role_arn(role_arn)
            .role_session_name(SESSION)
            .web_identity_token(token.trim())
            .send()
            .await
            .map_err(|error| failed(failure(&error)))?;
        given(answer.credentials).ok_or_else(|| failed(without_credentials()))
    }
}

/// A role that the operator assumes: with its ServiceAccount's token where the role trusts that, else as who it is, as KEDA does.
pub(super) struct Role {
    pub sts: Client,
    /// Who the operator is, whose problem goes before STS's.
    pub own: Shared,
    pub web_identity: Option<WebIdentity>,
    pub role_arn: String,
    pub external_id: Option<String>,
}

#[async_trait]
impl Source for Role {
    async fn fetch(&self) -> Result<Credentials, ScalerError> {
        let with_token = match &self.web_identity {
            Some(web_identity) => match web_identity.fetch().await {
                Ok(credentials) => return Ok(credentials),
                Err(problem) => Some(problem),
            },
            None => None,
        };
        let Self { role_arn, .. } = self;
        let failed = |why: ScalerError| {
            let also = with_token.as_ref().map(|problem| format!("; {problem}"));
            let also = also.unwrap_or_default();
            why.map(|why| format!("assuming the role {role_arn}: {why}{also}"))
        };
        self.own.get(SystemTime::now()).await.map_err(&failed)?;
        let answer = self
            .sts
            .assume_role()
            .role_arn(role_arn)
            .role_session_name(SESSION)
            .set_external_id(self.external_id.clone())
            .send()
            .await
            .map_err(|error| failed(failure(&error)))?;
        given(answer.credentials).ok_or_else(|| failed(without_credentials()))
    }
}

fn without_credentials() -> ScalerError {
    ScalerError::Malformed("an answer without credentials".to_owned())
}

fn given(credentials: Option<StsCredentials>) -> Option<Credentials> {
    let credentials = credentials?;
    let end = SystemTime::try_from(*credentials.expiration()).ok()?;
    Some(Credentials::new(
        credentials.access_key_id,
        credentials.secret_access_key,
        Some(credentials.session_token),
        Some(end),
        "sts",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sakidori_test_cluster::eventually;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Gives credentials that end 1000 s after its start, then 2000 s, and so on; fails while it is down.
    #[derive(Clone)]
    struct Counting {
        start: SystemTime,
        fetched: Arc<AtomicU64>,
        down: Arc<AtomicU64>,
    }

    #[async_trait]
    impl Source for Counting {
        async fn fetch(&self) -> Result<Credentials, ScalerError> {
            let times = self.fetched.fetch_add(1, Ordering::SeqCst) + 1;
            if self.down.load(Ordering::SeqCst) > 0 {
                return Err(ScalerError::Unreachable("down".to_owned()));
            }
            let end = self.start + Duration::from_secs(1000 * times);
            Ok(Credentials::new("id", "hunter2", None, Some(end), "test"))
        }
    }

    #[tokio::test]
    async fn credentials_are_fetched_once_and_replaced_before_they_end() {
        let source = Counting {
            start: SystemTime::now(),
            fetched: Arc::default(),
            down: Arc::default(),
        };
        let shared = Shared::new(source.clone());
        let at = |seconds: u64| source.start + Duration::from_secs(seconds);
        let fetched = || source.fetched.load(Ordering::SeqCst);
        for (now, expected) in [(0, 1), (1, 1), (699, 1), (701, 2), (1699, 2)] {
            let credentials = shared.get(at(now)).await.unwrap();
            assert!(credentials.expiry().unwrap() > at(now));
            assert_eq!(fetched(), expected, "at {now} s");
        }
        // Down from here: what is held is used to its end, and not asked for at each use.
        source.down.store(1, Ordering::SeqCst);
        for now in [1701, 1702, 1999] {
            assert!(shared.get(at(now)).await.is_ok(), "at {now} s");
            assert_eq!(fetched(), 3, "at {now} s");
        }
        let down = shared.get(at(2001)).await.err().unwrap();
        assert_eq!(down, ScalerError::Unreachable("down".to_owned()));
        let before = fetched();
        for _ in 0..10 {
            assert_eq!(shared.get(at(2001)).await.err().unwrap(), down);
        }
        assert!(fetched() <= before + 1, "who waits shares the failure");
        source.down.store(0, Ordering::SeqCst);
        let again = eventually("credentials", Duration::from_secs(20), async || {
            Ok(shared.get(at(2002)).await.ok())
        });
        again.await.unwrap();
        assert!(!format!("{shared:?}").contains("hunter2"));
    }
}
