//! `/metrics`.

use std::io::Write;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tracing::warn;

use super::Metrics;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Scrapes that are answered at the same time. Two Prometheus servers are usual; whoever reaches the port can't have a text of all objects
/// made a hundred times at once.
const AT_ONCE: usize = 2;

/// Series are much alike: even the quickest compression leaves a tenth of them.
const QUICK: Compression = Compression::new(1);

#[derive(Clone)]
struct Scraped {
    metrics: Arc<Metrics>,
    at_once: Arc<Semaphore>,
}

/// The route of the metrics.
pub fn router(metrics: Arc<Metrics>) -> Router {
    let scraped = Scraped {
        metrics,
        at_once: Arc::new(Semaphore::new(AT_ONCE)),
    };
    Router::new()
        .route("/metrics", get(scrape))
        .with_state(scraped)
}

async fn scrape(State(scraped): State<Scraped>, headers: HeaderMap) -> Response {
    // It is never closed.
    let turn = scraped.at_once.acquire_owned().await;
    let compressed = takes_gzip(&headers);
    let metrics = scraped.metrics;
    let written = spawn_blocking(move || {
        // Its turn ends with the text, also where who asked has gone meanwhile: the text is made to its end all the same.
        let _turn = turn;
        let text = metrics.text().into_bytes();
        match compressed {
            true => gzip(&text),
            false => Ok(text),
        }
    });
    let body = match written.await.map_err(std::io::Error::other).flatten() {
        Ok(body) => body,
        Err(error) => {
            warn!(%error, "the metrics could not be written");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let mut response = ([(CONTENT_TYPE, TEXT)], body).into_response();
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if compressed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Whether an answer may be compressed with gzip.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = weight.trim().strip_prefix("q=").map(str::parse::<f32>) == Some(Ok(0.0));
            name.trim().eq_ignore_ascii_case("gzip") && !refused
        })
}

fn gzip(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), QUICK);
    encoder.write_all(text)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use axum::body::Body;
    use http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::prometheus::MetricsOptions;

    #[test]
    fn gzip_is_used_where_it_is_taken() {
        for (accepted, takes) in [
            (None, false),
            (Some("gzip"), true),
            (Some("deflate, GZIP;q=0.5"), true),
            (Some("gzip;q=0"), false),
            (Some("identity"), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accepted) = accepted {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            }
            assert_eq!(takes_gzip(&headers), takes, "{accepted:?}");
        }
    }

    #[tokio::test]
    async fn the_text_is_the_same_compressed_or_not() {
        let metrics = Arc::new(Metrics::new(MetricsOptions::default()).unwrap());
        let router = router(metrics);
        for coding in ["identity", "gzip"] {
            let request = Request::get("/metrics")
                .header(ACCEPT_ENCODING, coding)
                .body(Body::empty())
                .unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.headers()[CONTENT_TYPE], TEXT);
            let compressed = response.headers().contains_key(CONTENT_ENCODING);
            let body = axum::body::to_bytes(response.into_body(), usize::MAX);
            let body = body.await.unwrap();
            let mut text = String::new();
            match compressed {
                true => flate2::read::GzDecoder::new(&*body).read_to_string(&mut text),
                false => (&*body).read_to_string(&mut text),
            }
            .unwrap();
            assert_eq!(compressed, coding == "gzip");
            assert!(text.contains("keda_build_info{"), "{text}");
        }
    }
}
