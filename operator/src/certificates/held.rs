//! What a Secret holds: authorities, the key of one of them, and the certificate that is shown. All of it may be somebody else's work, so each
//! part is judged by what can be done with it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::CertificateDer;
use sakidori_metrics_adapter::{CertificateHandle, ServingCertificate};

use super::bundle::Bundle;
use super::issue;
use super::names::ServiceNames;
use super::plan::{Authority, Leaf, Lives, Present, Step, Validity};
use super::x509;

/// KEDA's keys in the Secret.
pub(super) const AUTHORITIES: &str = "ca.crt";
pub(super) const AUTHORITY_KEY: &str = "ca.key";
pub(super) const CERTIFICATE: &str = "tls.crt";
pub(super) const KEY: &str = "tls.key";

/// The parts that can be used. Private keys are in it: no `Debug`.
#[derive(Clone, Default)]
pub(super) struct Held {
    authorities: Vec<CertificateDer<'static>>,
    /// Which of the authorities can issue, and its key (PEM).
    signer: Option<(usize, String)>,
    shown: Option<Shown>,
}

/// A certificate that one of the authorities has issued, with its key.
#[derive(Clone, PartialEq, Eq)]
struct Shown {
    certificate_pem: String,
    key_pem: String,
    issuer: usize,
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.content() == other.content()
    }
}

impl Held {
    /// Takes what is usable of a Secret's content.
    pub(super) fn read(content: &BTreeMap<String, Vec<u8>>) -> Self {
        let text = |key: &str| {
            let bytes = content.get(key).map(Vec::as_slice).unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        let authorities: Vec<_> = x509::certificates(text(AUTHORITIES).as_bytes())
            .into_iter()
            .filter(x509::is_usable)
            .collect();
        // KEDA's is RSA in PKCS#1, which can't be used here: then there is none.
        let signer = KeyPair::from_pem(&text(AUTHORITY_KEY))
            .ok()
            .and_then(|key| {
                let public = key.subject_public_key_info();
                authorities
                    .iter()
                    .position(|authority| x509::has_public_key(authority, &public))
            })
            .map(|index| (index, text(AUTHORITY_KEY)));
        let (certificate_pem, key_pem) = (text(CERTIFICATE), text(KEY));
        let chain = x509::certificates(certificate_pem.as_bytes());
        let issuer = authorities
            .iter()
            .position(|authority| x509::vouches(authority, &chain));
        let shown = issuer
            .map(|issuer| Shown {
                certificate_pem,
                key_pem,
                issuer,
            })
            .filter(|shown| CertificateHandle::new(&shown.serving(&authorities)).is_ok());
        Self {
            authorities,
            signer,
            shown,
        }
    }

    /// What of it stands in a Secret.
    pub(super) fn content(&self) -> BTreeMap<String, Vec<u8>> {
        let mut content = BTreeMap::from([(AUTHORITIES.to_owned(), self.bundle().pem())]);
        if let Some((_, key)) = &self.signer {
            content.insert(AUTHORITY_KEY.to_owned(), key.clone().into_bytes());
        }
        if let Some(shown) = &self.shown {
            content.insert(
                CERTIFICATE.to_owned(),
                shown.certificate_pem.clone().into_bytes(),
            );
            content.insert(KEY.to_owned(), shown.key_pem.clone().into_bytes());
        }
        content
    }

    pub(super) fn bundle(&self) -> Bundle {
        Bundle::new(self.authorities.clone())
    }

    /// What a process shows and whom it believes; `None` where nothing can be shown, or not at this time.
    pub(super) fn serving(&self, now: Timestamp) -> Option<ServingCertificate> {
        let shown = self.shown.as_ref()?;
        let good = self.leaf_validity().is_some_and(|leaf| leaf.is_at(now));
        good.then(|| shown.serving(&self.authorities))
    }

    /// Why nothing can be shown, for people.
    pub(super) fn problem(&self) -> &'static str {
        if self.authorities.is_empty() {
            "there is no authority in ca.crt"
        } else if self.shown.is_none() {
            "tls.crt and tls.key are no certificate of an authority in ca.crt with its key"
        } else {
            "the certificate in tls.crt is not good at this time"
        }
    }

