//! What the engine does, seen from outside: `preparing`, `polling`, `pushing`, `sales` and `pausing` tell single stories; `scaling`, `sales` and `lease` make up traces of
//! faults, edits and restarts and check what has to hold whatever happens. `world` plays the cluster: source, target,
//! HPA and the operator's shell.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod election;
mod fallback;
mod foreign;
mod formula;
mod lease;
mod pausing;
mod polling;
mod preparing;
mod pushing;
mod resize;
mod sales;
mod scaling;
mod story;
mod world;

/// So many made-up traces in a test run; as many as PROPTEST_CASES says where somebody looks for more.
fn cases(usual: u32) -> proptest::test_runner::Config {
    let asked = std::env::var("PROPTEST_CASES").ok();
    proptest::test_runner::Config {
        cases: asked.and_then(|asked| asked.parse().ok()).unwrap_or(usual),
        ..proptest::test_runner::Config::default()
    }
}
