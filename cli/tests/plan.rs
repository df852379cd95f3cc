//! `sakidori plan` as a process: exit codes, what goes to which stream.

#![allow(
    clippy::unwrap_used,
    reason = "a test's own functions may, as its cases may"
)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const PERIOD: [&str; 4] = ["--from", "2027-01-01", "--to", "2027-01-10"];

fn plan(arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sakidori"))
        .arg("plan")
        .args(PERIOD)
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .env("KUBECONFIG", "no/such/kubeconfig")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A process that reads no stdin may be gone already.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn fails(arguments: &[&str], stdin: &str, code: i32, expected: &str) {
    let output = plan(arguments, stdin);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(errors.contains(expected), "{expected}\n{errors}");
}

#[test]
fn a_sound_folder_is_planned_and_says_nothing_else() {
    let output = plan(&["-f", "examples/sale", "--time-zone", "Asia/Tokyo"], "");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let held = include_str!("../../plan/tests/snapshots/sale.txt");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), held);
}

#[test]
fn stdin_is_read_and_a_missing_calendar_fails() {
    let object = include_str!("../../examples/sale/web.yaml");
    fails(
        &["-f", "-"],
        object,
        1,
        "error: stdin, document 2: ScaledObject shop/web: spec.triggers[1].metadata.calendar: \"sales\"",
    );
    let both = format!(
        "{object}---\n{}",
        include_str!("../../examples/sale/calendar.yaml")
    );
    assert_eq!(plan(&["-f", "-"], &both).status.code(), Some(0));
}

#[test]
fn broken_yaml_fails_and_the_rest_is_planned() {
    let output = plan(&["-f", "examples/sale", "-f", "-"], "kind: [");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("shop/web")
    );
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .starts_with("error: stdin, document 1: no YAML")
    );
}

#[test]
fn wrong_arguments_are_named() {
    let example = ["-f", "examples/sale"];
    let with = |more: &[&'static str]| [&example[..], more].concat();
    fails(
        &with(&["--time-zone", "Asia/Tokio"]),
        "",
        1,
        "--time-zone: unknown time zone Asia/Tokio, did you mean Asia/Tokyo?",
    );
    fails(&with(&["--assume-lead", "soon"]), "", 1, "--assume-lead");
    fails(&with(&["--source", "sales"]), "", 1, "--source \"sales\"");
    fails(&with(&["-o", "pdf"]), "", 2, "pdf");
    fails(&["-f", "no/such/folder"], "", 1, "no/such/folder");
    fails(
        &["-f", "engine/src"],
        "",
        1,
        "no Kubernetes object in engine/src",
    );
    fails(&[], "", 1, "kubeconfig");
}
