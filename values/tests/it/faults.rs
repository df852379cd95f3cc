//! What becomes of the stream when one side is slow, dead, silent, or somebody else.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{Stream, StreamExt, stream};
use hyper_util::rt::TokioIo;
use sakidori_engine::Quantity;
use sakidori_metrics_adapter::mutual_tls::client_config;
use sakidori_metrics_adapter::{CertificateHandle, HttpsServer};
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::pki::Authority;
use sakidori_values::Moment;
use sakidori_values::wire::told::What;
use sakidori_values::wire::values_client::ValuesClient;
use sakidori_values::wire::values_server::{Values, ValuesServer};
use sakidori_values::wire::{Heartbeat, Listed, Object, Told, Wanted};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status, Streaming};

use crate::installation::{Following, Leader, NAME, SOON, certificate, key, name};

/// A stream of the leader's, to be read by hand; ends when it is dropped.
pub struct RawStream {
    told: Streaming<Told>,
    _open: oneshot::Sender<()>,
}

impl RawStream {
    pub async fn message(&mut self) -> Result<Option<Told>, Status> {
        self.told.message().await
    }
}

/// Follows by hand.
pub async fn raw_stream(
    leader: &Leader,
    certificate: &CertificateHandle,
) -> Result<RawStream, Status> {
    let (address, config) = (leader.address, client_config(certificate));
    let config = Arc::new(config.map_err(|error| Status::unknown(error.to_string()))?);
    let connect = tower::service_fn(move |_| {
        let config = config.clone();
        async move {
            let socket = TcpStream::connect(address).await?;
            let stream = TlsConnector::from(config).connect(name(), socket).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let channel = Endpoint::from_static("https://keda-operator.keda.svc")
        .connect_with_connector(connect)
        .await
        .map_err(|error| Status::unknown(error.to_string()))?;
    let (open, over) = oneshot::channel();
    let wanted = stream::pending::<Wanted>().take_until(over);
    let answer = ValuesClient::new(channel).follow(wanted).await?;
    Ok(RawStream {
        told: answer.into_inner(),
        _open: open,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_follower_holds_up_nobody_and_gets_the_newest_of_each() -> Result<()> {
    let certificate = certificate(&Authority::new("ours")?, NAME)?;
    let leader = Leader::start(&certificate)?;
    for number in 0..100 {
        leader.set(&format!("web-{number}"), "1", 0);
    }
    let mut stalled = raw_stream(&leader, &certificate).await?;
    let follower = Following::start(&certificate, Some(leader.address));
    follower.until_listed().await?;
    // 500,000 states, of which the stalled one takes none.
    for round in 1..=5_000 {
        for number in 0..100 {
            leader.set(&format!("web-{number}"), "1", round);
        }
        if round % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for number in 0..100 {
        follower
            .until_value(&format!("web-{number}"), 5_000)
            .await?;
    }
    let told = leader.counts.now().told;
    ensure!(
        told < 250_000,
        "{told} messages were told of 500,000 states"
    );
    // It goes on with what fits into the connection's buffers, and then the newest.
    let mut newest = std::collections::HashMap::new();
    let mut heard = 0;
    while newest.values().filter(|value| *value == "5k").count() < 100 {
        let message = tokio::time::timeout(SOON, stalled.message()).await??;
        heard += 1;
        if let Some(What::Object(object)) = message.context("the stream ended")?.what
            && let Some(sakidori_values::wire::object::State::Served(served)) = object.state
        {
            let reading = served.metrics[0].reading.clone().context("no reading")?;
            newest.insert(object.name, reading.value);
        }
    }
    println!("the stalled follower heard {heard} messages; {told} were told to both");
    Ok(())
}

#[tokio::test]
async fn a_server_that_dies_is_followed_again_when_it_is_back() -> Result<()> {
    let certificate = certificate(&Authority::new("ours")?, NAME)?;
    let mut leader = Leader::start(&certificate)?;
    leader.set("web", "1", 7);
    let follower = Following::start(&certificate, Some(leader.address));
    follower.until_value("web", 7).await?;
    leader.die();
    eventually("missing follower", SOON, async || {
        Ok((leader.counts.now().followers == 0).then_some(()))
    })
    .await?;
    leader.set("web", "1", 8);
    ensure!(
        follower.value("web") == Some(Quantity::from_integer(7)),
        "what was told is lost"
    );
    follower.store.fit_to_serve().map_err(anyhow::Error::msg)?;
    leader.serve()?;
    let began = Instant::now();
    follower.until_value("web", 8).await?;
    let took = began.elapsed();
    ensure!(took < Duration::from_secs(4), "{took:?}");
    Ok(())
}

/// Passes bytes on between a follower and the leader until it is silenced; connections stay, as with a process that is stopped.
struct Wire {
    port: u16,
    silent: CancellationToken,
    _task: AbortOnDropHandle<()>,
}

impl Wire {
    async fn to(leader: &Leader) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (silent, address) = (CancellationToken::new(), leader.address);
        let token = silent.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let token = token.clone();
                connections.spawn(async move {
                    let Ok(mut far) = TcpStream::connect(address).await else {
                        return;
                    };
                    tokio::select! {
                        () = token.cancelled() => {}
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                    }
                    std::future::pending::<()>().await;
                });
            }
        });
        Ok(Self {
            port,
            silent,
            _task: AbortOnDropHandle::new(task),
        })
    }
}

#[tokio::test]
async fn a_leader_that_falls_silent_is_left_in_five_seconds() -> Result<()> {
    let certificate = certificate(&Authority::new("ours")?, NAME)?;
    let (first, second) = (Leader::start(&certificate)?, Leader::start(&certificate)?);
    first.set("web", "1", 7);
    second.set("web", "1", 8);
    let wire = Wire::to(&first).await?;
    let address = ([127, 0, 0, 1], wire.port).into();
    let follower = Following::start(&certificate, Some(address));
    follower.until_value("web", 7).await?;
    follower.until_listed().await?;
    wire.silent.cancel();
    let began = Instant::now();
    first.set("web", "1", 9);
    let still = || follower.store.silence().unwrap_or_default();
    eventually("silence", SOON, async || {
        Ok((still() > Duration::from_secs(4)).then_some(()))
    })
    .await?;
    ensure!(follower.value("web") == Some(Quantity::from_integer(7)));
    // As the Lease tells once the next one holds it.
    follower
        .leader
        .send_replace(Some(second.address.to_string()));
    follower.until_value("web", 8).await?;
    println!("the next leader was heard after {:?}", began.elapsed());

    // The same without another: the silent one is tried again and again, and found when it speaks.
    let wire = Wire::to(&second).await?;
    follower
        .leader
        .send_replace(Some(format!("127.0.0.1:{}", wire.port)));
    eventually("stream through the wire", SOON, async || {
        Ok((follower.counts.now().streams == 3).then_some(()))
    })
    .await?;
    wire.silent.cancel();
    eventually("end of the silent stream", SOON, async || {
        Ok((!follower_listens(&follower)).then_some(()))
    })
    .await?;
    ensure!(still() >= Duration::from_secs(4), "{:?}", still());
    Ok(())
}

/// Whether it has a stream in which wishes are told: a read waits for an answer only then.
fn follower_listens(follower: &Following) -> bool {
    follower.store.has_listener()
}

#[tokio::test]
async fn strangers_are_not_followed_and_do_not_follow() -> Result<()> {
    let (ours, other) = (Authority::new("ours")?, Authority::new("other")?);
    let good = certificate(&ours, NAME)?;
    let leader = Leader::start(&good)?;
    leader.set("web", "1", 7);
    let strangers = [
        certificate(&other, NAME)?,
        certificate(&ours, "shop.example")?,
    ];
    for stranger in &strangers {
        // As a client of ours, and as a server for ours.
        let follower = Following::start(stranger, Some(leader.address));
        let false_leader = Leader::start(stranger)?;
        false_leader.set("web", "1", 666);
        let misled = Following::start(&good, Some(false_leader.address));
        tokio::time::sleep(Duration::from_secs(1)).await;
        ensure!(follower.value("web").is_none() && misled.value("web").is_none());
        ensure!(leader.counts.now().followers == 0 && leader.counts.now().told == 0);
        ensure!(false_leader.counts.now().told == 0);
    }
    let follower = Following::start(&good, Some(leader.address));
    follower.until_value("web", 7).await
}

/// Tells what no leader of ours does.
struct Hostile(fn() -> ToldStream);

type ToldStream = Pin<Box<dyn Stream<Item = Result<Told, Status>> + Send>>;

#[tonic::async_trait]
impl Values for Hostile {
    type FollowStream = ToldStream;

    async fn follow(&self, _: Request<Streaming<Wanted>>) -> Result<Response<ToldStream>, Status> {
        Ok(Response::new((self.0)()))
    }
}

fn told(what: What) -> Result<Told, Status> {
    Ok(Told { what: Some(what) })
}

async fn follow_hostile(tell: fn() -> ToldStream) -> Result<(Following, AbortOnDropHandle<()>)> {
    let certificate = certificate(&Authority::new("ours")?, NAME)?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let router = Routes::new(ValuesServer::new(Hostile(tell))).into_axum_router();
    let server = HttpsServer::mutual(&certificate, name(), router)?;
    let serving = tokio::spawn(async move {
        server
            .serve(listener, CancellationToken::new())
            .await
            .unwrap();
    });
    let follower = Following::start(&certificate, Some(address));
    Ok((follower, AbortOnDropHandle::new(serving)))
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_stream_and_nothing_else() -> Result<()> {
    let (follower, _serving) = follow_hostile(|| {
        let object = Object {
            namespace: "shop".into(),
            name: "n".repeat(64 << 20),
            ..Object::default()
        };
        let messages = [told(What::Listed(Listed {})), told(What::Object(object))];
        Box::pin(stream::iter(messages))
    })
    .await?;
    eventually("second try", SOON, async || {
        Ok((follower.counts.now().streams >= 2).then_some(()))
    })
    .await?;
    ensure!(follower.store.keys().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_value_that_is_none_is_not_served() -> Result<()> {
    let (follower, _serving) = follow_hostile(|| {
        use sakidori_values::wire::{Metric, Reading, Served, object};
        let metric = |name: &str, value: &str, at_ms| Metric {
            name: name.into(),
            reading: Some(Reading {
                value: value.into(),
                at_ms,
            }),
            ..Metric::default()
        };
        let object = Object {
            namespace: "shop".into(),
            name: "web".into(),
            uid: "1".into(),
            state: Some(object::State::Served(Served {
                polling_interval_ms: u64::MAX,
                metrics: vec![
                    metric("s0-a", "much", 0),
                    metric("s1-a", "1", i64::MIN),
                    metric("s2-a", "1", i64::MAX),
                    metric("s3-a", "", 0),
                ],
                complaint: String::new(),
                generation: i64::MIN,
            })),
        };
        // Unknown objects, and none at all.
        let empty = Ok(Told::default());
        let nameless = told(What::Object(Object::default()));
        let messages = [
            empty,
            nameless,
            told(What::Object(object)),
            told(What::Listed(Listed {})),
        ];
        let rest = stream::repeat_with(|| told(What::Heartbeat(Heartbeat {}))).then(|told| async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            told
        });
        Box::pin(stream::iter(messages).chain(rest))
    })
    .await?;
    follower.until_listed().await?;
    let reading = |metric: &str| {
        let slot = follower.store.slot(&key("web"), "1", metric);
        slot.and_then(|slot| slot.latest().reading)
    };
    ensure!(reading("s0-a").is_none() && reading("s3-a").is_none());
    if let Some(ancient) = reading("s1-a") {
        ensure!(ancient.at.elapsed() > Duration::from_secs(3600));
    }
    let future = reading("s2-a").context("no reading")?;
    ensure!(future.at <= Moment::now());
    Ok(())
}
