//! The process: what it serves as long as it lives, and the terms in which it leads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use sakidori_metrics_adapter::Server;
use sakidori_scalers::clients::Clients;
use sakidori_values::{Calls, RawMetrics};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::admission::{Admission, ClusterReads, Neighbours};
use crate::certificates::{CertificateMetrics, Certificates};
use crate::clock::Clock;
use crate::cluster_view::ClusterView;
use crate::events::EventPublisher;
use crate::leader::{self, Candidacy};
use crate::leadership::Leadership;
use crate::options::Options;
use crate::probes::{Check, Probes, probes_router};
use crate::prometheus::{self, ApiRequests, Metrics};
use crate::replica::Replica;
use crate::serving::{self, Open};
use crate::target::Targets;
use crate::term::{Current, Grounds, Running, Term, UNLISTED};

/// SIGTERM ends the process within 5 s: what is under way gets 2.5 s, giving up the lease one more, and servers one at their end.
const RELEASE: Duration = Duration::from_secs(1);
const SERVERS_END: Duration = Duration::from_secs(1);

/// For so long after SIGTERM one of several replicas answers on: the nodes' proxies need a moment to send requests to the others only.
const LINGER: Duration = Duration::from_secs(3);

/// Runs the operator until `shutdown`.
///
/// # Errors
/// Where it can't start: an address in use, no way to reach the cluster, unusable certificates.
pub async fn run(options: Options, shutdown: CancellationToken) -> anyhow::Result<()> {
    // Addresses first: one in use is the user's quickest mistake to tell.
    let metrics_listener = match options.metrics_bind_address {
        Some(address) => Some(bind(address, "--metrics-bind-address").await?),
        None => None,
    };
    let probes_listener = bind(
        options.health_probe_bind_address,
        "--health-probe-bind-address",
    )
    .await?;
    let api_listener = bind(
        options.external_metrics_bind_address,
        "--external-metrics-bind-address",
    )
    .await?
    .into_std()?;
    let webhook_listener = match options.webhook_bind_address {
        Some(address) => Some(bind(address, "--webhook-bind-address").await?.into_std()?),
        None => None,
    };
    let values_listener = bind(
        options.metrics_service_bind_address,
        "--metrics-service-bind-address",
    )
    .await?
    .into_std()?;
    let cluster = cluster().await?;
    let requests = ApiRequests::new().context("registering metrics")?;
    let client = client(cluster.clone(), &requests)?;
    let metrics = Arc::new(Metrics::new(options.metrics).context("registering metrics")?);
    metrics
        .add(Box::new(requests.clone()))
        .context("registering metrics")?;
    let certificate_metrics = CertificateMetrics::new().context("registering metrics")?;
    let collected = Box::new(certificate_metrics.clone());
    metrics.add(collected).context("registering metrics")?;
    let certificates =
        Certificates::obtain(&client, &options.certificates, certificate_metrics).await?;
    let certificate = certificates.handle();
    let clock = Clock::start();
    let (terms, leading) = Current::channel();
    // Ends what is served.
    let closing = match options.leader_elect {
        true => CancellationToken::new(),
        false => shutdown.clone(),
    };
    if options.leader_elect && options.advertised().is_none() {
        warn!(
            "other replicas can't follow this one: set POD_IP or --advertise-address to where they reach it"
        );
    }
    let (leader_address, leader) = watch::channel(None);
    let (led_by_stranger, stranger) = watch::channel(false);
    let raw = options.raw_metrics.map(RawMetrics::new).map(Arc::new);
    let replica =
        Replica::new(&options.namespace, certificate.clone(), leader)?.with_raw_metrics(raw);
    replica.show(&metrics).context("registering metrics")?;
    let calls = Calls::server().context("registering metrics")?;
    let collected = Box::new(calls.clone());
    metrics.add(collected).context("registering metrics")?;

    let webhooks = match webhook_listener {
        None => None,
        Some(listener) => {
            let neighbours = Arc::new(Neighbours::new(options.watch.clone()));
            let (publisher, publishing) =
                EventPublisher::start(client.clone(), options.identity.clone(), closing.clone());
            let own = options.cluster_object_namespace.as_str();
            let only_in = options.restrict_secret_access.then_some(own);
            let admission = Admission::new(
                neighbours.clone(),
                ClusterReads {
                    client: client.clone(),
                    targets: Arc::new(Targets::new(client.clone())),
                    leading: leading.clone(),
                    cluster_object_namespace: options.cluster_object_namespace.clone(),
                },
                sakidori_scalers::Context {
                    clients: Arc::new(Clients::new(options.clients.clone())),
                    cluster: Arc::new(ClusterView::new(client.clone(), only_in)),
                },
                publisher,
                metrics.clone(),
                clock,
            );
            let server = serving::webhooks(&options, &certificate, admission.router())?;
            Some((listener, server, neighbours, publishing))
        }
    };
    let serving = {
        let (leading, replica) = (leading.clone(), replica.clone());
        let alone = !options.leader_elect;
        move || match leading.term() {
            // What another told before is served until its own is there.
            Some(term) => term
                .listed()
                .or_else(|unlisted| replica.fit_to_serve().map_err(|_| unlisted)),
            None if alone => Err(UNLISTED.to_owned()),
            // KEDA's operator tells nobody anything. A rollout that replaces it by this process waits for this one to be Ready.
            None => replica
                .fit_to_serve()
                .or_else(|unfit| match *stranger.borrow() {
                    true => Ok(()),
                    false => Err(unfit),
                }),
        }
    };
    let values = Arc::new(replica.reads(options.external_metrics_wait));
    let ready = Arc::new(serving.clone());
    let api = Server::new(client.clone(), certificate.clone(), values.clone(), ready)
        .and_then(|server| server.speaking(&serving::tls(&options)))
        .context("preparing the external metrics API")?;

    let mut servers = JoinSet::new();
    let probes = Arc::new(probes(&leading, &certificates, &shutdown, serving));
    let probes = Open::plain(probes_router(probes));
    servers.spawn(probes.serve(probes_listener, closing.clone()));
    if let Some(listener) = metrics_listener {
        let router = prometheus::router(metrics.clone());
        let scraped = Open::metrics(&options, &certificate, router)?;
        servers.spawn(scraped.serve(listener, closing.clone()));
    }
    servers.spawn(certificates.clone().follow(closing.clone()));
    let (stop, failed) = (closing.clone(), shutdown.clone());
    // From the start, also while another replica leads: a port that listens and says nothing would hang the HPA.
    servers.spawn(async move {
        if let Err(error) = api.serve(api_listener, stop).await {
            error!(%error, "the external metrics API ended");
            // Without it no HPA can scale: better a restart than a half.
            failed.cancel();
        }
    });
    // Also while another replica leads: any of them may be asked.
    if let Some((listener, server, neighbours, publishing)) = webhooks {
        let stop = closing.clone();
        servers.spawn(async move {
            if let Err(error) = server.serve(listener, stop).await {
                // Objects are then let through, or refused where the user wants that: scaling goes on.
                error!(%error, "the admission webhooks ended");
            }
        });
        servers.spawn(neighbours.follow(client.clone(), closing.clone()));
        servers.spawn(publishing);
    }
    servers.spawn(replica.clone().follow(closing.clone()));
    // Until the Lease is given up, which the others are told.
    let told = CancellationToken::new();
    let (until, failed) = (told.clone(), shutdown.clone());
    let telling = replica.clone().serve(values_listener, values, calls, until);
    servers.spawn(async move {
        if let Err(error) = telling.await {
            error!(%error, "the gRPC server for other processes ended");
            failed.cancel();
        }
    });

    let leadership = match options.leader_elect {
        true => Leadership::none(clock),
        false => Leadership::always(clock),
    };
    // Whether this process leads, and in its how manieth term.
    let (elected, election) = watch::channel((!options.leader_elect).then_some(1));
    let release = CancellationToken::new();
    let electing = options.leader_elect.then(|| {
        let candidacy = Candidacy {
            namespace: options.namespace.clone(),
            lease: options.leader_election_id.clone(),
            identity: options.identity.clone(),
            address: options.advertised(),
            timing: options.leader_election,
        };
        let told = leader::Told {
            leadership: leadership.clone(),
            term: elected.clone(),
            leader: leader_address.clone(),
            stranger: led_by_stranger,
        };
        let (client, released) = (client.clone(), replica.released());
        let release = release.clone();
        tokio::spawn(leader::run(
            client, candidacy, clock, told, released, release,
        ))
    });
    let grounds = Grounds {
        options,
        cluster,
        clock,
        metrics,
        requests,
        leadership,
        replica: replica.clone(),
        certificates,
    };
    let led = async {
        let led = lead(&grounds, election, &terms, &shutdown).await;
        // Only now, after the last write, another replica may lead.
        release.cancel();
        if let Some(electing) = electing {
            let _ = timeout(RELEASE, electing).await;
            // What this one answers in its last seconds is the next leader's.
            let (namespace, lease) = (
                &grounds.options.namespace,
                &grounds.options.leader_election_id,
            );
            let observing = leader::observe(client, namespace, lease, leader_address.clone());
            let stop = closing.clone();
            tokio::spawn(async move { stop.run_until_cancelled(observing).await });
        }
        replica.release();
        told.cancel();
        replica.follow_another();
        // Where it was no signal that ended it.
        shutdown.cancel();
        led
    };
    let close = async {
        shutdown.cancelled().await;
        if !closing.is_cancelled() {
            sleep(LINGER).await;
            closing.cancel();
        }
        let ended = async { while servers.join_next().await.is_some() {} };
        let _ = timeout(SERVERS_END, ended).await;
    };
    let (led, ()) = tokio::join!(led, close);
    // The senders live as long as those who listen.
    drop((elected, leader_address));
    led
}

