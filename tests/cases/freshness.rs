//! How fresh a value that the HPA reads is, how long it waits for it, and what it costs the source.
//!
//! Sources are counted: where a case says that a read costs no request, the source has seen none. The Deployments are at
//! zero, where the HPA doesn't read, so that every read is the case's own.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use futures::future::try_join_all;
use sakidori_test_cluster::eventually;
use sakidori_test_servers::Answer;
use sakidori_tests::bed::{self, Bed};
use sakidori_tests::namespace::{Namespace, deployment, metrics_api, scaled_object};
use sakidori_tests::throughout::throughout;
use serde_json::{Value, json};

const METRIC: &str = "s0-metric-api-value";
/// Readings younger than this are served as they are; a little more is surely older.
const NO_LONGER_FRESH: Duration = Duration::from_millis(1100);
/// A read waits for a second; the rest is for the way through the API server on a machine that is busy. What waits for the source instead takes
/// 8 s here, or never ends.
const LONGEST_READ: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(15);
/// A polling interval that no case waits for.
const NEVER: u64 = 600;

fn value(value: i64) -> Answer {
    Answer::json(&json!({"value": value}))
}

/// A trigger that waits longer for its source than any case here lasts.
fn patient(url: &str) -> Value {
    let mut trigger = metrics_api(url);
    trigger["metadata"]["timeout"] = json!("25s");
    trigger
}

/// A Deployment at zero and its ScaledObject, which does not scale: it is active above a million.
async fn watched(
    bed: &Bed,
    name: &str,
    polling_interval: u64,
    mut triggers: Vec<Value>,
) -> Result<Namespace> {
    for trigger in &mut triggers {
        trigger["metadata"]["activationTargetValue"] = json!("1000000");
    }
    let namespace = bed.namespace(name).await?;
    let spec = json!({"pollingInterval": polling_interval, "triggers": triggers});
    namespace
        .apply([deployment("web", 0), scaled_object("web", spec)])
        .await?;
    namespace
        .wait_ready("web", "True", "ScaledObjectReady", SOON)
        .await?;
    Ok(namespace)
}

/// Reads, and fails where that takes too long.
async fn quick_read(namespace: &Namespace) -> Result<Result<f64>> {
    let start = Instant::now();
    let answer = namespace.value(METRIC, "web").await;
    let took = start.elapsed();
    ensure!(took <= LONGEST_READ, "a read took {took:?}: {answer:?}");
    Ok(answer)
}

#[test]
fn a_slow_source_costs_a_read_one_second_and_it_gets_the_last_reading() -> Result<()> {
    const SLOW: Duration = Duration::from_secs(8);
    let bed = bed::shared()?;
    bed.run(async {
        bed.source.set("/slow", value(7));
        let triggers = vec![patient(&bed.source.url("/slow"))];
        let namespace = watched(bed, "fresh-slow", 5, triggers).await?;
        ensure!(quick_read(&namespace).await?? == 7.0);

        bed.source.set("/slow", value(8).after(SLOW));
        tokio::time::sleep(NO_LONGER_FRESH).await;
        let start = Instant::now();
        ensure!(quick_read(&namespace).await?? == 7.0);
        println!(
            "a source that takes {SLOW:?}: the read took {:?}",
            start.elapsed()
        );
        // Its answer, once there, is served.
        namespace.wait_value(METRIC, "web", 8.0, SLOW * 2).await
    })
}

