//! A term of leading: everything that only the replica which leads does, and all that it remembers.
//!
//! A term has a runtime of its own. When it ends, the runtime ends, and with it every task of the term, whoever started it, every
//! connection and every timer: there is no list of tasks that something could be missing from. Its client for the API server asks
//! before each write whether this process still leads ([`Fence`]). What the rest of the process sees of
//! a term is [`Term`], through [`Current`].

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::client::ClientBuilder;
use sakidori_engine::{Event, ObjectKey};
use sakidori_scalers::clients::Clients;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::api_service;
use crate::authentications::Authentications;
use crate::calendars::{Around, CalendarMetrics, Calendars, Follower};
use crate::capacity_buffers::CapacityBuffers;
use crate::certificates::Certificates;
use crate::clock::Clock;
use crate::cluster_view::ClusterView;
use crate::control::{self, Events, Heartbeat, LONGEST_SLEEP};
use crate::credentials::Fetcher;
use crate::deletion::Finalizer;
use crate::events::EventPublisher;
use crate::executor::{Executor, bounds_gate};
use crate::hpa_index::HpaIndex;
use crate::hpa_writer::HpaWriter;
use crate::leadership::{Fence, Leadership};
use crate::objects::Objects;
use crate::options::Options;
use crate::poll::Poller;
use crate::prepare::Preparer;
use crate::prometheus::{ApiRequests, Metrics, View};
use crate::references::References;
use crate::repairs::Repairs;
use crate::replica::Replica;
use crate::resize::{self, Resizer};
use crate::sales::SaleNews;
use crate::status::StatusWriter;
use crate::target::Targets;
use crate::watches::Watches;

/// A control loop that did not turn for this long is stuck; `/healthz` then fails and the kubelet restarts the process.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// What is under way at a shutdown may take this long: SIGTERM ends the process within 5 s.
const DRAIN: Duration = Duration::from_millis(2500);

/// Tasks of a term end where they wait next. Only what blocks a thread (librdkafka, the system's look-up of names) may take longer; it is
/// waited for so long, and can then change nothing.
const END_WITHIN: Duration = Duration::from_secs(1);
/// The same at a shutdown, where there is no time.
const CLOSE: Duration = Duration::from_millis(300);

/// What probes say until everything was seen once.
pub const UNLISTED: &str = "ScaledObjects and HPAs are not listed yet";

/// What outlives a term, and each term is built on.
pub struct Grounds {
    pub options: Options,
    pub cluster: kube::Config,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    /// Counts what is asked of the API server.
    pub requests: ApiRequests,
    pub leadership: Leadership,
    /// What is served, also by the others.
    pub replica: Replica,
    /// Followed by the process; the term renews them.
    pub certificates: Certificates,
}

/// What the rest of the process sees of a term.
pub struct Term {
    pub calendars: Arc<Calendars>,
    watches: Arc<Watches>,
    heartbeat: Heartbeat,
    began: jiff::Timestamp,
    clock: Clock,
}

impl Term {
    /// Whether everything that there is has been seen once.
    ///
    /// # Errors
    /// A sentence for probes.
    pub fn listed(&self) -> Result<(), String> {
        if self.watches.listed() {
            Ok(())
        } else {
            Err(UNLISTED.to_owned())
        }
    }

    /// Whether the control loop turns.
    ///
    /// # Errors
    /// A sentence for probes.
    pub fn turning(&self) -> Result<(), String> {
        let idle = self.heartbeat.age(self.began, self.clock.now());
        if idle <= STUCK_AFTER.as_secs().max(LONGEST_SLEEP.as_secs()) {
            Ok(())
        } else {
            Err(format!("it has not turned for {idle} s"))
        }
    }
}

/// The term that this process is in, while it leads. Cheap to clone.
#[derive(Clone)]
pub struct Current(watch::Receiver<Option<Arc<Term>>>);

impl Current {
    /// The sender is told when a term begins and ends.
    pub fn channel() -> (watch::Sender<Option<Arc<Term>>>, Self) {
        let (sender, receiver) = watch::channel(None);
        (sender, Self(receiver))
    }

    pub fn term(&self) -> Option<Arc<Term>> {
        self.0.borrow().clone()
    }
}

