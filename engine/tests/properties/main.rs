//! What holds whatever happens: traces of faults, edits and restarts are made up, run against the real engine, and
//! every effect is checked. `world` plays the cluster: source, target, HPA and the operator's shell.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod lease;
