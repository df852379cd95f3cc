//! `make demo-resize`, as a new user runs it, but into a pipe.

use crate::demo::{assert_ctrl_c_leaves_nothing, assert_nothing_is_left, program};

#[test]
fn pods_grow_before_others_come_and_one_without_room_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let output = program(env!("CARGO_BIN_EXE_demo-resize"), folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    // It looks itself whether what it says is so.
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
    for part in [
        "500m>1!",
        "PodResizeDeferred: ",
        "all 4 had it: 1 384Mi instead of 500m 256Mi",
        "the first new pod came",
        "under way at once, at most                           3 of 3 allowed",
        "and was taken back, with the sale",
        "containers restarted                                 0",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert_nothing_is_left(folder.path());
}

#[test]
fn ctrl_c_during_the_sale_leaves_nothing_behind() {
    let demo = env!("CARGO_BIN_EXE_demo-resize");
    assert_ctrl_c_leaves_nothing(demo, "6 pods of web, Ready");
}
