//! The leader is killed, stopped for longer than its lease and woken, and drained.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use sakidori_test_cluster::audit::Write;
use sakidori_test_cluster::eventually;
use sakidori_test_servers::Answer;
use sakidori_tests::OperatorSettings;
use sakidori_tests::footprint::Footprint;
use sakidori_tests::load::COUNT;
use sakidori_tests::namespace::{Namespace, deployment, metrics_api, scaled_object};
use sakidori_tests::reads::HPA_CONTROLLER;
use serde_json::json;

use super::{NAMESPACE, POLLS_WITHIN, REPLICAS, Stage, play};
use crate::scene::SOON;

/// How long a drained leader may take to end: a pod has 30 s, and this is a third of it.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// From SIGTERM to the next leader's first poll: what is under way may take 2.5 s, and the next leader reads all objects first.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(6);
/// How long a woken leader is watched.
const WATCHED: Duration = Duration::from_secs(10);
/// What may be left over what there was before: an allocator keeps some memory, a runtime some threads, a pool some connections.
const LEFT_OVER: Footprint = Footprint {
    resident_kib: 24 * 1024,
    // Eight for HTTP stay in a process that has led.
    threads: 6 + 8,
    // Half a minute after its term, one that led was seen to have 18 sockets and 17 tasks more than one that didn't: idle connections,
    // which time out.
    sockets: 8 + 24,
    tasks: 12 + 24,
};
/// Who leads keeps the connections to the source for a while on which it polled all objects at once when it came to lead.
const LEFT_TO_THE_LEADER: Footprint = Footprint {
    sockets: LEFT_OVER.sockets + COUNT,
    ..LEFT_OVER
};

#[test]
fn replicas_live_on_when_their_leader_is_killed_stopped_or_drained() {
    let as_it_is = |_: &mut OperatorSettings| {};
    play(HPA_CONTROLLER, as_it_is, async |stage| {
        let first = stage.replicas.leader()?;
        let before = footprints(stage).await?;
        println!("before: {}", told(&before));
        let second = killed(stage, first).await?;
        let third = stopped_and_woken(stage, second).await?;
        drained(stage, third).await?;
        nothing_is_left(stage, first, &before).await
    });
}

/// Each of these gives who leads then.
async fn killed(stage: &mut Stage<'_>, leader: usize) -> Result<usize> {
    stage.replicas.operator(leader).kill()?;
    let fault = Instant::now();
    let next = next_leader(stage, leader).await?;
    stage.aftermath("killed", fault, &others(&[leader])).await?;
    bring_back(stage, leader).await?;
    Ok(next)
}

/// Stopped with a poll under way, and woken when another leads.
async fn stopped_and_woken(stage: &mut Stage<'_>, leader: usize) -> Result<usize> {
    let flight = InFlight::start(stage).await?;
    flight.depart(stage).await?;
    stage.replicas.operator(leader).pause()?;
    let fault = Instant::now();
    flight.arrive(stage);
    let next = next_leader(stage, leader).await?;
    stage
        .aftermath("stopped", fault, &others(&[leader]))
        .await?;

    let pid = stage.replicas.operator(leader).pid();
    let (_, place) = stage.cluster.writes_from(0)?;
    stage.replicas.operator(leader).resume()?;
    let woken = Instant::now();
    stage.replicas.operator(leader).wait_ready(SOON).await?;
    let ready = woken.elapsed();
    tokio::time::sleep(WATCHED.saturating_sub(ready)).await;
    let writes = stage.written_as_leader(leader, place)?;
    println!(
        "woken: ready to serve after {ready:.1?}, {} writes",
        writes.len()
    );
    stage.hold(writes.is_empty(), || {
        format!("a leader that was stopped past its lease and woken wrote {writes:#?}")
    });
    let lives = stage.replicas.operator(leader).pid() == pid;
    stage.hold(lives, || "woken, it was restarted".to_owned());
    let leads = stage.replicas.leader()?;
    stage.hold(leads == next, || {
        format!("when replica {leader} was woken, replica {leads} came to lead in place of {next}")
    });
    stage
        .aftermath("woken", woken + ready, &others(&[]))
        .await?;
    Ok(next)
}

async fn drained(stage: &mut Stage<'_>, leader: usize) -> Result<()> {
    let (fault, on_the_clock) = (Instant::now(), Timestamp::now());
    let operator = stage.replicas.operator(leader);
    let (status, took) = operator.terminate(2 * ENDS_WITHIN).await?;
    next_leader(stage, leader).await?;
    let led = stage.replicas.taken_over(leader, on_the_clock)?;
    let (polled, _) = stage.polled(fault + led).await?;
    let handed_over = led + polled;
    println!(
        "drained: another led after {led:.1?} and polled after {handed_over:.1?}; the process ended after {took:.1?}"
    );
    stage.hold(status.success() && took < ENDS_WITHIN, || {
        format!("drained, it ended with {status} after {took:?}")
    });
    stage.hold(handed_over < HANDED_OVER_WITHIN, || {
        format!("the next leader polled {handed_over:?} after SIGTERM")
    });
    stage
        .aftermath("drained", fault, &others(&[leader]))
        .await?;
    bring_back(stage, leader).await
}

