//! One text by HTTP, such as a calendar: bounded in time and size, and from the host that was asked.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Url};

use crate::clients::Clients;
use crate::http::{
    Authentication, AuthenticationParameters, Bounds, decompress, host_of, is_compressed, parse_url,
};
use crate::limits::{Held, apart};
use crate::params;
use crate::scaler::{ScalerError, Trigger};

/// Where a text is, and how to ask for it.
pub struct Document {
    url: Url,
    client: Arc<Client>,
    authentication: Authentication,
}

/// Past these, reading fails.
#[derive(Clone, Copy, Debug)]
pub struct DocumentLimits {
    /// Of the answer, and of what it is when it is decompressed.
    pub bytes: usize,
    pub within: Duration,
    /// On the same host; to another host none is followed.
    pub redirects: usize,
}

/// A text that was read. A large one has room in memory until it is dropped: that of several at once is bounded.
pub struct Text {
    text: String,
    _room: Option<Held>,
}

/// Never prints the text, which may be a Secret's.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text of {} bytes", self.text.len())
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl From<String> for Text {
    /// One that is in memory anyway.
    fn from(text: String) -> Self {
        Self { text, _room: None }
    }
}

impl Document {
    /// `authentication` has the parameters that all triggers that speak HTTP share (`authModes`, `username`, `ca`, ...), and
    /// `unsafeSsl`.
    ///
    /// # Errors
    /// For what is no URL, and parameters that don't go together. Quotes no secret.
    pub fn new(
        url: &str,
        authentication: BTreeMap<String, String>,
        clients: &Clients,
    ) -> Result<Self, String> {
        let url = parse_url(url).map_err(|message| format!("the url {message}"))?;
        let insecure = authentication
            .get("unsafeSsl")
            .is_some_and(|value| value == "true");
        let trigger = Trigger {
            authentication,
            ..Trigger::new("document")
        };
        let parameters: AuthenticationParameters =
            params::parse(&trigger).map_err(|error| error.to_string())?;
        let client = clients.http.client(&parameters.tls(insecure))?;
        Ok(Self {
            url,
            client,
            authentication: Authentication::new(parameters)?,
        })
    }

    /// # Errors
    /// With the host and never the URL, which may hold a secret; also for an answer that is no text in UTF-8.
    pub async fn read(&self, limits: &DocumentLimits) -> Result<Text, ScalerError> {
        let bounds = Bounds {
            bytes: limits.bytes,
            redirects: limits.redirects,
            other_hosts: false,
            compressed: true,
        };
        let answer = self
            .authentication
            .get_bounded(&self.client, &self.url, limits.within, bounds)
            .await;
        let at_host = |error: ScalerError| error.at(&host_of(&self.url));
        let answer = answer.map_err(at_host)?;
        let (encoding, limit) = (answer.encoding.clone(), limits.bytes);
        let mut body = answer.accepted().map_err(at_host)?;
        if is_compressed(encoding.as_deref(), &body) {
            body.take_room(&host_of(&self.url)).await;
        }
        // A few KiB may become megabytes: not where polls run.
        let text = apart(move || {
            let bytes = decompress(encoding.as_deref(), &body, limit)?;
            let text = String::from_utf8(bytes.into_owned());
            let no_text = |_| ScalerError::Malformed("the answer is no text in UTF-8".to_owned());
            Ok(Text {
                text: text.map_err(no_text)?,
                _room: body.into_room(),
            })
        });
        text.await.map_err(at_host)
    }
}
