//! The licences' texts and notices of all parts, which whoever hands on the image hands on with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::crates::{Crate, Name};
use crate::system::Package;

/// How files of licences are named in crates, and in librdkafka, which is inside one.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];

/// One text for each licence as it is worded, with the parts that have it before it.
///
/// # Errors
/// If a crate's sources aren't in cargo's folder of them, or a file can't be read.
pub fn texts(
    registry: &Path,
    crates: &BTreeMap<Name, Crate>,
    packages: &[Package],
) -> Result<String> {
    let mut parts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let handed_on = crates
        .iter()
        .filter(|(_, known)| known.linked && !known.own);
    for (name, known) in handed_on {
        let folder = sources(registry, name)?;
        let part = format!("{} {} ({})", name.name, name.version, known.licence);
        let found = read_in(&folder)?;
        if found.is_empty() {
            let said = "This crate has no text of its licence in its archive.".to_owned();
            parts.entry(said).or_default().insert(part);
            continue;
        }
        for text in found {
            parts.entry(text).or_default().insert(part.clone());
        }
    }
    for package in packages {
        let file = format!("/usr/share/doc/{}/copyright", package.binary);
        let text = std::fs::read_to_string(&file).with_context(|| format!("can't read {file}"))?;
        let part = format!(
            "{} {} ({})",
            package.source, package.version, package.licence
        );
        parts.entry(text).or_default().insert(part);
    }
    // By the parts' names, so that one finds them.
    let mut sorted: Vec<(BTreeSet<String>, String)> = parts
        .into_iter()
        .map(|(text, parts)| (parts, text))
        .collect();
    sorted.sort();
    let line = "-".repeat(80);
    let texts = sorted.iter().map(|(parts, text)| {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        format!(
            "{line}\n{}\n{line}\n\n{}\n\n",
            parts.join("\n"),
            text.trim()
        )
    });
    Ok(texts.collect())
}

/// Where cargo has unpacked the sources of a crate.
fn sources(registry: &Path, name: &Name) -> Result<PathBuf> {
    let indices = std::fs::read_dir(registry).with_context(|| {
        format!(
            "can't read {}, where cargo unpacks crates",
            registry.display()
        )
    })?;
    let folder = format!("{}-{}", name.name, name.version);
    indices
        .flatten()
        .map(|index| index.path().join(&folder))
        .find(|folder| folder.is_dir())
        .with_context(|| format!("{folder} is not in {}", registry.display()))
}

/// The texts in a crate's folder, and in that of the C library that it brings.
fn read_in(folder: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for folder in [folder.to_owned(), folder.join("librdkafka")] {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.is_file()) {
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .to_uppercase();
            if NAMES.iter().any(|wanted| name.starts_with(wanted)) {
                let text = std::fs::read(file)
                    .with_context(|| format!("can't read {}", file.display()))?;
                texts.push(
                    String::from_utf8_lossy(&text)
                        .replace("\r\n", "\n")
                        .trim()
                        .to_owned(),
                );
            }
        }
    }
    Ok(texts)
}
