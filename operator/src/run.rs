//! Puts all parts together and runs them until a signal comes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::{Client, Config};
use sakidori_engine::Event;
use sakidori_metrics_adapter::{CertificateHandle, HttpsServer, Server};
use sakidori_scalers::clients::Clients;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use crate::admission::{Admission, ClusterReads, Neighbours};
use crate::authentications::Authentications;
use crate::calendars::{Around, CalendarMetrics, Calendars, Follower};
use crate::capacity_buffers::CapacityBuffers;
use crate::clock::Clock;
use crate::cluster_view::ClusterView;
use crate::control::{self, Events, Heartbeat, LONGEST_SLEEP};
use crate::credentials::Fetcher;
use crate::deletion::Finalizer;
use crate::events::EventPublisher;
use crate::executor::{Executor, bounds_gate};
use crate::external_metrics::CachedMetrics;
use crate::hpa_index::HpaIndex;
use crate::hpa_writer::HpaWriter;
use crate::objects::Objects;
use crate::options::Options;
use crate::poll::Poller;
use crate::prepare::Preparer;
use crate::probes::{Check, Probes, serve_metrics, serve_probes};
use crate::prometheus::Metrics;
use crate::references::References;
use crate::repairs::Repairs;
use crate::sales::SaleNews;
use crate::status::StatusWriter;
use crate::target::Targets;
use crate::watches::Watches;
use crate::{admission, api_service, certificates, leader};

/// A control loop that did not turn for this long is stuck; `/healthz` then fails and the kubelet restarts the process.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// What is under way at a shutdown may take this long, and giving up the lease that long: SIGTERM ends the process within 5 s.
const DRAIN: Duration = Duration::from_millis(2500);
const RELEASE: Duration = Duration::from_secs(1);

