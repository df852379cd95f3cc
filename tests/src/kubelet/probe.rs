//! Probes of a container, as a kubelet makes them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::net::TcpStream;

use super::command::list;

/// What is asked, and how often.
#[derive(Debug)]
pub struct Probe {
    action: Action,
    period: Duration,
    timeout: Duration,
    /// How many answers in a row change the verdict: to good, and to bad.
    thresholds: [u64; 2],
    due: Instant,
    verdict: Option<bool>,
    /// The last answer, and how many in a row were like it.
    streak: (bool, u64),
    /// What the last one that failed said.
    said: String,
}

#[derive(Debug)]
enum Action {
    Get {
        scheme: String,
        path: String,
        port: u16,
    },
    Connect {
        port: u16,
    },
}

impl Probe {
    /// The probe in this field of a container that starts now, such as `readinessProbe`; none if there is none.
    ///
    /// # Errors
    /// If it is of a kind that is not understood here.
    pub fn of(container: &Value, field: &str) -> Result<Option<Self>> {
        let probe = &container[field];
        if probe.is_null() {
            return Ok(None);
        }
        let seconds = |field: &str, default: u64| {
            Duration::from_secs(probe[field].as_u64().unwrap_or(default))
        };
        let count = |field: &str, default: u64| probe[field].as_u64().unwrap_or(default);
        let action = if let Some(get) = probe["httpGet"].as_object() {
            let get = |field: &str| get.get(field).unwrap_or(&Value::Null);
            Action::Get {
                scheme: get("scheme").as_str().unwrap_or("HTTP").to_lowercase(),
                path: get("path").as_str().unwrap_or("/").to_owned(),
                port: port(container, get("port"))?,
            }
        } else if let Some(socket) = probe["tcpSocket"].as_object() {
            Action::Connect {
                port: port(container, socket.get("port").unwrap_or(&Value::Null))?,
            }
        } else {
            bail!("{field}: {probe} is not understood here");
        };
        Ok(Some(Self {
            action,
            period: seconds("periodSeconds", 10),
            timeout: seconds("timeoutSeconds", 1),
            thresholds: [count("successThreshold", 1), count("failureThreshold", 3)],
            due: Instant::now() + seconds("initialDelaySeconds", 0),
            verdict: None,
            streak: (false, 0),
            said: String::new(),
        }))
    }

    /// Asks if it is time to, and gives the verdict so far: none before the first.
    pub async fn look(&mut self, http: &reqwest::Client, address: Ipv4Addr) -> Option<bool> {
        if Instant::now() >= self.due {
            self.due = Instant::now() + self.period;
            let asked = tokio::time::timeout(self.timeout, self.ask(http, address)).await;
            let answer = asked.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")));
            if let Err(error) = &answer {
                self.said = format!("{error:#}");
            }
            self.count(answer.is_ok());
        }
        self.verdict
    }

    /// What the last probe that failed said.
    pub fn said(&self) -> &str {
        &self.said
    }

    fn count(&mut self, good: bool) {
        self.streak = match self.streak {
            (last, times) if last == good => (good, times + 1),
            _ => (good, 1),
        };
        if self.streak.1 >= self.thresholds[usize::from(!good)] {
            self.verdict = Some(good);
        }
    }

    async fn ask(&self, http: &reqwest::Client, address: Ipv4Addr) -> Result<()> {
        match &self.action {
            Action::Connect { port } => {
                TcpStream::connect(SocketAddrV4::new(address, *port)).await?;
            }
            Action::Get { scheme, path, port } => {
                let url = format!("{scheme}://{address}:{port}{path}");
                let answer = http.get(url).send().await?;
                let status = answer.status();
                let said = answer.text().await.unwrap_or_default();
                ensure!(
                    status.is_success() || status.is_redirection(),
                    "{status}: {said}"
                );
            }
        }
        Ok(())
    }
}

/// A port of a container, by number or by name.
fn port(container: &Value, port: &Value) -> Result<u16> {
    let named = |name: &str| {
        let mut ports = list(&container["ports"]).iter();
        ports
            .find(|port| port["name"] == name)
            .and_then(|port| port["containerPort"].as_u64())
    };
    let number = match port {
        Value::String(name) => named(name),
        number => number.as_u64(),
    };
    let number = number.with_context(|| format!("the container has no port {port}"))?;
    Ok(u16::try_from(number)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn so_many_answers_in_a_row_change_the_verdict() {
        let container = json!({
            "ports": [{"name": "probes", "containerPort": 8081}],
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": "probes"}, "failureThreshold": 2},
        });
        let mut probe = Probe::of(&container, "readinessProbe").unwrap().unwrap();
        assert!(matches!(probe.action, Action::Get { port: 8081, .. }));
        for (answer, verdict) in [
            (false, None),
            (true, Some(true)),
            (false, Some(true)),
            (true, Some(true)),
            (false, Some(true)),
            (false, Some(false)),
        ] {
            probe.count(answer);
            assert_eq!(probe.verdict, verdict);
        }
        assert!(Probe::of(&container, "livenessProbe").unwrap().is_none());
    }
}
