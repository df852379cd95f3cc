//! A master and a replica with a sentinel, which makes the replica the master when the master is away.

use std::time::Duration;

use anyhow::{Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::ports::Port;

use super::Redis;

/// A failover takes two seconds here.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(60);

/// Three running servers. Dropped, they are killed.
#[derive(Debug)]
pub struct RedisSentinel {
    /// The first is the master at first.
    pub servers: [Redis; 2],
    /// Knows nobody without [`PASSWORD`](Self::PASSWORD).
    pub sentinel: Redis,
}

impl RedisSentinel {
    /// What the sentinel calls the master.
    pub const MASTER: &'static str = "shop";
    /// What the sentinel asks its user `watcher` for.
    pub const PASSWORD: &'static str = "hunter3";
    /// The sentinel's user.
    pub const USER: &'static str = "watcher";

    /// Starts them, and waits until the replica follows and the sentinel knows it.
    ///
    /// # Errors
    /// When Redis is not installed, or that doesn't happen in time.
    pub async fn start() -> Result<RedisSentinel> {
        let login = ["--masterauth", Redis::PASSWORD];
        let master = Redis::start_more(&login).await?;
        let port = master.port().to_string();
        let replica = [login.as_slice(), &["--replicaof", "127.0.0.1", &port]].concat();
        let replica = Redis::start_more(&replica).await?;
        let own = Port::take()?;
        let (name, password) = (RedisSentinel::MASTER, Redis::PASSWORD);
        let (user, login) = (RedisSentinel::USER, RedisSentinel::PASSWORD);
        let configuration = format!(
            "port {}\nbind 127.0.0.1\nrequirepass {password}\n\
             user {user} on >{login} +sentinel|get-master-addr-by-name +auth\n\
             sentinel monitor {name} 127.0.0.1 {port} 1\nsentinel auth-pass {name} {password}\n\
             sentinel down-after-milliseconds {name} 500\nsentinel failover-timeout {name} 3000\n",
            own.number()
        );
        let started = RedisSentinel {
            servers: [master, replica],
            sentinel: Redis::start_sentinel(own, &configuration).await?,
        };
        eventually("replica that follows", FAILOVER_TIMEOUT, async || {
            let state = started.servers[0].run(&["INFO", "replication"]).await?;
            let known = started
                .sentinel
                .run(&["SENTINEL", "replicas", name])
                .await?;
            let follows =
                state.contains("state=online") && known.contains("master-link-status\nok");
            Ok(follows.then_some(()))
        })
        .await?;
        Ok(started)
    }

    /// The master's port, as the sentinel tells it.
    ///
    /// # Errors
    /// As [`Redis::run`].
    pub async fn master_port(&self) -> Result<u16> {
        let question = ["SENTINEL", "get-master-addr-by-name", RedisSentinel::MASTER];
        let told = self.sentinel.run(&question).await?;
        let port = told.lines().last().unwrap_or_default();
        Ok(port.parse()?)
    }

    /// Waits until the second server is the master.
    ///
    /// # Errors
    /// When it isn't in time.
    pub async fn wait_for_failover(&self) -> Result<()> {
        eventually("failover", FAILOVER_TIMEOUT, async || {
            ensure!(
                self.master_port().await? == self.servers[1].port(),
                "not yet"
            );
            let role = self.servers[1].run(&["ROLE"]).await?;
            Ok(role.starts_with("master").then_some(()))
        })
        .await
    }
}
