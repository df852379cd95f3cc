//! A master that a sentinel watches over: who is asked, and what a failover does.

use sakidori_test_servers::RedisSentinel;

use super::*;
use crate::bystanders::nobody;

fn of(addresses: &str, kind: &str) -> Trigger {
    trigger(kind, addresses)
        .metadata([("sentinelMaster", RedisSentinel::MASTER)])
        .metadata([("sentinelUsername", RedisSentinel::USER)])
        .authentication([("sentinelPassword", RedisSentinel::PASSWORD)])
}

fn orders(addresses: &str) -> Trigger {
    of(addresses, "redis-sentinel").metadata([("listName", "orders")])
}

#[tokio::test]
async fn the_master_is_read_on_one_connection_and_the_sentinel_asked_on_another() {
    let shop = RedisSentinel::start().await.unwrap();
    shop.servers[0].push("orders", 4).await.unwrap();
    shop.servers[0].add("sales", 3).await.unwrap();
    let sentinel = shop.sentinel.address();
    let context = context();
    let many: Vec<_> = (0..100)
        .map(|_| scaler(&context, &orders(&sentinel)))
        .collect();
    let now = Freshness::now();
    for found in futures::future::join_all(many.iter().map(|scaler| scaler.read(&now))).await {
        assert_eq!(found.unwrap()[0].value, 4.0);
    }
    let open = async || {
        let [master, replica] = &shop.servers;
        let counts = [shop.sentinel.clients(), master.clients(), replica.clients()];
        futures::future::try_join_all(counts).await.unwrap()
    };
    assert_eq!(open().await, [1, 1, 0]);

    let sales = of(&sentinel, "redis-sentinel-streams").metadata([("stream", "sales")]);
    assert_eq!(value(&*scaler(&context, &sales)).await, Ok(3.0));
    assert_eq!(open().await, [1, 1, 0], "they are shared");
    let elsewhere = orders(&sentinel).metadata([("databaseIndex", "2")]);
    assert_eq!(value_of(&elsewhere).await, Ok(0.0));
}

#[tokio::test]
async fn after_a_failover_the_new_master_is_read() {
    let mut shop = RedisSentinel::start().await.unwrap();
    shop.servers[0].push("orders", 4).await.unwrap();
    shop.servers[0].run(&["WAIT", "1", "5000"]).await.unwrap();
    let trigger = orders(&shop.sentinel.address());
    let scaler = scaler(&context(), &trigger);
    assert_eq!(value(&*scaler).await, Ok(4.0));

    shop.servers[0].kill();
    // Whatever is read meanwhile is an error, or right.
    let polled = async {
        loop {
            match value(&*scaler).await {
                Ok(6.0) => break,
                Ok(length) => assert_eq!(length, 4.0),
                Err(error) => assert!(matches!(error, ScalerError::Unreachable(_)), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let promoted = async {
        shop.wait_for_failover().await.unwrap();
        shop.servers[1].push("orders", 2).await.unwrap();
    };
    let both = async { tokio::join!(polled, promoted) };
    tokio::time::timeout(SOON, both).await.unwrap();

    // The old master comes back as a replica, which nobody reads.
    shop.servers[0].restart().await.unwrap();
    assert_eq!(value(&*scaler).await, Ok(6.0));
    assert_eq!(shop.servers[0].clients().await.unwrap(), 0);
}

#[tokio::test]
async fn a_master_that_is_replaced_while_it_lives_is_left() {
    let shop = RedisSentinel::start().await.unwrap();
    let scaler = scaler(&context(), &orders(&shop.sentinel.address()));
    assert_eq!(value(&*scaler).await, Ok(0.0));
    // It hangs, as one that the network cut off: connections to it stay open.
    shop.servers[0].pause();
    shop.wait_for_failover().await.unwrap();
    shop.servers[1].push("orders", 2).await.unwrap();
    assert_eq!(recovers(&*scaler).await, 2.0);
    shop.servers[0].resume();
    for _ in 0..20 {
        assert_eq!(value(&*scaler).await, Ok(2.0));
    }
}

#[tokio::test]
async fn reading_goes_on_without_sentinels_and_begins_with_any_of_them() {
    let mut shop = RedisSentinel::start().await.unwrap();
    shop.servers[0].push("orders", 4).await.unwrap();
    let context = context();
    let addresses = format!("127.0.0.1:{},{}", nobody(), shop.sentinel.address());
    let scaler = scaler(&context, &orders(&addresses));
    assert_eq!(value(&*scaler).await, Ok(4.0));
    shop.sentinel.kill();
    for _ in 0..15 {
        assert_eq!(value(&*scaler).await, Ok(4.0));
        // Longer than what a sentinel told counts.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(scaler);
    let error = refusal_of(&orders(&addresses)).await;
    assert!(
        error.starts_with("unreachable: key \"orders\" of Redis Sentinel at 127.0.0.1:"),
        "{error}"
    );
}

#[tokio::test]
async fn what_sentinels_refuse_is_told() {
    let shop = RedisSentinel::start().await.unwrap();
    let sentinel = shop.sentinel.address();
    let unknown = orders(&sentinel).metadata([("sentinelMaster", "basket")]);
    assert_eq!(
        refusal_of(&unknown).await,
        format!(
            "not found: key \"orders\" of Redis Sentinel at {sentinel}: it knows no master \"basket\""
        )
    );
    let wrong = orders(&sentinel).authentication([("sentinelPassword", "hunter9")]);
    let error = refusal_of(&wrong).await;
    assert!(
        error.starts_with("unauthorized: key \"orders\" of Redis Sentinel at")
            && error.contains("WRONGPASS"),
        "{error}"
    );
    // A login that is good for the sentinel, and none that is for the master.
    let wrong = orders(&sentinel).authentication([("password", "hunter9")]);
    let error = refusal_of(&wrong).await;
    let master = format!("of Redis at {}: WRONGPASS", shop.servers[0].address());
    assert!(
        error.starts_with("unauthorized:") && error.contains(&master),
        "{error}"
    );
    // A server is no sentinel.
    let error = refusal_of(
        &orders(&shop.servers[0].address())
            .authentication([("sentinelPassword", PASSWORD)])
            .metadata([("sentinelUsername", "default")]),
    )
    .await;
    assert!(
        error.starts_with("malformed answer:") && error.contains("unknown command"),
        "{error}"
    );
}