/// Leads whenever this process is elected, in one term after the other, until `shutdown`.
///
/// # Errors
/// Where a term can't begin, or its control loop panicked.
async fn lead(
    grounds: &Grounds,
    mut election: watch::Receiver<Option<u64>>,
    terms: &watch::Sender<Option<Arc<Term>>>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    loop {
        if election.borrow().is_none() {
            info!(reason = "Following", "waiting to lead");
        }
        let number = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            elected = election.wait_for(Option::is_some) => *elected.context("the election ended")?,
        };
        let mut running = Running::begin(grounds)?;
        terms.send_replace(Some(running.term.clone()));
        info!("started");
        let ended = tokio::select! {
            biased;
            () = shutdown.cancelled() => {
                running.finish().await;
                return Ok(());
            }
            // By its number, since a term may end and the next begin before this is looked at.
            changed = election.wait_for(|now| *now != number) => {
                changed.map(drop).context("the election ended")
            }
            ended = running.ended() => ended,
        };
        grounds.replica.stop();
        terms.send_replace(None);
        running.end().await;
        grounds.replica.follow_another();
        ended?;
        // Where the term saw that it is over before the election did.
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = election.wait_for(|now| *now != number) => {}
        }
    }
}

pub(crate) async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{flag}: can't listen on {address}"))
}

