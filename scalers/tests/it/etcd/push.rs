//! What etcd tells by itself.

use std::time::Duration;

use sakidori_scalers::{Pushes, Scaler};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::Etcd;
use tokio::time::timeout;

use super::{SOON, scaler, trigger};
use crate::bystanders::{connections_to, tasks};

/// A put is to be heard within this.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Long enough to see that nothing comes.
const WHILE: Duration = Duration::from_millis(500);

/// Listens during a test.
async fn listening(scaler: &dyn Scaler, test: impl AsyncFnOnce(&Pushes)) {
    let pushes = Pushes::default();
    tokio::select! {
        () = scaler.push().unwrap().listen(&pushes) => panic!("it listens no more"),
        () = test(&pushes) => {}
    }
}

async fn told(pushes: &Pushes, within: Duration) -> bool {
    timeout(within, pushes.until_active()).await.is_ok()
}

/// Puts a number above the activation value until it is heard: from then on there is a watch.
async fn until_watched(etcd: &Etcd, pushes: &Pushes) {
    let heard = eventually("watch", SOON, async || {
        etcd.put("k", "9").await?;
        Ok(told(pushes, WHILE).await.then_some(()))
    });
    heard.await.unwrap();
    while told(pushes, WHILE).await {}
}

#[tokio::test]
async fn a_put_above_the_activation_value_is_heard_at_once() {
    let etcd = Etcd::start().await.unwrap();
    let scaler = scaler(&trigger(&etcd.endpoints(), "k"));
    listening(&*scaler, async |pushes| {
        until_watched(&etcd, pushes).await;
        for quiet in ["4", "0", "many", "NaN", ""] {
            etcd.put("k", quiet).await.unwrap();
            assert!(!told(pushes, WHILE).await, "{quiet:?}");
        }
        etcd.put("k-other", "9").await.unwrap();
        assert!(!told(pushes, WHILE).await, "another key");
        etcd.put("k", "4.5").await.unwrap();
        assert!(told(pushes, AT_ONCE).await);
        etcd.delete("k").await.unwrap();
        assert!(!told(pushes, WHILE).await, "a deletion");
        etcd.put("k", "5").await.unwrap();
        assert!(told(pushes, AT_ONCE).await);
    })
    .await;
}

#[tokio::test]
async fn a_watch_is_opened_again_and_tells_what_it_missed() {
    let mut etcd = Etcd::start().await.unwrap();
    let scaler = scaler(&trigger(&etcd.endpoints(), "k"));
    listening(&*scaler, async |pushes| {
        until_watched(&etcd, pushes).await;
        etcd.put("k", "0").await.unwrap();
        etcd.restart(0).await.unwrap();
        // Before the next watch is there: it begins after 2 s.
        etcd.put("k", "9").await.unwrap();
        assert!(told(pushes, SOON).await);
    })
    .await;
}

#[tokio::test]
async fn a_watch_goes_to_another_member() {
    let mut etcd = Etcd::start_cluster().await.unwrap();
    let scaler = scaler(&trigger(&etcd.endpoints(), "k"));
    listening(&*scaler, async |pushes| {
        until_watched(&etcd, pushes).await;
        etcd.put("k", "0").await.unwrap();
        etcd.kill(0);
        until_watched(&etcd, pushes).await;
        etcd.put("k", "5").await.unwrap();
        assert!(told(pushes, AT_ONCE).await);
    })
    .await;
}

#[tokio::test]
async fn a_silent_server_is_watched_anew() {
    let etcd = Etcd::start_with_progress_every("200ms").await.unwrap();
    let interval = [("watchProgressNotifyInterval", "1")];
    let scaler = scaler(&trigger(&etcd.endpoints(), "k").metadata(interval));
    listening(&*scaler, async |pushes| {
        until_watched(&etcd, pushes).await;
        // As long as the server tells that it is there, the watch stays: it would hear nothing for 2 s otherwise.
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            etcd.put("k", "9").await.unwrap();
            assert!(told(pushes, AT_ONCE).await);
        }
        etcd.put("k", "0").await.unwrap();
        etcd.pause(0);
        tokio::time::sleep(Duration::from_secs(4)).await;
        etcd.resume(0);
        until_watched(&etcd, pushes).await;
    })
    .await;
}

#[tokio::test]
async fn nothing_is_left_of_a_watch_that_nobody_wants() {
    let etcd = Etcd::start().await.unwrap();
    etcd.put("k", "9").await.unwrap();
    // etcd's gateway, by which the test puts, is its own server's client.
    let (etcds, before) = (connections_to(etcd.port_of(0)), tasks());
    for _ in 0..20 {
        let scaler = scaler(&trigger(&etcd.endpoints(), "k"));
        listening(&*scaler, async |pushes| {
            assert!(told(pushes, SOON).await);
        })
        .await;
    }
    eventually("end of connections and tasks", SOON, async || {
        let (open, alive) = (connections_to(etcd.port_of(0)), tasks());
        anyhow::ensure!(
            open <= etcds && alive <= before,
            "{open} connections, {alive} tasks, {before} before"
        );
        Ok(Some(()))
    })
    .await
    .unwrap();
    let watchers = eventually("no watcher", SOON, async || {
        Ok((etcd.watchers().await? == 0).then_some(()))
    });
    watchers.await.unwrap();
}
