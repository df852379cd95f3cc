//! One HTTP answer: bounded in time and size, its failures told by what to do about them.

use std::ops::Deref;
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, Request, Response, StatusCode, Url};
use tokio::time::timeout;

use super::address::{host_of, without_user};
use super::compression::ACCEPTED;
use super::threads::over_http;
use crate::clients::tls::with_causes;
use crate::limits::{Held, LARGE, Room, apart, too_large};
use crate::observer::tell;
use crate::scaler::ScalerError;

/// The most of an answer that is read. What holds one number is a few KiB, 500 queues of RabbitMQ are 1 MiB; more is a wrong
/// URL or an attack.
pub const BODY_LIMIT: usize = 10 * 1024 * 1024;

/// The most of a refusal that is read: so much that the connection is usually left clean for the next request.
const REFUSAL_LIMIT: usize = 64 * 1024;

/// Large answers in memory at the same time, over all triggers: 160 MiB, where each is as large as it may be.
const LARGE_AT_ONCE: usize = 16;
/// Of these, those of one host and port.
const LARGE_OF_ONE: usize = 4;
static ROOM: Room = Room::new(LARGE_AT_ONCE, LARGE_OF_ONE);

/// Redirects that are followed (Go's client: 10).
const MOST_REDIRECTS: usize = 10;

/// What of an answer is taken.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The most of a body that is read.
    pub bytes: usize,
    /// Redirects that are followed.
    pub redirects: usize,
    /// Whether they may lead to other hosts.
    pub other_hosts: bool,
    /// Whether a compressed answer is asked for. It is the caller's to [decompress](super::decompress).
    pub compressed: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes: BODY_LIMIT,
            redirects: MOST_REDIRECTS,
            other_hosts: true,
            compressed: false,
        }
    }
}

/// What a server answered, whatever its status.
pub struct Answer {
    pub status: StatusCode,
    retry_after: Option<Duration>,
    /// `host:port`, where another host answered than the one that was asked.
    redirected_to: Option<String>,
    /// `Content-Encoding`.
    pub encoding: Option<String>,
    #[cfg(feature = "aws")]
    pub headers: reqwest::header::HeaderMap,
    /// Of a refusal only the beginning.
    pub body: Body,
}

/// What was read of an answer.
#[derive(Debug, Default)]
pub struct Body {
    bytes: Vec<u8>,
    /// A large one's.
    room: Option<Held>,
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Body {
    /// The bytes, for those who have a parser of their own.
    #[cfg(feature = "aws")]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Takes room now, for what becomes large when it is decompressed.
    pub async fn take_room(&mut self, place: &str) {
        if self.room.is_none() {
            self.room = Some(ROOM.enter(place).await);
        }
    }

    /// Its room alone, for what was made of it.
    pub fn into_room(self) -> Option<Held> {
        self.room
    }

    /// `place` is the host and port that it comes from.
    async fn push(&mut self, chunk: &[u8], place: &str) {
        if self.bytes.len() + chunk.len() > LARGE && self.room.is_none() {
            self.room = Some(ROOM.enter(place).await);
        }
        self.bytes.extend_from_slice(chunk);
    }

    /// Takes it apart without holding up the other polls.
    pub async fn parse<T: Send + 'static>(
        self,
        parse: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> T {
        match self.room {
            None => parse(&self),
            Some(_) => apart(move || parse(&self)).await,
        }
    }
}

impl Answer {
    /// The body of a 2xx answer.
    ///
    /// # Errors
    /// See [`Answer::refusal`]. The message is the status alone: a refusal's body may repeat what was sent.
    pub fn accepted(self) -> Result<Body, ScalerError> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let message = format!("the server answered {}", self.status);
        Err(self.refusal(message))
    }

    /// What an answer means that is not the one that was hoped for: 401 and 403 are Unauthorized, 404 is NotFound, 429 is
    /// RateLimited, 5xx is Unreachable, anything else Malformed.
    pub fn refusal(&self, message: String) -> ScalerError {
        let error = match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ScalerError::Unauthorized(message),
            StatusCode::NOT_FOUND => ScalerError::NotFound(message),
            StatusCode::TOO_MANY_REQUESTS => ScalerError::RateLimited {
                retry_after: self.retry_after,
                message,
            },
            status if status.is_server_error() => ScalerError::Unreachable(message),
            _ => ScalerError::Malformed(message),
        };
        placed(error, self.redirected_to.as_deref())
    }
}

/// The error with the host that caused it, where that isn't the one that was asked.
fn placed(error: ScalerError, redirected_to: Option<&str>) -> ScalerError {
    match redirected_to {
        Some(host) => error.at(&format!("redirected to {host}")),
        None => error,
    }
}

/// Sends a request and reads the whole answer, all within `within`. A GET follows redirects, and leaves the credentials in
/// its headers behind where another host is next (Go's client leaves `Authorization` behind, but no other header).
///
/// # Errors
/// Unreachable without a complete answer, Malformed for one that is too large or redirects nowhere. No message holds the URL,
/// whose query may hold a key: callers name the host.
pub async fn fetch(
    client: &Client,
    request: Request,
    within: Duration,
    bounds: Bounds,
) -> Result<Answer, ScalerError> {
    let client = client.clone();
    let asked = over_http(async move { follow(&client, request, bounds).await });
    match timeout(within, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(ScalerError::Unreachable(format!(
            "no complete answer within {} ms",
            within.as_millis()
        ))),
    }
}

