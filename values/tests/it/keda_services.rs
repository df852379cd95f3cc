//! KEDA's services over real connections with mutual TLS: replicas that lead and that don't, and how they count their calls.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_trait::async_trait;
use jiff::Timestamp;
use sakidori_engine::Quantity;
use sakidori_metrics_adapter::{
    CertificateHandle, ExternalMetricValue, ExternalMetrics, HttpsServer, MetricError,
};
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::pki::Authority;
use sakidori_values::keda::metrics_service_client::MetricsServiceClient;
use sakidori_values::keda::raw_metrics_service_client::RawMetricsServiceClient;
use sakidori_values::keda::{
    RawMetricsRequest, RawMetricsResponse, ScaledObjectRef, SubscriptionAck, SubscriptionRequest,
};
use sakidori_values::{
    Calling, Calls, Leader, Raw, RawMetrics, RawMetricsMode, TriggerRead, keda_services,
};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::installation::{NAME, SOON, certificate, name};

/// Says how the metric was asked for.
struct Echo;

#[async_trait]
impl ExternalMetrics for Echo {
    async fn read(
        &self,
        namespace: &str,
        metric: &str,
        selector: &BTreeMap<String, String>,
    ) -> Result<Vec<ExternalMetricValue>, MetricError> {
        if metric != "composite-metric" {
            return Err(MetricError::Unavailable(format!(
                "{namespace} {metric} {selector:?}"
            )));
        }
        Ok(vec![ExternalMetricValue {
            metric_name: metric.to_owned(),
            metric_labels: BTreeMap::new(),
            timestamp: Timestamp::from_second(1_700_000_000).unwrap(),
            value: Quantity::of_metric(0.25),
        }])
    }
}

/// Replicas that believe each other.
struct Installation {
    certificate: CertificateHandle,
}

impl Installation {
    fn new() -> Result<Self> {
        Ok(Self {
            certificate: certificate(&Authority::new("ours")?, NAME)?,
        })
    }

    fn replica(&self, leads: bool, mode: Option<RawMetricsMode>) -> Result<Replica> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let raw = mode.map(|mode| Arc::new(RawMetrics::new(mode)));
        let (leads, now) = watch::channel(leads);
        let (leader, known) = watch::channel(None);
        let shutdown = CancellationToken::new();
        let service = Raw::new(
            raw.clone(),
            now,
            Leader::new(known, self.certificate.clone(), name(), Calls::client()?),
            shutdown.clone(),
        );
        let calls = Calls::server()?;
        let router = keda_services(Routes::default(), Arc::new(Echo), service).into_axum_router();
        let router = calls.clone().counting(router);
        let server = HttpsServer::mutual(&self.certificate, name(), router)?;
        tokio::spawn(server.serve(listener, shutdown.clone()));
        Ok(Replica {
            address,
            raw,
            leads,
            leader,
            calls,
            stop: shutdown.drop_guard(),
        })
    }

    fn connect(&self, address: SocketAddr) -> Result<Calling<Channel>> {
        let (_, known) = watch::channel(Some(address.to_string()));
        Ok(Leader::new(known, self.certificate.clone(), name(), Calls::client()?).channel()?)
    }

    fn raw(&self, address: SocketAddr) -> Result<RawMetricsServiceClient<Calling<Channel>>> {
        Ok(RawMetricsServiceClient::new(self.connect(address)?))
    }
}

struct Replica {
    address: SocketAddr,
    raw: Option<Arc<RawMetrics>>,
    leads: watch::Sender<bool>,
    leader: watch::Sender<Option<String>>,
    calls: Calls,
    /// Stops the server.
    stop: DropGuard,
}

impl Replica {
    /// A poll of trigger `queue` of `shop/web`.
    fn poll(&self, value: f64) {
        let read = TriggerRead {
            namespace: "shop",
            object: "web",
            trigger: "queue",
            values: &[(value, value > 5.0)],
            asked: Timestamp::from_second(1_700_000_000).unwrap(),
            interval: Duration::from_secs(30),
            for_hpa: false,
        };
        if let Some(raw) = &self.raw {
            raw.publish(&read, Instant::now());
        }
    }

