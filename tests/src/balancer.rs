//! What a Service in front of several replicas does, where there is no kube-proxy and no kubelet: connections go to replicas that are
//! ready.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use sakidori_test_cluster::ports::Port;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How often each replica is asked. A kubelet asks every few seconds; what is to be seen here is not its patience.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A kubelet's own `timeoutSeconds`.
const PROBE_WITHIN: Duration = Duration::from_secs(1);

/// One replica behind the Service.
#[derive(Clone, Copy, Debug)]
pub struct Backend {
    /// Serves `/readyz`.
    pub probe: SocketAddr,
    pub address: SocketAddr,
}

/// A proxy on a port of 127.0.0.1. Dropped, it cuts all connections.
pub struct Balancer {
    port: Port,
    _tasks: JoinSet<()>,
}

impl Balancer {
    /// Forwards each new connection to the next backend that is ready, closes it at once while there is none, and cuts it when its
    /// backend is no longer ready.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn start(backends: Vec<Backend>) -> Result<Self> {
        let port = Port::take()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number()))
            .await
            .context("can't listen for the Service")?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(PROBE_WITHIN)
            .build()?;
        let ready = watch::Sender::new(vec![false; backends.len()]);
        let mut tasks = JoinSet::new();
        for (number, backend) in backends.iter().enumerate() {
            tasks.spawn(look(http.clone(), backend.probe, number, ready.clone()));
        }
        let addresses = backends.iter().map(|backend| backend.address).collect();
        tasks.spawn(accept(listener, addresses, ready.subscribe()));
        Ok(Self {
            port,
            _tasks: tasks,
        })
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }
}

/// Keeps known whether one backend is ready.
async fn look(
    http: reqwest::Client,
    probe: SocketAddr,
    number: usize,
    ready: watch::Sender<Vec<bool>>,
) {
    let url = format!("http://{probe}/readyz");
    loop {
        let answer = http.get(&url).send().await;
        let is_ready = answer.is_ok_and(|answer| answer.status().is_success());
        ready.send_if_modified(|all| std::mem::replace(&mut all[number], is_ready) != is_ready);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn accept(
    listener: TcpListener,
    addresses: Vec<SocketAddr>,
    ready: watch::Receiver<Vec<bool>>,
) {
    let mut connections = JoinSet::new();
    let mut turn = 0;
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let next = next_ready(&ready.borrow(), turn);
        if let Some(number) = next {
            turn = number + 1;
            connections.spawn(forward(client, addresses[number], number, ready.clone()));
        }
    }
}

/// The first that is ready from `turn` on, in the round.
fn next_ready(ready: &[bool], turn: usize) -> Option<usize> {
    let count = ready.len();
    (turn..turn + count)
        .map(|number| number % count)
        .find(|number| ready[*number])
}

async fn forward(
    mut client: TcpStream,
    address: SocketAddr,
    number: usize,
    mut ready: watch::Receiver<Vec<bool>>,
) {
    let Ok(mut server) = TcpStream::connect(address).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = ready.wait_for(|ready| !ready[number]) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_ready_gets_its_turn() {
        assert_eq!(next_ready(&[true, true, true], 1), Some(1));
        assert_eq!(next_ready(&[true, false, true], 1), Some(2));
        assert_eq!(next_ready(&[true, false, false], 3), Some(0));
        assert_eq!(next_ready(&[true, false, false], 1), Some(0));
        assert_eq!(next_ready(&[false, false], 0), None);
    }
}
