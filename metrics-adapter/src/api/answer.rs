//! How an answer is written: JSON as Go's encoder ends it, pretty on demand, entity tags, and what `Accept` allows.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::parameter;
use crate::status::Failure;

const JSON: &str = "application/json";

/// `body` as JSON with a final newline, as Kubernetes' servers write it.
pub(crate) fn json<T: Serialize>(body: &T, pretty: bool) -> Response {
    json_as(body, pretty, HeaderValue::from_static(JSON))
}

pub(crate) fn json_as<T: Serialize>(body: &T, pretty: bool, content_type: HeaderValue) -> Response {
    let encoded = if pretty {
        serde_json::to_vec_pretty(body)
    } else {
        serde_json::to_vec(body)
    };
    match encoded {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            with_type(StatusCode::OK, content_type, Body::from(bytes))
        }
        // Cannot happen for this crate's types: their maps have string keys only.
        Err(error) => plain_text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot encode the answer: {error}\n"),
        ),
    }
}

pub(crate) fn plain_text(code: StatusCode, text: String) -> Response {
    with_type(
        code,
        HeaderValue::from_static("text/plain; charset=utf-8"),
        Body::from(text),
    )
}

fn with_type(code: StatusCode, content_type: HeaderValue, body: Body) -> Response {
    let mut response = (code, body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    // As kube-apiserver: an answer depends on who asks, and is never something else than it says.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// A document that changes only with the build: JSON with an entity tag, 304 for who has it already (kube-aggregator
/// asks again every minute).
pub(crate) struct Document {
    bytes: Vec<u8>,
    hash: String,
}

impl Document {
    pub(crate) fn new(document: &serde_json::Value) -> Self {
        let bytes = document.to_string().into_bytes();
        let hash = hex(&Sha256::digest(&bytes));
        Self { bytes, hash }
    }

    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    pub(crate) fn answer(&self, request: &HeaderMap) -> Response {
        let tag = format!("\"{}\"", self.hash);
        let known = request
            .get_all(IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let known = known.flat_map(|value| value.split(',')).any(|value| {
            let value = value.trim();
            value == "*" || value.trim_start_matches("W/") == tag
        });
        let mut response = if known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            with_type(
                StatusCode::OK,
                HeaderValue::from_static(JSON),
                Body::from(self.bytes.clone()),
            )
        };
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            response.headers_mut().insert(ETAG, tag);
        }
        response
    }
}

/// Upper-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Whether the client asked for indented JSON: `?pretty`, or a client that is a person's (kube-apiserver's rule).
pub(crate) fn wants_pretty(query: &str, headers: &HeaderMap) -> bool {
    match parameter(query, "pretty") {
        Some(value) => matches!(
            value.as_str(),
            "" | "1" | "t" | "T" | "true" | "TRUE" | "True"
        ),
        None => {
            let agent = headers
                .get(USER_AGENT)
                .and_then(|agent| agent.to_str().ok())
                .unwrap_or_default();
            ["curl", "Wget", "Mozilla/5.0"]
                .iter()
                .any(|prefix| agent.starts_with(prefix))
        }
    }
}

/// Fails with 406 unless the client takes JSON.
pub(crate) fn expect_json(headers: &HeaderMap) -> Result<(), Failure> {
    let takes_json =
        clauses(headers).is_none_or(|mut clauses| clauses.any(|clause| clause.is_plain_json()));
    if takes_json {
        Ok(())
    } else {
        Err(Failure::not_acceptable(JSON))
    }
}

/// Whether the client asks for `kind` of the given API group and version before, or instead of, plain JSON.
/// kube-aggregator asks for aggregated discovery this way.
pub(crate) fn prefers(headers: &HeaderMap, kind: &str, group: &str, version: &str) -> bool {
    let wanted = |clause: &Clause<'_>| {
        clause.is_json()
            && clause.parameter("as") == Some(kind)
            && clause.parameter("g") == Some(group)
            && clause.parameter("v") == Some(version)
    };
    clauses(headers)
        .and_then(|mut clauses| clauses.find(|clause| wanted(clause) || clause.is_plain_json()))
        .is_some_and(|clause| wanted(&clause))
}

/// One media range of an `Accept` header, such as `application/json;as=Table;v=v1`.
struct Clause<'a> {
    range: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let range = parts.next().unwrap_or_default();
        let parameters = parts.filter_map(|part| part.split_once('=')).collect();
        Self { range, parameters }
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    fn is_json(&self) -> bool {
        let refused = self
            .parameter("q")
            .and_then(|q| q.parse::<f32>().ok())
            .is_some_and(|q| q <= 0.0);
        !refused
            && [JSON, "application/*", "*/*"]
                .iter()
                .any(|range| self.range.eq_ignore_ascii_case(range))
    }

    /// JSON of the object itself, not of a Table or a partial object, which this server doesn't make.
    fn is_plain_json(&self) -> bool {
        self.is_json() && self.parameter("as").is_none()
    }
}

/// The clauses of `Accept` in the order given; none if the client didn't say.
fn clauses(headers: &HeaderMap) -> Option<impl Iterator<Item = Clause<'_>>> {
    let said = headers
        .get_all(ACCEPT)
        .iter()
        .any(|value| !value.as_bytes().trim_ascii().is_empty());
    said.then(|| {
        let values = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(Clause::parse)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn json_is_found_among_what_the_client_takes() {
        for (value, taken) in [
            ("", true),
            ("*/*", true),
            ("application/json, */*", true),
            ("application/vnd.kubernetes.protobuf,application/json", true),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                true,
            ),
            ("APPLICATION/JSON;charset=utf-8", true),
            ("application/json;as=Table;v=v1;g=meta.k8s.io", false),
            ("application/json;q=0", false),
            ("application/vnd.kubernetes.protobuf", false),
            (
                "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
                false,
            ),
            (
                "application/com.github.proto-openapi.spec.v2@v1.0+protobuf,application/json;q=0.5",
                true,
            ),
        ] {
            assert_eq!(expect_json(&accept(value)).is_ok(), taken, "{value}");
        }
        assert!(expect_json(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn aggregated_discovery_is_for_who_asks_for_it_first() {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        for (value, preferred) in [
            (v2.to_owned(), true),
            (
                format!(
                    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,{v2}"
                ),
                true,
            ),
            (format!("{v2},application/json"), true),
            (format!("application/json,{v2}"), false),
            ("application/json".to_owned(), false),
        ] {
            let headers = accept(&value);
            assert_eq!(
                prefers(
                    &headers,
                    "APIGroupDiscoveryList",
                    "apidiscovery.k8s.io",
                    "v2"
                ),
                preferred,
                "{value}"
            );
        }
    }

    #[test]
    fn people_get_indented_answers() {
        let mut headers = HeaderMap::new();
        assert!(!wants_pretty("", &headers));
        assert!(wants_pretty("pretty", &headers));
        headers.insert(USER_AGENT, HeaderValue::from_static("curl/8.5"));
        assert!(wants_pretty("", &headers));
        assert!(!wants_pretty("a=b&pretty=false", &headers));
    }
}
