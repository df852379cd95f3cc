//! Certificates that somebody else brings: three files, usually of a mounted Secret, read again when one of them changes.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::{SignedDuration, Timestamp};
use sakidori_metrics_adapter::{CertificateHandle, ServingCertificate};
use tokio::sync::watch;
use tracing::{info, warn};

use super::bundle::Bundle;
use super::held::{AUTHORITIES, CERTIFICATE, KEY};
use super::metrics::CertificateMetrics;
use super::plan::Validity;
use super::x509;
use crate::lock::lock;

/// How often the files are looked at. The kubelet itself is slower than that to bring a changed Secret.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Between warnings of a certificate that ends soon.
const WARN_EVERY: SignedDuration = SignedDuration::from_hours(24);

pub(super) struct Files {
    directory: PathBuf,
    handle: CertificateHandle,
    believed: watch::Sender<Bundle>,
    metrics: CertificateMetrics,
    /// The files that were looked at last and used, or found of no use.
    seen: Mutex<Option<ServingCertificate>>,
}

impl Files {
    /// # Errors
    /// Where one is missing or can't be used, with its path.
    pub(super) fn open(
        directory: PathBuf,
        believed: watch::Sender<Bundle>,
        metrics: CertificateMetrics,
    ) -> anyhow::Result<Self> {
        let serving = read(&directory)?;
        let handle = CertificateHandle::new(&serving)
            .with_context(|| format!("--cert-dir {}", directory.display()))?;
        let files = Self {
            directory,
            handle,
            believed,
            metrics,
            seen: Mutex::new(Some(serving.clone())),
        };
        files.shown(&serving);
        Ok(files)
    }

    pub(super) fn handle(&self) -> CertificateHandle {
        self.handle.clone()
    }

    /// Never ends.
    pub(super) async fn follow(&self) {
        let mut warned = None;
        // What didn't work at the last look, and whether that was told: files that are just being written are fine at the next one.
        let mut problem: Option<(String, bool)> = None;
        loop {
            let now = Timestamp::now();
            if warned.is_none_or(|warned| now.duration_since(warned) >= WARN_EVERY)
                && let Some(until) = self.ends_soon(now)
            {
                warned = Some(now);
                warn!(
                    directory = %self.directory.display(), %until,
                    "the serving certificate ends soon, and there is no other one: renew tls.crt and tls.key"
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
            problem = match (self.look(), problem) {
                (Ok(()), _) => None,
                (Err(error), Some((before, told))) if error == before => {
                    if !told {
                        warn!(
                            directory = %self.directory.display(), error,
                            "the certificate files can't be used; the last certificate stays"
                        );
                    }
                    Some((error, true))
                }
                (Err(error), _) => Some((error, false)),
            };
        }
    }

    fn look(&self) -> Result<(), String> {
        let next = read(&self.directory).map_err(|error| format!("{error:#}"))?;
        if lock(&self.seen).as_ref() == Some(&next) {
            return Ok(());
        }
        // Files of two versions don't go together, or are others at the second look.
        if read(&self.directory).ok().as_ref() != Some(&next) {
            return Ok(());
        }
        self.handle
            .replace(&next)
            .map_err(|error| error.to_string())?;
        info!(directory = %self.directory.display(), "the serving certificate was replaced");
        self.shown(&next);
        *lock(&self.seen) = Some(next);
        Ok(())
    }

    fn shown(&self, serving: &ServingCertificate) {
        self.metrics.shown(serving);
        let authorities = Bundle::new(x509::certificates(&serving.authorities_pem));
        self.believed.send_replace(authorities);
    }

    /// The end of the certificate that is shown, in the last tenth of its life: whoever renews it should have done so by then.
    fn ends_soon(&self, now: Timestamp) -> Option<Timestamp> {
        let seen = lock(&self.seen);
        let chain = x509::certificates(&seen.as_ref()?.certificate_pem);
        let Validity { from, until } = x509::validity(chain.first()?)?;
        let tenth = until.duration_since(from) / 10;
        (until.duration_since(now) < tenth).then_some(until)
    }
}

fn read(directory: &Path) -> anyhow::Result<ServingCertificate> {
    let file = |name: &str| {
        let path = directory.join(name);
        std::fs::read(&path).with_context(|| {
            format!(
                "--cert-dir: can't read {}: expected ca.crt, tls.crt and tls.key there, or --enable-cert-rotation=true",
                path.display()
            )
        })
    };
    let serving = ServingCertificate {
        certificate_pem: file(CERTIFICATE)?,
        key_pem: file(KEY)?,
        authorities_pem: file(AUTHORITIES)?,
    };
    if serving.certificate_pem.is_empty() || serving.key_pem.is_empty() {
        bail!(
            "--cert-dir: tls.crt or tls.key in {} is empty",
            directory.display()
        );
    }
    Ok(serving)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::held::Held;
    use crate::certificates::names::ServiceNames;
    use crate::certificates::plan::Lives;
    use crate::certificates::rotate::start_anew;

    fn made(hours: i64) -> Held {
        let names = ServiceNames {
            namespace: "keda".into(),
            cluster_domain: "cluster.local".into(),
            services: Vec::new(),
        };
        start_anew(&names, &Lives::new(SignedDuration::from_hours(hours))).unwrap()
    }

    fn put(directory: &Path, held: &Held) {
        for (name, content) in held.content() {
            std::fs::write(directory.join(name), content).unwrap();
        }
    }

    fn open(directory: &Path) -> anyhow::Result<(Files, watch::Receiver<Bundle>)> {
        let (tell, believed) = watch::channel(Bundle::default());
        let metrics = CertificateMetrics::new()?;
        Ok((Files::open(directory.to_owned(), tell, metrics)?, believed))
    }

    #[test]
    fn a_missing_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = open(dir.path()).err().unwrap();
        assert!(format!("{error:#}").contains("tls.crt"), "{error:#}");
    }

    #[test]
    fn a_change_is_used_when_all_files_go_together() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (made(24), made(24));
        put(dir.path(), &first);
        let (files, believed) = open(dir.path()).unwrap();
        assert!(*believed.borrow() == first.bundle());
        std::fs::write(dir.path().join(KEY), &second.content()[KEY]).unwrap();
        assert!(files.look().is_err());
        std::fs::write(dir.path().join(CERTIFICATE), "").unwrap();
        assert!(files.look().unwrap_err().contains("is empty"));
        assert!(*believed.borrow() == first.bundle());
        put(dir.path(), &second);
        files.look().unwrap();
        assert!(*believed.borrow() == second.bundle());
    }

    #[test]
    fn the_last_tenth_of_a_life_is_soon() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), &made(24));
        let (files, _) = open(dir.path()).unwrap();
        let after = |hours| Timestamp::now() + SignedDuration::from_hours(hours);
        assert_eq!(files.ends_soon(after(21)), None);
        assert!(files.ends_soon(after(22)).is_some());
    }
}
