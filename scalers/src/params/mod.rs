//! Typed trigger parameters.

/// All problems of one trigger's parameters.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct ParamErrors(pub Vec<String>);