    /// What is counted under this name and code, in all series.
    fn counted(&self, name: &str, labels: &[&str]) -> f64 {
        let registry = prometheus::Registry::new();
        registry.register(Box::new(self.calls.clone())).unwrap();
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap();
        text.lines()
            .filter(|line| line.starts_with(&format!("{PREFIX}{name}{{")))
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

const PREFIX: &str = "keda_internal_metricsservice_grpc_server_";

fn queue() -> SubscriptionRequest {
    SubscriptionRequest {
        subscriber: "tool".into(),
        metric_metadata: Some(reference("queue")),
    }
}

fn reference(metric: &str) -> ScaledObjectRef {
    ScaledObjectRef {
        name: "web".into(),
        namespace: "shop".into(),
        metric_name: metric.into(),
    }
}

fn tool() -> RawMetricsRequest {
    RawMetricsRequest {
        subscriber: "tool".into(),
    }
}

fn acknowledged(was_subscribed: bool) -> SubscriptionAck {
    SubscriptionAck {
        was_subscribed,
        message: None,
    }
}

async fn next(stream: &mut Streaming<RawMetricsResponse>) -> Result<Option<(f64, bool)>, Status> {
    let message = tokio::time::timeout(SOON, stream.message());
    let message = message.await.expect("a message in time")?;
    Ok(message.map(|message| {
        let metric = &message.metrics[0];
        assert_eq!(metric.metadata, Some(reference("queue")));
        (metric.value, metric.is_active)
    }))
}

#[tokio::test]
async fn get_metrics_asks_what_an_hpa_would() -> Result<()> {
    let installation = Installation::new()?;
    let replica = installation.replica(false, None)?;
    let mut client = MetricsServiceClient::new(installation.connect(replica.address)?);
    let answer = client.get_metrics(reference("composite-metric")).await?;
    let items = answer.into_inner().items;
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].metric_name.as_deref(), Some("composite-metric"));
    let value = items[0].value.as_ref().context("a value")?;
    assert_eq!(value.string.as_deref(), Some("250m"));
    let refused = client.get_metrics(reference("s0-queue")).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Unknown);
    assert_eq!(
        refused.message(),
        r#"error when getting metric values shop s0-queue {"scaledobject.keda.sh/name": "web"}"#
    );
    Ok(())
}

#[tokio::test]
async fn a_subscriber_is_told_of_each_poll_until_it_unsubscribes() -> Result<()> {
    let installation = Installation::new()?;
    let replica = installation.replica(true, Some(RawMetricsMode::All))?;
    let mut client = installation.raw(replica.address)?;
    let mut stream = client.get_raw_metrics_stream(tool()).await?.into_inner();
    let first = client.subscribe_metric(queue()).await?.into_inner();
    assert_eq!(first, acknowledged(false));
    replica.poll(2.5);
    replica.poll(9.0);
    assert_eq!(next(&mut stream).await?, Some((2.5, false)));
    assert_eq!(next(&mut stream).await?, Some((9.0, true)));
    let again = client.subscribe_metric(queue()).await?.into_inner();
    assert_eq!(again, acknowledged(true));
    let left = client.unsubscribe_metric(queue()).await?.into_inner();
    assert_eq!(left, acknowledged(true));
    assert_eq!(next(&mut stream).await?, None, "the stream ends well");
    let not_there = client.unsubscribe_metric(queue()).await?.into_inner();
    assert_eq!(not_there, acknowledged(false));
    Ok(())
}

#[tokio::test]
async fn incomplete_requests_subscribe_nothing() -> Result<()> {
    let installation = Installation::new()?;
    let replica = installation.replica(true, Some(RawMetricsMode::All))?;
    let mut client = installation.raw(replica.address)?;
    let mut unnamed = queue();
    unnamed.metric_metadata = Some(ScaledObjectRef {
        namespace: String::new(),
        ..reference("queue")
    });
    let said = client.subscribe_metric(unnamed).await?.into_inner();
    assert!(!said.was_subscribed);
    assert_eq!(
        said.message.as_deref(),
        Some("nothing is subscribed: metricMetadata.namespace is missing")
    );
    let nobody = RawMetricsRequest::default();
    let refused = client.get_raw_metrics_stream(nobody).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unknown, "subscriber must be specified")
    );
    let mut long = queue();
    long.subscriber = "x".repeat(300);
    let refused = client.subscribe_metric(long).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let mut huge = queue();
    huge.subscriber = "x".repeat(100_000);
    let refused = client.subscribe_metric(huge).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    Ok(())
}

