//! As much as can be sent, to every port: others are served meanwhile, and the memory that it takes is bounded.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::{StreamExt, stream};
use sakidori_test_cluster::eventually;
use sakidori_tests::Operator;

use super::victim;
use super::wire::{Place, client, places, say, say_over_tls};
use crate::installed::play_installed;
use crate::scene::SOON;

/// More than a port has places.
const CONNECTIONS: usize = 1000;

/// What an attack on one port may take: the buffers of all its connections.
const MEMORY_KIB: u64 = 96 * 1024;

/// How long somebody else waits for an answer meanwhile, on a machine that compiles.
const SERVED_WITHIN: Duration = Duration::from_secs(10);

async fn serves_others(place: &Place) -> Result<()> {
    let asked = Instant::now();
    place.serves().await?;
    let took = asked.elapsed();
    ensure!(took < SERVED_WITHIN, "{} took {took:?}", place.name);
    Ok(())
}

fn resident(operator: &Operator) -> Result<u64> {
    Ok(operator.memory()?.resident_kib)
}

#[test]
fn idle_connections_keep_nobody_out() {
    play_installed(async |installed| {
        let operator = victim(installed, |_| {}).await?;
        for place in places(&operator) {
            let before = resident(&operator)?;
            // Some say nothing, some half a request or half a handshake.
            let starts: [&[u8]; 3] = match place.tls {
                true => [b"", b"\x16\x03\x01\x02\x00\x01", b"\x16"],
                false => [b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-", b"G"],
            };
            let mut held = Vec::new();
            for index in 0..CONNECTIONS {
                let mut stream = TcpStream::connect(place.address)?;
                let _ = stream.write_all(starts[index % starts.len()]);
                held.push(stream);
                if index % 250 == 249 {
                    serves_others(&place).await?;
                }
            }
            for _ in 0..3 {
                serves_others(&place).await?;
            }
            let more = resident(&operator)?.saturating_sub(before);
            println!(
                "{}: {CONNECTIONS} idle connections took {more} KiB",
                place.name
            );
            ensure!(more < MEMORY_KIB, "{} took {more} KiB", place.name);
            drop(held);
            serves_others(&place).await?;
        }
        Ok(())
    });
}

#[test]
fn large_headers_and_bodies_are_cut_off() {
    play_installed(async |installed| {
        let operator = victim(installed, |_| {}).await?;
        let before = resident(&operator)?;
        for place in places(&operator) {
            if !place.tls {
                let long = "x".repeat(4 * 1024 * 1024);
                for request in [
                    format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n"),
                    format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
                    format!(
                        "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
                        "a: b\r\n".repeat(100_000)
                    ),
                ] {
                    let answer = say(place.address, request.as_bytes())?;
                    let text = String::from_utf8_lossy(&answer);
                    ensure!(!text.contains(" 200 "), "{}: {text}", place.name);
                }
            }
            let client = client(None)?;
            let url = place.url("/validate-keda-sh-v1alpha1-scaledobject");
            let long = "x".repeat(1024 * 1024);
            // Cut off, or told that it is too much.
            if let Ok(answer) = client
                .get(place.url(place.alive().0))
                .header("x-long", &long)
                .send()
                .await
            {
                ensure!(
                    answer.status().is_client_error(),
                    "{}: {}",
                    place.name,
                    answer.status()
                );
            }
            let body = vec![b'x'; 64 * 1024 * 1024];
            let posts = stream::iter(0..4).map(|_| client.post(&url).body(body.clone()).send());
            let answers: Vec<_> = posts.buffer_unordered(4).collect().await;
            for answer in answers.into_iter().flatten() {
                let status = answer.status();
                ensure!(
                    status.is_client_error() || status == 503,
                    "{}: {status}",
                    place.name
                );
            }
            serves_others(&place).await?;
        }
        let more = resident(&operator)?.saturating_sub(before);
        println!("it took {more} KiB");
        ensure!(more < MEMORY_KIB, "they took {more} KiB");
        Ok(())
    });
}

#[test]
fn a_small_body_that_becomes_large_takes_no_memory() {
    play_installed(async |installed| {
        let operator = victim(installed, |_| {}).await?;
        let webhooks = places(&operator)[3];
        let client = client(None)?;
        let url = webhooks.url("/validate-keda-sh-v1alpha1-scaledobject");
        let review = |spec: &str| {
            format!(
                r#"{{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {{
                    "uid": "1", "operation": "CREATE", "userInfo": {{}}, "name": "web",
                    "kind": {{"group": "keda.sh", "version": "v1alpha1", "kind": "ScaledObject"}},
                    "resource": {{"group": "keda.sh", "version": "v1alpha1", "resource": "scaledobjects"}},
                    "object": {{"metadata": {{"name": "web"}}, "spec": {spec}}}}}}}"#
            )
        };
        let list =
            |value: &str, length: usize| review(&format!("[{}]", vec![value; length].join(",")));
        let before = resident(&operator)?;
        let mut most = 0;
        for (body, expected) in [
            // Two bytes a value, as large as a body may be; then as many values as it may have, of the kind that takes the most.
            (list("0", 1_500_000), 413),
            (list(r#"{"a":0}"#, 33_000), 200),
        ] {
            let posts = stream::iter(0..16).map(|_| client.post(&url).body(body.clone()).send());
            let mut answers = posts.buffer_unordered(4);
            while let Some(answer) = answers.next().await {
                let status = answer?.status();
                ensure!(status == expected, "{status} for {} bytes", body.len());
                most = most.max(resident(&operator)?);
            }
            serves_others(&webhooks).await?;
        }
        let more = most.saturating_sub(before);
        println!("they took {more} KiB");
        ensure!(more < MEMORY_KIB, "they took {more} KiB");
        Ok(())
    });
}

