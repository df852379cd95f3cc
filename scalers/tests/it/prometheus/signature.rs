//! Requests for Amazon Managed Service for Prometheus: their signatures are computed again here, by AWS' description of them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sakidori_scalers::clients::aws::AwsIdentity;
use sakidori_scalers::{PodIdentity, ScalerError, Trigger};
use sakidori_test_servers::{HttpSource, Received};
use sha2::{Digest, Sha256};

use super::{one, read_once, trigger};

const WORKSPACE: &str = "/workspaces/ws-1";
const PATH: &str = "/workspaces/ws-1/api/v1/query";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let padded = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new()
        .chain_update(padded(0x36))
        .chain_update(text)
        .finalize();
    let outer = Sha256::new().chain_update(padded(0x5c)).chain_update(inner);
    outer.finalize().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The signature of a request without a body. `headers` are sorted by name; `scope` is `date/region/service/aws4_request`.
fn signature(
    path: &str,
    query: &str,
    headers: &[(String, String)],
    scope: &str,
    time: &str,
) -> String {
    const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    let again = |text: &str| {
        let plain = percent_decode_str(text).decode_utf8().unwrap();
        utf8_percent_encode(&plain, PLAIN).to_string()
    };
    let mut pairs: Vec<String> = query
        .split('&')
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            format!("{}={}", again(name), again(value))
        })
        .collect();
    pairs.sort();
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let canonical = format!(
        "GET\n{path}\n{}\n{lines}\n{}\n{}",
        pairs.join("&"),
        names.join(";"),
        hex(&Sha256::digest(b""))
    );
    let hash = hex(&Sha256::digest(canonical));
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
    let key = scope
        .split('/')
        .fold(format!("AWS4{SECRET}").into_bytes(), |key, part| {
            hmac(&key, part)
        });
    hex(&hmac(&key, &to_sign))
}

/// A part of an `Authorization` header.
fn part<'a>(authorization: &'a str, name: &str) -> &'a str {
    let (_, rest) = authorization.split_once(&format!("{name}=")).unwrap();
    rest.split(',').next().unwrap()
}

/// Checks a request's signature; gives its scope.
fn checked(received: &Received) -> String {
    let header = |name: &str| received.headers[name].to_str().unwrap().to_owned();
    let authorization = header("authorization");
    assert!(
        authorization.starts_with("AWS4-HMAC-SHA256 "),
        "{authorization}"
    );
    let (id, scope) = part(&authorization, "Credential").split_once('/').unwrap();
    assert_eq!(id, "AKIDEXAMPLE");
    let names = part(&authorization, "SignedHeaders");
    let headers: Vec<_> = names
        .split(';')
        .map(|name| (name.to_owned(), header(name)))
        .collect();
    let time = header("x-amz-date");
    let expected = signature(PATH, &received.query, &headers, scope, &time);
    assert_eq!(part(&authorization, "Signature"), expected);
    assert!(scope.starts_with(&time[..8]), "{scope} {time}");
    names
        .split(';')
        .chain(["at", scope.split_once('/').unwrap().1])
        .collect::<Vec<_>>()
        .join(" ")
}

fn signed(source: &HttpSource) -> Trigger {
    trigger(&source.url(WORKSPACE), "sum(a{b=\"c d+e~*\"})")
        .metadata([
            ("awsRegion", "eu-central-1"),
            ("customHeaders", "X-Tenant=a"),
            ("queryParameters", "dedup=true"),
        ])
        .authentication([
            ("awsAccessKeyID", "AKIDEXAMPLE"),
            ("awsSecretAccessKey", SECRET),
        ])
}

#[test]
fn the_test_itself_agrees_with_aws_own_vectors() {
    let headers = [
        ("host".to_owned(), "example.amazonaws.com".to_owned()),
        ("x-amz-date".to_owned(), "20150830T123600Z".to_owned()),
    ];
    let scope = "20150830/us-east-1/service/aws4_request";
    let found = signature(
        "/",
        "Param2=value2&Param1=value1",
        &headers,
        scope,
        &headers[1].1,
    );
    assert_eq!(
        found,
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"
    );
}

#[tokio::test]
async fn requests_are_signed_with_keys() {
    let source = HttpSource::start().unwrap();
    source.set(PATH, one("12"));
    assert_eq!(read_once(&signed(&source)).await, Ok(12.0));
    let found = checked(&source.last(PATH).unwrap());
    assert_eq!(
        found,
        "host x-amz-date x-tenant at eu-central-1/aps/aws4_request"
    );

    let temporary = signed(&source).authentication([("awsSessionToken", "hunter2")]);
    assert_eq!(read_once(&temporary).await, Ok(12.0));
    let received = source.last(PATH).unwrap();
    assert_eq!(received.headers["x-amz-security-token"], "hunter2");
    assert!(checked(&received).contains("x-amz-security-token"));
}

#[tokio::test]
async fn without_an_identity_or_with_modes_nothing_is_signed() {
    let source = HttpSource::start().unwrap();
    source.set(PATH, one("12"));
    let mut anonymous = signed(&source);
    anonymous.authentication.clear();
    assert_eq!(read_once(&anonymous).await, Ok(12.0));
    assert!(
        !source
            .last(PATH)
            .unwrap()
            .headers
            .contains_key("authorization")
    );
    let with_token = signed(&source)
        .metadata([("authModes", "bearer")])
        .authentication([("bearerToken", "t")]);
    assert_eq!(read_once(&with_token).await, Ok(12.0));
    assert_eq!(
        source.last(PATH).unwrap().headers["authorization"],
        "Bearer t"
    );
}

#[tokio::test]
async fn a_refused_signature_is_unauthorized() {
    let source = HttpSource::start().unwrap();
    source.set(PATH, sakidori_test_servers::Answer::status(403));
    let error = read_once(&signed(&source)).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ScalerError::Unauthorized(_)), "{text}");
    assert!(
        text.ends_with("prometheus query api returned error. status: 403"),
        "{text}"
    );
    // An identity beside a login: one of them isn't meant.
    let mut both = signed(&source)
        .metadata([("authModes", "basic")])
        .authentication([("username", "u")]);
    both.pod_identity = Some(PodIdentity::Aws(AwsIdentity::default()));
    let problem = sakidori_scalers::build(&both, &super::context())
        .err()
        .unwrap();
    assert!(
        problem
            .to_string()
            .starts_with("pod identity cannot be enabled with other auth types")
    );
}
