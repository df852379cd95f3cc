//! Whoever asks for what isn't there, or makes up names, adds no series; not by what he makes up.

use anyhow::{Result, ensure};
use futures::future::join_all;
use sakidori_tests::observe;
use serde_json::json;

use super::Watched;
use crate::replicas::Installation;
use crate::scene::Scene;

/// Of each kind of garbage.
const MADE_UP: usize = 100;

fn series(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with('#')).count()
}

/// Asks for made-up metrics, objects, paths and methods; counts series before and after.
pub async fn hold(installation: &Installation, scene: &Scene<'_>, watched: &Watched) -> Result<()> {
    let before = watched.texts().await?;
    let reader = installation.reader(&watched.adapter).await?;
    let made_up = (0..MADE_UP).map(|number| {
        let (namespace, metric, object) = (
            format!("namespace-{number}"),
            format!("s0-metric-{number}"),
            format!("object-{number}"),
        );
        let reader = &reader;
        async move {
            let read = observe::external_metric(reader, &namespace, &metric, &object).await;
            ensure!(read.is_err(), "{metric} of {object} has a value");
            Ok(())
        }
    });
    for asked in join_all(made_up).await {
        asked?;
    }
    let http = reqwest::Client::builder()
        .no_proxy()
        .danger_accept_invalid_certs(true)
        .build()?;
    let operator = &watched.leader.operator;
    for number in 0..MADE_UP {
        for url in [
            format!("http://{}/metrics/{number}", operator.metrics_address()),
            format!("https://{}/made-up/{number}", operator.webhook_address()),
        ] {
            let answer = http.get(&url).send().await?;
            ensure!(answer.status() == 404, "{url}: {}", answer.status());
        }
    }
    // Triggers on hosts that aren't there: what is asked is a series of the trigger, not of the host.
    for number in 0..10 {
        let trigger = json!({
            "type": "metrics-api", "name": "hosts",
            "metadata": {
                "url": format!("http://127.0.0.1:1/{number}"),
                "valueLocation": "value", "targetValue": "10",
            },
        });
        let spec = json!({"spec": {"triggers": [trigger]}});
        scene
            .patch(crate::scene::SCALED_OBJECTS, "web", &spec)
            .await?;
    }
    let after = watched.texts().await?;
    for (before, after) in before.iter().zip(&after) {
        let (before, made) = (series(before), series(after));
        // Outcomes and codes that weren't there before; a histogram has a dozen lines each.
        ensure!(
            made <= before + 60,
            "{before} series became {made}:\n{after}"
        );
    }
    for text in &after {
        for word in ["namespace-7", "s0-metric-7", "object-7", "made-up"] {
            ensure!(!text.contains(word), "{word} is in a series");
        }
    }
    Ok(())
}