/// How the cluster is reached.
pub(crate) async fn cluster() -> anyhow::Result<Config> {
    let mut config = Config::infer().await.context(
        "no way to reach the cluster: set KUBECONFIG, or run in a pod with a ServiceAccount",
    )?;
    config.connect_timeout = Some(Duration::from_secs(10));
    // Longer than a watch may be quiet (290 s), so that a list which is never answered ends too.
    config.read_timeout = Some(Duration::from_secs(310));
    // Back-off is the engine's, and every attempt counts.
    config.default_retry = false;
    Ok(config)
}

/// A client whose requests are counted.
pub(crate) fn client(cluster: Config, requests: &ApiRequests) -> anyhow::Result<Client> {
    let builder = ClientBuilder::try_from(cluster).context("preparing the Kubernetes client")?;
    Ok(builder.with_layer(requests).build())
}

fn probes(
    leading: &Current,
    certificates: &Certificates,
    shutdown: &CancellationToken,
    serving: impl Fn() -> Result<(), String> + Send + Sync + 'static,
) -> Probes {
    let stays = {
        let shutdown = shutdown.clone();
        Check::new("shutdown", move || match shutdown.is_cancelled() {
            true => Err("this replica is ending".to_owned()),
            false => Ok(()),
        })
    };
    let turning = |leading: Current| {
        Check::new("control-loop", move || {
            leading.term().map_or(Ok(()), |term| term.turning())
        })
    };
    let certificate = {
        let certificates = certificates.clone();
        Check::new("certificate", move || certificates.ready())
    };
    Probes {
        alive: vec![turning(leading.clone())],
        ready: vec![
            stays,
            turning(leading.clone()),
            certificate,
            Check::new("values", serving),
        ],
    }
}
