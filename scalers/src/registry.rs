//! The one sorted list of all trigger types.

use crate::scaler::{BuildError, Context, Scaler, Trigger};

/// One trigger type: its name in `spec.triggers[].type`, KEDA's name for the `scaler` label of metrics, and how to build it.
pub struct Kind {
    pub name: &'static str,
    /// KEDA's Go type name: the `scaler` label of Prometheus metrics where the trigger has no name.
    pub label: &'static str,
    pub build: fn(&Trigger, &Context) -> Result<Box<dyn Scaler>, BuildError>,
}

/// All trigger types, sorted by name.
pub fn kinds() -> &'static [Kind] {
    const KINDS: &[Kind] = &[];
    KINDS
}

/// Builds the scaler of a trigger. Does no IO: connections are made at the first read.
///
/// # Errors
/// For an unknown trigger type, and for parameters that don't parse, all of them at once.
pub fn build(trigger: &Trigger, context: &Context) -> Result<Box<dyn Scaler>, BuildError> {
    let _ = context;
    Err(BuildError::UnknownKind { kind: trigger.kind.clone(), hint: String::new() })
}
