//! One HTTP answer: bounded in time and size, its failures told by what to do about them.

use std::error::Error;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use tokio::time::timeout;

use crate::scaler::ScalerError;

/// The most of an answer that is read. What holds one number is a few KiB; more is a wrong URL or an attack.
const BODY_LIMIT: usize = 10 * 1024 * 1024;

/// Sends a request and reads the whole answer, all within `within`.
///
/// # Errors
/// 401 and 403 are Unauthorized, 404 is NotFound, 429 is RateLimited, any other status but 2xx is Unreachable (5xx) or
/// Malformed. No message holds the URL, whose query may hold a key: callers name the host.
pub async fn fetch(request: RequestBuilder, within: Duration) -> Result<Vec<u8>, ScalerError> {
    let answer = async {
        let response = request
            .send()
            .await
            .map_err(|error| ScalerError::Unreachable(describe(error)))?;
        body(checked(response)?).await
    };
    match timeout(within, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(ScalerError::Unreachable(format!(
            "no complete answer within {} ms",
            within.as_millis()
        ))),
    }
}

fn checked(response: Response) -> Result<Response, ScalerError> {
    let status = response.status();
    let message = format!("the server answered {status}");
    match status {
        status if status.is_success() => Ok(response),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ScalerError::Unauthorized(message)),
        StatusCode::NOT_FOUND => Err(ScalerError::NotFound(message)),
        StatusCode::TOO_MANY_REQUESTS => {
            let seconds = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok());
            let retry_after = seconds.map(Duration::from_secs);
            Err(ScalerError::RateLimited {
                retry_after,
                message,
            })
        }
        status if status.is_server_error() => Err(ScalerError::Unreachable(message)),
        _ => Err(ScalerError::Malformed(message)),
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, ScalerError> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| ScalerError::Unreachable(describe(error)))?
    {
        if body.len() + chunk.len() > BODY_LIMIT {
            return Err(ScalerError::Malformed(format!(
                "the answer is larger than {} MiB",
                BODY_LIMIT / (1024 * 1024)
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An error of the HTTP client with its causes, which say more than it does, and without the URL.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

/// `host:port` of a URL: what messages may name.
pub fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}
