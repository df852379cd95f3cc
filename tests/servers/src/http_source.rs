//! An HTTP server whose answers a test sets while it runs, and that counts what it is asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use axum_server::tls_rustls::RustlsConfig;
use sakidori_test_cluster::ports::Port;
use tokio::sync::watch;

use crate::serve::Serving;
use crate::tls::{Tls, TlsMaterial};

/// What a path answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status. Default 200.
    pub status: u16,
    /// The `Content-Type`.
    pub content_type: String,
    /// More headers, such as `Location`.
    pub headers: Vec<(String, String)>,
    /// The body, sent as it is: it may be malformed.
    pub body: Vec<u8>,
    /// How long to wait before the answer. Default none.
    pub delay: Duration,
    /// A header that a request must have with exactly this value; else it gets 401 and no body.
    pub required_header: Option<(String, String)>,
    /// Never answer; the connection stays open until another answer is set or the source stops.
    pub hang: bool,
}

impl Answer {
    /// 200 with this body.
    pub fn new(content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        Answer {
            status: 200,
            content_type: content_type.to_owned(),
            headers: Vec::new(),
            body: body.into(),
            delay: Duration::ZERO,
            required_header: None,
            hang: false,
        }
    }

    /// A JSON body.
    pub fn json(value: &serde_json::Value) -> Answer {
        Answer::new("application/json", value.to_string())
    }

    /// A body in Prometheus' text format.
    pub fn prometheus(body: impl Into<Vec<u8>>) -> Answer {
        Answer::new("text/plain; version=0.0.4", body)
    }

    /// An XML body.
    pub fn xml(body: impl Into<Vec<u8>>) -> Answer {
        Answer::new("application/xml", body)
    }

    /// A YAML body.
    pub fn yaml(body: impl Into<Vec<u8>>) -> Answer {
        Answer::new("application/yaml", body)
    }

    /// That status and no body.
    pub fn status(status: u16) -> Answer {
        Answer {
            status,
            ..Answer::new("text/plain", "")
        }
    }

    /// No answer at all.
    pub fn hang() -> Answer {
        Answer {
            hang: true,
            ..Answer::status(200)
        }
    }

    /// The same answer with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same answer, that much later.
    #[must_use]
    pub fn after(self, delay: Duration) -> Answer {
        Answer { delay, ..self }
    }

    /// The same answer, for requests with that header only.
    #[must_use]
    pub fn requiring(self, header: &str, value: &str) -> Answer {
        Answer {
            required_header: Some((header.to_owned(), value.to_owned())),
            ..self
        }
    }
}

/// The most of a request's body that is kept.
const LONGEST_REQUEST: usize = 1024 * 1024;

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// The method.
    pub method: Method,
    /// The query as it was sent, without `?`; empty if there was none.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; empty if it is larger than 1 MiB or no text.
    pub body: String,
}

#[derive(Debug, Default)]
struct Path {
    arrivals: Vec<Instant>,
    last: Option<Received>,
}

#[derive(Debug)]
struct Shared {
    paths: Mutex<HashMap<String, Path>>,
    answers: watch::Sender<HashMap<String, Answer>>,
}

impl Shared {
    fn paths(&self) -> MutexGuard<'_, HashMap<String, Path>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server. It runs on a thread of its own, so that it answers while a test blocks, and its port stays its own while
/// it is [stopped](Self::stop).
#[derive(Debug)]
pub struct HttpSource {
    port: Port,
    tls: Option<TlsMaterial>,
    mutual: bool,
    shared: Arc<Shared>,
    running: Option<Serving>,
}

impl HttpSource {
    /// Starts a server that answers 404 to everything until [`set`](Self::set) is called.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start() -> Result<HttpSource> {
        HttpSource::start_with(Tls::Off)
    }

    /// Starts it with TLS; [`tls`](Self::tls) has what a client needs.
    ///
    /// # Errors
    /// When no port is free or the certificates can't be made.
    pub fn start_with(tls: Tls) -> Result<HttpSource> {
        let mut source = HttpSource {
            port: Port::take()?,
            tls: (tls != Tls::Off)
                .then(|| TlsMaterial::new("http-source"))
                .transpose()?,
            mutual: tls == Tls::Mutual,
            shared: Arc::new(Shared {
                paths: Mutex::default(),
                answers: watch::Sender::default(),
            }),
            running: None,
        };
        source.run()?;
        Ok(source)
    }

