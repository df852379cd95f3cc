//! A set of authorities as it stands in `ca.crt` and in caBundles.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::CertificateDer;

use super::x509;

/// Authorities, in the order in which they are written.
#[derive(Clone, Debug, Default)]
pub(super) struct Bundle(Vec<CertificateDer<'static>>);

impl Bundle {
    pub(super) fn new(authorities: Vec<CertificateDer<'static>>) -> Self {
        Self(authorities)
    }

    pub(super) fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.0
    }

    pub(super) fn pem(&self) -> Vec<u8> {
        let mut pem = String::new();
        for authority in &self.0 {
            pem.push_str("-----BEGIN CERTIFICATE-----\n");
            let text = BASE64_STANDARD.encode(authority);
            let mut rest = text.as_str();
            while !rest.is_empty() {
                // Lines as RFC 7468 wants them.
                let (line, after) = rest.split_at(rest.len().min(64));
                pem.push_str(line);
                pem.push('\n');
                rest = after;
            }
            pem.push_str("-----END CERTIFICATE-----\n");
        }
        pem.into_bytes()
    }

    /// As a caBundle.
    pub(super) fn encoded(&self) -> String {
        BASE64_STANDARD.encode(self.pem())
    }

    /// Whether a caBundle has the same authorities, however they are written.
    pub(super) fn is(&self, encoded: Option<&str>) -> bool {
        let there = encoded
            .and_then(|text| BASE64_STANDARD.decode(text).ok())
            .map(|pem| Self(x509::certificates(&pem)));
        there.is_some_and(|there| there == *self)
    }
}

impl PartialEq for Bundle {
    /// The order says nothing.
    fn eq(&self, other: &Self) -> bool {
        let covers = |one: &Self, other: &Self| one.0.iter().all(|one| other.0.contains(one));
        covers(self, other) && covers(other, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_read_back_in_any_order() {
        let bundle = Bundle::new(vec![vec![1; 100].into(), vec![2; 48].into()]);
        assert!(bundle.is(Some(&bundle.encoded())));
        let turned = Bundle::new(bundle.0.iter().rev().cloned().collect());
        assert!(bundle.is(Some(&turned.encoded())));
        let less = Bundle::new(vec![vec![1; 100].into()]);
        assert!(!bundle.is(Some(&less.encoded())));
        assert!(!less.is(Some(&bundle.encoded())));
        for nothing in [None, Some(""), Some("*"), Some("bm9uZQ==")] {
            assert!(!bundle.is(nothing), "{nothing:?}");
        }
    }
}
