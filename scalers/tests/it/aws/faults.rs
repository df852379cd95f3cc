//! What goes wrong between a trigger and AWS, and which error says so: the same for every type.

use std::time::{Duration, Instant};

use sakidori_scalers::{Context, ScalerError, Trigger};
use sakidori_test_servers::{Answer, HttpSource, Moto, Tls};

use super::{context, context_within, error, one_of_each, read_in};
use crate::bystanders::{canned, nobody};

/// For what is to end by itself: so long that a busy machine doesn't end it.
const SOON: Duration = Duration::from_secs(3);

fn local(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// The error's variant, as its text begins.
async fn kind_of_error(context: &Context, trigger: &Trigger) -> String {
    let error = error(context, trigger).await;
    let text = error.to_string();
    assert!(text.contains("\"work\""), "it names no object: {text}");
    assert!(text.contains("127.0.0.1:"), "it names no host: {text}");
    let (variant, _) = text.split_once(": ").unwrap();
    variant.to_owned()
}

#[tokio::test]
async fn a_server_that_is_down_is_unreachable_and_found_again() {
    let mut moto = Moto::start().await.unwrap();
    let context = context_within(SOON);
    let triggers = one_of_each(&moto.url(), "work");
    let asked = |trigger: Trigger| {
        let context = context.clone();
        async move { kind_of_error(&context, &trigger).await }
    };
    // No metric is no error: its value is the least one.
    let without_metrics = |trigger: &&Trigger| trigger.kind != "aws-cloudwatch";
    for trigger in triggers.iter().filter(without_metrics) {
        assert_eq!(
            asked(trigger.clone()).await,
            "not found",
            "{}",
            trigger.kind
        );
    }
    moto.kill();
    for trigger in &triggers {
        assert_eq!(
            asked(trigger.clone()).await,
            "unreachable",
            "{}",
            trigger.kind
        );
    }
    moto.restart().await.unwrap();
    for trigger in triggers.iter().filter(without_metrics) {
        assert_eq!(
            asked(trigger.clone()).await,
            "not found",
            "{}",
            trigger.kind
        );
    }
    let metric = read_in(&context, &triggers[1]).await;
    assert!(metric.is_ok(), "{metric:?}");
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let context = context_within(SOON);
    for trigger in one_of_each(&local(nobody()), "work") {
        assert_eq!(
            kind_of_error(&context, &trigger).await,
            "unreachable",
            "{}",
            trigger.kind
        );
    }
}

#[tokio::test]
async fn who_does_not_answer_is_unreachable_in_time() {
    let context = context_within(Duration::from_millis(500));
    for trigger in one_of_each(&local(canned(b"")), "work") {
        let asked = Instant::now();
        assert_eq!(
            kind_of_error(&context, &trigger).await,
            "unreachable",
            "{}",
            trigger.kind
        );
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "{:?}",
            asked.elapsed()
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_not_what_was_asked_for_is_malformed_and_never_0() {
    let context = context_within(SOON);
    let source = HttpSource::start().unwrap();
    for body in [
        "",
        "{}",
        "null",
        "[]",
        "not json",
        "<html>",
        "<GetMetricDataResponse/>",
        r#"{"Attributes": {}}"#,
        r#"{"Attributes": {"ApproximateNumberOfMessages": "3"}}"#,
        r#"{"Attributes": {"ApproximateNumberOfMessages": "x", "ApproximateNumberOfMessagesNotVisible": "0"}}"#,
        r#"{"StreamDescriptionSummary": {}}"#,
        r#"{"StreamDescriptionSummary": {"StreamName": "work", "OpenShardCount": "x"}}"#,
        r#"{"Items": [], "ScannedCount": 0}"#,
        r#"{"Count": "x"}"#,
        r#"{"Table": {}, "#,
        r#"{"StreamDescription": {}}"#,
    ] {
        source.set("/", Answer::new("application/x-amz-json-1.0", body));
        for trigger in one_of_each(&source.url("/"), "work") {
            let found = kind_of_error(&context, &trigger).await;
            assert_eq!(found, "malformed answer", "{}: {body}", trigger.kind);
        }
    }
    // A table is described without a stream: that is what is missing.
    source.set(
        "/",
        Answer::new("application/x-amz-json-1.0", r#"{"Table": {}}"#),
    );
    let [.., streams] = one_of_each(&source.url("/"), "work");
    assert_eq!(kind_of_error(&context, &streams).await, "not found");
}

#[tokio::test]
async fn an_answer_without_end_is_malformed() {
    let source = HttpSource::start().unwrap();
    let endless = " ".repeat(11 * 1024 * 1024);
    source.set("/", Answer::new("application/x-amz-json-1.0", endless));
    for trigger in one_of_each(&source.url("/"), "work") {
        let error = error(&context(), &trigger).await;
        assert!(
            matches!(&error, ScalerError::Malformed(text) if text.contains("the answer is larger than 1")),
            "{}: {error}",
            trigger.kind
        );
    }
}

#[tokio::test]
async fn what_is_no_http_is_unreachable() {
    let context = context_within(SOON);
    for answer in [
        &b"220 mail.shop ESMTP\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{",
    ] {
        for trigger in one_of_each(&local(canned(answer)), "work") {
            let found = kind_of_error(&context, &trigger).await;
            assert_eq!(found, "unreachable", "{}", trigger.kind);
        }
    }
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let context = context_within(SOON);
    let source = HttpSource::start().unwrap();
    for (status, code, expected) in [
        (400, "ThrottlingException", "rate limited"),
        (
            400,
            "ProvisionedThroughputExceededException",
            "rate limited",
        ),
        (400, "RequestThrottled", "rate limited"),
        (400, "ExpiredTokenException", "unauthorized"),
        (403, "SignatureDoesNotMatch", "unauthorized"),
        (400, "AccessDeniedException", "unauthorized"),
        (400, "ResourceNotFoundException", "not found"),
        (400, "ValidationException", "malformed answer"),
        (500, "InternalFailure", "unreachable"),
        (503, "ServiceUnavailable", "unreachable"),
    ] {
        for trigger in one_of_each(&source.url("/"), "work") {
            let body = match trigger.kind.as_str() {
                "aws-cloudwatch" => format!(
                    "<ErrorResponse><Error><Code>{code}</Code><Message>m</Message></Error></ErrorResponse>"
                ),
                _ => format!(r#"{{"__type": "com.amazonaws.x#{code}", "message": "m"}}"#),
            };
            let mut answer = Answer::new("application/x-amz-json-1.0", body);
            answer.status = status;
            source.set("/", answer);
            let found = kind_of_error(&context, &trigger).await;
            assert_eq!(found, expected, "{}: {code}", trigger.kind);
        }
    }
    for (status, expected) in [
        (403, "unauthorized"),
        (429, "rate limited"),
        (502, "unreachable"),
    ] {
        source.set("/", Answer::status(status));
        for trigger in one_of_each(&source.url("/"), "work") {
            let found = kind_of_error(&context, &trigger).await;
            assert_eq!(found, expected, "{}: {status}", trigger.kind);
        }
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let source = HttpSource::start_with(Tls::Server).unwrap();
    let context = context_within(SOON);
    for trigger in one_of_each(&source.url("/"), "work") {
        let error = error(&context, &trigger).await;
        assert!(
            matches!(&error, ScalerError::Unreachable(text) if text.contains("certificate")),
            "{}: {error}",
            trigger.kind
        );
    }
}
