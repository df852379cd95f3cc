//! `make demo-sale`, as a new user runs it, but quicker and into a pipe.

use crate::demo::{assert_ctrl_c_leaves_nothing, assert_nothing_is_left, plain_text_of, program};

#[test]
fn capacity_is_there_before_both_sales_and_a_lost_calendar_takes_none_away() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        plain_text_of(program(env!("CARGO_BIN_EXE_demo-sale"), folder.path()).arg("--quick"));
    for part in [
        "CalendarStale sales: ",
        "all of them are Ready, and reports is at 2",
        "the calendar is Stale, and nothing falls",
        "web and checkout are back at 5, down their ramps",
        "The reports of second-sale:\n  web        15 replicas ready ",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let moved = text
        .lines()
        .find_map(|line| line.strip_prefix("leadTime: auto moved the ramp from "));
    let moved = moved.unwrap_or_else(|| panic!("no lead times in\n{text}"));
    let numbers: Vec<i64> = moved
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    // Seconds before the start: a ramp of 10 s and the shortest lead time; then half as much again as 24 s, and 30 s.
    assert!(numbers[0] >= 70 && numbers[1] >= 76, "{moved}");
    assert!(numbers[1] > numbers[0], "{moved}");
    assert_nothing_is_left(folder.path());
}

#[test]
fn ctrl_c_during_the_sale_leaves_nothing_behind() {
    let demo = env!("CARGO_BIN_EXE_demo-sale");
    assert_ctrl_c_leaves_nothing(demo, "the calendar and the ScaledObjects, Ready");
}
