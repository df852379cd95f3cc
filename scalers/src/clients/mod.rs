//! Pooled connections: one per endpoint and credentials, kept across failing queries.

/// All pools. One per process.
#[derive(Default)]
pub struct Clients {}
