//! `make demo-resize`, as a new user runs it, but into a pipe.

use crate::demo::{assert_ctrl_c_leaves_nothing, assert_nothing_is_left, plain_text_of, program};

#[test]
fn pods_grow_before_others_come_and_one_without_room_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let text = plain_text_of(&mut program(
        env!("CARGO_BIN_EXE_demo-resize"),
        folder.path(),
    ));
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
