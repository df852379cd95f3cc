//! How what is served is served: with which TLS, and without.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use sakidori_metrics_adapter::{
    CertificateHandle, Clients, HttpServer, HttpsServer, ServingTls, authorities_of,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::options::Options;

/// TLS of the servers that everybody may connect to.
pub fn tls(options: &Options) -> ServingTls {
    ServingTls {
        provider: Arc::new(options.service_tls.provider()),
        versions: options.service_tls.versions(),
        clients: None,
    }
}

/// The admission webhooks, for everybody or for clients that somebody vouches for.
///
/// # Errors
/// For a file that names nobody who does, and settings that the TLS library refuses.
pub fn webhooks(
    options: &Options,
    certificate: &CertificateHandle,
    router: Router,
) -> anyhow::Result<HttpsServer> {
    let mut tls = tls(options);
    if let Some(path) = &options.webhook_client_ca {
        let flag = || format!("--webhook-client-ca-file {}", path.display());
        let pem = std::fs::read(path).with_context(flag)?;
        tls.clients = Some(Clients {
            authorities: Arc::new(authorities_of(&pem).with_context(flag)?),
            names: options.webhook_client_names.clone(),
        });
    } else if !options.webhook_client_names.is_empty() {
        // Nobody shows a certificate then, and everybody would be answered.
        anyhow::bail!("--webhook-client-names needs --webhook-client-ca-file");
    }
    HttpsServer::new(certificate, router)
        .and_then(|server| server.speaking(&tls))
        .context("preparing the admission webhooks")
}

/// What anybody may ask.
pub enum Open {
    Plain(HttpServer),
    OverTls(HttpsServer),
}

impl Open {
    pub fn plain(router: Router) -> Self {
        Self::Plain(HttpServer::new(router))
    }

    /// The Prometheus metrics.
    ///
    /// # Errors
    /// For settings that the TLS library refuses.
    pub fn metrics(
        options: &Options,
        certificate: &CertificateHandle,
        router: Router,
    ) -> anyhow::Result<Self> {
        if !options.metrics_secure {
            return Ok(Self::plain(router));
        }
        HttpsServer::new(certificate, router)
            .and_then(|server| server.speaking(&tls(options)))
            .map(Self::OverTls)
            .context("preparing the Prometheus metrics")
    }

    /// Serves until `shutdown`.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let served = async {
            let listener = listener.into_std()?;
            match self {
                Self::Plain(server) => server.serve(listener, shutdown).await,
                Self::OverTls(server) => server.serve(listener, shutdown).await,
            }
        };
        if let Err(error) = served.await {
            // Where it was the probes, the kubelet finds nobody and restarts the process.
            error!(%error, "a server for probes or metrics ended");
        }
    }
}
