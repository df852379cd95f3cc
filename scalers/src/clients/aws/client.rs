//! AWS as one identity sees it in one region: what its triggers ask, asked once.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use reqwest::Client;
use tokio::sync::{OnceCell, Semaphore};

use super::error::own_error;
use super::pool::{AwsConfig, AwsPool};
use super::{AwsAccess, cloudwatch, dynamodb, kinesis, sqs};
use crate::answers::{Answers, Freshness};
use crate::http::{host_of, parse_url};
use crate::scaler::ScalerError;

/// Questions of one account at the same time, and so connections for it: HTTP/1.1 needs one for each. At 20 ms an answer it is 400
/// answers a second.
const AT_ONCE: usize = 8;

/// Whose AWS it is, and where.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Account {
    pub access: AwsAccess,
    pub region: String,
    /// `None` is AWS's own, or the environment's.
    pub endpoint: Option<String>,
}

/// A question to AWS. Equal ones of an account are asked once.
pub trait Question: Clone + Eq + Hash + Send + Sync + 'static {
    type Answer: Clone + Send + Sync + 'static;

    /// What is asked for: `the queue "orders"`.
    fn subject(&self) -> String;

    /// The answers to questions of this kind.
    fn answers(client: &AwsClient) -> &Answers<Self, Self::Answer>;

    /// Asks AWS.
    fn ask(&self, asker: &Asker) -> impl Future<Output = Result<Self::Answer, ScalerError>> + Send;
}

/// What is needed to ask.
pub struct Asker {
    /// For clients of the SDK.
    pub sdk: SdkConfig,
    /// For what no SDK asks.
    pub http: Result<Arc<Client>, String>,
    pub region: String,
    /// The trigger's own endpoint.
    pub endpoint: Option<String>,
    /// How long an answer may take.
    pub within: Duration,
}

impl Asker {
    /// Credentials to sign with.
    ///
    /// # Errors
    /// Unauthorized when there are none.
    pub async fn credentials(&self) -> Result<Credentials, ScalerError> {
        let nobody = || ScalerError::Unauthorized("there are no credentials".to_owned());
        let provider = self.sdk.credentials_provider().ok_or_else(nobody)?;
        let found = provider.provide_credentials().await;
        found.map_err(|error| own_error(&error).cloned().unwrap_or_else(nobody))
    }
}

/// AWS as one identity sees it in one region. It lives as long as a scaler refers to it.
pub struct AwsClient {
    account: Account,
    pool: Arc<AwsPool>,
    turns: Semaphore,
    asker: OnceCell<(Asker, AwsConfig)>,
    pub(super) queues: Answers<sqs::QueueLength, i64>,
    pub(super) metrics: Answers<cloudwatch::MetricValue, Option<f64>>,
    pub(super) streams: Answers<kinesis::OpenShards, i64>,
    pub(super) items: Answers<dynamodb::Items, i64>,
    pub(super) shards: Answers<dynamodb::StreamShards, i64>,
}

impl AwsClient {
    pub(super) fn new(account: Account, pool: Arc<AwsPool>) -> Self {
        Self {
            account,
            pool,
            turns: Semaphore::new(AT_ONCE),
            asker: OnceCell::new(),
            queues: Answers::default(),
            metrics: Answers::default(),
            streams: Answers::default(),
            items: Answers::default(),
            shards: Answers::default(),
        }
    }

    /// The answer to a question: one that is fresh enough, or a new one.
    ///
    /// # Errors
    /// Those of AWS and of the way there, with the place that was asked and what it was asked for.
    pub async fn answer<Q: Question>(
        self: &Arc<Self>,
        question: &Q,
        freshness: &Freshness,
    ) -> Result<Q::Answer, ScalerError> {
        let (client, asked) = (Arc::clone(self), question.clone());
        let ask = || async move {
            let answer = async {
                let (asker, config) = client.asker().await;
                config.check().await?;
                // The semaphore is never closed.
                let _turn = client.turns.acquire().await.ok();
                asked.ask(asker).await
            };
            let place = format!("{}: {}", client.place(), asked.subject());
            answer.await.map_err(|error: ScalerError| error.at(&place))
        };
        Q::answers(self).get(question, freshness, ask).await
    }

    async fn asker(&self) -> &(Asker, AwsConfig) {
        let make = async || {
            let Account {
                access,
                region,
                endpoint,
            } = &self.account;
            let config = self.pool.config(access, Some(region)).await;
            let asker = Asker {
                sdk: self.pool.for_polls(&config.sdk, endpoint.as_deref()),
                http: self.pool.http().0,
                region: region.clone(),
                endpoint: endpoint.clone(),
                within: self.pool.within(),
            };
            (asker, config)
        };
        self.asker.get_or_init(make).await
    }

    /// What errors call the place that is asked.
    fn place(&self) -> String {
        let endpoint = self.account.endpoint.as_deref();
        let url = endpoint.and_then(|endpoint| parse_url(endpoint).ok());
        url.map_or_else(
            || format!("AWS in {}", self.account.region),
            |url| host_of(&url),
        )
    }
}