    fn leaf_validity(&self) -> Option<Validity> {
        let shown = self.shown.as_ref()?;
        let chain = x509::certificates(shown.certificate_pem.as_bytes());
        x509::validity(chain.first()?)
    }

    /// This, but with the key that is missing here and that `memory` has.
    pub(super) fn with_key_of(mut self, memory: &Self) -> Self {
        if let (None, Some((index, key))) = (&self.signer, &memory.signer) {
            self.signer = memory
                .authorities
                .get(*index)
                .and_then(|authority| self.authorities.iter().position(|own| own == authority))
                .map(|index| (index, key.clone()));
        }
        self
    }

    /// Asks what is to be done. `announced_for` tells for how long an authority has stood in all caBundles.
    pub(super) fn plan(
        &self,
        now: Timestamp,
        lives: &Lives,
        names: &ServiceNames,
        announced_for: impl Fn(&CertificateDer<'static>) -> Option<SignedDuration>,
    ) -> (Step, Timestamp) {
        let never = Validity {
            from: Timestamp::MIN,
            until: Timestamp::MIN,
        };
        let authorities: Vec<Authority> = self
            .authorities
            .iter()
            .map(|authority| Authority {
                validity: x509::validity(authority).unwrap_or(never),
                announced_for: announced_for(authority),
            })
            .collect();
        let leaf = self.shown.as_ref().and_then(|shown| {
            let chain = x509::certificates(shown.certificate_pem.as_bytes());
            Some(Leaf {
                validity: x509::validity(chain.first()?)?,
                issuer: shown.issuer,
                has_names: x509::has_names(chain.first()?, names),
            })
        });
        let present = Present {
            authorities: &authorities,
            signer: self.signer.as_ref().map(|(index, _)| *index),
            leaf,
        };
        super::plan::plan(now, &present, lives)
    }

    /// What is there after `step`. Authorities that have expired go with every change.
    ///
    /// # Errors
    /// When a certificate can't be made.
    pub(super) fn after(
        &self,
        step: &Step,
        now: Timestamp,
        lives: &Lives,
        names: &ServiceNames,
    ) -> Result<Self, rcgen::Error> {
        let mut content = self.content();
        let mut authorities = self.authorities.clone();
        if let Step::Drop(useless) = step {
            let mut index = 0;
            authorities.retain(|_| {
                index += 1;
                !useless.contains(&(index - 1))
            });
        }
        authorities.retain(|one| x509::validity(one).is_some_and(|validity| now < validity.until));
        let mut signer = self.signer.as_ref().map(|(_, key)| key.clone());
        if matches!(step, Step::Publish | Step::StartAnew) {
            let made = issue::authority(lives.of_authority(now))?;
            // The newest first: the key beside the bundle is the first one's, as in KEDA's Secret.
            authorities.splice(0..0, x509::certificates(made.certificate_pem.as_bytes()));
            signer = Some(made.key_pem.clone());
        }
        content.insert(AUTHORITIES.to_owned(), Bundle::new(authorities).pem());
        if let Some(key) = signer {
            content.insert(AUTHORITY_KEY.to_owned(), key.into_bytes());
        }
        let held = Self::read(&content);
        if !matches!(step, Step::Issue | Step::StartAnew) {
            return Ok(held);
        }
        let Some((authority, key)) = held
            .signer
            .as_ref()
            .and_then(|(index, key)| Some((held.authorities.get(*index)?, key)))
        else {
            return Err(rcgen::Error::CouldNotParseKeyPair);
        };
        let Some(issuer) = x509::validity(authority) else {
            return Err(rcgen::Error::CouldNotParseCertificate);
        };
        let key = KeyPair::from_pem(key)?;
        let leaf = issue::leaf(authority, key, names, lives.of_leaf(now, issuer))?;
        content.insert(CERTIFICATE.to_owned(), leaf.certificate_pem.into_bytes());
        content.insert(KEY.to_owned(), leaf.key_pem.into_bytes());
        Ok(Self::read(&content))
    }
}

impl Shown {
    fn serving(&self, authorities: &[CertificateDer<'static>]) -> ServingCertificate {
        ServingCertificate {
            certificate_pem: self.certificate_pem.clone().into_bytes(),
            key_pem: self.key_pem.clone().into_bytes(),
            authorities_pem: Bundle::new(authorities.to_vec()).pem(),
        }
    }
}

#[cfg(test)]
mod tests;
