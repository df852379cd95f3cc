//! Clients that do as they like.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sakidori_tests::Operator;

/// How long an answer may take on a machine that compiles meanwhile.
const ANSWER: Duration = Duration::from_secs(20);

/// A port of the operator's.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub name: &'static str,
    pub address: SocketAddr,
    pub tls: bool,
}

/// All ports of an operator.
pub fn places(operator: &Operator) -> [Place; 4] {
    let place = |name, address, tls| Place { name, address, tls };
    [
        place("metrics", operator.metrics_address(), false),
        place("probes", operator.health_probe_address(), false),
        place(
            "external metrics",
            operator.external_metrics_address(),
            true,
        ),
        place("webhooks", operator.webhook_address(), true),
    ]
}

impl Place {
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// A path that whoever is served gets an answer on; the webhooks' is a refusal.
    pub fn alive(&self) -> (&'static str, u16) {
        match self.name {
            "metrics" => ("/metrics", 200),
            "webhooks" => ("/", 404),
            _ => ("/healthz", 200),
        }
    }

    /// Whether somebody is served now, on a connection of their own.
    pub async fn serves(&self) -> Result<()> {
        let (path, expected) = self.alive();
        let answer = client(None)?.get(self.url(path)).send().await;
        let answer = answer.with_context(|| format!("{} serves nobody", self.name))?;
        let status = answer.status().as_u16();
        ensure!(status == expected, "{}: {status}", self.name);
        Ok(())
    }
}

/// A client with a connection of its own, which looks at no certificate and may show one.
pub fn client(identity: Option<(&str, &str)>) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .timeout(ANSWER)
        .danger_accept_invalid_certs(true);
    if let Some((certificate, key)) = identity {
        let pem = format!("{certificate}\n{key}");
        builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes())?);
    }
    Ok(builder.build()?)
}

/// Says something on a plain connection, and gives what comes until it ends, or nothing more comes for a while.
pub fn say(address: SocketAddr, text: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    // It may be cut off before all is said.
    let _ = stream.write_all(text);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Ok(answer)
}

/// The same over TLS, without ever ending what is said; gives the first line of the answer.
pub fn say_over_tls(address: SocketAddr, text: &str) -> Result<String> {
    let mut child = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &address.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("openssl is needed")?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    stdin.write_all(text.as_bytes())?;
    stdin.flush()?;
    let mut line = String::new();
    let read = BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line);
    let _ = child.kill();
    let _ = child.wait();
    read?;
    Ok(line)
}

/// What OpenSSL says of a handshake with these arguments, and whether it succeeded.
pub fn openssl(address: SocketAddr, arguments: &[&str]) -> Result<(bool, String)> {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("openssl is needed")?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let agreed = said.contains("Cipher is ") && !said.contains("Cipher is (NONE)");
    Ok((agreed, said))
}
