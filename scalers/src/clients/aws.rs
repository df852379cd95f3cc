//! Who a trigger is on AWS.

/// An identity on AWS. Without a role it is that of the operator's own pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AwsIdentity {
    /// The role to assume.
    pub role_arn: Option<String>,
    /// What the role's owner may demand besides (`sts:ExternalId`).
    pub external_id: Option<String>,
}