#[tokio::test]
async fn raw_metrics_are_off_unless_switched_on() -> Result<()> {
    let installation = Installation::new()?;
    let replica = installation.replica(true, None)?;
    let mut client = installation.raw(replica.address)?;
    let refused = client.subscribe_metric(queue()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("RAW_METRICS_GRPC_PROTOCOL"));
    assert!(client.get_raw_metrics_stream(tool()).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_replica_that_does_not_lead_passes_on() -> Result<()> {
    let installation = Installation::new()?;
    let all = Some(RawMetricsMode::All);
    let (leader, other) = (
        installation.replica(true, all)?,
        installation.replica(false, all)?,
    );
    let mut client = installation.raw(other.address)?;
    let refused = client.subscribe_metric(queue()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "nobody leads yet");
    other.leader.send_replace(Some(leader.address.to_string()));
    let first = client.subscribe_metric(queue()).await?.into_inner();
    assert_eq!(first, acknowledged(false));
    let again = client.subscribe_metric(queue()).await?.into_inner();
    assert_eq!(again, acknowledged(true));
    let mut stream = client.get_raw_metrics_stream(tool()).await?.into_inner();
    leader.poll(7.0);
    assert_eq!(next(&mut stream).await?, Some((7.0, true)));
    let refused = client.get_raw_metrics_stream(RawMetricsRequest::default());
    assert_eq!(refused.await.unwrap_err().code(), Code::Unknown);
    // The leader's word comes again with the same address: nothing has changed.
    other.leader.send_replace(Some(leader.address.to_string()));
    leader.poll(1.0);
    assert_eq!(next(&mut stream).await?, Some((1.0, false)));
    let left = client.unsubscribe_metric(queue()).await?.into_inner();
    assert_eq!(left, acknowledged(true));
    assert_eq!(next(&mut stream).await?, None);
    Ok(())
}

#[tokio::test]
async fn two_replicas_that_take_each_other_for_the_leader_say_that_neither_is() -> Result<()> {
    let installation = Installation::new()?;
    let all = Some(RawMetricsMode::All);
    let (one, other) = (
        installation.replica(false, all)?,
        installation.replica(false, all)?,
    );
    one.leader.send_replace(Some(other.address.to_string()));
    other.leader.send_replace(Some(one.address.to_string()));
    let mut client = installation.raw(one.address)?;
    let refused = client.subscribe_metric(queue()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("does not lead"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn streams_end_with_unavailable_when_another_leads_or_the_replica_stops() -> Result<()> {
    let installation = Installation::new()?;
    let all = Some(RawMetricsMode::All);
    let unavailable = async |stream: &mut Streaming<RawMetricsResponse>| {
        let ended = next(stream).await.unwrap_err();
        assert_eq!(ended.code(), Code::Unavailable, "{ended}");
    };
    let (leader, other) = (
        installation.replica(true, all)?,
        installation.replica(false, all)?,
    );
    other.leader.send_replace(Some(leader.address.to_string()));
    let (mut near, mut far) = (
        installation.raw(leader.address)?,
        installation.raw(other.address)?,
    );
    let mut passed = far.get_raw_metrics_stream(tool()).await?.into_inner();
    // It isn't known for a moment who leads, and then it is another.
    other.leader.send_replace(None);
    leader.poll(1.0);
    far.subscribe_metric(queue()).await.unwrap_err();
    near.subscribe_metric(queue()).await?;
    leader.poll(2.0);
    assert_eq!(next(&mut passed).await?, Some((2.0, false)));
    other.leader.send_replace(Some("127.0.0.1:1".to_owned()));
    unavailable(&mut passed).await;

    other.leader.send_replace(Some(leader.address.to_string()));
    let mut passed = far.get_raw_metrics_stream(tool()).await?.into_inner();
    other.leads.send_replace(true);
    unavailable(&mut passed).await;
    other.leads.send_replace(false);

    let mut passed = far.get_raw_metrics_stream(tool()).await?.into_inner();
    let mut own = near.get_raw_metrics_stream(tool()).await?.into_inner();
    leader.leads.send_replace(false);
    unavailable(&mut own).await;
    unavailable(&mut passed).await;
    leader.leads.send_replace(true);

    let mut passed = far.get_raw_metrics_stream(tool()).await?.into_inner();
    let mut own = near.get_raw_metrics_stream(tool()).await?.into_inner();
    drop(leader.stop);
    unavailable(&mut own).await;
    unavailable(&mut passed).await;
    let refused = far.subscribe_metric(queue()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "the leader is gone");
    Ok(())
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_but_its_subscriptions() -> Result<()> {
    let installation = Installation::new()?;
    let replica = installation.replica(true, Some(RawMetricsMode::All))?;
    let raw = replica.raw.clone().context("raw metrics")?;
    for _ in 0..120 {
        let mut client = installation.raw(replica.address)?;
        let stream = client.get_raw_metrics_stream(tool()).await?;
        drop((stream, client));
        // More streams than there may be at a time: so each has to end.
        eventually("ended stream", SOON, async || {
            Ok((raw.streams() == 0).then_some(()))
        })
        .await?;
    }
    let mut client = installation.raw(replica.address)?;
    client.subscribe_metric(queue()).await?;
    replica.poll(6.0);
    let mut stream = client.get_raw_metrics_stream(tool()).await?.into_inner();
    assert_eq!(next(&mut stream).await?, Some((6.0, true)));
    Ok(())
}

#[tokio::test]
async fn calls_are_counted_under_names_of_this_server_only() -> Result<()> {
    let installation = Installation::new()?;
    let replica = installation.replica(true, Some(RawMetricsMode::All))?;
    let channel = installation.connect(replica.address)?;
    let mut metrics = MetricsServiceClient::new(channel.clone());
    metrics.get_metrics(reference("composite-metric")).await?;
    let failed = metrics.get_metrics(reference("other")).await;
    assert!(failed.is_err());
    let mut raw = RawMetricsServiceClient::new(channel.clone());
    raw.subscribe_metric(queue()).await?;
    let mut stream = raw.get_raw_metrics_stream(tool()).await?.into_inner();
    replica.poll(1.0);
    replica.poll(2.0);
    for _ in 0..2 {
        next(&mut stream).await?;
    }
    drop(stream);
    for number in 0..3 {
        let path = format!("/made.up.Service{number}/Method{number}");
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await?;
        let codec = tonic_prost::ProstCodec::<ScaledObjectRef, ScaledObjectRef>::default();
        let refused = client
            .unary(
                tonic::Request::new(reference("queue")),
                path.parse()?,
                codec,
            )
            .await;
        assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
    }
    let (get, open) = (
        r#"grpc_method="GetMetrics",grpc_service="api.MetricsService",grpc_type="unary""#,
        r#"grpc_method="GetRawMetricsStream",grpc_service="api.RawMetricsService",grpc_type="server_stream""#,
    );
    eventually("counted calls", SOON, async || {
        let counts = [
            replica.counted("started_total", &[get]),
            replica.counted("handled_total", &[get, r#"grpc_code="OK""#]),
            replica.counted("handled_total", &[get, r#"grpc_code="Unknown""#]),
            replica.counted("msg_received_total", &[get]),
            replica.counted("handling_seconds_count", &[get]),
            replica.counted("msg_sent_total", &[open]),
            replica.counted("msg_received_total", &[open]),
            replica.counted("handled_total", &[open, r#"grpc_code="Canceled""#]),
            replica.counted("started_total", &["unknown"]),
            replica.counted("started_total", &["made"]),
        ];
        let expected = [2.0, 1.0, 1.0, 2.0, 2.0, 2.0, 1.0, 1.0, 3.0, 0.0];
        anyhow::ensure!(counts == expected, "{counts:?}");
        Ok(Some(()))
    })
    .await
}
