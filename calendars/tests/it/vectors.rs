//! Occurrences against what independent libraries find: see `tests/vectors/generate.py`.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use sakidori_calendars::{Book, Events, ics, time_zone};
use serde::Deserialize;

use super::{occurrences, weekly};

#[derive(Deserialize)]
struct Expected {
    from: String,
    to: String,
    exports: Vec<Export>,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Export {
    file: String,
    time_zone: String,
    /// Start, end, name.
    occurrences: Vec<(i64, i64, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    rrule: String,
    start: String,
    time_zone: String,
    duration: String,
    count: usize,
    /// A share of the `count` occurrences: start and end.
    occurrences: Vec<(i64, i64)>,
}

#[derive(Deserialize)]
struct Files {
    from: String,
    to: String,
    files: Vec<File>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    time_zone: String,
    lines: Vec<String>,
    /// Start, end, name.
    occurrences: Vec<(i64, i64, String)>,
}

fn expected() -> Expected {
    serde_json::from_str(include_str!("../vectors/expected.json")).unwrap()
}

#[test]
fn a_year_of_exported_calendars_is_what_an_independent_library_finds() {
    let expected = expected();
    assert!(expected.exports.len() >= 6);
    for export in &expected.exports {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/exports");
        let text = std::fs::read_to_string(folder.join(&export.file)).unwrap();
        let events = ics::read(&text, &time_zone(&export.time_zone).unwrap()).unwrap();
        assert_eq!(events.problems, [], "{}", export.file);
        let found = occurrences(events, &expected.from, &expected.to);
        let mut found: Vec<_> = found
            .iter()
            .map(|one| (one.start.as_second(), one.end.as_second(), one.name.clone()))
            .collect();
        found.sort();
        assert_eq!(
            found, export.occurrences,
            "{} in {}",
            export.file, export.time_zone
        );
    }
}

#[test]
fn a_year_of_rules_is_what_an_independent_library_finds() {
    let expected = expected();
    let mut compared = 0;
    for rule in &expected.rules {
        let zone = time_zone(&rule.time_zone).unwrap();
        let spec = weekly("it", &rule.rrule, Some(&rule.start), &rule.duration);
        let events = Events::from_specs(&[], &[spec], &zone);
        assert_eq!(events.problems, [], "{}", rule.rrule);
        let book = Book::new(events, [], &[]);
        let (from, to) = (super::at(&expected.from), super::at(&expected.to));
        let found: Vec<_> = book
            .occurrences_in(from, to)
            .unwrap()
            .iter()
            .map(|one| (one.start.as_second(), one.end.as_second()))
            .collect();
        let context = format!("{} from {} in {}", rule.rrule, rule.start, rule.time_zone);
        assert_eq!(found.len(), rule.count, "{context}");
        for occurrence in &rule.occurrences {
            assert!(
                found.contains(occurrence),
                "{context}: {occurrence:?} is missing"
            );
        }
        compared += rule.count;
    }
    assert!(compared > 10_000, "{compared} occurrences");
}

#[test]
fn a_year_of_files_made_by_chance_is_what_an_independent_library_finds() {
    let expected: Files = serde_json::from_str(include_str!("../vectors/random.json")).unwrap();
    let (mut compared, mut differences) = (0, Vec::new());
    for (number, file) in expected.files.iter().enumerate() {
        let zone = time_zone(&file.time_zone).unwrap();
        let events = ics::read(&(file.lines.join("\r\n") + "\r\n"), &zone).unwrap();
        assert_eq!(events.problems, [], "file {number}");
        let found = occurrences(events, &expected.from, &expected.to);
        let found: BTreeSet<_> = found
            .iter()
            .map(|one| (one.start.as_second(), one.end.as_second(), one.name.clone()))
            .collect();
        let theirs: BTreeSet<_> = file.occurrences.iter().cloned().collect();
        compared += theirs.len();
        let show = |(start, end, name): &(i64, i64, String)| {
            let at = |second| Timestamp::from_second(second).unwrap();
            format!("{} to {} {name}", at(*start), at(*end))
        };
        for one in found.difference(&theirs) {
            differences.push(format!(
                "file {number} ({}): only here: {}",
                file.time_zone,
                show(one)
            ));
        }
        for one in theirs.difference(&found) {
            differences.push(format!(
                "file {number} ({}): only there: {}",
                file.time_zone,
                show(one)
            ));
        }
    }
    assert!(compared > 2000, "{compared} occurrences");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
