//! Where the `sakidori` binary is.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// The binary under test: `SAKIDORI_BIN`, else the one beside this program in cargo's target directory.
///
/// # Errors
/// If there is none: it says how to build it.
pub fn sakidori() -> Result<PathBuf> {
    let path = match env::var_os("SAKIDORI_BIN") {
        Some(path) => PathBuf::from(path),
        None => beside_this_program()?.join("sakidori"),
    };
    ensure!(
        path.is_file(),
        "no sakidori binary at {}: run `make build`, or name one in SAKIDORI_BIN",
        path.display()
    );
    Ok(path)
}

/// `target/debug`, for a program in it and for a test binary in `target/debug/deps`.
fn beside_this_program() -> Result<PathBuf> {
    let program = env::current_exe().context("this program does not know where it is")?;
    let folder = program.parent().context("this program is in no folder")?;
    let folder = if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder)
    } else {
        folder
    };
    Ok(folder.to_path_buf())
}

/// The root of the repository that this crate was built from.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
