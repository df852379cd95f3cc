//! A real Helm against a control plane, as a platform engineer uses it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::python;
use tempfile::TempDir;
use tokio::process::Command;

use crate::binary;

/// In `tests/charts/`: the chart before it took KEDA's values.
const PREVIOUS: &str = "sakidori-0.1.0.tgz";

/// Helm with the rights of a kubeconfig, and with nothing of the user's own settings.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: TempDir,
}

impl Helm {
    /// Helm for whoever this kubeconfig is of.
    ///
    /// # Errors
    /// If there is no Helm, and it can't be had.
    pub async fn new(kubeconfig: &Path) -> Result<Self> {
        Ok(Self {
            program: tokio::task::spawn_blocking(python::helm).await??,
            kubeconfig: kubeconfig.to_owned(),
            home: TempDir::new()?,
        })
    }

    /// Lets a command find this Helm and its cluster, and nothing of the user's own.
    ///
    /// # Errors
    /// If its folder is no part of a search path.
    pub fn at_hand(&self, command: &mut Command) -> Result<()> {
        let own = self.program.parent().map(Path::to_owned);
        let rest = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&rest)))?;
        command
            .env("PATH", path)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.home.path())
            .env_remove("HELM_NAMESPACE");
        Ok(())
    }

    /// Runs it, and gives what it printed.
    ///
    /// # Errors
    /// With what Helm says if it fails.
    pub async fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Result<String> {
        let mut command = Command::new(&self.program);
        self.at_hand(&mut command)?;
        let output = command
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("can't start {}", self.program.display()))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        let line: Vec<_> = arguments
            .iter()
            .map(|argument| argument.as_ref().to_string_lossy())
            .collect();
        ensure!(
            output.status.success(),
            "helm {}: {said}{errors}",
            line.join(" ")
        );
        Ok(said + &errors)
    }
}

/// The repository's chart.
pub fn chart() -> PathBuf {
    binary::repository().join("charts/sakidori")
}

/// The chart's first version as `helm package` packs it, unpacked into `folder`. It is kept as a package, and not taken from the history, which
/// a clone may not have.
///
/// # Errors
/// If it can't be unpacked.
pub async fn previous_chart(folder: &Path) -> Result<PathBuf> {
    let package = binary::repository().join("tests/charts").join(PREVIOUS);
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(&package).arg("-C").arg(folder);
    finished(tar).await?;
    Ok(folder.join("sakidori"))
}

async fn finished(mut command: Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().await?;
    ensure!(
        output.status.success(),
        "{:?}: {}",
        command.as_std(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
