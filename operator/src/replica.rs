//! One process among several: what it serves, from its own readings while it leads and from the leader's while it doesn't, and how it
//! tells the others.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::ServerName;
use sakidori_engine::Event;
use sakidori_metrics_adapter::{CertificateHandle, ExternalMetrics, HttpsServer, ServerError};
use sakidori_values::{
    Calls, Counts, Follower, Leader, Raw, RawMetrics, ReadMetrics, Reads, Store, Teller,
    keda_services,
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::control::Events;
use crate::prometheus::Metrics;
use crate::stream_metrics::StreamMetrics;

/// What this process is among the replicas. Cheap to clone.
#[derive(Clone)]
pub struct Replica {
    store: Arc<Store>,
    counts: Arc<Counts>,
    teller: Teller,
    follower: Follower,
    leads: Arc<watch::Sender<bool>>,
    /// Where raw metrics are on.
    raw: Option<Arc<RawMetrics>>,
    /// Counts what HPAs read.
    reads: ReadMetrics,
}

impl Replica {
    /// One of an installation in `namespace` that doesn't lead. `leader` tells the address of who does.
    ///
    /// # Errors
    /// Where the namespace is no part of a name.
    pub fn new(
        namespace: &str,
        certificate: CertificateHandle,
        leader: watch::Receiver<Option<String>>,
    ) -> anyhow::Result<Self> {
        let (store, counts) = (Arc::new(Store::default()), Arc::new(Counts::default()));
        let calls = Calls::client().context("registering metrics")?;
        Ok(Self {
            teller: Teller::new(store.clone(), counts.clone(), leader.clone()),
            follower: Follower {
                store: store.clone(),
                counts: counts.clone(),
                calls,
                certificate,
                name: service_name(namespace)?,
                leader,
                released: Arc::new(Notify::new()),
            },
            store,
            counts,
            leads: Arc::new(watch::Sender::new(false)),
            raw: None,
            reads: ReadMetrics::new().context("registering metrics")?,
        })
    }

    /// The same with raw metrics for subscribers, which the polls of this process are told to while it leads.
    pub fn with_raw_metrics(mut self, raw: Option<Arc<RawMetrics>>) -> Self {
        self.raw = raw;
        self
    }

    pub fn raw_metrics(&self) -> Option<Arc<RawMetrics>> {
        self.raw.clone()
    }

    pub fn store(&self) -> Arc<Store> {
        self.store.clone()
    }

    /// Answers HPAs; a read waits so long for a newer reading.
    pub fn reads(&self, wait: Duration) -> Reads {
        Reads::new(self.store.clone(), wait).counted(self.reads.clone())
    }

    /// Adds what it counts.
    ///
    /// # Errors
    /// Where a metric of one of these names is there already.
    pub fn show(&self, metrics: &Metrics) -> Result<(), prometheus::Error> {
        let stream = StreamMetrics::new(self.store.clone(), self.counts.clone())?;
        metrics.add(Box::new(stream))?;
        metrics.add(Box::new(self.follower.calls.clone()))?;
        metrics.add(Box::new(self.reads.clone()))
    }

    /// Told when the replica that led has given up the Lease.
    pub fn released(&self) -> Arc<Notify> {
        self.follower.released.clone()
    }

    /// Whether it can serve what another told it.
    ///
    /// # Errors
    /// With why it can't.
    pub fn fit_to_serve(&self) -> Result<(), String> {
        self.store.fit_to_serve()
    }

    /// Begins to lead: follows nobody, is followed, and has `events` told which objects a newer reading is wanted of. Ends with
    /// [`Self::stop`] or [`Self::release`].
    pub fn lead(&self, events: Events) {
        self.leads.send_replace(true);
        self.teller.lead();
        let wanted = self.store.listen();
        tokio::spawn(async move {
            while let Some(key) = wanted.next().await {
                events.send(Event::ReadingWanted { key });
            }
        });
    }

    /// Leads no more: who follows it has to look for another.
    pub fn stop(&self) {
        self.teller.stop();
    }

    /// Follows again; once nothing is left that writes readings of its own.
    pub fn follow_another(&self) {
        self.store.follow();
        // In this order: streams of raw metrics end because of this.
        self.leads.send_replace(false);
        if let Some(raw) = &self.raw {
            raw.forget_all();
        }
    }

    /// Leads no more, and has given up the Lease: the others may try at once.
    pub fn release(&self) {
        self.teller.release();
    }

    /// Follows whoever leads, while that is another.
    pub async fn follow(self, shutdown: CancellationToken) {
        let mut leads = self.leads.subscribe();
        let following = async {
            loop {
                tokio::select! {
                    () = self.follower.run() => {}
                    // The sender is this value's own.
                    _ = leads.wait_for(|leads| *leads) => {}
                }
                if leads.wait_for(|leads| !*leads).await.is_err() {
                    return;
                }
            }
        };
        shutdown.run_until_cancelled(following).await;
    }

    /// Serves gRPC until `shutdown`: to the other processes of the installation, and to tools, for which `source` answers as it does for
    /// HPAs.
    ///
    /// # Errors
    /// When TLS can't be set up, or the listener can't be used.
    pub async fn serve(
        self,
        listener: TcpListener,
        source: Arc<dyn ExternalMetrics>,
        calls: Calls,
        shutdown: CancellationToken,
    ) -> Result<(), ServerError> {
        let Follower {
            certificate,
            name,
            leader,
            calls: asked,
            ..
        } = &self.follower;
        let raw = Raw::new(
            self.raw.clone(),
            self.leads.subscribe(),
            Leader::new(
                leader.clone(),
                certificate.clone(),
                name.clone(),
                asked.clone(),
            ),
            shutdown.clone(),
        );
        let routes = Routes::new(self.teller.service());
        let router = keda_services(routes, source, raw)
            .prepare()
            .into_axum_router();
        HttpsServer::mutual(certificate, name.clone(), calls.counting(router))?
            .serve(listener, shutdown)
            .await
    }
}

/// What all processes of an installation have certificates for.
fn service_name(namespace: &str) -> anyhow::Result<ServerName<'static>> {
    let name = format!("keda-operator.{namespace}.svc");
    ServerName::try_from(name.clone())
        .with_context(|| format!("POD_NAMESPACE {namespace:?}: {name} is no DNS name"))
}
