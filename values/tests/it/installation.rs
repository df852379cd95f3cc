//! An installation for tests: its certificates, processes that serve, and processes that follow.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls_pki_types::ServerName;
use sakidori_engine::{ObjectKey, Quantity};
use sakidori_metrics_adapter::{CertificateHandle, HttpsServer, ServingCertificate};
use sakidori_test_cluster::pki::Authority;
use sakidori_values::{Calls, Counts, Follower, State, Store, Teller, Writer};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;

pub const NAME: &str = "keda-operator.keda.svc";
pub const SOON: Duration = Duration::from_secs(20);
pub const INTERVAL: Duration = Duration::from_secs(30);

pub fn name() -> ServerName<'static> {
    NAME.try_into().expect("a DNS name")
}

pub fn certificate(authority: &Authority, name: &str) -> Result<CertificateHandle> {
    let identity = authority.issue("process", &[], &[name])?;
    Ok(CertificateHandle::new(&ServingCertificate {
        certificate_pem: identity.certificate.into_bytes(),
        key_pem: identity.key.into_bytes(),
        authorities_pem: authority.certificate().as_bytes().to_vec(),
    })?)
}

/// A replica that leads, with its server.
pub struct Leader {
    pub store: Arc<Store>,
    pub writer: Writer,
    pub teller: Teller,
    pub counts: Arc<Counts>,
    pub address: SocketAddr,
    serving: Option<AbortOnDropHandle<()>>,
    certificate: CertificateHandle,
}

impl Leader {
    pub fn start(certificate: &CertificateHandle) -> Result<Self> {
        let store = Arc::new(Store::default());
        let writer = Writer::new(store.clone());
        writer.begin();
        writer.listed();
        let counts = Arc::new(Counts::default());
        let (_, another) = watch::channel(Some("10.0.0.7:9666".to_owned()));
        let teller = Teller::new(store.clone(), counts.clone(), another);
        teller.lead();
        let mut leader = Self {
            store,
            writer,
            teller,
            counts,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            serving: None,
            certificate: certificate.clone(),
        };
        leader.serve()?;
        Ok(leader)
    }

    /// Listens, again after [`Self::die`] on the same port.
    pub fn serve(&mut self) -> Result<()> {
        let listener = TcpListener::bind(self.address)?;
        self.address = listener.local_addr()?;
        let router = Routes::new(self.teller.service()).into_axum_router();
        let server = HttpsServer::mutual(&self.certificate, name(), router)?;
        let serving = server.serve(listener, CancellationToken::new());
        self.serving = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            if let Err(error) = serving.await {
                panic!("the server ended: {error}");
            }
        })));
        Ok(())
    }

    /// Ends its server with all connections, without a word.
    pub fn die(&mut self) {
        self.serving = None;
    }

    /// Serves one metric of an object, which was read just now.
    pub fn set(&self, name: &str, uid: &str, value: i64) {
        let key = key(name);
        if let Some(slot) = self.store.slot(&key, uid, "s0-a") {
            slot.record(Quantity::from_integer(value), Duration::ZERO);
            return;
        }
        let metrics = [("s0-a".to_owned(), false)];
        let readings = self.store.readings(&key, INTERVAL, metrics, |_| None);
        for slot in readings.slots() {
            slot.record(Quantity::from_integer(value), Duration::ZERO);
        }
        let state = State::Served {
            readings: Arc::new(readings),
            complaint: None,
        };
        self.writer.set(&key, uid, state);
    }
}

/// A process that follows.
pub struct Following {
    pub store: Arc<Store>,
    pub counts: Arc<Counts>,
    pub leader: watch::Sender<Option<String>>,
    pub released: Arc<Notify>,
    _running: AbortOnDropHandle<()>,
}

impl Following {
    pub fn start(certificate: &CertificateHandle, leader: Option<SocketAddr>) -> Self {
        let (store, counts) = (Arc::new(Store::default()), Arc::new(Counts::default()));
        let (address, leader) = watch::channel(leader.map(|address| address.to_string()));
        let released = Arc::new(Notify::new());
        let follower = Follower {
            store: store.clone(),
            counts: counts.clone(),
            calls: Calls::client().expect("constant names"),
            certificate: certificate.clone(),
            name: name(),
            leader,
            released: released.clone(),
        };
        let running = tokio::spawn(async move { follower.run().await });
        Self {
            store,
            counts,
            leader: address,
            released,
            _running: AbortOnDropHandle::new(running),
        }
    }

    pub fn value(&self, name: &str) -> Option<Quantity> {
        let key = key(name);
        let uid = self.store.served(&key)?.uid;
        let latest = self.store.slot(&key, &uid, "s0-a")?.latest();
        latest.reading.map(|taken| taken.value)
    }

    pub async fn until_value(&self, name: &str, value: i64) -> Result<()> {
        let wanted = Some(Quantity::from_integer(value));
        sakidori_test_cluster::eventually("value", SOON, async || {
            Ok((self.value(name) == wanted).then_some(()))
        })
        .await
        .with_context(|| format!("{name} is at {:?}, not {value}", self.value(name)))
    }

    pub async fn until_listed(&self) -> Result<()> {
        sakidori_test_cluster::eventually("list of all objects", SOON, async || {
            Ok(self.store.is_listed().then_some(()))
        })
        .await
    }
}

pub fn key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}