#[test]
fn a_hanging_source_is_covered_for_two_polling_intervals_and_no_longer() -> Result<()> {
    const INTERVAL: u64 = 6;
    let oldest = Duration::from_secs(INTERVAL * 2);
    let bed = bed::shared()?;
    bed.run(async {
        bed.source.set("/hang", value(7));
        let triggers = vec![patient(&bed.source.url("/hang"))];
        let namespace = watched(bed, "fresh-hang", INTERVAL, triggers).await?;
        namespace.value(METRIC, "web").await?;
        bed.source.set("/hang", Answer::hang());
        let hung = Instant::now();
        // The last reading is not older than the source hangs, but for the moment that it took to get here.
        let margin = NO_LONGER_FRESH;
        let mut served = 0;
        while hung.elapsed() + margin + LONGEST_READ < oldest {
            ensure!(quick_read(&namespace).await?? == 7.0);
            served += 1;
        }
        ensure!(served > 0, "too slow to tell");
        while hung.elapsed() < oldest + LONGEST_READ {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut message = String::new();
        throughout("errors", Duration::from_secs(2), async || {
            match quick_read(&namespace).await? {
                Ok(value) => anyhow::bail!(
                    "{value} was read {:?} after the source hung",
                    hung.elapsed()
                ),
                Err(error) => message = format!("{error:#}"),
            }
            Ok(())
        })
        .await?;
        println!("served {served} times, then: {message}");
        ensure!(message.contains("did not answer in time"), "{message}");
        // And it is covered no less when it answers again.
        bed.source.set("/hang", value(9));
        namespace.wait_value(METRIC, "web", 9.0, SOON).await
    })
}

#[test]
fn reads_share_requests_with_each_other_and_with_the_poll() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async {
        bed.source.set("/shared-a", value(7));
        bed.source.set("/shared-b", value(70));
        let triggers = vec![
            patient(&bed.source.url("/shared-a")),
            patient(&bed.source.url("/shared-b")),
        ];
        let namespace = watched(bed, "fresh-shared", NEVER, triggers).await?;
        let requests = || ["/shared-a", "/shared-b"].map(|path| bed.source.requests(path));
        in_time(async || {
            tokio::time::sleep(NO_LONGER_FRESH).await;
            let before = requests();
            // An old reading: the read asks the source, both triggers at once, since it counts as a poll.
            ensure!(namespace.value(METRIC, "web").await? == 7.0);
            let after = requests();
            ensure!(
                after == before.map(|it| it + 1),
                "{before:?}, then {after:?}"
            );
            // A young one: no request, whichever metric.
            let start = Instant::now();
            for (metric, expected) in [(METRIC, 7.0), ("s1-metric-api-value", 70.0), (METRIC, 7.0)]
            {
                ensure!(namespace.value(metric, "web").await? == expected);
            }
            if start.elapsed() >= Duration::from_secs(1) {
                return Ok(false);
            }
            ensure!(requests() == after, "{after:?}, then {:?}", requests());
            Ok(true)
        })
        .await?;

        // Twenty reads while one is under way: one request.
        let slow = Duration::from_millis(600);
        bed.source.set("/shared-a", value(8).after(slow));
        bed.source.set("/shared-b", value(80).after(slow));
        in_time(async || {
            tokio::time::sleep(NO_LONGER_FRESH).await;
            let before = requests();
            let start = Instant::now();
            let reads = (0..20).map(|n| {
                let metric = ["s0-metric-api-value", "s1-metric-api-value"][n % 2];
                namespace.value(metric, "web")
            });
            let values = try_join_all(reads).await?;
            let took = start.elapsed();
            // A read waits for a second, and what it gets is fresh for another.
            let all_new = values.iter().all(|value| [8.0, 80.0].contains(value));
            if took >= slow + Duration::from_secs(1) || !all_new && took >= Duration::from_secs(1) {
                return Ok(false);
            }
            ensure!(all_new, "{values:?}");
            let after = requests();
            ensure!(
                after == before.map(|it| it + 1),
                "{before:?}, then {after:?}"
            );
            Ok(true)
        })
        .await
    })
}

/// Does a round again that took longer than a reading is fresh, and so tells nothing: false.
async fn in_time(mut round: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..20 {
        if round().await? {
            return Ok(());
        }
    }
    bail!("this machine is too slow to tell")
}