/// Runs the operator until `shutdown`.
///
/// # Errors
/// Where it can't start: an address in use, no way to reach the cluster, unusable certificates. And where it lost its
/// leadership: the process ends, so that nothing of it goes on as if it led.
pub async fn run(options: Options, shutdown: CancellationToken) -> anyhow::Result<()> {
    // Addresses first: one in use is the user's quickest mistake to tell.
    let metrics_listener = bind(options.metrics_bind_address, "--metrics-bind-address").await?;
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
    let webhook_listener = bind(options.webhook_bind_address, "--webhook-bind-address")
        .await?
        .into_std()?;
    let client = client().await?;
    let (certificate, authority) = certificates::load(&options)?;
    let certificate = CertificateHandle::new(&certificate)?;

    let metrics = Arc::new(Metrics::new().context("registering metrics")?);
    let clock = Clock::start();
    let heartbeat = Heartbeat::default();
    let (events, received) = Events::channel();
    let objects = Arc::new(Objects::default());
    let (changes, changed) = mpsc::unbounded_channel();
    let clients = Arc::new(Clients::new(options.clients.clone()));
    let fetcher = Fetcher::new(client.clone(), clients.clone(), options.credentials.clone());
    let own = options.cluster_object_namespace.as_str();
    let only_in = options.restrict_secret_access.then_some(own);
    let (sale_changes, sales_changed) = mpsc::unbounded_channel();
    let calendars = Arc::new(Calendars::new(sale_changes));
    let sale_news = Arc::new(SaleNews::new(
        calendars.clone(),
        objects.clone(),
        events.clone(),
    ));
    let references = References::new(client.clone(), fetcher, only_in, changes);
    let (calendar_changes, calendars_changed) = mpsc::unbounded_channel();
    let calendar_metrics = CalendarMetrics::new(clock).context("registering metrics")?;
    let collected = Box::new(calendar_metrics.clone());
    metrics.add(collected).context("registering metrics")?;
    let fetcher = Fetcher::new(client.clone(), clients.clone(), options.credentials.clone());
    let calendar_clients = clients.clone();
    let references = Arc::new(references);
    let targets = Arc::new(Targets::new(client.clone()));
    let hpas = Arc::new(HpaIndex::default());
    let tasks = TaskTracker::new();
    let (publisher, publishing) =
        EventPublisher::start(client.clone(), options.identity.clone(), shutdown.clone());
    let finalizer = Arc::new(Finalizer::new(
        client.clone(),
        targets.clone(),
        tasks.clone(),
    ));
    let calendar_references = References::new(client.clone(), fetcher, only_in, calendar_changes);
    let follower = Follower::new(
        Around {
            client: client.clone(),
            calendars: calendars.clone(),
            references: calendar_references,
            clients: calendar_clients,
            publisher: publisher.clone(),
            metrics: calendar_metrics,
            clock,
            cluster_object_namespace: options.cluster_object_namespace.clone(),
        },
        options.watch.clone(),
    );
    let bounds = bounds_gate();
    let status = StatusWriter::new(client.clone(), objects.clone(), bounds.clone());
    let scaling = sakidori_scalers::Context {
        clients,
        cluster: Arc::new(ClusterView::new(client.clone(), only_in)),
    };
    let neighbours = Arc::new(Neighbours::new(options.watch.clone()));
    let admission = Admission::new(
        neighbours.clone(),
        ClusterReads {
            client: client.clone(),
            // Its own, so that a burst of admissions takes no poll's place among the reads.
            targets: Arc::new(Targets::new(client.clone())),
            calendars: calendars.clone(),
            cluster_object_namespace: options.cluster_object_namespace.clone(),
        },
        scaling.clone(),
        publisher.clone(),
        metrics.clone(),
        clock,
    );
    let preparer = Arc::new(Preparer {
        objects: objects.clone(),
        targets: targets.clone(),
        references: references.clone(),
        hpas: hpas.clone(),
        sale_news: sale_news.clone(),
        writer: HpaWriter::new(client.clone()),
        finalizer: finalizer.clone(),
        scaling,
        events: events.clone(),
        publisher: publisher.clone(),
        publish_unmatched_parameters: options.publish_unmatched_parameters,
        cluster_object_namespace: options.cluster_object_namespace.clone(),
    });
    let poller = Arc::new(Poller::new(
        objects.clone(),
        targets.clone(),
        metrics.clone(),
        events.clone(),
    ));
    let executor = Arc::new(Executor::new(
        objects.clone(),
        targets,
        preparer,
        poller,
        status.clone(),
        publisher.clone(),
        events.clone(),
        tasks.clone(),
        CapacityBuffers::new(client.clone()),
        bounds,
    ));
    let watches = Arc::new(Watches {
        client: client.clone(),
        namespaces: options.watch.clone(),
        objects: objects.clone(),
        hpas,
        references,
        calendars: calendars.clone(),
        status,
        metrics: metrics.clone(),
        finalizer,
        publisher: publisher.clone(),
        events: events.clone(),
        repairs: Repairs::default(),
        unlisted: usize::MAX.into(),
    });

    let authentications = Authentications::new(
        client.clone(),
        options.watch.clone(),
        objects.clone(),
        publisher,
        watches.clone(),
    );

    let (leading, leads) = watch::channel(!options.leader_elect);
    let probes = Arc::new(probes(clock, &heartbeat, &watches, leads.clone()));
    let source = CachedMetrics::new(
        objects,
        events.clone(),
        leads.clone(),
        options.external_metrics_wait,
    );
    let ready = {
        let watches = watches.clone();
        Arc::new(move || listed(&watches))
    };
    let source = Arc::new(source);
    let api = Server::new(client.clone(), certificate.clone(), source, ready)
        .context("preparing the external metrics API")?;

    let webhooks = HttpsServer::new(&certificate, admission.router())
        .context("preparing the admission webhooks")?;

    let mut servers = tokio::task::JoinSet::new();
    servers.spawn(serve_probes(probes_listener, probes, shutdown.clone()));
    servers.spawn(serve_metrics(metrics_listener, metrics, shutdown.clone()));
    servers.spawn(certificates::follow(
        options.cert_dir.clone(),
        certificate,
        shutdown.clone(),
    ));
    let stop = shutdown.clone();
    // From the start, also while another replica leads: a port that listens and says nothing would hang the HPA.
    servers.spawn(async move {
        if let Err(error) = api.serve(api_listener, stop.clone()).await {
            error!(%error, "the external metrics API ended");
            // Without it no HPA can scale: better a restart than a half.
            stop.cancel();
        }
    });

    let stop = shutdown.clone();
    // Also while another replica leads: any of them may be asked.
    servers.spawn(async move {
        if let Err(error) = webhooks.serve(webhook_listener, stop).await {
            // Objects are then let through, or refused where the user wants that: scaling goes on.
            error!(%error, "the admission webhooks ended");
        }
    });
    servers.spawn(neighbours.follow(client.clone(), shutdown.clone()));
    servers.spawn(publishing);

    let release = CancellationToken::new();
    let election = {
        let (client, release) = (client.clone(), release.clone());
        let (elect, namespace) = (options.leader_elect, options.namespace.clone());
        let identity = options.identity.clone();
        tokio::spawn(async move {
            if elect {
                leader::run(client, &namespace, identity, clock, leading, release).await;
            } else {
                release.cancelled().await;
                drop(leading);
            }
        })
    };
    let led = lead(leads, &shutdown, async {
        servers.spawn(forward(changed, events));
        servers.spawn(sale_news.follow(sales_changed));
        servers.spawn(authentications.run(shutdown.clone()));
        servers.spawn(watches.run(shutdown.clone()));
        servers.spawn(follower.run(calendars_changed, shutdown.clone()));
        if let Some((name, authority)) = options.webhook_configuration.zip(authority.clone()) {
            let (client, shutdown) = (client.clone(), shutdown.clone());
            servers.spawn(admission::announce(client, name, authority, shutdown));
        }
        servers.spawn(api_service::announce(client, authority, shutdown.clone()));
        info!("started");
        control::run(received, executor, clock, heartbeat, shutdown.clone()).await;
    })
    .await;

    shutdown.cancel();
    tasks.close();
    // Whoever lost the leadership must not write any more: what is under way ends with the process.
    led?;
    let drained = async {
        tasks.wait().await;
        while servers.join_next().await.is_some() {}
    };
    if timeout(DRAIN, drained).await.is_err() {
        info!("ended with work under way; it is read again at the next start");
    }
    // Only now another replica may lead.
    release.cancel();
    let _ = timeout(RELEASE, election).await;
    Ok(())
}

