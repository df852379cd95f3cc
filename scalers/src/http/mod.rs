//! What triggers that speak HTTP share: authentication, and an answer that is bounded in time and size.

mod address;
mod answer;
mod authentication;
mod compression;
mod oauth;
mod threads;

pub use address::{host_of, parse as parse_url};
#[cfg(feature = "rabbitmq")]
pub use address::{user_of, without_user};
#[cfg(feature = "prometheus")]
pub use answer::Answer;
#[cfg(any(feature = "aws", feature = "nats"))]
pub use answer::BODY_LIMIT;
pub use answer::Bounds;
#[cfg(feature = "aws")]
pub use answer::ask;
#[cfg(any(feature = "nats", all(feature = "aws", feature = "prometheus")))]
pub use answer::fetch;
#[cfg(feature = "prometheus")]
pub use authentication::headers;
pub use authentication::{Authentication, AuthenticationParameters};
pub use compression::{decompress, is_compressed};
#[cfg(any(feature = "kafka", feature = "rabbitmq"))]
pub use oauth::OAuthParameters;
#[cfg(feature = "kafka")]
pub use oauth::Tokens;
pub use threads::over_http;
