//! What the stream brings.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sakidori_engine::Quantity;
use sakidori_metrics_adapter::MetricError;
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::pki::Authority;
use sakidori_values::{Reads, State};

use crate::installation::{Following, Leader, NAME, SOON, certificate, key};

#[tokio::test]
async fn a_follower_has_what_the_leader_has() -> Result<()> {
    let certificate = certificate(&Authority::new("ours")?, NAME)?;
    let leader = Leader::start(&certificate)?;
    leader.set("web", "1", 7);
    leader.writer.set(&key("paused"), "2", State::Paused);
    let follower = Following::start(&certificate, None);
    ensure!(follower.store.fit_to_serve().is_err(), "it knows nothing");
    follower
        .leader
        .send_replace(Some(leader.address.to_string()));
    follower.until_value("web", 7).await?;
    follower.until_listed().await?;
    follower.store.fit_to_serve().map_err(anyhow::Error::msg)?;
    ensure!(follower.store.keys().len() == 2);

    // Each change.
    leader.set("web", "1", 8);
    follower.until_value("web", 8).await?;
    leader.set("api", "3", 9);
    follower.until_value("api", 9).await?;
    let slot = leader
        .store
        .slot(&key("api"), "3", "s0-a")
        .context("no slot")?;
    slot.record_failure("the broker is down");
    let told = eventually("failure", SOON, async || {
        let slot = follower.store.slot(&key("api"), "3", "s0-a");
        Ok(slot.and_then(|slot| slot.latest().failure))
    })
    .await?;
    ensure!(told.message == "the broker is down");
    ensure!(
        follower.value("api") == Some(Quantity::from_integer(9)),
        "the last reading is lost"
    );
    leader.writer.remove(&key("paused"));
    eventually("deletion", SOON, async || {
        Ok((follower.store.keys().len() == 2).then_some(()))
    })
    .await?;

    // Another object of that name has none of the former's readings.
    leader.writer.set_unprepared(&key("web"), "9", None);
    eventually("other object", SOON, async || {
        let served = follower.store.served(&key("web")).context("gone")?;
        Ok((served.uid == "9").then_some(()))
    })
    .await?;
    ensure!(follower.value("web").is_none());
    Ok(())
}

#[tokio::test]
async fn a_follower_has_newer_readings_made() -> Result<()> {
    let certificate = certificate(&Authority::new("ours")?, NAME)?;
    let leader = Leader::start(&certificate)?;
    leader.set("web", "1", 7);
    let slot = leader
        .store
        .slot(&key("web"), "1", "s0-a")
        .context("no slot")?;
    slot.record(Quantity::from_integer(7), Duration::from_secs(5));
    let follower = Following::start(&certificate, Some(leader.address));
    follower.until_value("web", 7).await?;

    let wanted = leader.store.listen();
    let polls = tokio::spawn(async move {
        let mut polls = 0;
        while let Some(key) = wanted.next().await {
            assert_eq!(key.to_string(), "shop/web");
            polls += 1;
            slot.record(Quantity::from_integer(8), Duration::ZERO);
        }
        polls
    });
    let reads = Reads::new(follower.store.clone(), Duration::from_secs(5));
    let began = Instant::now();
    let (metric, web) = ("s0-a", key("web"));
    let (first, second) = tokio::join!(reads.metric(&web, metric), reads.metric(&web, metric));
    for taken in [first?, second?] {
        ensure!(taken.value == Quantity::from_integer(8));
    }
    let took = began.elapsed();
    ensure!(took < Duration::from_secs(1), "it took {took:?}");
    println!("a newer reading was there after {took:?}");
    // What there isn't, nobody is asked for.
    let unknown = reads.metric(&key("other"), metric).await;
    ensure!(
        matches!(unknown, Err(MetricError::NotFound(_))),
        "{unknown:?}"
    );
    drop(leader.store.listen());
    ensure!(polls.await? <= 2);
    Ok(())
}

