//! A cluster of three masters without replicas.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::ports::Port;

use super::Redis;

/// They hear of one another within a second or two.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
/// The slots of the nodes, in their order.
const SLOTS: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];

/// Three running servers, each with a third of the slots. Dropped, they are killed.
#[derive(Debug)]
pub struct RedisCluster {
    /// In the order of their slots.
    pub nodes: Vec<Redis>,
    /// Of the nodes' talk with one another.
    _ports: Vec<Port>,
}

impl RedisCluster {
    /// Starts a cluster.
    ///
    /// # Errors
    /// When Redis is not installed, or the nodes don't find one another in time.
    pub async fn start() -> Result<RedisCluster> {
        let (mut nodes, mut ports) = (Vec::new(), Vec::new());
        for (first, last) in SLOTS {
            let port = Port::take()?;
            let talk = port.number().to_string();
            let arguments = [
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &talk,
                // What is away is noticed after it.
                "--cluster-node-timeout",
                "1000",
            ];
            let node = Redis::start_more(&arguments).await?;
            let (first, last) = (first.to_string(), last.to_string());
            node.run(&["CLUSTER", "ADDSLOTSRANGE", &first, &last])
                .await?;
            nodes.push(node);
            ports.push(port);
        }
        let cluster = RedisCluster {
            nodes,
            _ports: ports,
        };
        for (node, talk) in cluster.nodes.iter().zip(&cluster._ports).skip(1) {
            let (port, talk) = (node.port().to_string(), talk.number().to_string());
            let meet = ["CLUSTER", "MEET", "127.0.0.1", &port, &talk];
            cluster.nodes[0].run(&meet).await?;
        }
        cluster.wait_until_whole().await?;
        Ok(cluster)
    }

    /// Waits until each node says that all slots are served.
    ///
    /// # Errors
    /// When one doesn't in time.
    pub async fn wait_until_whole(&self) -> Result<()> {
        for node in &self.nodes {
            eventually("whole cluster", JOIN_TIMEOUT, async || {
                let state = node.run(&["CLUSTER", "INFO"]).await?;
                let whole =
                    state.contains("cluster_state:ok") && state.contains("cluster_known_nodes:3");
                Ok(whole.then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// `127.0.0.1:PORT` of all nodes, with commas between them.
    pub fn addresses(&self) -> String {
        let addresses: Vec<String> = self.nodes.iter().map(Redis::address).collect();
        addresses.join(",")
    }

    /// The position of the node that has a key's slot by the table above.
    ///
    /// # Errors
    /// As [`Redis::run`].
    pub async fn home(&self, key: &str) -> Result<usize> {
        let slot: u16 = self.slot(key).await?.parse()?;
        let home = SLOTS.iter().position(|(_, last)| slot <= *last);
        home.context("no node has the slot")
    }

    async fn slot(&self, key: &str) -> Result<String> {
        self.nodes[0].run(&["CLUSTER", "KEYSLOT", key]).await
    }

    /// Begins to move the slot of a key from one node to another, and moves this key: the one sends on to the other for it (`ASK`).
    ///
    /// # Errors
    /// As [`Redis::run`].
    pub async fn begin_to_move(&self, key: &str, from: usize, to: usize) -> Result<()> {
        let slot = self.slot(key).await?;
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let id = async |node: &Redis| node.run(&["CLUSTER", "MYID"]).await;
        let (source_id, target_id) = (id(source).await?, id(target).await?);
        target
            .run(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id])
            .await?;
        source
            .run(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id])
            .await?;
        let port = target.port().to_string();
        let migrate = [
            "MIGRATE",
            "127.0.0.1",
            &port,
            key,
            "0",
            "5000",
            "AUTH",
            Redis::PASSWORD,
        ];
        let moved = source.run(&migrate).await?;
        ensure!(moved == "OK", "{moved}");
        Ok(())
    }

    /// Ends what [`begin_to_move`](Self::begin_to_move) began: all nodes send on to the new one (`MOVED`).
    ///
    /// # Errors
    /// As [`Redis::run`].
    pub async fn end_the_move(&self, key: &str, to: usize) -> Result<()> {
        let slot = self.slot(key).await?;
        let id = self.nodes[to].run(&["CLUSTER", "MYID"]).await?;
        // The new owner first: else the slot has none for a moment.
        let target = std::iter::once(&self.nodes[to]);
        for node in target.chain(&self.nodes) {
            node.run(&["CLUSTER", "SETSLOT", &slot, "NODE", &id])
                .await?;
        }
        Ok(())
    }
}
