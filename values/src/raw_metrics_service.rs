//! KEDA's `RawMetricsService`: subscriptions, and a stream of what polls read.
//!
//! Only the replica that leads polls. The others pass the three calls on to it; a stream then ends with `UNAVAILABLE` when another
//! leads, and the tool connects and subscribes again, as it has to when KEDA's operator restarts.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::FutureExt;
use futures::stream::{self, Stream, StreamExt};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::calls::Calling;
use crate::keda::raw_metrics_service_client::RawMetricsServiceClient;
use crate::keda::raw_metrics_service_server::RawMetricsService;
use crate::keda::{
    RawMetricsRequest, RawMetricsResponse, ScaledObjectRef, SubscriptionAck, SubscriptionRequest,
};
use crate::leader::Leader;
use crate::raw_metrics::{RawMetrics, RawStream, Refused, TriggerName};

/// The leader answers from memory.
const LEADER_ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// On calls that a replica passes on: two that each take the other for the leader don't pass them back and forth.
const PASSED_ON: &str = "sakidori-passed-on";

/// Serves subscribers on any replica.
pub struct Raw {
    /// Of this replica; none where raw metrics are off.
    metrics: Option<Arc<RawMetrics>>,
    leads: watch::Receiver<bool>,
    leader: Leader,
    shutdown: CancellationToken,
}

impl Raw {
    pub fn new(
        metrics: Option<Arc<RawMetrics>>,
        leads: watch::Receiver<bool>,
        leader: Leader,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            metrics,
            leads,
            leader,
            shutdown,
        }
    }

    /// Who answers.
    fn answerer<T>(&self, request: &Request<T>) -> Result<Answerer<'_>, Status> {
        let Some(metrics) = &self.metrics else {
            return Err(Status::unimplemented(
                "raw metrics are off: start the operator with RAW_METRICS_GRPC_PROTOCOL=enabled in its environment",
            ));
        };
        if *self.leads.borrow() {
            return Ok(Answerer::This(metrics));
        }
        if request.metadata().contains_key(PASSED_ON) {
            return Err(Status::unavailable("this replica does not lead: try again"));
        }
        let channel = self.leader.channel()?;
        Ok(Answerer::Leader(RawMetricsServiceClient::new(channel)))
    }
}

enum Answerer<'a> {
    This(&'a Arc<RawMetrics>),
    Leader(RawMetricsServiceClient<Calling<Channel>>),
}

type Messages = Pin<Box<dyn Stream<Item = Result<RawMetricsResponse, Status>> + Send>>;

#[async_trait]
impl RawMetricsService for Raw {
    type GetRawMetricsStreamStream = Messages;

    async fn get_raw_metrics_stream(
        &self,
        request: Request<RawMetricsRequest>,
    ) -> Result<Response<Messages>, Status> {
        // From before the leader is looked up, so that no change is missed.
        let change = self.leader.change();
        let answerer = self.answerer(&request)?;
        let leads = matches!(answerer, Answerer::This(_));
        let asked = request.into_inner();
        if asked.subscriber.is_empty() {
            // KEDA's code.
            return Err(Status::unknown("subscriber must be specified"));
        }
        let messages = match answerer {
            Answerer::This(metrics) => {
                let stream = metrics.open(&asked.subscriber, Instant::now());
                own(stream.map_err(refusal)?).boxed()
            }
            Answerer::Leader(mut leader) => {
                let call = leader.get_raw_metrics_stream(passed_on(asked));
                passed(answer(call).await?.into_inner(), change).boxed()
            }
        };
        let end = end(leads, self.leads.clone(), self.shutdown.clone());
        Ok(Response::new(until(messages, end).boxed()))
    }

    async fn subscribe_metric(
        &self,
        request: Request<SubscriptionRequest>,
    ) -> Result<Response<SubscriptionAck>, Status> {
        match self.answerer(&request)? {
            Answerer::This(metrics) => {
                let was_subscribed = match subscription(request.into_inner()) {
                    Ok((subscriber, trigger)) => metrics
                        .subscribe(&subscriber, trigger, Instant::now())
                        .map_err(refusal)?,
                    Err(incomplete) => return Ok(Response::new(incomplete)),
                };
                Ok(acknowledged(was_subscribed))
            }
            Answerer::Leader(mut leader) => {
                let call = leader.subscribe_metric(passed_on(request.into_inner()));
                Ok(Response::new(answer(call).await?.into_inner()))
            }
        }
    }

