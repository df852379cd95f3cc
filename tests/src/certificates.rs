//! A certificate directory as the operator expects it in `--cert-dir`: `ca.crt`, `tls.crt` and `tls.key`.

use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Writes a new certificate authority and a serving certificate for `names` into `dir`. Gives the authority's
/// certificate as PEM, which is what an APIService's `caBundle` holds.
///
/// # Errors
/// If `dir` can't be written, or a name is no DNS name or IP address.
pub fn write(dir: &Path, names: &[String]) -> Result<String> {
    std::fs::create_dir_all(dir).with_context(|| format!("can't create {}", dir.display()))?;

    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(DnType::CommonName, "sakidori tests");
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let key = KeyPair::generate()?;
    let mut leaf = CertificateParams::new(names.to_vec())?;
    leaf.distinguished_name.push(DnType::CommonName, "sakidori");
    let leaf_pem = leaf.signed_by(&key, &issuer)?.pem();

    for (file, text) in [
        ("ca.crt", &authority_pem),
        ("tls.crt", &leaf_pem),
        ("tls.key", &key.serialize_pem()),
    ] {
        let path = dir.join(file);
        std::fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(authority_pem)
}
