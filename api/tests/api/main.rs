//! Tests of the API as its users see it: as CRDs and as manifests.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy.toml's exemption stops at the functions that tests call"
)]

mod chart;
mod examples;
mod manifests;
mod round_trip;
mod schema;
