//! The parameters of both trigger types. All other metadata is the server's own, and passed on to it.

use serde::Deserialize;

use crate::clients::grpc::Address;
use crate::clients::tls::{Identity, TlsSettings};
use crate::params::{AUTHENTICATION, Field, METADATA, Parameters};

/// The parameters of an `external` or `external-push` trigger.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExternalParameters {
    /// The gRPC server: `HOST:PORT`, such as `scaler.shop.svc.cluster.local:9090`.
    scaler_address: String,
    /// Speaks TLS with the server. Also without it, TLS is spoken where `caCert` or a client certificate is given.
    #[serde(rename = "enableTLS")]
    enable_tls: bool,
    /// Takes any certificate of the server. Turns TLS on no more than it is.
    unsafe_ssl: bool,
    /// PEM of authorities that are trusted besides the system's.
    ca_cert: Option<String>,
    /// The client certificate, PEM. Counts together with `tlsClientKey` only.
    tls_client_cert: Option<String>,
    /// The client certificate's private key, PEM.
    tls_client_key: Option<String>,
}

impl Parameters for ExternalParameters {
    const FIELDS: &'static [Field] = &[
        Field::required("scalerAddress", METADATA),
        Field::with_default("enableTLS", METADATA, "false"),
        Field::with_default("unsafeSsl", METADATA, "false"),
        Field::optional("caCert", AUTHENTICATION),
        Field::optional("tlsClientCert", AUTHENTICATION),
        Field::optional("tlsClientKey", AUTHENTICATION).secret(),
    ];

    fn check(&self) -> Vec<String> {
        self.address().err().into_iter().collect()
    }
}

impl ExternalParameters {
    pub(super) fn address(&self) -> Result<Address, String> {
        let address = Address::parse(&self.scaler_address);
        address.map_err(|expected| {
            format!(
                "parameter \"scalerAddress\" is {:?}: {expected}",
                self.scaler_address
            )
        })
    }

    /// `None` is plain text.
    pub(super) fn tls(&self) -> Option<TlsSettings> {
        let identity = match (&self.tls_client_cert, &self.tls_client_key) {
            (Some(certificate), Some(key)) => Some(Identity {
                certificate: certificate.clone(),
                key: key.clone(),
                key_password: None,
            }),
            _ => None,
        };
        let wanted = self.enable_tls || identity.is_some() || self.ca_cert.is_some();
        wanted.then(|| TlsSettings {
            ca: self.ca_cert.clone(),
            identity,
            insecure: self.unsafe_ssl,
        })
    }
}

/// What is wrong with a TLS setting, in the names that its parameters have here.
pub(super) fn renamed(error: &str) -> String {
    let names = [
        ("cert and key", "tlsClientCert and tlsClientKey"),
        ("ca ", "caCert "),
        ("cert ", "tlsClientCert "),
        ("key ", "tlsClientKey "),
    ];
    let renamed = names.into_iter().find_map(|(there, here)| {
        let rest = error.strip_prefix(there)?;
        Some(format!("{here}{rest}"))
    });
    renamed.unwrap_or_else(|| error.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params;
    use crate::scaler::Trigger;

    fn parse(
        metadata: &[(&'static str, &'static str)],
        authentication: &[(&'static str, &'static str)],
    ) -> Result<ExternalParameters, String> {
        let trigger = Trigger::new("external")
            .metadata([("scalerAddress", "scaler:9090")])
            .metadata(metadata.iter().copied())
            .authentication(authentication.iter().copied());
        params::parse(&trigger).map_err(|error| error.to_string())
    }

    #[test]
    fn tls_is_spoken_where_keda_speaks_it() {
        let certificate = ("tlsClientCert", "certificate");
        let key = ("tlsClientKey", "key");
        for (metadata, authentication, spoken) in [
            (&[][..], &[][..], false),
            (&[("enableTLS", "true")], &[], true),
            (&[("unsafeSsl", "true")], &[], false),
            (&[], &[("caCert", "authority")], true),
            (&[], &[certificate, key], true),
            (&[], &[certificate], false),
            (&[], &[key], false),
        ] {
            let parameters = parse(metadata, authentication).unwrap();
            assert_eq!(
                parameters.tls().is_some(),
                spoken,
                "{metadata:?} {authentication:?}"
            );
        }
        let insecure = parse(&[("enableTLS", "true"), ("unsafeSsl", "t")], &[]).unwrap();
        assert!(insecure.tls().unwrap().insecure);
    }

    #[test]
    fn what_is_wrong_is_said_without_secrets() {
        for (metadata, expected) in [
            (
                [("scalerAddress", "http://scaler:9090")],
                "\"scalerAddress\" is \"http://scaler:9090\": expected HOST:PORT",
            ),
            (
                [("scalerAddress", "")],
                "missing required parameter \"scalerAddress\" in [triggerMetadata]",
            ),
            ([("enableTLS", "yes")], "\"enableTLS\""),
        ] {
            let error = parse(&metadata, &[("tlsClientKey", "hunter2")])
                .err()
                .unwrap();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        for (there, here) in [
            (
                "cert and key don't go together: bad",
                "tlsClientCert and tlsClientKey don't go together: bad",
            ),
            (
                "key is not usable: expected a private key",
                "tlsClientKey is not usable: expected a private key",
            ),
            ("ca holds no certificate", "caCert holds no certificate"),
            ("other", "other"),
        ] {
            assert_eq!(renamed(there), here);
        }
    }
}
