//! The serving certificate: read from `--cert-dir`, made there where nobody else does, and picked up when it changes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use sakidori_metrics_adapter::{CertificateHandle, ServingCertificate};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::options::Options;

/// The Services that the certificate has to be good for: those of KEDA's chart, and what its operator calls the metrics server
/// by default.
const SERVICES: [&str; 4] = [
    "keda-operator",
    "keda-operator-metrics-apiserver",
    "keda-metrics-apiserver",
    "keda-admission-webhooks",
];
const CLUSTER_DOMAIN: &str = "cluster.local";

/// Made certificates are good for three years, and made anew by the first start after half a year.
const VALID_FOR: time::Duration = time::Duration::days(3 * 365);
const OLD_AFTER: Duration = Duration::from_secs(180 * 24 * 3600);
/// Clocks of nodes differ a little.
const VALID_SINCE: time::Duration = time::Duration::hours(1);

/// How often the files are looked at. The kubelet itself is slower than that to bring a changed Secret.
const LOOK_EVERY: Duration = Duration::from_secs(5);

const FILES: [&str; 3] = ["ca.crt", "tls.crt", "tls.key"];

/// True for a file that is there and was written not long ago.
fn is_young(path: &Path) -> bool {
    let written = std::fs::metadata(path).and_then(|file| file.modified());
    // One from the future was written by a clock that was ahead.
    written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age < OLD_AFTER))
}

/// Loads the serving certificate, and makes one first where that is asked for and there is none, or an old one. The second value is the
/// authority (PEM) that vouches for a certificate that is the operator's own business; `None` where it is someone else's.
///
/// # Errors
/// A file that is missing or can't be read or written, with its path.
pub fn load(options: &Options) -> anyhow::Result<(ServingCertificate, Option<Vec<u8>>)> {
    let dir = &options.cert_dir;
    if options.enable_cert_rotation && !FILES.iter().all(|name| is_young(&dir.join(name))) {
        let made = make(&options.namespace).context("making a certificate")?;
        match store(dir, &made) {
            Ok(()) => info!(directory = %dir.display(), "made a CA and a serving certificate"),
            // A read-only file system is no reason not to serve.
            Err(error) => {
                warn!(directory = %dir.display(), error = format!("{error:#}"), "the certificate made is kept in memory only")
            }
        }
        return Ok((made.serving, Some(made.ca_pem.into_bytes())));
    }
    let authority = options
        .enable_cert_rotation
        .then(|| std::fs::read(dir.join("ca.crt")).ok());
    Ok((read(dir)?, authority.flatten()))
}

/// Replaces the serving certificate whenever its files change, until `shutdown`.
pub async fn follow(dir: PathBuf, handle: CertificateHandle, shutdown: CancellationToken) {
    let mut current = read(&dir).ok();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        // Half-written files don't parse, or don't go together: they are read again at the next look.
        let Ok(next) = read(&dir) else { continue };
        if current.as_ref() == Some(&next) {
            continue;
        }
        match handle.replace(&next) {
            Ok(()) => info!(directory = %dir.display(), "the serving certificate was replaced"),
            Err(error) => {
                warn!(directory = %dir.display(), %error, "the changed certificate can't be used; the last one stays")
            }
        }
        current = Some(next);
    }
}

pub(crate) fn read(dir: &Path) -> anyhow::Result<ServingCertificate> {
    let file = |name: &str| {
        let path = dir.join(name);
        std::fs::read(&path).with_context(|| {
            format!(
                "--cert-dir: can't read {}: expected ca.crt, tls.crt and tls.key there, or --enable-cert-rotation=true",
                path.display()
            )
        })
    };
    let serving = ServingCertificate {
        certificate_pem: file("tls.crt")?,
        key_pem: file("tls.key")?,
        authorities_pem: file("ca.crt")?,
    };
    if serving.certificate_pem.is_empty() || serving.key_pem.is_empty() {
        bail!(
            "--cert-dir: tls.crt or tls.key in {} is empty",
            dir.display()
        );
    }
    Ok(serving)
}

struct Made {
    ca_pem: String,
    serving: ServingCertificate,
}

fn make(namespace: &str) -> Result<Made, rcgen::Error> {
    let now = time::OffsetDateTime::now_utc();
    let dated = |mut params: CertificateParams, name: &str| {
        params.not_before = now - VALID_SINCE;
        params.not_after = now + VALID_FOR;
        params.distinguished_name.push(DnType::CommonName, name);
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Sakidori");
        params
    };
    let mut ca = dated(CertificateParams::default(), "sakidori-ca");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    let ca_key = KeyPair::generate()?;
    let ca_certificate = ca.self_signed(&ca_key)?;

    let mut leaf = dated(CertificateParams::new(names(namespace))?, SERVICES[0]);
    leaf.subject_alt_names
        .push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    leaf.subject_alt_names
        .push(SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    leaf.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let leaf_key = KeyPair::generate()?;
    let leaf = leaf.signed_by(&leaf_key, &Issuer::from_params(&ca, &ca_key))?;
    Ok(Made {
        ca_pem: ca_certificate.pem(),
        serving: ServingCertificate {
            certificate_pem: leaf.pem().into_bytes(),
            key_pem: leaf_key.serialize_pem().into_bytes(),
            authorities_pem: ca_certificate.pem().into_bytes(),
        },
    })
}

fn names(namespace: &str) -> Vec<String> {
    let mut names = vec!["localhost".to_owned()];
    for service in SERVICES {
        names.push(service.to_owned());
        names.push(format!("{service}.{namespace}"));
        names.push(format!("{service}.{namespace}.svc"));
        names.push(format!("{service}.{namespace}.svc.{CLUSTER_DOMAIN}"));
    }
    names
}

fn store(dir: &Path, made: &Made) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    write(&dir.join("tls.key"), &made.serving.key_pem)?;
    write(&dir.join("ca.crt"), made.ca_pem.as_bytes())?;
    write(&dir.join("tls.crt"), &made.serving.certificate_pem)
}

/// Readable by the owner only: one of them is the key.
fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))?;
    file.write_all(content)
        .with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let made = make("keda").unwrap();
        store(dir.path(), &made).unwrap();
        assert_eq!(read(dir.path()).unwrap(), made.serving);
        assert!(
            names("keda").contains(&"keda-metrics-apiserver.keda.svc.cluster.local".to_owned())
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = read(dir.path()).err().unwrap();
        assert!(format!("{error:#}").contains("tls.crt"), "{error:#}");
    }
}
