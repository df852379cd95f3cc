//! The stream between replicas over mutual TLS on loopback: what it brings, what it costs, and what becomes of it when one side is slow,
//! dead, silent, or somebody else.

mod cost;
mod faults;
mod installation;
mod stream;
