//! Servers that refuse to run as root: then they run as the user that their package makes.

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use sakidori_test_cluster::install::is_root;

pub(crate) struct ServiceUser {
    pub(crate) name: &'static str,
    /// What belongs to that user on every machine with the package.
    pub(crate) home: &'static str,
}

impl ServiceUser {
    /// Gives a file to the user.
    pub(crate) fn give(&self, path: &Path) -> Result<()> {
        if !is_root() {
            return Ok(());
        }
        let Self { name, home } = self;
        let home =
            std::fs::metadata(home).with_context(|| format!("the user {name} has no {home}"))?;
        chown(path, Some(home.uid()), Some(home.gid()))
            .with_context(|| format!("can't give {} to {name}", path.display()))
    }

    /// A program, as that user.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        if !is_root() {
            return Command::new(program);
        }
        // It becomes the program instead of staying its parent, so that a kill reaches it.
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", self.name, "--regid", self.name, "--clear-groups"])
            .arg(program);
        command
    }
}
