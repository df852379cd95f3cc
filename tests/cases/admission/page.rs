//! `docs/admission.md` shows every rule's message as it is, and no other.

use std::collections::BTreeSet;

use sakidori_tests::binary;

use super::{calendars, resize, rules, sales};

/// The texts between fences of ```` ```text ````.
fn shown() -> BTreeSet<String> {
    let page = std::fs::read_to_string(binary::repository().join("docs/admission.md")).unwrap();
    let blocks = page.split("```text\n").skip(1);
    blocks
        .map(|block| block.split("\n```").next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn the_page_shows_every_message_as_it_is() {
    let kinds = [
        rules::of_scaled_objects(),
        rules::of_scaled_jobs(),
        rules::of_authentications("TriggerAuthentication"),
        rules::of_event_sources("CloudEventSource"),
        calendars::rules("SaleCalendar"),
        sales::rules(),
        resize::rules(),
    ];
    let refused = kinds.into_iter().flatten().map(|rule| rule.refused);
    let warned = [
        rules::warnings(),
        calendars::warnings(),
        sales::warnings(),
        resize::warnings(),
    ];
    let warned = warned.into_iter().flatten().map(|warned| warned.warning);
    let held: BTreeSet<String> = refused.chain(warned).map(str::to_owned).collect();
    let shown = shown();
    let missing: Vec<_> = held.difference(&shown).collect();
    let unheld: Vec<_> = shown.difference(&held).collect();
    assert!(
        missing.is_empty() && unheld.is_empty(),
        "docs/admission.md lacks {missing:#?}\nand shows what no case holds: {unheld:#?}"
    );
}
