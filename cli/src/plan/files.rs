//! Manifests from files, folders and stdin.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sakidori_plan::Manifests;

/// More than all manifests of a large shop; a larger file was named by mistake, and would not fit into memory.
const LARGEST: u64 = 64 * 1024 * 1024;

/// A file that is in `read` is not read again: somebody named a folder, and a file in it.
pub fn read(
    path: &str,
    namespace: &str,
    read: &mut BTreeSet<PathBuf>,
    manifests: &mut Manifests,
) -> anyhow::Result<()> {
    if path == "-" {
        let mut text = String::new();
        std::io::stdin()
            .take(LARGEST)
            .read_to_string(&mut text)
            .context("reading stdin")?;
        manifests.read("stdin", &text, namespace);
        return Ok(());
    }
    let path = Path::new(path);
    let metadata = path
        .metadata()
        .with_context(|| format!("reading {}", path.display()))?;
    let files = if metadata.is_dir() {
        manifests_in(path)?
    } else {
        vec![path.to_path_buf()]
    };
    for file in files {
        let known = file.canonicalize().unwrap_or_else(|_| file.clone());
        if !read.insert(known) {
            continue;
        }
        manifests.read(&file.display().to_string(), &text(&file)?, namespace);
    }
    Ok(())
}

pub fn text(file: &Path) -> anyhow::Result<String> {
    let reading = || format!("reading {}", file.display());
    let length = file.metadata().with_context(reading)?.len();
    if length > LARGEST {
        bail!(
            "{} has {length} bytes, more than the limit of 64 MiB",
            file.display()
        );
    }
    std::fs::read_to_string(file).with_context(reading)
}

/// All files that may be manifests, in the order of their names. Links to folders are not followed: they may lead back.
fn manifests_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut open = vec![folder.to_path_buf()];
    let mut files = Vec::new();
    while let Some(next) = open.pop() {
        let reading = || format!("reading {}", next.display());
        for entry in std::fs::read_dir(&next).with_context(reading)? {
            let entry = entry.with_context(reading)?;
            let path = entry.path();
            let known = path
                .extension()
                .is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
            if entry.file_type().with_context(reading)?.is_dir() {
                open.push(path);
            } else if known && path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
