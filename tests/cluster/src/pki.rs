//! Certificate authorities and certificates for tests, made on the spot.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// A certificate authority with its key.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    key: String,
}

/// A certificate and its private key, both PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key, PKCS#8.
    pub key: String,
}

/// Where a certificate and its key were written.
#[derive(Debug, Clone)]
pub struct IdentityFiles {
    /// The certificate's file, PEM.
    pub certificate: PathBuf,
    /// The private key's file, PEM.
    pub key: PathBuf,
}

impl Authority {
    /// Makes an authority of that common name.
    ///
    /// # Errors
    /// When the key or the certificate can't be made.
    pub fn new(common_name: &str) -> Result<Authority> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(common_name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().context("can't make a key")?;
        let certificate = params
            .self_signed(&key)
            .with_context(|| format!("can't make the authority {common_name}"))?
            .pem();
        Ok(Authority {
            certificate,
            key: key.serialize_pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Its certificate, PEM: what clients and servers are told to trust.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Its private key, PEM.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Issues a certificate for servers and clients. `organizations` are a client's groups in Kubernetes;
    /// `hosts` are the DNS names and IP addresses of a server.
    ///
    /// # Errors
    /// When a host is not a DNS name or address, or the certificate can't be made.
    pub fn issue(
        &self,
        common_name: &str,
        organizations: &[&str],
        hosts: &[&str],
    ) -> Result<Identity> {
        self.issue_with(common_name, organizations, hosts, |_| {})
    }

    /// Issues a certificate of a server that was good for the year 2020 only.
    ///
    /// # Errors
    /// As [`issue`](Self::issue).
    pub fn issue_expired(&self, common_name: &str, hosts: &[&str]) -> Result<Identity> {
        self.issue_with(common_name, &[], hosts, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }

    fn issue_with(
        &self,
        common_name: &str,
        organizations: &[&str],
        hosts: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Result<Identity> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params =
            CertificateParams::new(hosts).with_context(|| format!("bad host for {common_name}"))?;
        params.distinguished_name = name(common_name, organizations);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let key = KeyPair::generate().context("can't make a key")?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("can't issue {common_name}"))?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Writes the authority's certificate to `DIR/NAME.crt` and gives that path.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, dir: &Path, name: &str) -> Result<PathBuf> {
        write(dir, &format!("{name}.crt"), &self.certificate)
    }
}

impl Identity {
    /// Writes `DIR/NAME.crt` and `DIR/NAME.key`.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn write(&self, dir: &Path, name: &str) -> Result<IdentityFiles> {
        Ok(IdentityFiles {
            certificate: write(dir, &format!("{name}.crt"), &self.certificate)?,
            key: write(dir, &format!("{name}.key"), &self.key)?,
        })
    }
}

/// Makes a key pair for service account tokens; gives the private and the public key, PEM.
///
/// # Errors
/// When the key can't be made.
pub fn signing_key() -> Result<(String, String)> {
    let key = KeyPair::generate().context("can't make a key for service account tokens")?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

pub(crate) fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    std::fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
    Ok(path)
}

fn name(common_name: &str, organizations: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for organization in organizations {
        name.push(DnType::OrganizationName, *organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}
