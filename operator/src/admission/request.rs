//! A review as it comes: how large and how slow it may be, and what it may become in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use kube::api::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionReview};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

/// The largest review: the object and the one before it. etcd takes 1.5 MiB for an object.
const BODY_BYTES: usize = 3 * 1024 * 1024;
/// All reviews under way together. Most have some kilobytes.
const BODIES_KIB: u32 = 16 * 1024;
/// The API server sends a review at once. Whoever takes longer holds a connection's place.
const BODY_WITHIN: Duration = Duration::from_secs(5);
/// What a review may consist of. A node is two bytes in JSON, and in memory some hundred in the worst case, so that a body's size says
/// little. Objects have some hundreds, and large calendars some tens of thousands.
const NODES: u32 = 100_000;
/// All reviews under way together: a large one at a time, and room for a hundred usual ones beside it.
const NODES_AT_ONCE: u32 = 120_000;
/// The deepest that the JSON library reads.
const DEPTH: u32 = 127;
/// Larger ones are parsed one after the other, where they hold up nobody.
const PARSED_IN_PLACE_BYTES: usize = 64 * 1024;
/// What the API server waits for an answer where it doesn't say (`timeoutSeconds`).
const DEFAULT_TIMEOUT: u32 = 10;
/// The longest `timeoutSeconds` that the API server takes; whoever says more isn't one.
const LONGEST_TIMEOUT: u32 = 30;

/// `?timeout=10s`, which the API server adds to each request.
#[derive(Deserialize)]
pub struct Limit {
    timeout: Option<String>,
}

impl Limit {
    /// How long an answer may take, with some time left for its way.
    pub fn budget(&self) -> Duration {
        let given = self.timeout.as_deref();
        let seconds = given.and_then(|text| text.strip_suffix('s')?.parse().ok());
        let seconds: u32 = seconds.unwrap_or(DEFAULT_TIMEOUT).min(LONGEST_TIMEOUT);
        Duration::from_secs(seconds.into()) * 3 / 4
    }
}

/// Room in memory for reviews under way.
pub struct Room {
    bodies: Arc<Semaphore>,
    nodes: Arc<Semaphore>,
    parsing: Arc<Semaphore>,
}

/// What one review takes of it, until it is dropped.
pub struct Taken {
    _body: OwnedSemaphorePermit,
    _nodes: OwnedSemaphorePermit,
}

/// Why a review isn't looked at.
pub type Refused = (StatusCode, String);

impl Room {
    pub fn new() -> Self {
        Self {
            bodies: Arc::new(Semaphore::new(BODIES_KIB as usize)),
            nodes: Arc::new(Semaphore::new(NODES_AT_ONCE as usize)),
            parsing: Arc::new(Semaphore::new(1)),
        }
    }

    /// Reads the request in a review.
    ///
    /// # Errors
    /// For one that is too large or too slow, for want of room, and for what is no review.
    pub async fn receive(
        &self,
        headers: &HeaderMap,
        body: Body,
        until: Instant,
    ) -> Result<(AdmissionRequest<DynamicObject>, Taken), Refused> {
        let of_body = take(&self.bodies, kibibytes(headers), until).await?;
        let sent_by = until.min(Instant::now() + BODY_WITHIN);
        let body = match timeout_at(sent_by.into(), to_bytes(body, BODY_BYTES)).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => {
                return Err((
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("the review was not read: {error}; {BODY_BYTES} bytes are the most"),
                ));
            }
            Err(_) => {
                let message = "the review came too slowly".to_owned();
                return Err((StatusCode::REQUEST_TIMEOUT, message));
            }
        };
        // Looks at each byte once, which is less than decrypting them was.
        let weight = Weight::of(&body);
        if weight.nodes > NODES || weight.depth > DEPTH {
            return Err((
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "the review was not parsed: it has {} values, {} deep; {NODES} values, {DEPTH} deep, are the most",
                    weight.nodes, weight.depth
                ),
            ));
        }
        let taken = Taken {
            _nodes: take(&self.nodes, weight.nodes, until).await?,
            _body: of_body,
        };
        let (request, taken) = if body.len() <= PARSED_IN_PLACE_BYTES {
            (parse(&body), taken)
        } else {
            let turn = take(&self.parsing, 1, until).await?;
            // What it takes goes along: parsing doesn't end when the client goes.
            let parsed = spawn_blocking(move || {
                let _turn = turn;
                (parse(&body), taken)
            });
            parsed
                .await
                .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?
        };
        let request = request.map_err(|error| (StatusCode::BAD_REQUEST, error))?;
        Ok((request, taken))
    }
}

async fn take(
    room: &Arc<Semaphore>,
    share: u32,
    until: Instant,
) -> Result<OwnedSemaphorePermit, Refused> {
    match timeout_at(until.into(), room.clone().acquire_many_owned(share)).await {
        Ok(Ok(taken)) => Ok(taken),
        _ => Err((
            StatusCode::SERVICE_UNAVAILABLE,
            "too many reviews are under way".to_owned(),
        )),
    }
}