#[test]
fn a_read_counts_as_the_poll() -> Result<()> {
    const INTERVAL: u64 = 6;
    const READS: u64 = 6;
    let bed = bed::shared()?;
    bed.run(async {
        bed.source.set("/counts", value(7));
        let triggers = vec![patient(&bed.source.url("/counts"))];
        let namespace = watched(bed, "fresh-counts", INTERVAL, triggers).await?;
        namespace.value(METRIC, "web").await?;
        let before = bed.source.requests("/counts");
        // Read every half interval, so that no poll of its own ever comes due: 18 s, in which 3 polls would fall.
        for _ in 0..READS {
            tokio::time::sleep(Duration::from_secs(INTERVAL) / 2).await;
            ensure!(namespace.value(METRIC, "web").await? == 7.0);
        }
        let requests = bed.source.requests("/counts") - before;
        ensure!(
            requests == READS,
            "{READS} reads cost {requests} requests: the polls came on top"
        );
        // Left alone, it polls again.
        let quiet = bed.source.requests("/counts");
        tokio::time::sleep(Duration::from_secs(INTERVAL) * 5 / 2).await;
        let polls = bed.source.requests("/counts") - quiet;
        ensure!(polls == 2, "{polls} polls in 2.5 intervals");
        Ok(())
    })
}

#[test]
fn use_cached_metrics_serves_the_last_poll_without_a_request() -> Result<()> {
    const INTERVAL: u64 = 10;
    let bed = bed::shared()?;
    bed.run(async {
        bed.source.set("/cached", value(7));
        let mut trigger = patient(&bed.source.url("/cached"));
        trigger["useCachedMetrics"] = json!(true);
        let namespace = watched(bed, "fresh-cached", INTERVAL, vec![trigger]).await?;
        namespace.value(METRIC, "web").await?;
        // Just after a poll, so that none falls into what follows.
        let polls = bed.source.requests("/cached");
        sakidori_test_cluster::eventually("a poll", SOON, async || {
            Ok((bed.source.requests("/cached") > polls).then_some(()))
        })
        .await?;
        bed.source.set("/cached", value(8));
        let polls = bed.source.requests("/cached");
        tokio::time::sleep(NO_LONGER_FRESH).await;
        for _ in 0..5 {
            ensure!(quick_read(&namespace).await?? == 7.0);
        }
        ensure!(bed.source.requests("/cached") == polls, "a read asked");
        // The next poll brings the new value.
        namespace
            .wait_value(METRIC, "web", 8.0, Duration::from_secs(INTERVAL + 2))
            .await
    })
}

/// Each would ask at a moment of its own, by its uid; sharing the answers, they poll together from then on.
#[test]
fn twenty_objects_with_one_question_ask_it_once_an_interval() -> Result<()> {
    const INTERVAL: Duration = Duration::from_secs(8);
    let bed = bed::shared()?;
    bed.run(async {
        let namespace = bed.namespace("one-question").await?;
        let query = "/one-question/api/v1/query";
        let nothing = json!({"status": "success", "data": {"resultType": "vector", "result": [
            {"metric": {}, "value": [1, "0"]},
        ]}});
        bed.source.set(query, Answer::json(&nothing));
        let names: Vec<String> = (0..20).map(|number| format!("web-{number}")).collect();
        let objects = names.iter().flat_map(|name| {
            let trigger = json!({"type": "prometheus", "metadata": {
                "serverAddress": bed.source.url("/one-question"), "query": "sum(waiting)", "threshold": "5",
            }});
            let spec = json!({"pollingInterval": INTERVAL.as_secs(), "triggers": [trigger]});
            [deployment(name, 0), scaled_object(name, spec)]
        });
        namespace.apply(objects).await?;
        let ready = names
            .iter()
            .map(|name| namespace.wait_ready(name, "True", "ScaledObjectReady", SOON));
        try_join_all(ready).await?;
        // The next three rounds, of which the first may have begun.
        let before = bed.source.requests(query);
        let asked = eventually("three rounds", INTERVAL * 10, async || {
            Ok((bed.source.requests(query) >= before + 3).then(|| bed.source.arrivals(query)))
        })
        .await?;
        let last = &asked[asked.len() - 3..];
        let pauses: Vec<Duration> = last.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // A poll takes an answer of up to nine tenths of the interval.
        ensure!(
            pauses.iter().all(|pause| *pause > INTERVAL * 8 / 10),
            "asked after {pauses:?}"
        );
        Ok(())
    })
}
