//! The certificate of this process and whom it believes, kept current without a restart; and, for the leader, what keeps all of it from
//! expiring.
//!
//! Every process *follows*: the Secret that all replicas share (`--enable-cert-rotation`), or files that somebody else brings. The leader
//! also *rotates* what is in the Secret (`rotate.rs`, which asks `plan.rs`), and *announces* the authorities to the API server
//! (`announce.rs`).

mod announce;
mod bundle;
mod files;
mod held;
mod issue;
mod metrics;
mod named;
mod names;
mod plan;
mod rotate;
mod secret;
mod x509;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use sakidori_metrics_adapter::CertificateHandle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::bundle::Bundle;
use self::files::Files;
pub use self::metrics::CertificateMetrics;
pub use self::names::ServiceNames;
use self::plan::Lives;
use self::secret::SharedSecret;

/// What an operator is told about its certificates.
#[derive(Clone, Debug)]
pub struct CertificateSettings {
    pub source: CertificateSource,
    /// What certificates that are made here are good for.
    pub names: ServiceNames,
    /// How long one lives that is made here.
    pub validity: SignedDuration,
    /// Put the authorities into the APIService of the external metrics API.
    pub patch_api_service: bool,
    /// The ValidatingWebhookConfiguration that they are put into.
    pub patch_webhooks: Option<String>,
}

#[cfg(test)]
impl CertificateSettings {
    fn for_tests() -> Self {
        Self {
            source: CertificateSource::Secret {
                namespace: "keda".into(),
                name: "kedaorg-certs".into(),
            },
            names: ServiceNames {
                namespace: "keda".into(),
                cluster_domain: "cluster.local".into(),
                services: Vec::new(),
            },
            validity: SignedDuration::from_hours(24),
            patch_api_service: false,
            patch_webhooks: None,
        }
    }
}

/// Where certificates come from.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// A Secret that the replicas make and renew together.
    Secret { namespace: String, name: String },
    /// `ca.crt`, `tls.crt` and `tls.key` in a directory, which somebody else makes and renews.
    Files(PathBuf),
}

/// The certificate of this process, and the task that keeps it current.
#[derive(Clone)]
pub struct Certificates {
    handle: CertificateHandle,
    /// The authorities that this process believes; none before it knows any.
    believed: watch::Receiver<Bundle>,
    followed: Followed,
}

#[derive(Clone)]
enum Followed {
    Secret(Arc<SharedSecret>),
    Files(Arc<Files>),
}

impl Certificates {
    /// Reads the certificate; makes the Secret where there is none yet. Where the Secret can't be read or used, the process starts
    /// with a certificate that nobody believes: [`Certificates::follow`] replaces it.
    ///
    /// # Errors
    /// Files that are missing or can't be used.
    pub async fn obtain(
        client: &Client,
        settings: &CertificateSettings,
        metrics: CertificateMetrics,
    ) -> anyhow::Result<Self> {
        match &settings.source {
            CertificateSource::Secret { namespace, name } => {
                let (tell, believed) = watch::channel(Bundle::default());
                let made = rotate::start_anew(&settings.names, &Lives::new(settings.validity))
                    .context("making a certificate")?;
                let serving = made.serving(Timestamp::now());
                let handle =
                    CertificateHandle::new(&serving.context("the certificate made is of no use")?)?;
                let secret = SharedSecret::new(
                    client.clone(),
                    namespace,
                    name,
                    handle.clone(),
                    tell,
                    metrics,
                );
                secret.obtain(&made).await;
                Ok(Self {
                    handle,
                    believed,
                    followed: Followed::Secret(Arc::new(secret)),
                })
            }
            CertificateSource::Files(directory) => Self::read(directory.clone(), metrics),
        }
    }

    /// Reads `ca.crt`, `tls.crt` and `tls.key` in a directory.
    ///
    /// # Errors
    /// Files that are missing or can't be used.
    pub fn read(directory: PathBuf, metrics: CertificateMetrics) -> anyhow::Result<Self> {
        let (tell, believed) = watch::channel(Bundle::default());
        let files = Files::open(directory, tell, metrics)?;
        Ok(Self {
            handle: files.handle(),
            believed,
            followed: Followed::Files(Arc::new(files)),
        })
    }

    /// For all servers and clients of this process.
    pub fn handle(&self) -> CertificateHandle {
        self.handle.clone()
    }

    /// Whether there is a certificate that others may believe; says what is missing.
    pub fn ready(&self) -> Result<(), String> {
        match &self.followed {
            Followed::Secret(secret) => secret.ready(),
            Followed::Files(_) => Ok(()),
        }
    }

    /// Keeps the certificate current, until `shutdown`.
    pub async fn follow(self, shutdown: CancellationToken) {
        let followed = async {
            match &self.followed {
                Followed::Secret(secret) => secret.follow().await,
                Followed::Files(files) => files.follow().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = followed => {}
        }
    }

    /// The leader's part: renews what is in the Secret, and tells the API server whom to believe, until `shutdown`.
    pub async fn lead(
        self,
        client: Client,
        settings: CertificateSettings,
        shutdown: CancellationToken,
    ) {
        let targets = announce::targets(&settings);
        let (carried, carrying) = watch::channel(vec![None; targets.len()]);
        let announced = targets.into_iter().enumerate().map(|(index, target)| {
            let tell = carried.clone();
            let tell = move |bundle| tell.send_modify(|all| all[index] = bundle);
            let recheck = match &self.followed {
                Followed::Secret(secret) => Some(secret.recheck(&client)),
                Followed::Files(_) => None,
            };
            announce::announce(client.clone(), target, self.believed.clone(), recheck, tell)
        });
        let rotated = async {
            match &self.followed {
                Followed::Secret(secret) => {
                    let lives = Lives::new(settings.validity);
                    rotate::rotate(&client, secret, &settings.names, &lives, carrying).await;
                }
                Followed::Files(_) => std::future::pending().await,
            }
        };
        let all = futures::future::join(futures::future::join_all(announced), rotated);
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = all => {}
        }
    }
}
