//! Reasons and messages of conditions and Events.
