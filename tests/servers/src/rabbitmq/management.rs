//! What a test sets and sees through the management API.

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde_json::{Value, json};

use super::{PASSWORD, RabbitMq, USER};

impl RabbitMq {
    /// Makes a virtual host; `guest` may use it.
    ///
    /// # Errors
    /// When the broker refuses or does not answer.
    pub async fn create_vhost(&self, vhost: &str) -> Result<()> {
        self.manage(Method::PUT, &["vhosts", vhost], None).await?;
        self.allow(USER, vhost).await
    }

    /// Makes a user or changes its password. It may use the management API to look at what it may use at all; see
    /// [`allow`](Self::allow).
    ///
    /// # Errors
    /// When the broker refuses or does not answer.
    pub async fn set_user(&self, user: &str, password: &str) -> Result<()> {
        let body = json!({"password": password, "tags": if user == USER { "administrator" } else { "monitoring" }});
        self.manage(Method::PUT, &["users", user], Some(body))
            .await?;
        Ok(())
    }

    /// Lets a user do everything in a virtual host.
    ///
    /// # Errors
    /// When the broker refuses or does not answer.
    pub async fn allow(&self, user: &str, vhost: &str) -> Result<()> {
        let body = json!({"configure": ".*", "write": ".*", "read": ".*"});
        self.manage(Method::PUT, &["permissions", vhost, user], Some(body))
            .await?;
        Ok(())
    }

    /// A queue as the management API shows it; counts are as old as the statistics interval, and a new queue has none
    /// at first.
    ///
    /// # Errors
    /// When there is no such queue or the broker does not answer.
    pub async fn queue_statistics(&self, vhost: &str, queue: &str) -> Result<Value> {
        self.manage(Method::GET, &["queues", vhost, queue], None)
            .await
    }

    /// Asks for something; fails while the broker does not serve.
    pub(super) async fn ping(&self) -> Result<()> {
        self.manage(Method::GET, &["overview"], None)
            .await
            .map(drop)
    }

    /// One request to `/api/SEGMENT/...` as `guest`; null when the answer has no body.
    async fn manage(
        &self,
        method: Method,
        segments: &[&str],
        body: Option<Value>,
    ) -> Result<Value> {
        let mut url = reqwest::Url::parse(&format!("http://{}/api", self.http_address()))?;
        // A segment such as `/` is escaped here.
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(segments);
        }
        let mut request = self
            .http
            .request(method, url.clone())
            .basic_auth(USER, Some(PASSWORD));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request
            .send()
            .await
            .with_context(|| format!("no answer from {url}"))?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            bail!("{url} answered {status}: {text}");
        }
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("{url} did not answer JSON: {text}"))
    }
}