    async fn unsubscribe_metric(
        &self,
        request: Request<SubscriptionRequest>,
    ) -> Result<Response<SubscriptionAck>, Status> {
        match self.answerer(&request)? {
            Answerer::This(metrics) => {
                let was_subscribed = match subscription(request.into_inner()) {
                    Ok((subscriber, trigger)) => metrics.unsubscribe(&subscriber, &trigger),
                    Err(incomplete) => return Ok(Response::new(incomplete)),
                };
                Ok(acknowledged(was_subscribed))
            }
            Answerer::Leader(mut leader) => {
                let call = leader.unsubscribe_metric(passed_on(request.into_inner()));
                Ok(Response::new(answer(call).await?.into_inner()))
            }
        }
    }
}

/// Who subscribes to what. Where something is missing, KEDA says that nothing was subscribed, and so does this, with a reason.
fn subscription(request: SubscriptionRequest) -> Result<(String, TriggerName), SubscriptionAck> {
    let named = request.metric_metadata.unwrap_or_default();
    let ScaledObjectRef {
        name,
        namespace,
        metric_name,
    } = named;
    for (field, value) in [
        ("subscriber", &request.subscriber),
        ("metricMetadata.name, the ScaledObject,", &name),
        ("metricMetadata.namespace", &namespace),
        (
            "metricMetadata.metricName, the name of the trigger,",
            &metric_name,
        ),
    ] {
        if value.is_empty() {
            return Err(SubscriptionAck {
                was_subscribed: false,
                message: Some(format!("nothing is subscribed: {field} is missing")),
            });
        }
    }
    let trigger = TriggerName {
        namespace,
        object: name,
        trigger: metric_name,
    };
    Ok((request.subscriber, trigger))
}

fn acknowledged(was_subscribed: bool) -> Response<SubscriptionAck> {
    Response::new(SubscriptionAck {
        was_subscribed,
        message: None,
    })
}

fn refusal(refused: Refused) -> Status {
    match refused {
        Refused::TooMany(..) => Status::resource_exhausted(refused.to_string()),
        Refused::TooLong(_) => Status::invalid_argument(refused.to_string()),
    }
}

fn passed_on<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let mark = MetadataValue::from_static("1");
    request.metadata_mut().insert(PASSED_ON, mark);
    request
}

/// What the leader answers, in time.
async fn answer<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Response<T>, Status> {
    match timeout(LEADER_ANSWERS_WITHIN, call).await {
        Ok(answer) => answer.map_err(|status| as_told(&status)),
        Err(_) => Err(Status::unavailable(
            "the replica that leads does not answer",
        )),
    }
}

/// The leader's own words, or that it can't be reached.
fn as_told(status: &Status) -> Status {
    // Only what happened on this side has a source.
    if std::error::Error::source(status).is_some() || status.code() == Code::Cancelled {
        return Status::unavailable(format!(
            "the replica that leads can't be reached: {}",
            status.message()
        ));
    }
    Status::new(status.code(), status.message())
}

/// What this replica's polls read.
fn own(stream: RawStream) -> impl Stream<Item = Result<RawMetricsResponse, Status>> + Send {
    stream::unfold(stream, |stream| async {
        let message = stream.next().await?;
        Some((Ok(Arc::unwrap_or_clone(message)), stream))
    })
}

/// What the leader tells, until another leads.
fn passed(
    messages: Streaming<RawMetricsResponse>,
    change: impl Future<Output = ()> + Send,
) -> impl Stream<Item = Result<RawMetricsResponse, Status>> + Send {
    let messages = messages.map(|message| message.map_err(|status| as_told(&status)));
    until(messages, change.map(|()| another_leads()))
}

/// When this replica stops, or begins or ceases to lead.
async fn end(leads: bool, mut now: watch::Receiver<bool>, shutdown: CancellationToken) -> Status {
    let change = async {
        if now.wait_for(|now| *now != leads).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => Status::unavailable("this replica is stopping: connect and subscribe again"),
        () = change => another_leads(),
    }
}

fn another_leads() -> Status {
    Status::unavailable("another replica leads: connect and subscribe again")
}

/// `messages`, and where `end` comes first, its status as the last thing.
fn until<T: Send>(
    messages: impl Stream<Item = Result<T, Status>> + Send,
    end: impl Future<Output = Status> + Send,
) -> impl Stream<Item = Result<T, Status>> + Send {
    let state = Some((Box::pin(messages), Box::pin(end)));
    stream::unfold(state, |state| async {
        let (mut messages, mut end) = state?;
        tokio::select! {
            biased;
            status = &mut end => Some((Err(status), None)),
            message = messages.next() => Some((message?, Some((messages, end)))),
        }
    })
}