#[test]
fn requests_that_come_slowly_keep_nobody_out() {
    play_installed(async |installed| {
        let operator = victim(installed, |_| {}).await?;
        for place in places(&operator).into_iter().filter(|place| !place.tls) {
            let mut slow = Vec::new();
            for _ in 0..50 {
                let mut stream = TcpStream::connect(place.address)?;
                stream.write_all(
                    b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
                )?;
                slow.push(stream);
            }
            for _ in 0..20 {
                for stream in &mut slow {
                    let _ = stream.write_all(b"x");
                }
                serves_others(&place).await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        // A review that doesn't come to its end is given up, though the client says that there is time.
        let webhooks = places(&operator)[3];
        let path = "/validate-keda-sh-v1alpha1-scaledobject?timeout=30s";
        let request = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{");
        let (waiting, served) = tokio::join!(
            tokio::task::spawn_blocking(move || say_over_tls(webhooks.address, &request)),
            serves_others(&webhooks)
        );
        served?;
        let answer = waiting??;
        ensure!(answer.starts_with("HTTP/1.1 408"), "{answer:?}");
        Ok(())
    });
}

#[test]
fn requests_that_are_taken_back_at_once_keep_nobody_out() {
    play_installed(async |installed| {
        let operator = victim(installed, |_| {}).await?;
        let before = resident(&operator)?;
        for place in places(&operator).into_iter().filter(|place| place.tls) {
            // One connection of HTTP/2: each request that is dropped is a stream that is reset.
            let client = client(None)?;
            let requests = stream::iter(0..20_000).map(|_| {
                let request = client.get(place.url("/healthz")).send();
                async move { drop(tokio::time::timeout(Duration::from_micros(200), request).await) }
            });
            requests.buffer_unordered(200).for_each(async |()| {}).await;
            eventually("an answer", SOON, async || {
                serves_others(&place).await.map(Some)
            })
            .await?;
        }
        let more = resident(&operator)?.saturating_sub(before);
        println!("it took {more} KiB");
        ensure!(more < MEMORY_KIB, "they took {more} KiB");
        Ok(())
    });
}
