//! What listens on 127.0.0.1 of the machine, made reachable for pods, which have a 127.0.0.1 of their own.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Passes connections on for as long as it lives.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddrV4,
    task: JoinHandle<()>,
}

impl Relay {
    /// From `port` of `address` to the same port of 127.0.0.1.
    ///
    /// # Errors
    /// If it can't listen there.
    pub async fn start(address: Ipv4Addr, port: u16) -> Result<Self> {
        let address = SocketAddrV4::new(address, port);
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("can't listen on {address}"))?;
        let task = tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // Whoever can't be reached is a closed connection, as on the machine.
                    if let Ok(mut to) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                    }
                });
            }
        });
        Ok(Self { address, task })
    }

    /// Where pods connect to.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
