//! What a server tells by itself.

use std::time::Duration;

use sakidori_scalers::{Freshness, Pushes, Scaler, build};
use sakidori_test_cluster::eventually;
use tokio::time::timeout;

use super::server::{Answers, Server};
use super::{context, trigger};

/// Longer than the pause before a stream is opened again.
const SOON: Duration = Duration::from_secs(30);
/// Long enough to see that nothing comes.
const WHILE: Duration = Duration::from_millis(500);

fn told(active: bool) -> Answers {
    Answers {
        told: Some(active),
        streams_specs: true,
        ..Answers::metric("orders", 5, 0.0)
    }
}

async fn until_streams(server: &Server, count: usize) {
    let open = eventually("streams", SOON, async || {
        Ok((server.streams() == count).then_some(()))
    });
    open.await.unwrap();
}

/// Listens during a test.
async fn listening(scaler: &dyn Scaler, test: impl AsyncFnOnce(&Pushes)) {
    let pushes = Pushes::default();
    tokio::select! {
        () = scaler.push().unwrap().listen(&pushes) => panic!("it listens no more"),
        () = test(&pushes) => {}
    }
}

async fn active(pushes: &Pushes) -> bool {
    timeout(WHILE, pushes.until_active()).await.is_ok()
}

#[tokio::test]
async fn active_is_told_and_inactive_is_not() {
    let server = Server::start(told(false)).await;
    let scaler = build(&trigger("external-push", &server.address), &context()).unwrap();
    listening(&*scaler, async |pushes| {
        until_streams(&server, 2).await;
        assert!(!active(pushes).await, "inactive");
        server.set(told(true));
        assert!(active(pushes).await);
        assert!(!active(pushes).await, "told twice");
        // Polls have a connection of their own.
        scaler.read(&Freshness::now()).await.unwrap();
        assert_eq!(server.connections(), 2);
    })
    .await;
    // Nobody listens any more: the server sees it.
    until_streams(&server, 0).await;
}

#[tokio::test]
async fn changed_metrics_are_told_and_not_asked_for_meanwhile() {
    let server = Server::start(told(false)).await;
    let scaler = build(&trigger("external-push", &server.address), &context()).unwrap();
    let target = || {
        scaler
            .metrics()
            .first()
            .map(|metric| metric.target.to_string())
    };
    listening(&*scaler, async |pushes| {
        timeout(SOON, pushes.until_metrics_changed()).await.unwrap();
        assert_eq!(target().as_deref(), Some("5"));
        let mut changed = told(false);
        changed.specs[0].target_size = 7;
        server.set(changed.clone());
        timeout(SOON, pushes.until_metrics_changed()).await.unwrap();
        assert_eq!(target().as_deref(), Some("7"));
        // The same again is no news, and none at all takes nothing away.
        server.set(changed.clone());
        changed.specs.clear();
        server.set(changed);
        assert!(
            timeout(WHILE, pushes.until_metrics_changed())
                .await
                .is_err()
        );
        scaler.read(&Freshness::now()).await.unwrap();
        assert_eq!(target().as_deref(), Some("7"));
    })
    .await;
    // Without the stream they are asked for.
    assert!(
        scaler.read(&Freshness::now()).await.is_err(),
        "it names none"
    );
}

#[tokio::test]
async fn a_server_without_a_stream_of_metrics_is_asked_for_them() {
    let older = |target: i64| Answers {
        streams_specs: false,
        ..Answers::metric("orders", target, 0.0)
    };
    let server = Server::start(older(5)).await;
    let scaler = build(&trigger("external-push", &server.address), &context()).unwrap();
    listening(&*scaler, async |pushes| {
        until_streams(&server, 1).await;
        for target in [5, 7] {
            server.set(older(target));
            scaler.read(&Freshness::now()).await.unwrap();
            assert_eq!(scaler.metrics()[0].target.to_string(), target.to_string());
        }
        server.set(Answers {
            told: Some(true),
            ..older(7)
        });
        assert!(active(pushes).await);
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_ended_is_opened_again() {
    let server = Server::start(told(false)).await;
    let scaler = build(&trigger("external-push", &server.address), &context()).unwrap();
    listening(&*scaler, async |pushes| {
        until_streams(&server, 2).await;
        server.set(Answers {
            ends_streams: true,
            ..told(false)
        });
        until_streams(&server, 0).await;
        server.set(told(true));
        timeout(SOON, pushes.until_active()).await.unwrap();
        until_streams(&server, 2).await;
    })
    .await;
}

#[test]
fn only_external_push_listens() {
    let server = "127.0.0.1:1";
    let pushes = |kind: &str| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let scaler = build(&trigger(kind, server), &context()).unwrap();
            scaler.push().is_some()
        })
    };
    assert!(pushes("external-push") && !pushes("external"));
}
