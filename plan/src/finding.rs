//! What is wrong with what was given, or should be known about it.

use std::fmt;

use crate::manifests::Origin;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Admission rejects it, or the plan lacks something because of it.
    Error,
    Warning,
}

/// One thing, with where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub origin: Origin,
    /// Kind, namespace and name; empty for a document that is none of ours.
    pub object: String,
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}: ", self.origin)?;
        if !self.object.is_empty() {
            write!(f, "{}: ", self.object)?;
        }
        // A message must not bring control characters onto a terminal, nor a second line.
        let shown = |c: char| if c.is_control() { ' ' } else { c };
        let message: String = self.message.chars().map(shown).collect();
        f.write_str(&message)
    }
}
