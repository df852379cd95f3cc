//! What is read off certificates.

use std::time::Duration;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::names::ServiceNames;
use super::plan::Validity;

/// The certificates in a PEM text, but for blocks that aren't any.
pub(super) fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem)
        .filter_map(Result::ok)
        .collect()
}

/// From when to when it is good, as it says itself; `None` for what is no certificate.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let validity = parsed.validity();
    Some(Validity {
        from: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
        until: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
    })
}

/// Whether a client can believe it as an authority.
pub(super) fn is_usable(authority: &CertificateDer<'static>) -> bool {
    validity(authority).is_some() && RootCertStore::empty().add(authority.clone()).is_ok()
}

/// Whether its key is that one, given as SubjectPublicKeyInfo.
pub(super) fn has_public_key(certificate: &CertificateDer<'_>, public: &[u8]) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, one)| one.public_key().raw == public)
}

/// Whether all of the names stand in it, letter by letter: a wanted name that no client would ever accept is not missed for ever.
pub(super) fn has_names(certificate: &CertificateDer<'_>, names: &ServiceNames) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return false;
    };
    let has = |host: &str| {
        let mut there = extension.value.general_names.iter();
        there.any(|name| matches!(name, GeneralName::DNSName(name) if *name == host))
    };
    names.hosts().iter().all(|host| has(host))
}

/// Whether `authority` has issued a server's certificate, given with its intermediates. Whether both are good now is another question:
/// they are judged as of the leaf's first second.
pub(super) fn vouches(authority: &CertificateDer<'static>, chain: &[CertificateDer<'_>]) -> bool {
    let Some((leaf, intermediates)) = chain.split_first() else {
        return false;
    };
    let mut roots = RootCertStore::empty();
    let (Ok(()), Ok(parsed), Some(validity)) = (
        roots.add(authority.clone()),
        ParsedCertificate::try_from(leaf),
        validity(leaf),
    ) else {
        return false;
    };
    let first = u64::try_from(validity.from.as_second()).unwrap_or_default();
    verify_server_cert_signed_by_trust_anchor(
        &parsed,
        &roots,
        intermediates,
        UnixTime::since_unix_epoch(Duration::from_secs(first)),
        ring::default_provider()
            .signature_verification_algorithms
            .all,
    )
    .is_ok()
}
