//! The stream between replicas, and KEDA's services, over mutual TLS on loopback: what they bring, what they cost, and what becomes of them
//! when one side is slow, dead, silent, or somebody else.

// clippy.toml's permission ends at functions without #[test]; these are part of tests, too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cost;
mod faults;
mod installation;
mod keda_services;
mod stream;