    /// Sets what a path such as `/metrics` answers from now on, also to requests that hang at this moment.
    pub fn set(&self, path: &str, answer: Answer) {
        self.shared.answers.send_modify(|answers| {
            answers.insert(path.to_owned(), answer);
        });
    }

    /// `http://127.0.0.1:PORT` and the path, or `https` with TLS.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}{path}", self.port.number())
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The authority and a client's certificate, when it speaks TLS.
    pub fn tls(&self) -> Option<&TlsMaterial> {
        self.tls.as_ref()
    }

    /// How many requests a path has got, answered or not.
    pub fn requests(&self, path: &str) -> u64 {
        self.shared
            .paths()
            .get(path)
            .map_or(0, |path| path.arrivals.len() as u64)
    }

    /// When each of them came.
    pub fn arrivals(&self, path: &str) -> Vec<Instant> {
        self.shared
            .paths()
            .get(path)
            .map(|path| path.arrivals.clone())
            .unwrap_or_default()
    }

    /// How many requests all paths have got.
    pub fn all_requests(&self) -> u64 {
        let paths = self.shared.paths();
        paths.values().map(|path| path.arrivals.len() as u64).sum()
    }

    /// The last request that a path has got.
    pub fn last(&self, path: &str) -> Option<Received> {
        self.shared.paths().get(path)?.last.clone()
    }

    /// Stops it at once: connections are closed, and new ones refused, until [`run`](Self::run).
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }

    /// Starts it again on the same port with the same answers and counts. Does nothing while it runs.
    ///
    /// # Errors
    /// When the port can't be bound.
    pub fn run(&mut self) -> Result<()> {
        if self.running.is_some() {
            return Ok(());
        }
        let tls = match &self.tls {
            Some(tls) => Some(RustlsConfig::from_config(Arc::new(
                tls.server_config(self.mutual)?,
            ))),
            None => None,
        };
        let router = Router::new()
            .fallback(answer)
            .with_state(self.shared.clone());
        self.running = Some(Serving::start(self.port.number(), tls, router)?);
        Ok(())
    }
}

impl Drop for HttpSource {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let arrived = Instant::now();
    let (parts, body) = request.into_parts();
    let name = parts.uri.path().to_owned();
    let body = axum::body::to_bytes(body, LONGEST_REQUEST)
        .await
        .unwrap_or_default();
    let received = Received {
        method: parts.method,
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: String::from_utf8(body.into()).unwrap_or_default(),
    };
    {
        let mut paths = shared.paths();
        let path = paths.entry(name.clone()).or_default();
        path.arrivals.push(arrived);
        path.last = Some(received.clone());
    }
    let current = |answers: &HashMap<String, Answer>| {
        answers
            .get(&name)
            .cloned()
            .unwrap_or_else(|| Answer::status(404))
    };
    let mut answers = shared.answers.subscribe();
    let Ok(answer) = answers
        .wait_for(|answers| !current(answers).hang)
        .await
        .map(|answers| current(&answers))
    else {
        return respond(Answer::status(503), &received); // the source is being dropped
    };
    tokio::time::sleep(answer.delay).await;
    respond(answer, &received)
}

fn respond(answer: Answer, request: &Received) -> Response<Body> {
    let allowed = answer.required_header.is_none_or(|(name, value)| {
        request
            .headers
            .get(name)
            .is_some_and(|sent| sent.as_bytes() == value.as_bytes())
    });
    let response = if allowed {
        let mut response = Response::builder()
            .status(answer.status)
            .header("content-type", answer.content_type);
        for (name, value) in answer.headers {
            response = response.header(name, value);
        }
        response.body(Body::from(answer.body))
    } else {
        Response::builder()
            .status(StatusCode::UNAUTHORIZED)
            .body(Body::empty())
    };
    response.unwrap_or_else(|error| {
        let mut response = Response::new(Body::from(format!(
            "the test set an answer that is not HTTP: {error}"
        )));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}
