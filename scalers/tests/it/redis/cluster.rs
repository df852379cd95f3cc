//! A cluster of three: where keys are, how many connections that takes, and what happens when that changes.

use futures::future::join_all;
use sakidori_test_servers::RedisCluster;

use super::*;
use crate::bystanders::connections_to;

fn connections(cluster: &RedisCluster) -> usize {
    cluster
        .nodes
        .iter()
        .map(|node| connections_to(node.port()))
        .sum()
}

/// A list whose slot is that node's.
async fn list_on(cluster: &RedisCluster, home: usize) -> String {
    for number in 0.. {
        let name = format!("orders-{number}");
        if cluster.home(&name).await.unwrap() == home {
            return name;
        }
    }
    unreachable!()
}

fn of(addresses: &str, name: &str) -> Trigger {
    trigger("redis-cluster", addresses).metadata([("listName", name)])
}

#[tokio::test]
async fn five_hundred_lists_all_over_the_cluster_are_three_connections() {
    let cluster = RedisCluster::start().await.unwrap();
    for name in [
        "orders-0",
        "orders-1",
        "orders-2",
        "{shop}:orders",
        "{shop}:baskets",
    ] {
        let home = cluster.home(name).await.unwrap();
        cluster.nodes[home].push(name, 4).await.unwrap();
    }
    let stream = ["XADD", "sales", "*", "a", "1"];
    let home = cluster.home("sales").await.unwrap();
    cluster.nodes[home].run(&stream).await.unwrap();

    // One address is enough, and a cluster has no other database.
    let context = context();
    let one = cluster.nodes[1].address();
    let many: Vec<_> = (0..500)
        .map(|at| {
            let trigger = of(&one, &format!("orders-{at}"));
            scaler(&context, &trigger.metadata([("databaseIndex", "3")]))
        })
        .collect();
    let read = join_all(many.iter().map(|scaler| value(&**scaler))).await;
    for (at, found) in read.into_iter().enumerate() {
        assert_eq!(found, Ok(if at < 3 { 4.0 } else { 0.0 }), "{at}");
    }
    assert_eq!(connections(&cluster), 3);
    for name in ["{shop}:orders", "{shop}:baskets"] {
        assert_eq!(value(&*scaler(&context, &of(&one, name))).await, Ok(4.0));
    }
    let all = cluster.addresses();
    let sales = trigger("redis-cluster-streams", &all).metadata([("stream", "sales")]);
    assert_eq!(value_of(&sales).await, Ok(1.0));
    let lag = sales.metadata([("consumerGroup", "workers"), ("lagCount", "3")]);
    assert_eq!(value_of(&lag).await, Ok(1.0));
    // From here on no node sends on to another: it is known who has what.
    let redirected = async || {
        let mut count = 0;
        for node in &cluster.nodes {
            let stats = node.run(&["INFO", "errorstats"]).await.unwrap();
            let moved = stats
                .lines()
                .find_map(|line| line.strip_prefix("errorstat_MOVED:count="));
            count += moved.map_or(0, |count| count.trim().parse().unwrap());
        }
        count
    };
    let before: u32 = redirected().await;
    join_all(many.iter().map(|scaler| value(&**scaler))).await;
    assert_eq!(redirected().await, before);
    assert_eq!(connections(&cluster), 3);

    drop(many);
    eventually("closed connections", SOON, async || {
        Ok((connections(&cluster) == 0).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_slot_that_moves_is_read_at_each_moment() {
    let cluster = RedisCluster::start().await.unwrap();
    let name = list_on(&cluster, 0).await;
    cluster.nodes[0].push(&name, 4).await.unwrap();
    let scaler = scaler(&context(), &of(&cluster.addresses(), &name));
    assert_eq!(value(&*scaler).await, Ok(4.0));
    cluster.begin_to_move(&name, 0, 2).await.unwrap();
    for _ in 0..10 {
        assert_eq!(value(&*scaler).await, Ok(4.0));
    }
    cluster.end_the_move(&name, 2).await.unwrap();
    assert_eq!(value(&*scaler).await, Ok(4.0));
    let calls = cluster.nodes[2]
        .run(&["INFO", "commandstats"])
        .await
        .unwrap();
    assert!(calls.contains("cmdstat_asking:calls=20,"), "{calls}");
}

#[tokio::test]
async fn a_node_that_goes_away_fails_its_keys_and_comes_back() {
    let mut cluster = RedisCluster::start().await.unwrap();
    for node in &cluster.nodes {
        // Without it, the whole cluster stops with one node.
        node.run(&["CONFIG", "SET", "cluster-require-full-coverage", "no"])
            .await
            .unwrap();
    }
    let context = context();
    let (mut scalers, all) = (Vec::new(), cluster.addresses());
    for home in 0..3 {
        let name = list_on(&cluster, home).await;
        cluster.nodes[home].push(&name, 4 + home).await.unwrap();
        scalers.push(scaler(&context, &of(&all, &name)));
    }
    for (home, scaler) in scalers.iter().enumerate() {
        assert_eq!(value(&**scaler).await, Ok(4.0 + home as f64));
    }
    cluster.nodes[1].kill();
    for _ in 0..100 {
        let error = value(&*scalers[1]).await.unwrap_err();
        assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
        assert!(told(&error).contains("of Redis at 127.0.0.1:"), "{error}");
        assert_eq!(value(&*scalers[0]).await, Ok(4.0));
        assert_eq!(value(&*scalers[2]).await, Ok(6.0));
    }
    assert!(connections(&cluster) <= 2);
    cluster.nodes[1].restart().await.unwrap();
    // Until the others take it for back, they say that its slots are not served: an error, never 0.
    assert_eq!(recovers(&*scalers[1]).await, 5.0);
    cluster.wait_until_whole().await.unwrap();
    assert_eq!(value(&*scalers[0]).await, Ok(4.0));
    assert_eq!(connections(&cluster), 3);
}

#[tokio::test]
async fn a_cluster_that_is_down_is_unreachable() {
    let mut cluster = RedisCluster::start().await.unwrap();
    let name = list_on(&cluster, 0).await;
    cluster.nodes[0].push(&name, 4).await.unwrap();
    let scaler = scaler(&context(), &of(&cluster.addresses(), &name));
    assert_eq!(value(&*scaler).await, Ok(4.0));
    cluster.nodes[2].kill();
    let error = eventually("cluster that stops", SOON, async || {
        Ok(value(&*scaler).await.err())
    });
    let error = error.await.unwrap();
    assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
    cluster.nodes[2].restart().await.unwrap();
    assert_eq!(recovers(&*scaler).await, 4.0);
}

#[tokio::test]
async fn addresses_that_nobody_is_at_are_passed_over() {
    let cluster = RedisCluster::start().await.unwrap();
    let nobody = crate::bystanders::nobody();
    let addresses = format!("127.0.0.1:{nobody},{}", cluster.addresses());
    assert_eq!(value_of(&of(&addresses, "orders")).await, Ok(0.0));
    let addresses = format!("127.0.0.1:{nobody}");
    let error = refusal_of(&of(&addresses, "orders")).await;
    assert!(
        error.starts_with("unreachable: key \"orders\" of Redis at 127.0.0.1:"),
        "{error}"
    );
    // A node that is asked as if it were alone says whose the key is.
    let name = list_on(&cluster, 0).await;
    let error = refusal_of(&list(&cluster.nodes[1].address(), &name)).await;
    assert!(
        error.contains("MOVED") && error.contains("redis-cluster"),
        "{error}"
    );
    let wrong = of(&cluster.addresses(), "orders").authentication([("password", "hunter9")]);
    let error = refusal_of(&wrong).await;
    assert!(
        error.starts_with("unauthorized:") && error.contains("WRONGPASS"),
        "{error}"
    );
}
