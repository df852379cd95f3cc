//! HTTP clients: one per TLS setting, each with its own pool of connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy;

use super::ClientSettings;
use super::names::Names;
use super::tls::TlsSettings;

/// All HTTP clients of the process.
pub struct HttpPool {
    settings: ClientSettings,
    names: Arc<Names>,
    /// A client lives as long as a scaler uses it.
    clients: Mutex<HashMap<TlsSettings, Weak<Client>>>,
}

impl HttpPool {
    pub fn new(settings: ClientSettings) -> Self {
        Self {
            settings,
            names: Arc::new(Names::of_the_system()),
            clients: Mutex::default(),
        }
    }

    /// How long an answer may take, unless the trigger says otherwise (KEDA: a `timeout` of 0 says nothing).
    pub fn timeout(&self, given: Option<Duration>) -> Duration {
        given
            .filter(|timeout| !timeout.is_zero())
            .unwrap_or(self.settings.http_timeout)
    }

    /// The client for a TLS setting. It has no timeout: set one per request. It follows no redirect, since it would take
    /// credentials along to wherever that leads.
    ///
    /// # Errors
    /// When the setting's certificates or key are not usable.
    pub fn client(&self, tls: &TlsSettings) -> Result<Arc<Client>, String> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(tls).and_then(Weak::upgrade) {
            return Ok(client);
        }
        clients.retain(|_, client| client.strong_count() > 0);
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls.client_config(self.settings.oldest_tls)?)
            .redirect(Policy::none())
            .dns_resolver(self.names.clone())
            // Not the environment's of this process: those of the settings.
            .no_proxy();
        for proxy in self.settings.proxies() {
            builder = builder.proxy(proxy.clone());
        }
        if !self.settings.http_keep_alive {
            builder = builder.pool_max_idle_per_host(0);
        }
        let client = Arc::new(builder.build().map_err(|error| error.to_string())?);
        clients.insert(tls.clone(), Arc::downgrade(&client));
        Ok(client)
    }
}
