//! The defaults that KEDA fills in for fields that a manifest leaves out.
