//! Signatures of requests that no SDK makes (Signature Version 4).

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as signature};
use aws_sigv4::sign::v4;
use reqwest::Request;
use reqwest::header::{HeaderName, HeaderValue};

/// Signs a request without a body, with all of its headers: adds those that show who sends it.
///
/// # Errors
/// Why it can't be signed, without secrets.
pub fn sign(
    request: &mut Request,
    service: &str,
    region: &str,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<(), String> {
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| error.to_string())?;
    let headers = request.headers().iter();
    let headers: Result<Vec<_>, _> = headers
        .map(|(name, value)| value.to_str().map(|value| (name.as_str(), value)))
        .collect();
    let headers = headers.map_err(|_| "a header is no ASCII, and can't be signed")?;
    let signable = SignableRequest::new(
        request.method().as_str(),
        request.url().as_str(),
        headers.into_iter(),
        SignableBody::Bytes(&[]),
    );
    const FAILED: &str = "the request can't be signed";
    let signed = signable.and_then(|signable| signature(signable, &parameters.into()));
    let (instructions, _) = signed.map_err(|_| FAILED)?.into_parts();
    for (name, value) in instructions.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| FAILED)?;
        let mut value = HeaderValue::from_str(value).map_err(|_| FAILED)?;
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
