//! What the engine does, seen from outside: `preparing`, `polling`, `pushing` and `pausing` tell single stories; `scaling` and `lease` make up traces of
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
mod scaling;
mod story;
mod world;
