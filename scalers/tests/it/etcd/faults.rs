//! What an etcd does wrong, what a reading says then, and that nothing of it stays open.

use std::time::{Duration, Instant};

use sakidori_scalers::ScalerError;
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Etcd, Tls};

use super::{SOON, read, scaler, trigger, until, value};
use crate::bystanders::{canned, connections_to, failing_polls, nobody, tasks};

/// The time for an answer of one endpoint, and some more.
const BOUNDED: Duration = Duration::from_secs(7);

/// Reads once and expects that there is no connection, for this reason.
async fn unreachable(endpoints: &str, authentication: &[(&str, &str)], shown: &str) {
    let asked = Instant::now();
    let trigger = trigger(endpoints, "k").authentication(authentication.iter().copied());
    let error = read(&*scaler(&trigger)).await.unwrap_err();
    assert!(
        matches!(&error, ScalerError::Unreachable(text) if text.contains(shown) && text.contains(endpoints)),
        "{shown}: {error}"
    );
    assert!(asked.elapsed() < BOUNDED, "{:?}: {error}", asked.elapsed());
}

#[tokio::test]
async fn faults_are_told_apart() {
    let at = |port: u16| format!("127.0.0.1:{port}");
    unreachable(&at(nobody()), &[], "refused").await;
    unreachable(&at(canned(b"")), &[], "no answer within 5s").await;
    unreachable(
        &at(canned(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
        &[],
        "frame",
    )
    .await;

    let etcd = Etcd::start_for(Tls::Server, &["127.0.0.1"]).await.unwrap();
    let endpoint = etcd.endpoints();
    let ca = etcd.tls().unwrap().ca();
    etcd.put("k", "7").await.unwrap();
    let tls = ("tls", "enable");
    let known = trigger(&endpoint, "k").authentication([tls, ("ca", ca)]);
    assert_eq!(value(&*scaler(&known)).await, Ok(7.0));
    unreachable(&endpoint, &[tls], "certificate").await;
    unreachable(&endpoint, &[], "").await;
    let elsewhere = Etcd::start_for(Tls::Server, &["etcd.shop.svc"])
        .await
        .unwrap();
    let ca = elsewhere.tls().unwrap().ca();
    let endpoint = elsewhere.endpoints();
    unreachable(
        &endpoint,
        &[tls, ("ca", ca)],
        "certificate not valid for name",
    )
    .await;
}

#[tokio::test]
async fn an_etcd_that_was_away_is_read_again() {
    let mut etcd = Etcd::start().await.unwrap();
    etcd.put("k", "7").await.unwrap();
    let scaler = scaler(&trigger(&etcd.endpoints(), "k"));
    assert_eq!(value(&*scaler).await, Ok(7.0));
    etcd.kill(0);
    let error = value(&*scaler).await.unwrap_err();
    assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
    etcd.restart(0).await.unwrap();
    until(&*scaler, 7.0).await;

    etcd.pause(0);
    let asked = Instant::now();
    let error = value(&*scaler).await.unwrap_err();
    assert!(
        matches!(&error, ScalerError::Unreachable(text) if text.contains("no answer within 5s")),
        "{error}"
    );
    assert!(asked.elapsed() < BOUNDED);
    etcd.resume(0);
    until(&*scaler, 7.0).await;
}

#[tokio::test]
async fn the_next_endpoint_is_asked_when_one_is_away() {
    let mut etcd = Etcd::start_cluster().await.unwrap();
    etcd.put("k", "7").await.unwrap();
    let nobody = format!("127.0.0.1:{}", nobody());
    let silent = format!("127.0.0.1:{}", canned(b""));
    // At the start, already.
    let endpoints = format!("{nobody},{silent},{}", etcd.endpoints());
    assert_eq!(value(&*scaler(&trigger(&endpoints, "k"))).await, Ok(7.0));

    // And in the same reading.
    let scaler = scaler(&trigger(&etcd.endpoints(), "k"));
    assert_eq!(value(&*scaler).await, Ok(7.0));
    etcd.kill(0);
    assert_eq!(value(&*scaler).await, Ok(7.0));
    etcd.restart(0).await.unwrap();
    etcd.pause(1);
    assert_eq!(value(&*scaler).await, Ok(7.0));
    etcd.resume(1);

    // A member that is alone knows nothing for sure.
    etcd.kill(0);
    etcd.kill(1);
    let asked = Instant::now();
    let error = value(&*scaler).await.unwrap_err();
    assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
    assert!(
        asked.elapsed() < 2 * BOUNDED + BOUNDED,
        "{:?}",
        asked.elapsed()
    );
    etcd.restart(0).await.unwrap();
    until(&*scaler, 7.0).await;
}

/// Who asks while a leader is elected is told that the leader changed, by each member.
#[tokio::test]
async fn an_election_is_waited_for() {
    let mut etcd = Etcd::start_cluster().await.unwrap();
    etcd.put("k", "7").await.unwrap();
    let readers: Vec<_> = (0..3)
        .map(|member| scaler(&trigger(&etcd.endpoint_of(member), "k")))
        .collect();
    for reader in &readers {
        assert_eq!(value(&**reader).await, Ok(7.0));
    }
    let leader = etcd.kill_leader().await.unwrap();
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    let [first, second] = others.map(|member| value(&*readers[member]));
    assert_eq!(tokio::join!(first, second), (Ok(7.0), Ok(7.0)));
}

#[tokio::test]
async fn one_thousand_failing_polls_leave_nothing_behind() {
    let mut etcd = Etcd::start().await.unwrap();
    let port = etcd.port_of(0);
    let missing = scaler(&trigger(&etcd.endpoints(), "none"));
    failing_polls(&*missing, 1).await;
    let (open, alive) = (connections_to(port), tasks());
    failing_polls(&*missing, 500).await;
    assert_eq!((connections_to(port), tasks()), (open, alive));
    etcd.kill(0);
    failing_polls(&*missing, 500).await;
    eventually("end of connections and tasks", SOON, async || {
        let (open, now) = (connections_to(port), tasks());
        anyhow::ensure!(
            open == 0 && now <= alive,
            "{open} connections, {now} tasks, {alive} before"
        );
        Ok(Some(()))
    })
    .await
    .unwrap();
}