#[tokio::test]
async fn ages_are_those_of_the_leader() -> Result<()> {
    let certificate = certificate(&Authority::new("ours")?, NAME)?;
    let leader = Leader::start(&certificate)?;
    leader.set("web", "1", 7);
    let slot = leader
        .store
        .slot(&key("web"), "1", "s0-a")
        .context("no slot")?;
    slot.record(Quantity::from_integer(7), Duration::from_secs(20));
    let follower = Following::start(&certificate, Some(leader.address));
    follower.until_value("web", 7).await?;
    let told = follower
        .store
        .slot(&key("web"), "1", "s0-a")
        .context("no slot")?;
    let at = |latest: sakidori_values::Latest| latest.reading.map(|taken| taken.at);
    let (there, here) = (
        at(slot.latest()).context("none")?,
        at(told.latest()).context("none")?,
    );
    // One process here, so the two clocks are one.
    ensure!(here <= there, "it looks younger than it is");
    let older = there.since(here);
    ensure!(older < Duration::from_secs(1), "{older:?}");
    Ok(())
}

#[tokio::test]
async fn who_does_not_lead_is_not_followed_and_says_who_does() -> Result<()> {
    let certificate = certificate(&Authority::new("ours")?, NAME)?;
    let leader = Leader::start(&certificate)?;
    leader.set("web", "1", 7);
    let follower = Following::start(&certificate, Some(leader.address));
    follower.until_value("web", 7).await?;
    leader.teller.stop();
    eventually("end of the stream", SOON, async || {
        Ok((leader.counts.now().followers == 0).then_some(()))
    })
    .await?;
    let streams = follower.counts.now().streams;
    leader.set("web", "1", 8);
    tokio::time::sleep(Duration::from_millis(500)).await;
    ensure!(follower.value("web") == Some(Quantity::from_integer(7)));
    ensure!(follower.counts.now().streams == streams);

    let refused = crate::faults::raw_stream(&leader, &certificate).await;
    let status = refused.err().context("it is followed")?;
    ensure!(status.code() == tonic::Code::FailedPrecondition, "{status}");
    ensure!(status.message().contains("10.0.0.7:9666"), "{status}");
    leader.teller.lead();
    follower.until_value("web", 8).await
}

#[tokio::test]
async fn a_lease_that_is_given_up_is_told() -> Result<()> {
    let certificate = certificate(&Authority::new("ours")?, NAME)?;
    let leader = Leader::start(&certificate)?;
    let followers: Vec<_> = (0..3)
        .map(|_| Following::start(&certificate, Some(leader.address)))
        .collect();
    for follower in &followers {
        follower.until_listed().await?;
    }
    leader.teller.release();
    let began = Instant::now();
    for follower in &followers {
        tokio::time::timeout(SOON, follower.released.notified()).await?;
    }
    println!("three followers knew after {:?}", began.elapsed());
    Ok(())
}

#[tokio::test]
async fn another_leader_is_followed_and_what_it_does_not_have_is_gone() -> Result<()> {
    let certificate = certificate(&Authority::new("ours")?, NAME)?;
    let (first, second) = (Leader::start(&certificate)?, Leader::start(&certificate)?);
    first.set("web", "1", 7);
    first.set("old", "2", 7);
    second.set("web", "1", 8);
    let follower = Following::start(&certificate, Some(first.address));
    follower.until_value("old", 7).await?;
    follower
        .leader
        .send_replace(Some(second.address.to_string()));
    follower.until_value("web", 8).await?;
    eventually("end of the old object", SOON, async || {
        Ok(follower.store.served(&key("old")).is_none().then_some(()))
    })
    .await?;
    // The former leader has nothing to say any more.
    first.set("web", "1", 9);
    first.set("old", "2", 9);
    second.set("new", "3", 1);
    follower.until_value("new", 1).await?;
    ensure!(follower.value("web") == Some(Quantity::from_integer(8)));
    ensure!(follower.value("old").is_none());
    Ok(())
}
