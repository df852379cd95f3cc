//! AWS's signature (version 4) under requests that no SDK makes.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as signature};
use aws_sigv4::sign::v4::SigningParams;
use reqwest::Request;
use reqwest::header::{HeaderName, HeaderValue};

/// Signs a request whose body is in memory: adds the headers that show who sends it.
///
/// # Errors
/// When the request can't be signed, without anything of it.
pub fn sign(
    request: &mut Request,
    service: &str,
    region: &str,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<(), String> {
    let refused = || "the request can't be signed".to_owned();
    let identity = credentials.clone().into();
    let parameters = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| refused())?
        .into();
    let body = request
        .body()
        .map(|body| body.as_bytes().ok_or_else(refused));
    let body = body.transpose()?.unwrap_or_default();
    let mut headers = Vec::new();
    for (name, value) in request.headers() {
        headers.push((name.as_str(), value.to_str().map_err(|_| refused())?));
    }
    let signable = SignableRequest::new(
        request.method().as_str(),
        request.url().as_str(),
        headers.into_iter(),
        SignableBody::Bytes(body),
    )
    .map_err(|_| refused())?;
    let (instructions, _) = signature(signable, &parameters)
        .map_err(|_| refused())?
        .into_parts();
    for (name, value) in instructions.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| refused())?;
        value.set_sensitive(true);
        request.headers_mut().insert(name, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use reqwest::{Method, Url};

    #[test]
    fn a_request_shows_who_sends_it_and_not_the_key() {
        let url = "https://monitoring.eu-west-1.amazonaws.com/";
        let mut request = Request::new(reqwest::Method::POST, url.parse().unwrap());
        *request.body_mut() = Some("Action=GetMetricData".into());
        let credentials = Credentials::new("id", "hunter2", Some("token".to_owned()), None, "test");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        sign(&mut request, "monitoring", "eu-west-1", &credentials, now).unwrap();
        let header = |name: &str| request.headers()[name].to_str().unwrap();
        let shown = header("authorization");
        assert!(
            shown.starts_with(
                "AWS4-HMAC-SHA256 Credential=id/20231114/eu-west-1/monitoring/aws4_request, "
            ),
            "{shown}"
        );
        assert_eq!(header("x-amz-date"), "20231114T221320Z");
        assert_eq!(header("x-amz-security-token"), "token");
        assert!(!format!("{request:?}").contains("Credential"));
    }

    /// The case `get-vanilla-query-order-key-case` of AWS' own test suite of signatures.
    #[test]
    fn signatures_are_those_of_aws_own_tests() {
        let url = "https://example.amazonaws.com/?Param2=value2&Param1=value1";
        let mut request = Request::new(Method::GET, Url::parse(url).unwrap());
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let keys = Credentials::new("AKIDEXAMPLE", secret, None, None, "test");
        // 2015-08-30 12:36:00 UTC.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        sign(&mut request, "service", "us-east-1", &keys, now).unwrap();
        let headers = request.headers();
        assert_eq!(headers["x-amz-date"], "20150830T123600Z");
        assert_eq!(
            headers["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"
        );
    }
}