/// A term that is under way.
pub struct Running {
    pub term: Arc<Term>,
    /// Taken when it ends.
    runtime: Option<Runtime>,
    work: JoinHandle<()>,
    fence: Fence,
    stop: CancellationToken,
    calendar_metrics: CalendarMetrics,
    metrics: Arc<Metrics>,
}

impl Running {
    /// Begins to do all that a leader does.
    ///
    /// # Errors
    /// Where the machine gives no more threads, or the client's configuration can't be used.
    pub fn begin(grounds: &Grounds) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("term")
            .build()
            .context("starting the runtime of a term")?;
        let (fence, stop) = (Fence::new(&grounds.leadership), CancellationToken::new());
        let calendar_metrics =
            CalendarMetrics::new(grounds.clock).context("registering metrics")?;
        let (term, work) = {
            let _within = runtime.enter();
            build(grounds, &calendar_metrics, &fence, &stop)?
        };
        let metrics = grounds.metrics.clone();
        metrics
            .add(Box::new(calendar_metrics.clone()))
            .context("registering metrics")?;
        Ok(Self {
            term,
            work: runtime.spawn(work),
            runtime: Some(runtime),
            fence,
            stop,
            calendar_metrics,
            metrics,
        })
    }

    /// Returns when the control loop has ended by itself: it found that it may not act any more.
    ///
    /// # Errors
    /// Where it panicked.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        (&mut self.work).await.context("the control loop panicked")
    }

    /// Takes no decision any more, and lets what is under way end, within 2.5 s. Then everything ends.
    pub async fn finish(mut self) {
        self.stop.cancel();
        if timeout(DRAIN, &mut self.work).await.is_err() {
            info!("ended with work under way; it is read again at the next start");
        }
        self.close(CLOSE).await;
    }

    /// Ends everything at once, wherever it is.
    pub async fn end(mut self) {
        self.close(END_WITHIN).await;
    }

    async fn close(&mut self, within: Duration) {
        // From now on it writes nothing, even where something of it should go on.
        self.fence.close();
        if let Some(runtime) = self.runtime.take() {
            // It waits for its threads, which an async task may not.
            let _ = spawn_blocking(move || runtime.shutdown_timeout(within)).await;
        }
        // Nobody is left who writes them.
        self.metrics.remove(Box::new(self.calendar_metrics.clone()));
        self.metrics.forget_all();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Of a term that nobody ended: a runtime may not be dropped, and so waited for, inside of another.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Puts all parts of a term together, and gives the future that is its work.
#[allow(
    clippy::too_many_lines,
    reason = "one part after the other, each named once"
)]
fn build(
    grounds: &Grounds,
    calendar_metrics: &CalendarMetrics,
    fence: &Fence,
    stop: &CancellationToken,
) -> anyhow::Result<(Arc<Term>, impl Future<Output = ()> + Send + use<>)> {
    let Grounds {
        options,
        cluster,
        clock,
        metrics,
        requests,
        replica,
        certificates,
        ..
    } = grounds;
    let (clock, stop) = (*clock, stop.clone());
    let client = ClientBuilder::try_from(cluster.clone())
        .context("preparing the Kubernetes client")?
        .with_layer(requests)
        .with_layer(fence)
        .build();
    let heartbeat = Heartbeat::default();
    let (events, received) = Events::channel();
    let objects = Arc::new(Objects::new(replica.store()));
    let clients = Arc::new(Clients::new(options.clients.clone()));
    let fetcher = || Fetcher::new(client.clone(), clients.clone(), options.credentials.clone());
    let own = options.cluster_object_namespace.as_str();
    let only_in = options.restrict_secret_access.then_some(own);
    let (sale_changes, sales_changed) = mpsc::unbounded_channel();
    let calendars = Arc::new(Calendars::new(sale_changes));
    let sale_news = Arc::new(SaleNews::new(
        calendars.clone(),
        objects.clone(),
        events.clone(),
    ));
    let (changes, changed) = mpsc::unbounded_channel();
    let references = Arc::new(References::new(client.clone(), fetcher(), only_in, changes));
    let targets = Arc::new(Targets::new(client.clone()));
    let hpas = Arc::new(HpaIndex::default());
    let tasks = TaskTracker::new();
    let (publisher, publishing) =
        EventPublisher::start(client.clone(), options.identity.clone(), stop.clone());
    let (resizer, resizer_messages) = Resizer::channel();
    let finalizer = Arc::new(Finalizer::new(
        client.clone(),
        targets.clone(),
        resizer.clone(),
        tasks.clone(),
    ));
    let (calendar_changes, calendars_changed) = mpsc::unbounded_channel();
    let calendar_references = References::new(client.clone(), fetcher(), only_in, calendar_changes);
    let follower = Follower::new(
        Around {
            client: client.clone(),
            calendars: calendars.clone(),
            references: calendar_references,
            clients: clients.clone(),
            publisher: publisher.clone(),
            metrics: calendar_metrics.clone(),
            clock,
            cluster_object_namespace: options.cluster_object_namespace.clone(),
        },
        options.watch.clone(),
    );
    let bounds = bounds_gate();
    let status = StatusWriter::new(client.clone(), objects.clone(), bounds.clone());
    let preparer = Arc::new(Preparer {
        objects: objects.clone(),
        targets: targets.clone(),
        references: references.clone(),
        hpas: hpas.clone(),
        sale_news: sale_news.clone(),
        writer: HpaWriter::new(client.clone()),
        finalizer: finalizer.clone(),
        resizer: resizer.clone(),
        scaling: sakidori_scalers::Context {
            clients,
            cluster: Arc::new(ClusterView::new(client.clone(), only_in)),
        },
        events: events.clone(),
        publisher: publisher.clone(),
        publish_unmatched_parameters: options.publish_unmatched_parameters,
        cluster_object_namespace: options.cluster_object_namespace.clone(),
    });
    let poller = Arc::new(Poller::new(
        objects.clone(),
        targets.clone(),
        metrics.clone(),
        replica.raw_metrics(),
        events.clone(),
    ));
    let executor = Arc::new(Executor::new(
        objects.clone(),
        targets.clone(),
        preparer,
        poller,
        status.clone(),
        publisher.clone(),
        events.clone(),
        tasks.clone(),
        CapacityBuffers::new(client.clone()),
        resizer.clone(),
        bounds.clone(),
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
        finalizer: finalizer.clone(),
        resizer: resizer.clone(),
        publisher: publisher.clone(),
        events: events.clone(),
        repairs: Repairs::default(),
        unlisted: usize::MAX.into(),
    });
    let around_pods = resize::Around {
        client: client.clone(),
        targets,
        objects: objects.clone(),
        hpas: watches.hpas.clone(),
        finalizer,
        publisher: publisher.clone(),
        metrics: metrics.clone(),
        events: events.clone(),
        tasks: tasks.clone(),
        bounds,
        clock,
        fence: fence.clone(),
    };
    let resizing = resize::run(around_pods, resizer, resizer_messages, stop.clone());
    let authentications = Authentications::new(
        client.clone(),
        options.watch.clone(),
        objects.clone(),
        publisher,
        watches.clone(),
    );
    metrics.lead(View {
        objects: objects.clone(),
        hpas: watches.hpas.clone(),
        calendars: calendars.clone(),
        authentications: authentications.known(),
        clock,
    });
    let fence = fence.clone();
    let renewing =
        certificates
            .clone()
            .lead(client.clone(), options.certificates.clone(), stop.clone());
    // From here on nobody's word counts but this term's.
    objects.values().lead();
    replica.lead(events.clone());
    let term = Arc::new(Term {
        calendars,
        watches: watches.clone(),
        heartbeat: heartbeat.clone(),
        began: clock.now(),
        clock,
    });
    let work = async move {
        let mut around = JoinSet::new();
        around.spawn(publishing);
        around.spawn(forward(changed, events));
        around.spawn(sale_news.follow(sales_changed));
        around.spawn(authentications.run(stop.clone()));
        around.spawn(watches.run(stop.clone()));
        around.spawn(follower.run(calendars_changed, stop.clone()));
        around.spawn(resizing);
        around.spawn(renewing);
        around.spawn(api_service::announce(client, stop.clone()));
        control::run(received, executor, clock, heartbeat, fence, stop.clone()).await;
        // At a shutdown; whoever may not act any more waits for nothing.
        if stop.is_cancelled() {
            tasks.close();
            tasks.wait().await;
        }
    };
    Ok((term, work))
}

/// Tells the engine of changed references.
async fn forward(mut changed: mpsc::UnboundedReceiver<ObjectKey>, events: Events) {
    while let Some(key) = changed.recv().await {
        events.send(Event::ReferenceChanged { key });
    }
}
