//! What servers do wrong, what a reading says then, and that nothing of it stays open.

use std::time::{Duration, Instant};

use sakidori_scalers::ScalerError;
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Answer, HttpSource};
use serde_json::json;

use crate::bystanders::canned;

use super::{depth, read, read_once, scaler, trigger};

fn url_of(answer: &'static [u8]) -> String {
    format!("http://127.0.0.1:{}/q", canned(answer))
}

#[tokio::test]
async fn faults_are_told_apart() {
    let mut source = HttpSource::start().unwrap();
    let secret = trigger(&source.url("/q?key=hunter2"))
        .metadata([
            ("authModes", "apiKey,basic"),
            ("method", "query"),
            ("timeout", "1s"),
        ])
        .authentication([
            ("apiKey", "hunter2"),
            ("username", "u"),
            ("password", "hunter2"),
        ]);
    let reading = scaler(&secret);
    let faults = [
        (Answer::status(500), "unreachable", "500"),
        (Answer::status(404), "not found", "404"),
        (Answer::status(401), "unauthorized", "401"),
        (Answer::status(403), "unauthorized", "403"),
        (Answer::status(418), "malformed", "418"),
        (Answer::status(302), "malformed", "302"),
        (Answer::status(204), "malformed", ""),
        (
            Answer::hang(),
            "unreachable",
            "no complete answer within 1000 ms",
        ),
        (
            depth(1).after(Duration::from_secs(20)),
            "unreachable",
            "within 1000 ms",
        ),
        (
            Answer::status(302).with_header("location", "/q"),
            "malformed",
            "stopped after 10 redirects",
        ),
        (
            Answer::json(&json!({"depth": "hunter2"})),
            "malformed",
            "depth",
        ),
        (Answer::json(&json!({"depth": null})), "malformed", "null"),
        (
            Answer::new("application/json", "{hunter2"),
            "malformed",
            "the answer is no JSON",
        ),
    ];
    for (answer, kind, shown) in faults {
        source.set("/q", answer);
        let asked = Instant::now();
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
        assert!(asked.elapsed() < Duration::from_secs(10), "{error}");
    }

    // Large takes time: this one has some.
    let large = format!("{{\"depth\": 1{}}}", " ".repeat(20 * 1024 * 1024));
    source.set("/q", Answer::new("application/json", large));
    let patient = trigger(&source.url("/q")).metadata([("timeout", "30s")]);
    let error = read_once(&patient).await.unwrap_err().to_string();
    assert!(
        error.starts_with("malformed") && error.contains("larger than 10 MiB"),
        "{error}"
    );

    source.set("/q", Answer::status(429).with_header("retry-after", "7"));
    match read(&*reading).await.unwrap_err() {
        ScalerError::RateLimited { retry_after, .. } => {
            assert_eq!(retry_after, Some(Duration::from_secs(7)));
        }
        other => panic!("{other}"),
    }

    source.stop();
    let error = read(&*reading).await.unwrap_err().to_string();
    assert!(
        error.starts_with("unreachable") && error.contains("refused"),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");
    source.run().unwrap();
    source.set("/q", depth(2));
    assert_eq!(read(&*reading).await, Ok(2.0));
}

#[tokio::test]
async fn broken_answers_are_errors() {
    for (answer, kind, shown) in [
        (
            // Hangs in the middle of its body.
            &b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"depth\":6}"[..],
            "unreachable",
            "no complete answer within 300 ms",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "unreachable", "127.0.0.1"),
        (
            // Compressed though nobody asked for it: never unpacked, so that a small bomb stays small.
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 10\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
            "malformed",
            "UTF-8",
        ),
    ] {
        let trigger = trigger(&url_of(answer)).metadata([("timeout", "300ms")]);
        let error = read_once(&trigger).await.unwrap_err().to_string();
        assert!(error.starts_with(kind) && error.contains(shown), "{kind}: {error}");
    }
}

/// Sockets that this process has open.
fn sockets() -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    open.filter(|entry| {
        let target = std::fs::read_link(entry.as_ref().unwrap().path());
        target.is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    })
    .count()
}

#[test]
fn failing_reads_leave_no_sockets_behind() {
    // Other tests of this binary open sockets too: a process of its own counts only these.
    const ALONE: &str = "SAKIDORI_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "metrics_api::faults::failing_reads_leave_no_sockets_behind";
        let alone = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&alone.stderr).into_owned();
        assert!(alone.status.success(), "{output}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let source = HttpSource::start().unwrap();
        let scalers: Vec<_> = [
            source.url("/q"),
            source.url("/none"),
            source.url("/hang"),
            source.url("/q").replace("http:", "https:"),
            url_of(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"),
        ]
        .iter()
        .map(|url| scaler(&trigger(url).metadata([("timeout", "5ms")])))
        .collect();
        source.set("/q", Answer::status(500));
        source.set("/hang", Answer::hang());
        for scaler in &scalers {
            assert!(read(&**scaler).await.is_err());
        }
        // Each scaler may keep one idle connection for its next read, which is two sockets here: the server's, too.
        let idle = 2 * scalers.len();
        let before = sockets();
        for _ in 0..200 {
            for scaler in &scalers {
                assert!(read(&**scaler).await.is_err());
            }
        }
        eventually(
            "as many sockets as before",
            Duration::from_secs(20),
            async || {
                let now = sockets();
                anyhow::ensure!(now <= before + idle, "{now} sockets, {before} before");
                Ok(Some(()))
            },
        )
        .await
        .unwrap();
    });
}
