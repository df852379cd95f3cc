//! What the demo, the benchmark and the end-to-end cases share: the operator as a process, waiting for conditions,
//! applying manifests, and looking at what happened, all against a real control plane of `sakidori-test-cluster`.

pub mod binary;
pub mod certificates;
pub mod manifests;
pub mod memory;
pub mod observe;
pub mod operator;
pub mod registration;
pub mod wait;

pub use operator::{Operator, OperatorSettings};
pub use wait::wait_for;

use std::net::TcpListener;

use anyhow::{Context, Result};

/// A port of 127.0.0.1 that nobody listened on a moment ago.
///
/// # Errors
/// If the system has none left.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// Chooses ring for every TLS connection of this process. May be called any number of times.
pub fn choose_tls_provider() {
    // An error means that one is chosen already, and ring is the only one that is compiled in.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
