//! Failures as the `metav1.Status` objects that kubectl, client-go and the HPA controller understand.

use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::api::{GROUP, answer};

/// As kube-apiserver says when it is asked for too much.
const RETRY_AFTER_SECONDS: u8 = 1;

/// A request that could not be answered, in the API's own terms.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    code: StatusCode,
    reason: &'static str,
    message: String,
    details: Details,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Details {
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    /// The API calls the resource's name "kind" here.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(rename = "retryAfterSeconds", skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u8>,
}

impl Failure {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: Details::default(),
        }
    }

    /// Says which metric the failure is about.
    pub(crate) fn about_metric(mut self, metric: &str) -> Self {
        self.details = Details {
            group: Some(GROUP.to_owned()),
            kind: Some(metric.to_owned()),
            ..self.details
        };
        self
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// Credentials were sent and are wrong. Why is logged, not told: kube-apiserver's answer is this one word too.
    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    pub(crate) fn path_not_found() -> Self {
        Self::not_found("the server could not find the requested resource")
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    pub(crate) fn not_acceptable(accepted: &str) -> Self {
        Self::new(
            StatusCode::NOT_ACCEPTABLE,
            "NotAcceptable",
            format!("only the following media types are accepted: {accepted}"),
        )
    }

    pub(crate) fn internal(message: impl AsRef<str>) -> Self {
        let message = format!("Internal error occurred: {}", message.as_ref());
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    /// Nothing to answer with now. No `Retry-After` goes with it: client-go would sleep and repeat the request inside
    /// one of the HPA controller's five workers, while the next sync asks again anyway.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            message,
        )
    }

    /// For who sends more than is taken on: never for what the front proxy passes on, see [`Self::unavailable`].
    pub(crate) fn too_many_requests(message: impl Into<String>) -> Self {
        let mut failure = Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message);
        failure.details.retry_after_seconds = Some(RETRY_AFTER_SECONDS);
        failure
    }

    pub(crate) fn timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message)
    }

    #[cfg(test)]
    pub(crate) fn code(&self) -> StatusCode {
        self.code
    }

    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = StatusBody {
            kind: "Status",
            api_version: "v1",
            metadata: serde_json::json!({}),
            status: "Failure",
            message: &self.message,
            reason: self.reason,
            details: &self.details,
            code: self.code.as_u16(),
        };
        let mut response = answer::json(&body, false);
        *response.status_mut() = self.code;
        if let Some(seconds) = self.details.retry_after_seconds {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(u16::from(seconds)));
        }
        response
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusBody<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: serde_json::Value,
    status: &'static str,
    message: &'a str,
    reason: &'static str,
    details: &'a Details,
    code: u16,
}
