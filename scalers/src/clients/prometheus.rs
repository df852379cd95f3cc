//! Servers that speak Prometheus' query API: one for all triggers that ask in the same way, so that the same query is asked
//! once, and one token of an OAuth2 client serves them all.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Client;
#[cfg(feature = "aws")]
use {
    super::aws::sign, crate::http::Bounds, crate::http::fetch,
    aws_credential_types::provider::ProvideCredentials, reqwest::Url, std::time::SystemTime,
};

use super::Clients;
use super::aws::AwsAccess;
use crate::answers::{Answers, Freshness};
use crate::http::{Answer, Authentication, AuthenticationParameters, headers};
use crate::prometheus::answer::{self, Found};
use crate::prometheus::question::Question;
use crate::scaler::ScalerError;

/// Amazon Managed Service for Prometheus, in signatures.
#[cfg(feature = "aws")]
const SERVICE: &str = "aps";

/// Who asks, and how. No `Debug`: it holds secrets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Asker {
    pub authentication: AuthenticationParameters,
    pub headers: BTreeMap<String, String>,
    pub signing: Option<Signing>,
    /// Takes any certificate.
    pub insecure: bool,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// Who signs requests for AWS, and for which region.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Signing {
    pub access: AwsAccess,
    pub region: Option<String>,
}

/// All of them.
#[derive(Default)]
pub struct PrometheusPool {
    /// Each lives as long as a scaler uses it.
    servers: Mutex<HashMap<Asker, Weak<Server>>>,
}

/// Servers as one asker sees them. Which of them is asked stands in the question.
pub struct Server {
    client: Arc<Client>,
    authentication: Authentication,
    #[cfg(feature = "aws")]
    signing: Option<Signing>,
    timeout: Duration,
    // Its pool of servers refers to this one weakly.
    #[cfg(feature = "aws")]
    clients: Arc<Clients>,
    answers: Answers<Question, Found>,
}

impl Server {
    /// The one that this asker has already, or a new one.
    ///
    /// # Errors
    /// When certificates, headers or the token URL are not usable.
    pub fn of(clients: &Arc<Clients>, asker: &Asker) -> Result<Arc<Self>, String> {
        let pool = &clients.prometheus.servers;
        let mut servers = pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = servers.get(asker).and_then(Weak::upgrade) {
            return Ok(server);
        }
        servers.retain(|_, server| server.strong_count() > 0);
        let others = headers("customHeaders", asker.headers.iter())?;
        let tls = asker.authentication.tls(asker.insecure);
        let server = Arc::new(Self {
            client: clients.http.client(&tls)?,
            authentication: Authentication::new(asker.authentication.clone())?.with_headers(others),
            #[cfg(feature = "aws")]
            signing: asker.signing.clone(),
            timeout: asker.timeout,
            #[cfg(feature = "aws")]
            clients: Arc::clone(clients),
            answers: Answers::default(),
        });
        servers.insert(asker.clone(), Arc::downgrade(&server));
        Ok(server)
    }

    /// What a query finds.
    ///
    /// # Errors
    /// With the server's host.
    pub async fn answer(
        self: &Arc<Self>,
        question: &Question,
        freshness: &Freshness,
    ) -> Result<Found, ScalerError> {
        let ask = || {
            let (server, question) = (Arc::clone(self), question.clone());
            async move {
                let answer = server.ask(&question).await;
                answer.map_err(|error| error.at(&question.host()))
            }
        };
        self.answers.get(question, freshness, ask).await
    }

    async fn ask(&self, question: &Question) -> Result<Found, ScalerError> {
        let answer = self.get(question).await?;
        if !answer.status.is_success() {
            return Err(answer.refusal(answer::refusal(answer.status, &answer.body)));
        }
        let body = answer.accepted()?;
        body.parse(answer::parse)
            .await
            .map_err(ScalerError::Malformed)
    }

    async fn get(&self, question: &Question) -> Result<Answer, ScalerError> {
        let url = question
            .at(Timestamp::now())
            .map_err(ScalerError::Malformed)?;
        #[cfg(feature = "aws")]
        if let Some(signing) = &self.signing {
            return self.get_signed(&url, signing).await;
        }
        self.authentication
            .get(&self.client, &url, self.timeout)
            .await
    }

    #[cfg(feature = "aws")]
    async fn get_signed(&self, url: &Url, signing: &Signing) -> Result<Answer, ScalerError> {
        let missing = |what: &str| ScalerError::Unauthorized(format!("no {what} to sign with"));
        let region = signing.region.as_deref();
        let config = self.clients.aws.config(&signing.access, region).await;
        config.check().await?;
        let region = config.sdk.region().ok_or_else(|| missing("awsRegion"))?;
        let provider = config.sdk.credentials_provider();
        let provider = provider.ok_or_else(|| missing("credentials"))?;
        let credentials = provider.provide_credentials().await;
        let credentials = credentials.map_err(|_| missing("credentials"))?;
        let mut request = self.authentication.bare(url);
        let (region, now) = (region.as_ref(), SystemTime::now());
        sign(&mut request, SERVICE, region, &credentials, now)
            .map_err(ScalerError::Unauthorized)?;
        fetch(&self.client, request, self.timeout, Bounds::default()).await
    }
}
