//! A channel to the replica that leads, shared by all calls that are passed on to it.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use sakidori_metrics_adapter::CertificateHandle;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::calls::{Calling, Calls};
use crate::connect::tls;
use crate::lock::lock;

/// Within one cluster a connection and a handshake take milliseconds.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// A leader that is stopped, or whose machine is gone, answers no ping.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_DEADLINE: Duration = Duration::from_secs(5);

/// Knows where the leader is. Cheap to clone.
#[derive(Clone)]
pub struct Leader {
    /// Host and port of another replica's gRPC server, while one leads.
    address: watch::Receiver<Option<String>>,
    certificate: CertificateHandle,
    /// What its certificate has to be good for.
    name: ServerName<'static>,
    /// To the address that was asked last.
    channel: Arc<Mutex<Option<(String, Channel)>>>,
    /// Counts what is asked of it.
    calls: Calls,
}

impl Leader {
    pub fn new(
        address: watch::Receiver<Option<String>>,
        certificate: CertificateHandle,
        name: ServerName<'static>,
        calls: Calls,
    ) -> Self {
        Self {
            address,
            certificate,
            name,
            channel: Arc::default(),
            calls,
        }
    }

    /// Resolves when another leads than now. While it isn't known who does, the connection itself tells what becomes of the leader.
    pub fn change(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut address = self.address.clone();
        let now = address.borrow_and_update().clone();
        async move {
            let other = |address: &Option<String>| address.is_some() && *address != now;
            if address.wait_for(other).await.is_err() {
                // Nobody tells of changes any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// A connection that is made when it is first used, and again where it broke.
    ///
    /// # Errors
    /// `UNAVAILABLE` while no leader is known.
    pub fn channel(&self) -> Result<Calling<Channel>, Status> {
        let Some(address) = self.address.borrow().clone() else {
            return Err(Status::unavailable(
                "no replica leads at the moment: try again",
            ));
        };
        let mut known = lock(&self.channel);
        if let Some((to, channel)) = &*known
            && *to == address
        {
            return Ok(self.calls.over(channel.clone()));
        }
        let channel = connect(&address, &self.certificate, &self.name)?;
        *known = Some((address, channel.clone()));
        Ok(self.calls.over(channel))
    }
}

/// Certificate and authorities are those of the moment in which a connection is made.
fn connect(
    address: &str,
    certificate: &CertificateHandle,
    name: &ServerName<'static>,
) -> Result<Channel, Status> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Status::unavailable(format!("the leader's address {address:?}: {error}")))?
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_DEADLINE);
    let (certificate, name) = (certificate.clone(), name.clone());
    Ok(
        endpoint.connect_with_connector_lazy(service_fn(move |uri: Uri| {
            let (certificate, name) = (certificate.clone(), name.clone());
            async move {
                let address = uri.authority().map_or("", |authority| authority.as_str());
                let stream = timeout(CONNECT_WITHIN, tls(address, &certificate, &name)).await??;
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        })),
    )
}