/// Sends a request that may be sent twice, whatever its method, and reads the whole answer, of `most` bytes. It follows no redirect,
/// and takes as long as it takes: callers bound it in time.
///
/// # Errors
/// As [`fetch`].
#[cfg(feature = "aws")]
pub async fn ask(client: &Client, request: Request, most: usize) -> Result<Answer, ScalerError> {
    let (client, again) = (client.clone(), request.try_clone());
    let place = host_of(request.url());
    over_http(async move {
        let response = send(&client, request, again.as_ref())
            .await
            .map_err(|error| ScalerError::Unreachable(describe(error)))?;
        read(response, most, &place).await
    })
    .await
}

async fn follow(
    client: &Client,
    mut request: Request,
    bounds: Bounds,
) -> Result<Answer, ScalerError> {
    let asked = request.url().host_str().map(str::to_owned);
    let first = host_of(request.url());
    for _ in 0..=bounds.redirects {
        if bounds.compressed {
            let accepted = HeaderValue::from_static(ACCEPTED);
            request.headers_mut().insert(ACCEPT_ENCODING, accepted);
        }
        let host = host_of(request.url());
        let redirected_to = (host != first).then(|| host.clone());
        let at = |error| placed(error, redirected_to.as_deref());
        let again = (request.method() == Method::GET).then(|| request.try_clone());
        let again = again.flatten();
        let response = send(client, request, again.as_ref())
            .await
            .map_err(|error| at(ScalerError::Unreachable(describe(error))))?;
        match again {
            Some(sent) if response.status().is_redirection() => {
                request = redirected(sent, &response).map_err(at)?;
                if !bounds.other_hosts && request.url().host_str() != asked.as_deref() {
                    return Err(ScalerError::Malformed(format!(
                        "it redirects to another host, {}, which is not followed: give the URL that is meant",
                        host_of(request.url())
                    )));
                }
            }
            _ => {
                let mut answer = read(response, bounds.bytes, &host).await.map_err(at)?;
                answer.redirected_to = redirected_to;
                return Ok(answer);
            }
        }
    }
    Err(ScalerError::Malformed(format!(
        "stopped after {} redirects",
        bounds.redirects
    )))
}

/// Sends a request. A connection that was kept may have been closed by the server just now, so what may be asked twice is,
/// as in Go's client.
async fn send(
    client: &Client,
    request: Request,
    again: Option<&Request>,
) -> Result<Response, reqwest::Error> {
    let failed = match exchange(client, request).await {
        Err(error) if error.is_request() && !error.is_connect() => error,
        answer => return answer,
    };
    match again.and_then(Request::try_clone) {
        Some(again) => exchange(client, again).await,
        None => Err(failed),
    }
}

/// Sends a request once, and tells what came of it. One that is given up while it waits is told as one without an answer.
async fn exchange(client: &Client, request: Request) -> Result<Response, reqwest::Error> {
    let mut exchange = Exchange {
        began: Instant::now(),
        status: None,
    };
    let answer = client.execute(request).await;
    exchange.status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
    answer
}

struct Exchange {
    began: Instant,
    status: Option<u16>,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        tell(|observer| observer.exchanged(self.status, took));
    }
}

/// The request that a redirect asks for.
fn redirected(sent: Request, response: &Response) -> Result<Request, ScalerError> {
    let from = sent.url();
    let target = response
        .headers()
        .get(LOCATION)
        .and_then(|location| from.join(location.to_str().ok()?).ok())
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| {
            let status = response.status();
            ScalerError::Malformed(format!("the server answered {status} without an http URL"))
        })?;
    let target = without_user(target);
    let mut next = Request::new(Method::GET, target);
    if may_know_credentials(from, next.url()) {
        *next.headers_mut() = sent.headers().clone();
    }
    Ok(next)
}

/// Whether credentials for one URL may be sent to another: on the same port, or from http to https on the same host.
fn may_know_credentials(from: &Url, to: &Url) -> bool {
    from.origin() == to.origin()
        || (from.host() == to.host() && from.scheme() == "http" && to.scheme() == "https")
}

async fn read(mut response: Response, limit: usize, place: &str) -> Result<Answer, ScalerError> {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let encoding = response
        .headers()
        .get(CONTENT_ENCODING)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    #[cfg(feature = "aws")]
    let headers = response.headers().clone();
    if status.is_success()
        && response
            .content_length()
            .is_some_and(|length| length > limit as u64)
    {
        return Err(too_large(limit));
    }
    let mut body = Body::default();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| ScalerError::Unreachable(describe(error)))?
    {
        if !status.is_success() && body.len() + chunk.len() >= REFUSAL_LIMIT {
            let rest = REFUSAL_LIMIT - body.len();
            body.push(&chunk[..rest.min(chunk.len())], place).await;
            break;
        }
        if body.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        body.push(&chunk, place).await;
    }
    Ok(Answer {
        status,
        retry_after,
        redirected_to: None,
        encoding,
        #[cfg(feature = "aws")]
        headers,
        body,
    })
}

/// An error of the HTTP client with its causes, which say more than it does, and without the URL.
fn describe(error: reqwest::Error) -> String {
    with_causes(&error.without_url())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_with_their_host() {
        for (from, to, may) in [
            ("http://a/x", "http://a/y", true),
            ("http://a/x", "http://a:80/y", true),
            ("http://a:8080/x", "https://a/y", true),
            ("https://a/x", "http://a/y", false),
            ("http://a/x", "http://a:8080/y", false),
            ("http://a/x", "http://b/x", false),
            ("http://a/x", "http://sub.a/x", false),
            ("http://127.0.0.1/x", "http://localhost/x", false),
        ] {
            let found = may_know_credentials(&Url::parse(from).unwrap(), &Url::parse(to).unwrap());
            assert_eq!(found, may, "{from} -> {to}");
        }
    }
}
