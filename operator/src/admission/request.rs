//! A review as it comes: how large and how slow it may be.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use kube::api::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionReview};
use serde::Deserialize;

/// The largest review: the object and the one before it, each as large as the API server takes (controller-runtime's limit, too).
pub const BODY_BYTES: usize = 7 * 1024 * 1024;
/// All reviews under way together. Most have some kilobytes.
pub const BODIES_KIB: u32 = 32 * 1024;
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

/// What the body takes of [`BODIES_KIB`]; all that one may take where the client doesn't say.
pub fn kibibytes(headers: &HeaderMap) -> u32 {
    let length = headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let bytes = length.unwrap_or(BODY_BYTES).min(BODY_BYTES);
    u32::try_from(bytes / 1024 + 1).unwrap_or(BODIES_KIB)
}

/// The request in a review.
///
/// # Errors
/// For what is no review.
pub fn parse(body: &Bytes) -> Result<AdmissionRequest<DynamicObject>, String> {
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
        assert_eq!(kibibytes(&headers("99999999999")), 7169);
        assert_eq!(kibibytes(&HeaderMap::new()), 7169);
    }
}
