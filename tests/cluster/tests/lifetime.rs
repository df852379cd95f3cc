//! Several clusters at once, and that nothing stays behind: no process, no folder.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use sakidori_test_cluster::sandbox::Sandbox;
use sakidori_test_cluster::{Cluster, ClusterOptions, Component, eventually};

use crate::SOON;

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_run_at_once_and_leave_nothing() -> Result<()> {
    let options = || ClusterOptions {
        nodes: 1,
        ..ClusterOptions::default()
    };
    let (one, two) = tokio::try_join!(Cluster::start(options()), Cluster::start(options()))?;
    assert_ne!(one.apiserver_url(), two.apiserver_url());
    one.create_namespace("only-in-one").await?;
    assert!(
        two.service_account_kubeconfig("only-in-one", "default")
            .await
            .is_err()
    );

    let dirs = [one.dir().to_owned(), two.dir().to_owned()];
    let apiserver = one
        .process_id(Component::Apiserver)
        .context("no API server")?;
    assert!(!processes_of(&dirs[0])?.is_empty() && !processes_of(&dirs[1])?.is_empty());
    assert!(
        processes_of(&dirs[0])?.contains(&apiserver),
        "the search finds processes at all"
    );
    drop(one);
    assert_eq!(processes_of(&dirs[0])?, [0; 0]);
    assert!(!dirs[0].exists(), "{} is left", dirs[0].display());
    two.create_namespace("still-serves").await?;
    drop(two);
    assert_eq!(processes_of(&dirs[1])?, [0; 0]);
    assert!(!dirs[1].exists(), "{} is left", dirs[1].display());
    Ok(())
}

/// What a failing test does: it unwinds.
#[test]
fn a_panic_leaves_nothing() -> Result<()> {
    let (send, receive) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let sandbox = Sandbox::new("sakidori-panic").unwrap();
        let mut sleep = Command::new("sh");
        // The path in its arguments is what `processes_of` finds it by.
        sleep.args(["-c", "sleep 1000; :"]).arg(sandbox.dir());
        let process = sandbox.spawn("sleep", sleep).unwrap();
        send.send((sandbox.dir().to_owned(), process.id())).unwrap();
        panic!("a test fails (this panic is part of the test)");
    });
    let (dir, id) = receive.recv()?;
    assert!(panicked.join().is_err());
    assert_eq!(processes_of(&dir)?, [0; 0]);
    assert!(!Path::new(&format!("/proc/{id}")).exists());
    assert!(!dir.exists());
    Ok(())
}

#[tokio::test]
async fn a_killed_parent_leaves_nothing() -> Result<()> {
    let (mut parent, dir) = start_command(&[])?;
    assert!(processes_of(&dir)?.len() >= 5, "five components run");
    parent.kill()?; // SIGKILL
    parent.wait()?;
    gone(&dir).await
}

#[tokio::test]
async fn the_command_stops_when_stdin_closes() -> Result<()> {
    let (mut parent, dir) = start_command(&["--until-stdin-closes"])?;
    drop(parent.stdin.take());
    assert!(parent.wait()?.success());
    // It says that it is stopped only once all is gone.
    assert_eq!(processes_of(&dir)?, [0; 0]);
    assert!(!dir.exists());
    Ok(())
}

/// Starts `test-cluster start` and gives its cluster's folder.
fn start_command(arguments: &[&str]) -> Result<(Child, PathBuf)> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_test-cluster"))
        .args(["start", "--nodes", "1"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(child.stdout.take().context("no stdout")?);
    for line in output.lines() {
        if let Some((_, path)) = line?.split_once("KUBECONFIG=") {
            return Ok((
                child,
                Path::new(path).parent().context("no folder")?.to_owned(),
            ));
        }
    }
    anyhow::bail!("it printed no kubeconfig and ended ({})", child.wait()?)
}

async fn gone(dir: &Path) -> Result<()> {
    eventually("end of all processes and of the folder", SOON, async || {
        Ok((processes_of(dir)?.is_empty() && !dir.exists()).then_some(()))
    })
    .await
}

/// The processes whose command line or working folder names `dir`.
fn processes_of(dir: &Path) -> Result<Vec<u32>> {
    let text = dir.to_string_lossy();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Ok(id) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let works_there =
            std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
        if works_there || String::from_utf8_lossy(&arguments).contains(&*text) {
            found.push(id);
        }
    }
    Ok(found)
}
