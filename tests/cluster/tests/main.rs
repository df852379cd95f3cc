//! The test bed's own tests: that it is what the other tests take it for, and that nothing of it stays behind.

mod lifetime;
mod resizing;
mod workloads;

use std::time::Duration;

/// The machine may be compiling something else meanwhile.
const SOON: Duration = Duration::from_secs(60);
