//! What triggers that speak HTTP share: authentication, and an answer that is bounded in time and size.

mod answer;
mod authentication;

pub use answer::{fetch, host_of};
pub use authentication::{Authentication, AuthenticationParameters};
