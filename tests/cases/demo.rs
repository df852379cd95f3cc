//! `make demo`, as a new user runs it, but into a pipe.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A folder of its own for everything that the demo makes, so that what it leaves behind is seen.
pub fn program(path: &str, folder: &Path) -> Command {
    let mut command = Command::new(path);
    command
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs it to its end, and gives what it wrote: plain text, as it goes to a pipe. It looks itself whether what it says is so.
pub fn plain_text_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{text}\n{errors}",
        output.status
    );
    assert!(
        text.chars()
            .all(|letter| letter == '\n' || !letter.is_control()),
        "control characters in {text:?}"
    );
    text
}

fn wait(child: &mut Child, within: Duration) -> ExitStatus {
    let deadline = Instant::now() + within;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(
            Instant::now() < deadline,
            "the demo still runs after {within:?}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Processes that were started in, or with a file of, `folder`.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .map(|command| String::from_utf8_lossy(&command).replace('\0', " "))
        .filter(|command| command.contains(&*folder))
        .collect()
}

pub fn assert_nothing_is_left(folder: &Path) {
    // The kernel may need a moment for processes that were just killed.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let processes = processes_of(folder);
        let files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name().into_string().unwrap())
            // The locks of ports are shared by all, and stay.
            .filter(|name| !name.starts_with("sakidori-ports"))
            .collect();
        if processes.is_empty() && files.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "left behind: {processes:?} and {files:?} in {}",
            folder.display()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_demo_goes_from_0_to_10_and_back_and_writes_plain_text_to_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let text = plain_text_of(&mut program(env!("CARGO_BIN_EXE_demo"), folder.path()));
    for time in [
        "the first replica wanted",
        "10 pods Ready",
        "an empty queue",
        "0 replicas",
    ] {
        assert!(text.contains(time), "no time of {time:?} in\n{text}");
    }
    assert_nothing_is_left(folder.path());
}

#[test]
fn ctrl_c_during_the_demo_leaves_nothing_behind() {
    // The control plane is up then, and RabbitMQ is.
    assert_ctrl_c_leaves_nothing(env!("CARGO_BIN_EXE_demo"), "s  RabbitMQ");
}

/// Interrupts a demo when it has written a line that ends like this.
pub fn assert_ctrl_c_leaves_nothing(path: &str, after: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut child = program(path, folder.path()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines
        .find(|line| line.as_ref().unwrap().trim_end().ends_with(after))
        .unwrap_or_else(|| panic!("no line that ends with {after:?}"))
        .unwrap();
    assert!(
        !processes_of(folder.path()).is_empty(),
        "the control plane runs in its folder"
    );
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let status = wait(&mut child, Duration::from_secs(20));
    assert_eq!(
        status.code(),
        Some(130),
        "what a shell expects of an interrupted program"
    );
    assert!(lines.any(|line| line.unwrap().starts_with("Ctrl-C: stopped")));
    assert_nothing_is_left(folder.path());
}