async fn next_leader(stage: &Stage<'_>, leader: usize) -> Result<usize> {
    stage.replicas.other_leader(leader, 2 * POLLS_WITHIN).await
}

fn others(dead: &[usize]) -> Vec<usize> {
    (0..REPLICAS)
        .filter(|number| !dead.contains(number))
        .collect()
}

async fn bring_back(stage: &mut Stage<'_>, number: usize) -> Result<()> {
    let operator = stage.replicas.operator(number);
    operator.restart()?;
    operator.wait_ready(SOON).await
}

async fn footprints(stage: &Stage<'_>) -> Result<Vec<Footprint>> {
    let mut all = Vec::new();
    for replica in stage.replicas.each() {
        all.push(replica.footprint().await?);
    }
    Ok(all)
}

fn told(footprints: &[Footprint]) -> String {
    let each = footprints.iter().enumerate();
    let each = each.map(|(number, footprint)| format!("replica {number} {footprint}"));
    each.collect::<Vec<_>>().join("; ")
}

/// Who leads now holds no more than who led at first, and who follows no more than who followed, also who led meanwhile.
async fn nothing_is_left(stage: &Stage<'_>, first: usize, before: &[Footprint]) -> Result<()> {
    let follower = others(&[first])
        .into_iter()
        .map(|number| before[number])
        .reduce(larger)
        .context("no follower")?;
    let settled = eventually("replicas with nothing left", SOON, async || {
        let leader = stage.replicas.leader()?;
        let now = footprints(stage).await?;
        for (number, footprint) in now.iter().enumerate() {
            let (role, before, more) = if number == leader {
                ("leads", before[first], LEFT_TO_THE_LEADER)
            } else {
                ("follows", follower, LEFT_OVER)
            };
            ensure!(
                footprint.is_within(&before, &more),
                "replica {number}, which {role}, has {footprint}; before it was {before}"
            );
        }
        Ok(Some(now))
    })
    .await?;
    println!("after: {}", told(&settled));
    Ok(())
}

/// The most of each.
fn larger(one: Footprint, other: Footprint) -> Footprint {
    Footprint {
        resident_kib: one.resident_kib.max(other.resident_kib),
        threads: one.threads.max(other.threads),
        sockets: one.sockets.max(other.sockets),
        tasks: one.tasks.max(other.tasks),
    }
}

impl Stage<'_> {
    /// What a replica wrote since a place in the audit log that only a leader may write. Everybody may ask who a caller is and what it
    /// may do, and be told that the Lease is another's.
    fn written_as_leader(&self, number: usize, place: u64) -> Result<Vec<String>> {
        let replica = &self.replicas.each()[number];
        let (writes, _) = self.cluster.writes_from(place)?;
        let asks = |write: &Write| {
            ["tokenreviews", "subjectaccessreviews"].contains(&write.resource.as_str())
                || (write.resource == "leases" && write.code == 409)
        };
        Ok(writes
            .iter()
            .filter(|write| replica.wrote(write) && !asks(write))
            .map(ToString::to_string)
            .collect())
    }
}

/// An idle object whose source is asked, and answers only while who asked is stopped: when that is woken, its first thought is to
/// scale up.
struct InFlight;

impl InFlight {
    const NAME: &'static str = "in-flight";
    const PATH: &'static str = "/in-flight";

    async fn start(stage: &Stage<'_>) -> Result<Self> {
        let source = stage.load.source();
        source.set(Self::PATH, Answer::json(&json!({"value": 0})));
        let mut trigger = metrics_api(&source.url(Self::PATH));
        // Longer than it is stopped.
        trigger["metadata"]["timeout"] = json!("120s");
        let spec = json!({"pollingInterval": 1, "triggers": [trigger]});
        let namespace = Namespace {
            client: stage.client.clone(),
            name: NAMESPACE.to_owned(),
        };
        namespace
            .apply([deployment(Self::NAME, 0), scaled_object(Self::NAME, spec)])
            .await?;
        Ok(Self)
    }

    /// Waits until the source is asked.
    async fn depart(&self, stage: &Stage<'_>) -> Result<()> {
        let source = stage.load.source();
        source.set(Self::PATH, Answer::hang());
        let polls = source.requests(Self::PATH);
        eventually("poll under way", SOON, async || {
            Ok((source.requests(Self::PATH) > polls).then_some(()))
        })
        .await
    }

    fn arrive(&self, stage: &Stage<'_>) {
        let busy = Answer::json(&json!({"value": 50}));
        stage.load.source().set(Self::PATH, busy);
    }
}
