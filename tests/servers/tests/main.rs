//! The servers' own tests: that they do what the other tests take them for, and that nothing of them stays behind.

mod aggregation;
mod http_source;
mod rabbitmq;

use std::time::Duration;

/// The machine may be compiling something else meanwhile.
const SOON: Duration = Duration::from_secs(60);
