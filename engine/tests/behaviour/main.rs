//! What the engine does, seen from outside: `preparing`, `polling`, `pushing`, `sales` and `pausing` tell single stories; `scaling`, `sales` and `lease` make up traces of
//! faults, edits and restarts and check what has to hold whatever happens. `world` plays the cluster: source, target,
//! HPA and the operator's shell.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod fallback;
mod formula;
mod lease;
mod pausing;
mod polling;
mod preparing;
mod pushing;
mod sales;
mod scaling;
mod story;
mod world;
