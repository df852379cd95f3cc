//! Tests of the API as its users see it: as CRDs and as manifests.

mod chart;
mod examples;
mod manifests;
mod round_trip;
mod schema;
