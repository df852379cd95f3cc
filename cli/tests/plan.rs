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
    run(&[&PERIOD, arguments].concat(), stdin)
}

fn run(arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sakidori"))
        .arg("plan")
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

#[test]
fn wrong_periods_are_named() {
    let table = [
        (
            ["tomorrow", "2027-01-10"],
            "--from: \"tomorrow\" is no time: expected 2027-01-02T20:00:00",
        ),
        (
            ["2027-02-30", "2027-03-10"],
            "--from: \"2027-02-30\": there is no 2027-02-30",
        ),
        (
            ["2027-01-05", "2027-01-05"],
            "--to (2027-01-05T00:00:00Z) is not after --from (2027-01-05T00:00:00Z)",
        ),
        (["2027-01-05", "0d"], "--to: \"0d\" is no time"),
        (
            ["2027-01-05", "2100-01-01"],
            "--to (2100-01-01T00:00:00Z) is too late: a plan ends before the year 2100",
        ),
        (["2027-01-05", "soon"], "--to: \"soon\" is no time"),
    ];
    for ([from, to], expected) in table {
        let output = run(&["-f", "examples/sale", "--from", from, "--to", to], "");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{from} to {to}");
        assert!(errors.contains(expected), "{expected}\n{errors}");
    }
}

#[test]
fn a_period_may_be_told_by_its_length() {
    let until = |to: &str| {
        run(
            &["-f", "examples/sale", "--from", "2027-01-01", "--to", to],
            "",
        )
        .stdout
    };
    assert_eq!(until("9d"), until("2027-01-10"));
}

#[test]
fn a_file_that_is_named_twice_is_read_once() {
    let arguments = ["-f", "examples/sale", "--time-zone", "Asia/Tokyo"];
    let once = plan(&arguments, "");
    let twice = plan(
        &[
            &arguments[..],
            &[
                "-f",
                "examples/sale/web.yaml",
                "-f",
                "examples/../examples/sale",
            ],
        ]
        .concat(),
        "",
    );
    assert_eq!(String::from_utf8(twice.stderr).unwrap(), "");
    assert_eq!(twice.stdout, once.stdout);
}

#[test]
fn a_source_that_no_calendar_has_is_named() {
    fails(
        &[
            "-f",
            "examples/sale",
            "--source",
            "sales/marketting=README.md",
        ],
        "",
        1,
        "error: --source sales/marketting: no calendar of that name has a source of that name",
    );
}