/// Waits for the leadership, then runs `work` as long as it lasts.
async fn lead(
    mut leads: watch::Receiver<bool>,
    shutdown: &CancellationToken,
    work: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    if !*leads.borrow() {
        info!("waiting to lead");
    }
    tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(()),
        led = leads.wait_for(|leading| *leading) => led.map(drop).context("the election ended")?,
    }
    tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        () = work => Ok(()),
        // An election that ended leads no more either.
        _ = leads.wait_for(|leading| !*leading) => anyhow::bail!("lost the leadership"),
    }
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{flag}: can't listen on {address}"))
}

async fn client() -> anyhow::Result<Client> {
    let mut config = Config::infer().await.context(
        "no way to reach the cluster: set KUBECONFIG, or run in a pod with a ServiceAccount",
    )?;
    config.connect_timeout = Some(Duration::from_secs(10));
    // Longer than a watch may be quiet (290 s), so that a list which is never answered ends too.
    config.read_timeout = Some(Duration::from_secs(310));
    // Back-off is the engine's, and every attempt counts.
    config.default_retry = false;
    Client::try_from(config).context("preparing the Kubernetes client")
}

fn probes(
    clock: Clock,
    heartbeat: &Heartbeat,
    watches: &Arc<Watches>,
    leads: watch::Receiver<bool>,
) -> Probes {
    let started = clock.now();
    let turning = |heartbeat: Heartbeat, leads: watch::Receiver<bool>| {
        Check::new("control-loop", move || {
            let idle = if *leads.borrow() {
                heartbeat.age(started, clock.now())
            } else {
                0
            };
            if idle <= STUCK_AFTER.as_secs().max(LONGEST_SLEEP.as_secs()) {
                Ok(())
            } else {
                Err(format!("it has not turned for {idle} s"))
            }
        })
    };
    let lists = {
        let watches = watches.clone();
        Check::new("first-lists", move || listed(&watches))
    };
    let leading = {
        let leads = leads.clone();
        Check::new("leader", move || {
            if *leads.borrow() {
                Ok(())
            } else {
                Err("another replica leads; this one serves no values yet".to_owned())
            }
        })
    };
    Probes {
        alive: vec![turning(heartbeat.clone(), leads.clone())],
        ready: vec![turning(heartbeat.clone(), leads), lists, leading],
    }
}

fn listed(watches: &Watches) -> Result<(), String> {
    if watches.listed() {
        Ok(())
    } else {
        Err("ScaledObjects and HPAs are not listed yet".to_owned())
    }
}

/// Tells the engine of changed references.
async fn forward(mut changed: mpsc::UnboundedReceiver<sakidori_engine::ObjectKey>, events: Events) {
    while let Some(key) = changed.recv().await {
        events.send(Event::ReferenceChanged { key });
    }
}
