//! What the stream costs, and what is left of it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::pki::Authority;

use crate::faults::raw_stream;
use crate::installation::{Following, Leader, NAME, SOON, certificate};

const OBJECTS: i64 = 5_000;
const FOLLOWERS: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_objects_are_a_message_each() -> Result<()> {
    let certificate = certificate(&Authority::new("ours")?, NAME)?;
    let leader = Leader::start(&certificate)?;
    let set_all = |value: i64| {
        for number in 0..OBJECTS {
            leader.set(
                &format!("web-{number}"),
                "0b6ec0d1-5a5c-4bb6-a1f2-2b5a1d1c7d5e",
                value,
            );
        }
    };
    set_all(7);
    let began = Instant::now();
    let followers: Vec<_> = (0..FOLLOWERS)
        .map(|_| Following::start(&certificate, Some(leader.address)))
        .collect();
    for follower in &followers {
        follower.until_listed().await?;
        ensure!(follower.store.keys().len() == OBJECTS as usize);
    }
    let first = leader.counts.now();
    let listed = began.elapsed();
    set_all(8);
    for follower in &followers {
        for number in 0..OBJECTS {
            follower.until_value(&format!("web-{number}"), 8).await?;
        }
    }
    let second = leader.counts.now();
    let all = FOLLOWERS as u64;
    // The heartbeats of some seconds, `Listed`, and a few that changed while they were told.
    let beside = all * (2 + began.elapsed().as_secs());
    println!(
        "{OBJECTS} objects to {FOLLOWERS} followers in {listed:?}: {} messages, {} KiB; once more for a change of each: {} messages, {} KiB, {:?} in all",
        first.told,
        first.told_bytes / 1024,
        second.told - first.told,
        (second.told_bytes - first.told_bytes) / 1024,
        began.elapsed()
    );
    let objects = all * OBJECTS as u64;
    ensure!(first.told <= objects + beside, "{first:?}");
    ensure!(second.told - first.told <= objects + beside, "{second:?}");
    ensure!(first.told_bytes / objects < 200, "{first:?}");
    Ok(())
}

fn sockets() -> Result<usize> {
    let mut sockets = 0;
    for file in std::fs::read_dir("/proc/self/fd")? {
        let target = std::fs::read_link(file?.path()).unwrap_or_default();
        sockets += usize::from(target.to_string_lossy().starts_with("socket:"));
    }
    Ok(sockets)
}

/// Tests of this process run side by side, so only growth of hundreds is this one's: a thousand streams leave less than that.
const OTHERS: usize = 200;

#[tokio::test]
async fn a_thousand_reconnects_leave_nothing_behind() -> Result<()> {
    let certificate = certificate(&Authority::new("ours")?, NAME)?;
    let leader = Leader::start(&certificate)?;
    leader.set("web", "1", 7);
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let (sockets_before, tasks_before) = (sockets()?, tasks());
    let began = Instant::now();
    for round in 0..1_000 {
        if round % 2 == 0 {
            // The follower goes.
            let follower = Following::start(&certificate, Some(leader.address));
            follower.until_value("web", 7).await?;
        } else {
            // The leader ends it.
            let mut stream = raw_stream(&leader, &certificate).await?;
            leader.teller.stop();
            while let Ok(Some(_)) = stream.message().await {}
            leader.teller.lead();
        }
    }
    println!("1,000 streams in {:?}", began.elapsed());
    // This runtime is the test's own.
    eventually("end of all tasks", SOON, async || {
        Ok((tasks() <= tasks_before).then_some(()))
    })
    .await?;
    ensure!(leader.counts.now().followers == 0);
    let sockets = sockets()?;
    ensure!(
        sockets < sockets_before + OTHERS,
        "{sockets} sockets, {sockets_before} before"
    );
    Ok(())
}

#[tokio::test]
async fn there_are_places_for_some_dozens() -> Result<()> {
    let certificate = certificate(&Authority::new("ours")?, NAME)?;
    let leader = Leader::start(&certificate)?;
    let mut streams = Vec::new();
    let refused = loop {
        match raw_stream(&leader, &certificate).await {
            Ok(stream) => streams.push(stream),
            Err(status) => break status,
        }
        ensure!(streams.len() < 100, "{} follow", streams.len());
    };
    ensure!(streams.len() == 64, "{}: {refused}", streams.len());
    ensure!(
        refused.code() == tonic::Code::ResourceExhausted,
        "{refused}"
    );
    streams.pop();
    eventually("free place", SOON, async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(raw_stream(&leader, &certificate).await.ok())
    })
    .await?;
    Ok(())
}