/// What the body takes of [`BODIES_KIB`]; all that one may take where the client doesn't say.
fn kibibytes(headers: &HeaderMap) -> u32 {
    let length = headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let bytes = length.unwrap_or(BODY_BYTES).min(BODY_BYTES);
    u32::try_from(bytes / 1024 + 1).unwrap_or(BODIES_KIB)
}

/// How much a text of JSON becomes, without parsing it.
#[derive(Debug, PartialEq)]
struct Weight {
    /// Values, keys and containers, roughly: what begins one, outside of strings.
    nodes: u32,
    /// Containers in one another.
    depth: u32,
}

impl Weight {
    /// Where the text is no JSON, it is right up to the place where a parser gives up.
    fn of(json: &[u8]) -> Self {
        let (mut nodes, mut depth, mut deepest) = (0_u32, 0_u32, 0);
        let mut bytes = json.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b',' | b':' => nodes = nodes.saturating_add(1),
                b'[' | b'{' => {
                    nodes = nodes.saturating_add(1);
                    depth = depth.saturating_add(1);
                    deepest = deepest.max(depth);
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                b'"' => loop {
                    match bytes.next() {
                        None | Some(b'"') => break,
                        // Whatever follows, a quotation mark too, is the string's.
                        Some(b'\\') => drop(bytes.next()),
                        Some(_) => {}
                    }
                },
                _ => {}
            }
        }
        Self {
            nodes,
            depth: deepest,
        }
    }
}

/// The request in a review.
///
/// # Errors
/// For what is no review.
fn parse(body: &Bytes) -> Result<AdmissionRequest<DynamicObject>, String> {
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(body)
        .map_err(|error| format!("this is no AdmissionReview of admission.k8s.io/v1: {error}"))?;
    review
        .try_into()
        .map_err(|_| "the AdmissionReview has no request".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_comes_before_the_api_server_gives_up() {
        let budget = |timeout: Option<&str>| {
            let timeout = timeout.map(str::to_owned);
            Limit { timeout }.budget()
        };
        assert_eq!(budget(Some("10s")), Duration::from_millis(7500));
        assert_eq!(budget(Some("1s")), Duration::from_millis(750));
        assert_eq!(budget(Some("soon")), Duration::from_millis(7500));
        assert_eq!(budget(None), Duration::from_millis(7500));
        assert_eq!(budget(Some("4000000000s")), Duration::from_millis(22500));
    }

    #[test]
    fn a_body_is_counted_by_what_it_says() {
        let headers =
            |length: &str| HeaderMap::from_iter([(CONTENT_LENGTH, length.parse().unwrap())]);
        assert_eq!(kibibytes(&headers("2048")), 3);
        assert_eq!(kibibytes(&headers("99999999999")), 3073);
        assert_eq!(kibibytes(&HeaderMap::new()), 3073);
    }

    #[test]
    fn what_a_body_becomes_is_counted_before_it_is_parsed() {
        for (json, nodes, depth) in [
            ("", 0, 0),
            ("7", 0, 0),
            ("[]", 1, 1),
            ("[0,0,0]", 3, 1),
            (r#"{"a":{"b":[1,2]},"c":null}"#, 8, 3),
            ("[[],[],[[]]]", 7, 3),
            // Not in strings.
            (r#"{"[{,:":"[{,:"}"#, 2, 1),
            (r#"["\"[[[",1]"#, 2, 1),
            (r#"["\\",[1]]"#, 3, 2),
            (r#"["\u0022[[",1]"#, 2, 1),
            // No JSON.
            ("]]]]{", 1, 1),
            (r#"{"a"#, 1, 1),
            (r#"["\"#, 1, 1),
        ] {
            let weight = Weight::of(json.as_bytes());
            assert_eq!(weight, Weight { nodes, depth }, "{json}");
        }
    }

    #[tokio::test]
    async fn a_small_body_that_becomes_large_is_not_parsed() {
        let receive = async |object: String| {
            let review = format!(
                r#"{{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {{
                    "uid": "1", "operation": "CREATE", "userInfo": {{}}, "name": "web",
                    "kind": {{"group": "keda.sh", "version": "v1alpha1", "kind": "ScaledObject"}},
                    "resource": {{"group": "keda.sh", "version": "v1alpha1", "resource": "scaledobjects"}},
                    "object": {{"metadata": {{"name": "web"}}, "spec": {object}}}}}}}"#
            );
            let until = Instant::now() + Duration::from_secs(30);
            let room = Room::new();
            let body = Body::from(review);
            let received = room.receive(&HeaderMap::new(), body, until).await;
            received.map(|_| ()).map_err(|(status, _)| status)
        };
        let list = |length: usize| format!("[{}]", vec!["0"; length].join(","));
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let too_large = Err(StatusCode::PAYLOAD_TOO_LARGE);
        for (what, object, expected) in [
            ("a usual one", list(10), Ok(())),
            // This one is parsed on another thread.
            ("a large one", list(90_000), Ok(())),
            ("too many values", list(100_001), too_large),
            ("too deep", deep(200), too_large),
            ("a string", format!("\"{}\"", ",".repeat(200_000)), Ok(())),
            ("no JSON", "x".to_owned(), Err(StatusCode::BAD_REQUEST)),
        ] {
            assert_eq!(receive(object).await, expected, "{what}");
        }
    }
}
