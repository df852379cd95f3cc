//! HTTP clients: one per TLS setting, each with its own pool of connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::tls::TlsSettings;

/// KEDA's default for `--http-timeout` (`KEDA_HTTP_DEFAULT_TIMEOUT`), which a trigger's `timeout` overrules.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

/// All HTTP clients of the process.
#[derive(Default)]
pub struct HttpPool {
    /// A client lives as long as a scaler uses it.
    clients: Mutex<HashMap<TlsSettings, Weak<reqwest::Client>>>,
}

impl HttpPool {
    /// The client for a TLS setting. It has no timeout: set one per request.
    ///
    /// # Errors
    /// When the setting's certificates or key are not usable.
    pub fn client(&self, tls: &TlsSettings) -> Result<Arc<reqwest::Client>, String> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(tls).and_then(Weak::upgrade) {
            return Ok(client);
        }
        clients.retain(|_, client| client.strong_count() > 0);
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.client_config()?)
            .build()
            .map_err(|error| error.to_string())?;
        let client = Arc::new(client);
        clients.insert(tls.clone(), Arc::downgrade(&client));
        Ok(client)
    }
}
