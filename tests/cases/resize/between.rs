//! Stands between an operator and its API server: answers as an older one would that has no `pods/resize`, or keeps such requests for a while.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use sakidori_tests::operator::OperatorSettings;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// What becomes of requests for `pods/resize`; all others go through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resizes {
    #[default]
    GoThrough,
    /// As an API server answers for a path that it doesn't know.
    AreUnknown,
    /// The same, and it doesn't list that path among its own.
    AreMissing,
    /// As an API server answers that has just started, and knows no roles yet.
    AreForbidden,
    /// They get to the API server so much later, whatever has become of whoever asked.
    AreLate(Duration),
}

/// A proxy on a port of 127.0.0.1, without TLS.
pub struct Between {
    address: SocketAddr,
    resizes: Arc<Mutex<Resizes>>,
    /// Resizes that were answered as unknown.
    unknown: Arc<AtomicUsize>,
    upstream: Arc<Mutex<Option<(reqwest::Client, String)>>>,
    _runtime: Runtime,
}

impl Between {
    /// # Errors
    /// If no port is free.
    pub fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let between = Self {
            address: listener.local_addr()?,
            resizes: Arc::default(),
            unknown: Arc::default(),
            upstream: Arc::default(),
            _runtime: runtime,
        };
        let (resizes, upstream) = (between.resizes.clone(), between.upstream.clone());
        let unknown = between.unknown.clone();
        between._runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (resizes, upstream) = (resizes.clone(), upstream.clone());
                let unknown = unknown.clone();
                tokio::spawn(async move {
                    let _ = serve(client, &resizes, &unknown, &upstream).await;
                });
            }
        });
        Ok(between)
    }

    pub fn set(&self, resizes: Resizes) {
        *self.resizes.lock().unwrap_or_else(PoisonError::into_inner) = resizes;
    }

    /// How many resizes were answered as unknown so far.
    pub fn unknown(&self) -> usize {
        self.unknown.load(Ordering::Relaxed)
    }

    /// Makes an operator that is about to be started ask here.
    ///
    /// # Errors
    /// If its kubeconfig is none.
    pub fn stand_before(&self, settings: &mut OperatorSettings) -> Result<()> {
        let text = std::fs::read_to_string(&settings.kubeconfig)?;
        let mut kubeconfig: Value = serde_json::from_str(&text)?;
        let cluster = &mut kubeconfig["clusters"][0]["cluster"];
        let url = cluster["server"].as_str().context("no server")?.to_owned();
        cluster["server"] = format!("http://{}", self.address).into();
        settings.kubeconfig.set_extension("between.kubeconfig");
        std::fs::write(&settings.kubeconfig, kubeconfig.to_string())?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_danger_accept_invalid_certs(true)
            .build()?;
        let mut upstream = self.upstream.lock().unwrap_or_else(PoisonError::into_inner);
        *upstream = Some((http, url));
        Ok(())
    }
}

/// One request of one connection, which then ends.
async fn serve(
    client: TcpStream,
    resizes: &Mutex<Resizes>,
    unknown: &AtomicUsize,
    upstream: &Mutex<Option<(reqwest::Client, String)>>,
) -> Result<()> {
    let mut client = BufReader::new(client);
    let mut line = String::new();
    client.read_line(&mut line).await?;
    let mut words = line.split_whitespace();
    let (method, path) = words.next().zip(words.next()).context("no request")?;
    let (method, path) = (
        reqwest::Method::from_bytes(method.as_bytes())?,
        path.to_owned(),
    );
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let header = |name: &str| headers.iter().find(|(its, _)| its == name);
    let length = header("content-length").map_or(Ok(0), |(_, text)| text.parse())?;
    let mut body = vec![0; length];
    client.read_exact(&mut body).await?;

    let is_resize = path
        .split('?')
        .next()
        .is_some_and(|it| it.ends_with("/resize"));
    let resizes = *resizes.lock().unwrap_or_else(PoisonError::into_inner);
    match resizes {
        Resizes::AreUnknown | Resizes::AreMissing if is_resize => {
            let text = "text/plain; charset=utf-8";
            let answer = response("404 Not Found", text, "404 page not found\n");
            client.write_all(answer.as_bytes()).await?;
            unknown.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        Resizes::AreForbidden if is_resize => {
            client.write_all(forbidden().as_bytes()).await?;
            return Ok(());
        }
        Resizes::AreLate(time) if is_resize => tokio::time::sleep(time).await,
        _ => {}
    }
    let upstream = upstream
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let (http, url) = upstream.context("nobody to ask")?;
    let mut request = http.request(method, format!("{url}{path}")).body(body);
    for (name, value) in &headers {
        if !["host", "content-length", "connection"].contains(&name.as_str()) {
            request = request.header(name, value);
        }
    }
    let mut answer = request.send().await?;
    if resizes == Resizes::AreMissing && path == "/api/v1" {
        return without_resize(&mut client, answer).await;
    }
    let mut head = format!("HTTP/1.1 {}\r\nconnection: close\r\n", answer.status());
    for (name, value) in answer.headers() {
        if !["transfer-encoding", "connection"].contains(&name.as_str()) {
            head.push_str(&format!("{name}: {}\r\n", value.to_str()?));
        }
    }
    client.write_all(format!("{head}\r\n").as_bytes()).await?;
    while let Some(part) = answer.chunk().await? {
        client.write_all(&part).await?;
    }
    client.shutdown().await?;
    Ok(())
}

const JSON: &str = "application/json";

/// A whole answer, with which the connection ends.
fn response(status: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// The answer of an API server whose authorizer finds none of the roles that a user is bound to.
fn forbidden() -> String {
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": "Forbidden",
        "code": 403,
        "message": "pods is forbidden: User \"operator\" cannot patch resource \"pods/resize\" in API group \"\": RBAC: clusterrole \"operator\" not found",
    });
    response("403 Forbidden", JSON, &status.to_string())
}

/// What an API server serves, without `pods/resize`.
async fn without_resize(
    client: &mut BufReader<TcpStream>,
    answer: reqwest::Response,
) -> Result<()> {
    let mut list: Value = serde_json::from_str(&answer.text().await?)?;
    let resources = list["resources"].as_array_mut().context("no list")?;
    resources.retain(|one| one["name"] != "pods/resize");
    let answer = response("200 OK", JSON, &list.to_string());
    client.write_all(answer.as_bytes()).await?;
    Ok(client.shutdown().await?)
}
