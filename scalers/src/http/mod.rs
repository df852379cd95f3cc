//! What triggers that speak HTTP share: authentication, and an answer that is bounded in time and size.

mod address;
mod answer;
mod authentication;
mod compression;
mod oauth;

pub use address::{host_of, parse as parse_url, user_of, without_user};
pub use answer::Bounds;
#[cfg(feature = "nats")]
pub use answer::fetch;
pub use authentication::{Authentication, AuthenticationParameters};
pub use compression::decompress;
pub use oauth::OAuthParameters;
