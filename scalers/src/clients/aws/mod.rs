//! Who a trigger is on AWS, and the configuration of a client that is it.
//!
//! A scaler asks [`AwsPool::client`] for the client of its account, and that its questions: equal ones are asked once. Credentials are
//! shared by all who have the same identity, and are renewed before they end.

#[cfg(feature = "aws")]
mod client;
#[cfg(feature = "aws")]
pub(crate) mod cloudwatch;
#[cfg(feature = "aws")]
mod complete;
#[cfg(feature = "aws")]
mod credentials;
#[cfg(feature = "aws")]
pub(crate) mod dynamodb;
#[cfg(feature = "aws")]
mod error;
#[cfg(feature = "aws")]
mod http;
#[cfg(feature = "aws")]
pub(crate) mod kinesis;
#[cfg(feature = "aws")]
mod pool;
#[cfg(feature = "aws")]
mod signature;
#[cfg(feature = "aws")]
pub(crate) mod sqs;

#[cfg(feature = "aws")]
pub use client::{Account, AwsClient, Question};
#[cfg(feature = "aws")]
pub use error::failure;
#[cfg(feature = "aws")]
pub use pool::{AwsConfig, AwsPool};
#[cfg(all(feature = "aws", feature = "prometheus"))]
pub(super) use signature::sign;

/// An identity on AWS. Without a role it is that of the operator's own pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AwsIdentity {
    /// The role to assume.
    pub role_arn: Option<String>,
    /// What the role's owner may demand besides (`sts:ExternalId`).
    pub external_id: Option<String>,
}

/// How to be let in. No `Debug`: it may hold keys.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum AwsAccess {
    Identity(AwsIdentity),
    Keys {
        access_key_id: String,
        secret_access_key: String,
        session_token: Option<String>,
    },
}
