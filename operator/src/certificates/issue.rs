//! Makes authorities and certificates.

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, Error, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;

use super::names::ServiceNames;
use super::plan::Validity;

/// A certificate with its private key, both PEM.
pub(super) struct Issued {
    pub(super) certificate_pem: String,
    pub(super) key_pem: String,
}

/// A new authority, with a new key: EC on P-256, which every TLS library knows.
pub(super) fn authority(validity: Validity) -> Result<Issued, Error> {
    let mut params = dated(CertificateParams::default(), "sakidori-ca", validity);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    let key = KeyPair::generate()?;
    Ok(Issued {
        certificate_pem: params.self_signed(&key)?.pem(),
        key_pem: key.serialize_pem(),
    })
}

/// A leaf for this process as a server and as a client, with a new key.
pub(super) fn leaf(
    authority: &CertificateDer<'_>,
    authority_key: KeyPair,
    names: &ServiceNames,
    validity: Validity,
) -> Result<Issued, Error> {
    let params = CertificateParams::new(names.hosts())?;
    let mut params = dated(params, names.common_name(), validity);
    for address in ServiceNames::addresses() {
        params.subject_alt_names.push(SanType::IpAddress(address));
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    // All authorities have one name: clients find the right one among several by its key.
    params.use_authority_key_identifier_extension = true;
    let issuer = Issuer::from_ca_cert_der(authority, authority_key)?;
    let key = KeyPair::generate()?;
    Ok(Issued {
        certificate_pem: params.signed_by(&key, &issuer)?.pem(),
        key_pem: key.serialize_pem(),
    })
}

fn dated(mut params: CertificateParams, name: &str, validity: Validity) -> CertificateParams {
    params.not_before = date(validity.from);
    params.not_after = date(validity.until);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Sakidori");
    params
}

/// Certificates know whole seconds: rounded down, which is earlier at both ends.
fn date(time: Timestamp) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(time.as_second())
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}
