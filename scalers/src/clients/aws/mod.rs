//! Who a trigger is on AWS, and the configuration of a client that is it.
//!
//! A scaler asks [`AwsPool::config`] for the configuration of an SDK client. Credentials behind it are shared by all who have the same
//! identity, and are renewed before they end.

#[cfg(feature = "aws")]
mod credentials;
#[cfg(feature = "aws")]
mod pool;
#[cfg(feature = "aws")]
mod signature;

#[cfg(feature = "aws")]
pub use pool::{AwsConfig, AwsPool, describe};
#[cfg(feature = "aws")]
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
