//! What goes wrong with a server, what a reading says then, and that nothing of it stays open.

use std::time::{Duration, Instant};

use anyhow::Result;
use sakidori_scalers::ScalerError;
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Answer, HttpSource, Prometheus, PrometheusOptions, Tls};
use serde_json::json;

use super::{API, SOON, one, read, read_once, reads, scaler, trigger};
use crate::bystanders::{canned, connections_to, failing_polls, nobody, tasks};

fn is_unreachable(error: &ScalerError) -> bool {
    matches!(error, ScalerError::Unreachable(_))
}

#[tokio::test]
async fn a_server_that_is_down_or_hangs_is_read_again_when_it_is_back() -> Result<()> {
    let mut server = Prometheus::start(PrometheusOptions::default()).await?;
    let reading = scaler(&trigger(&server.url(), "vector(5)"));
    assert_eq!(read(&*reading).await, Ok(5.0));
    server.pause();
    // It goes on for a moment.
    let error = eventually("failing reading", SOON, async || {
        let asked = Instant::now();
        let error = read(&*reading).await.err();
        anyhow::ensure!(
            asked.elapsed() < Duration::from_secs(10),
            "it took too long"
        );
        Ok(error)
    })
    .await?;
    assert!(is_unreachable(&error), "{error}");
    server.resume();
    reads(&*reading, 5.0).await?;
    server.kill();
    let error = read(&*reading).await.unwrap_err();
    assert!(is_unreachable(&error), "{error}");
    assert!(
        error
            .to_string()
            .contains(&format!("127.0.0.1:{}", server.port())),
        "{error}"
    );
    server.run().await?;
    reads(&*reading, 5.0).await?;

    let down = trigger(&format!("http://127.0.0.1:{}", nobody()), "vector(5)");
    let error = read_once(&down).await.unwrap_err();
    assert!(
        is_unreachable(&error) && error.to_string().contains("refused"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn faults_are_told_apart_without_secrets() {
    let source = HttpSource::start().unwrap();
    let address = source.url("").replace("://", "://user:hunter2@");
    let reading = trigger(&address, "up").metadata([
        ("timeout", "500ms"),
        ("queryParameters", "key=hunter2"),
        ("customHeaders", "X-Key=hunter2"),
    ]);
    let reading = scaler(&reading);
    let refused = |status: u16| {
        let body = json!({"status": "error", "errorType": "x", "error": "in\nits words"});
        Answer {
            status,
            ..Answer::json(&body)
        }
    };
    for (answer, kind, shown) in [
        (refused(400), "malformed", "status: 400: in its words"),
        (refused(422), "malformed", "status: 422: in its words"),
        (refused(503), "unreachable", "status: 503: in its words"),
        (refused(401), "unauthorized", "status: 401"),
        (refused(403), "unauthorized", "status: 403"),
        (refused(404), "not found", "status: 404: in its words"),
        (refused(429), "rate limited", "status: 429"),
        (Answer::status(302), "malformed", "302"),
        (Answer::status(204), "malformed", "no JSON"),
        (
            Answer::new("text/html", "<p>hunter2"),
            "malformed",
            "no JSON",
        ),
        (
            Answer::json(&json!({"login": "hunter2"})),
            "malformed",
            "no data.result",
        ),
        (refused(200), "malformed", "the query failed: in its words"),
        (one("hunter2"), "malformed", "is no number"),
        (Answer::hang(), "unreachable", "within 500 ms"),
        (
            one("1").after(Duration::from_secs(20)),
            "unreachable",
            "within 500 ms",
        ),
    ] {
        source.set(API, answer);
        let error = read(&*reading).await.unwrap_err().to_string();
        assert!(
            error.starts_with(kind) && error.contains(shown),
            "{kind}: {error}"
        );
        assert!(
            error.contains(&format!("127.0.0.1:{}", source.port())),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
    }
    source.set(
        API,
        Answer::json(&json!({"data": " ".repeat(11 * 1024 * 1024)})),
    );
    let patient = trigger(&address, "up").metadata([("timeout", "30s")]);
    let error = read_once(&patient).await.unwrap_err().to_string();
    assert!(
        error.starts_with("malformed") && error.contains("larger than 10 MiB"),
        "{error}"
    );
    source.set(API, one("8"));
    assert_eq!(read(&*reading).await, Ok(8.0));
}

#[tokio::test]
async fn other_protocols_and_cut_answers_are_errors() {
    for answer in [
        &b""[..],
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"data\":{\"result\":[]}}",
    ] {
        let url = format!("http://127.0.0.1:{}", canned(answer));
        let broken = trigger(&url, "up").metadata([("timeout", "300ms")]);
        let error = read_once(&broken).await.unwrap_err();
        assert!(is_unreachable(&error), "{error}");
    }
}

#[tokio::test]
async fn certificates_are_checked() -> Result<()> {
    let source = HttpSource::start_with(Tls::Server)?;
    source.set(API, one("3"));
    let ca = source.tls().unwrap().ca();
    // The certificate has this name, too.
    let named = trigger(&source.url("").replace("127.0.0.1", "localhost"), "up");
    assert_eq!(
        read_once(&named.authentication([("ca", ca)])).await,
        Ok(3.0)
    );
    let other = HttpSource::start_with(Tls::Server)?;
    let stranger = other.tls().unwrap().ca().to_owned();
    for trusting in ["", stranger.as_str()] {
        let refused = trigger(&source.url(""), "up").authentication([("ca", trusting)]);
        let error = read_once(&refused).await.unwrap_err();
        assert!(
            is_unreachable(&error) && error.to_string().contains("certificate"),
            "{error}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() -> Result<()> {
    let server = Prometheus::start(PrometheusOptions {
        tls: Tls::Server,
        certificate_for: "prometheus.shop",
        ..PrometheusOptions::default()
    })
    .await?;
    let trusting =
        trigger(&server.url(), "vector(2)").authentication([("ca", server.tls().unwrap().ca())]);
    let error = read_once(&trusting).await.unwrap_err();
    let text = error.to_string();
    assert!(is_unreachable(&error), "{text}");
    assert!(
        text.contains("certificate") && text.contains("not valid for name"),
        "{text}"
    );
    // It is the name alone that is refused.
    let insecure = trigger(&server.url(), "vector(2)").metadata([("unsafeSsl", "true")]);
    assert_eq!(read_once(&insecure).await, Ok(2.0));
    Ok(())
}

#[tokio::test]
async fn failing_polls_leave_nothing_behind() {
    let source = HttpSource::start().unwrap();
    source.set(API, Answer::status(500));
    source.set("/hang/api/v1/query", Answer::hang());
    let gone = nobody();
    let failing: Vec<_> = [
        source.url(""),
        source.url("/none"),
        source.url("/hang"),
        format!("http://127.0.0.1:{gone}"),
    ]
    .iter()
    .map(|address| scaler(&trigger(address, "up").metadata([("timeout", "5ms")])))
    .collect();
    for scaler in &failing {
        failing_polls(&**scaler, 2).await;
    }
    let before = tasks();
    for scaler in &failing {
        failing_polls(&**scaler, 250).await;
    }
    // A connection for each of the three that the source has, and its task.
    eventually("as few connections and tasks as before", SOON, async || {
        let (open, tasks) = (connections_to(source.port()), tasks());
        anyhow::ensure!(
            open <= 3 && tasks <= before + 3,
            "{open} connections, {tasks} tasks, {before} before"
        );
        Ok(Some(()))
    })
    .await
    .unwrap();
    assert_eq!(connections_to(gone), 0);
}
