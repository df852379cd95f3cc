//! Manifests as JSON values, and types as a checked way through them.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// A YAML document as the JSON value that kubectl would send.
pub fn parse(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

/// Reads a manifest as a `T` and writes it again: what the type doesn't know is lost on the way.
pub fn through<T: DeserializeOwned + Serialize>(manifest: &Value) -> Value {
    let object: T = serde_json::from_value(manifest.clone())
        .unwrap_or_else(|error| panic!("{error}\n{manifest:#}"));
    serde_json::to_value(object).unwrap()
}
