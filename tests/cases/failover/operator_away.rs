//! The operator dies and comes back: nothing moves, and the HPA's reads fail at once and then work again at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sakidori_test_servers::Answer;
use sakidori_tests::bed::Bed;
use sakidori_tests::namespace::{Namespace, deployment, metrics_api, scaled_object};
use sakidori_tests::throughout::throughout;
use serde_json::json;

const NAME: &str = "web";
const METRIC: &str = "s0-metric-api-value";
const REPLICAS: i32 = 4;
/// The promises.
const FAILS_WITHIN: Duration = Duration::from_secs(1);
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

#[test]
fn nothing_moves_while_the_operator_is_away_and_reads_are_answered_at_once_when_it_is_back()
-> Result<()> {
    let bed = Bed::start()?;
    bed.run(async {
        let namespace = bed.namespace("shop").await?;
        bed.source
            .set("/load", Answer::json(&json!({"value": 40})));
        let spec = json!({
            "pollingInterval": 2,
            "cooldownPeriod": 2,
            "triggers": [metrics_api(&bed.source.url("/load"))],
        });
        namespace
            .apply([deployment(NAME, 0), scaled_object(NAME, spec)])
            .await?;
        namespace
            .wait_replicas(NAME, REPLICAS, Duration::from_secs(30))
            .await?;

        // The second time kube-apiserver has noticed, and looks again ever more rarely: up to every 30 s.
        for away in [Duration::from_secs(4), Duration::from_secs(40)] {
            let polls = bed.source.requests("/load");
            bed.operator.lock().await.kill()?;
            let slowest = reads_fail_quickly(&namespace, away).await?;
            ensure!(
                bed.source.requests("/load") <= polls + 1,
                "somebody else polls"
            );

            let started = Instant::now();
            bed.operator.lock().await.restart()?;
            let answered = first_answer(&namespace, started).await?;
            println!(
                "away for {away:?}: the slowest read failed after {slowest:?}; the first was answered {answered:?} \
                 after the start"
            );
            ensure!(
                answered <= ANSWERS_WITHIN,
                "the first read was answered {answered:?} after the start"
            );
            throughout("reads and replicas", Duration::from_secs(5), async || {
                ensure!(namespace.value(METRIC, NAME).await? == 40.0);
                unmoved(&namespace).await
            })
            .await?;
            namespace
                .wait_ready(NAME, "True", "ScaledObjectReady", Duration::from_secs(5))
                .await?;
        }
        // It still scales.
        bed.source
            .set("/load", Answer::json(&json!({"value": 60})));
        namespace
            .wait_replicas(NAME, 6, Duration::from_secs(30))
            .await
    })
}

async fn unmoved(namespace: &Namespace) -> Result<()> {
    let replicas = namespace.replicas(NAME).await?;
    ensure!(replicas.wanted == REPLICAS, "{replicas:?}");
    Ok(())
}

/// Reads the metric for that long, as the HPA controller does meanwhile too; gives the time of the slowest failure.
async fn reads_fail_quickly(namespace: &Namespace, away: Duration) -> Result<Duration> {
    let mut slowest = Duration::ZERO;
    throughout("failing reads, unmoved replicas", away, async || {
        let asked = Instant::now();
        let Err(error) = namespace.value(METRIC, NAME).await else {
            bail!("a read was answered although nobody is there");
        };
        let took = asked.elapsed();
        ensure!(
            took <= FAILS_WITHIN,
            "a read failed only after {took:?}: {error:#}"
        );
        slowest = slowest.max(took);
        unmoved(namespace).await
    })
    .await?;
    Ok(slowest)
}

/// How long after `started` the first read is answered.
async fn first_answer(namespace: &Namespace, started: Instant) -> Result<Duration> {
    const GIVE_UP: Duration = Duration::from_secs(60);
    loop {
        match namespace.value(METRIC, NAME).await {
            Ok(value) => {
                ensure!(value == 40.0, "the first answer is {value}");
                return Ok(started.elapsed());
            }
            Err(error) if started.elapsed() > GIVE_UP => {
                return Err(error).context("no read is answered");
            }
            Err(_) => unmoved(namespace).await?,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
