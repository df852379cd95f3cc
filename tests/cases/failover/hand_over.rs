//! A leader that ends hands over in a moment, and answers on until nobody asks it any more.

use std::time::{Duration, Instant};

use anyhow::ensure;
use sakidori_test_cluster::eventually;
use sakidori_tests::Operator;
use serde_json::json;

use crate::installed::play_installed;
use crate::leaders::{candidate, until_leads, until_polled};
use crate::scene::{SOON, Scene};

#[test]
fn a_hand_over_takes_a_moment_and_whoever_ends_answers_on() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "leaders-hand-over").await?;
        let settings = candidate(installed, &scene).await?;
        let mut first = Operator::start(settings.clone())?;
        first.wait_ready(SOON).await?;
        let mut second = Operator::start(settings)?;
        scene.bring_up(0, json!({})).await?;
        eventually("the second to listen", SOON, async || {
            second.probe("/healthz").await.map(Some)
        })
        .await?;
        // It has seen the first one's renewals.
        tokio::time::sleep(Duration::from_secs(3)).await;

        let probes = format!("http://{}/readyz", first.health_probe_address());
        let metrics = first.external_metrics_address();
        let http = reqwest::Client::builder().no_proxy().build()?;
        let asked = Instant::now();
        let ending = async {
            let (status, took) = first.terminate(Duration::from_secs(6)).await?;
            ensure!(status.success(), "{status}\n{}", first.log_tail());
            ensure!(took < Duration::from_secs(5), "it took {took:?}");
            Ok(())
        };
        let watching = async {
            until_leads(&scene, &second, SOON).await?;
            let led = asked.elapsed();
            until_polled(&scene, SOON).await?;
            let polled = asked.elapsed();
            eprintln!("the next leads after {led:?}, and polls after {polled:?}");
            ensure!(
                led < Duration::from_millis(1500),
                "the next leads after {led:?}"
            );
            // It goes on answering, and says that nobody should ask any more.
            let answer = http.get(&probes).send().await?;
            ensure!(answer.status() == 503, "{}", answer.status());
            ensure!(answer.text().await?.contains("this replica is ending"));
            tokio::net::TcpStream::connect(metrics).await?;
            Ok(())
        };
        let (ended, watched) = tokio::join!(ending, watching);
        ended.and(watched)?;
        scene.set(1);
        scene.until_replicas("web", 1).await?;
        second.kill()
    });
}
