//! When certificates end, for Prometheus.

use jiff::Timestamp;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};
use sakidori_metrics_adapter::ServingCertificate;

use super::x509;

const NAME: &str = "sakidori_certificate_not_after_timestamp_seconds";

/// The end of the certificate that is shown, and of the authority that has issued it.
#[derive(Clone)]
pub struct CertificateMetrics(GaugeVec);

impl CertificateMetrics {
    /// # Errors
    /// Never: the names are constants.
    pub fn new() -> Result<Self, prometheus::Error> {
        let opts = Opts::new(
            NAME,
            "When the serving certificate ends and when the authority that issued it does, in Unix time",
        );
        Ok(Self(GaugeVec::new(opts, &["certificate"])?))
    }

    pub(super) fn shown(&self, serving: &ServingCertificate) {
        let chain = x509::certificates(&serving.certificate_pem);
        let authority = x509::certificates(&serving.authorities_pem)
            .into_iter()
            .find(|authority| x509::vouches(authority, &chain));
        self.set("serving", chain.first().and_then(x509::validity));
        self.set("authority", authority.as_ref().and_then(x509::validity));
    }

    fn set(&self, certificate: &str, validity: Option<super::plan::Validity>) {
        match validity {
            Some(validity) => self
                .0
                .with_label_values(&[certificate])
                .set(seconds(validity.until)),
            // A series that was never written can't be removed; that is no error here.
            None => drop(self.0.remove_label_values(&[certificate])),
        }
    }
}

fn seconds(time: Timestamp) -> f64 {
    // Exact for any year that a certificate can name.
    time.as_second() as f64
}

impl Collector for CertificateMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.collect()
    }
}
