//! Holds the tables of conformance with KEDA (tests/conformance/): every row is whole, and every test that it names exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;
use sakidori_tests::binary;

/// The columns of every table.
const COLUMNS: [&str; 4] = ["Rule", "KEDA", "Test", "Here"];
/// The columns of the table of what this version does not have.
const OUT_OF_SCOPE: [&str; 3] = ["Rule", "KEDA", "Why not yet"];

/// Parts of KEDA that have rules a user can see: each has rows.
const SECTIONS: [&str; 19] = [
    "1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", "1.8", "1.9", "1.10", "1.11", "2.2", "2.3",
    "2.4", "2.5", "3", "4.4", "5", "10",
];

/// Rules of KEDA's admission: numbers as in its own tables of them.
const ADMISSION_RULES: std::ops::RangeInclusive<u32> = 1..=23;

/// One row: where it stands, and its cells.
struct Row {
    at: String,
    header: Vec<String>,
    cells: Vec<String>,
}

fn folder() -> PathBuf {
    binary::repository().join("tests/conformance")
}

/// The rows of all tables of a Markdown text.
fn rows(file: &str, markdown: &str) -> Vec<Row> {
    let mut header: Option<Vec<String>> = None;
    let mut rows = Vec::new();
    for (index, line) in markdown.lines().enumerate() {
        if !line.starts_with('|') {
            header = None;
            continue;
        }
        let cells = cells(line);
        match &header {
            None => header = Some(cells),
            Some(_) if cells.iter().all(|cell| cell.trim_matches('-').is_empty()) => {}
            Some(header) => rows.push(Row {
                at: format!("{file}:{}", index + 1),
                header: header.clone(),
                cells,
            }),
        }
    }
    rows
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect()
}

fn all_rows() -> Vec<Row> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        let name = path
            .file_name()
            .expect("it has a name")
            .to_string_lossy()
            .into_owned();
        // The introduction's table lists the files.
        if name.ends_with(".md") && name != "README.md" {
            let text = std::fs::read_to_string(&path).expect("Markdown is text");
            all.extend(rows(&name, &text));
        }
    }
    all.sort_by(|a, b| a.at.cmp(&b.at));
    all
}

/// The names of the test functions of a source file, those within `proptest!` included.
fn tests_of(source: &str) -> BTreeSet<String> {
    let test = Regex::new(
        r"#\[(?:tokio::)?test\b[^\]]*\]\s*(?:(?:#\[[^\]]*\]|///[^\n]*|//[^\n]*)\s*)*(?:async )?fn (\w+)",
    )
    .expect("a valid expression");
    test.captures_iter(source)
        .map(|found| found[1].to_owned())
        .collect()
}

/// What is wrong with one row of rules; the tests that it names are looked up in `known`.
fn problems(row: &Row, mut exists: impl FnMut(&str, &str) -> Result<(), String>) -> Vec<String> {
    let expected: &[&str] = if row.header.len() == OUT_OF_SCOPE.len() {
        &OUT_OF_SCOPE
    } else {
        &COLUMNS
    };
    if row.header != expected {
        return vec![format!(
            "the columns are {:?}, expected {expected:?}",
            row.header
        )];
    }
    if row.cells.len() != expected.len() {
        return vec![format!(
            "{} cells, expected {}",
            row.cells.len(),
            expected.len()
        )];
    }
    let mut problems: Vec<String> = row
        .cells
        .iter()
        .zip(expected)
        .filter(|(cell, _)| cell.is_empty())
        .map(|(_, column)| format!("{column} is empty"))
        .collect();
    let [_, _, test, here] = &row.cells[..] else {
        return problems;
    };
    let departs = here
        .strip_prefix("departs: ")
        .is_some_and(|why| !why.trim().is_empty());
    if here != "same" && !departs {
        problems.push(format!(
            "Here is {here:?}, expected `same` or `departs: ` and why"
        ));
    }
    for word in test.split_whitespace() {
        let named = word
            .strip_prefix('`')
            .and_then(|word| word.strip_suffix('`'))
            .and_then(|word| word.split_once("::"));
        match named {
            None => problems.push(format!("{word:?} is no test: expected `file::function`")),
            Some((file, function)) => problems.extend(exists(file, function).err()),
        }
    }
    problems
}

#[test]
fn every_row_is_whole_and_every_test_that_it_names_exists() {
    let mut known: BTreeMap<String, Option<BTreeSet<String>>> = BTreeMap::new();
    let mut exists = |file: &str, function: &str| {
        let tests = known.entry(file.to_owned()).or_insert_with(|| {
            let source = std::fs::read_to_string(binary::repository().join(Path::new(file)));
            source.ok().map(|source| tests_of(&source))
        });
        match tests {
            None => Err(format!("there is no file {file}")),
            Some(tests) if !tests.contains(function) => {
                Err(format!("{file} has no test {function}"))
            }
            Some(_) => Ok(()),
        }
    };
    let rows = all_rows();
    assert!(!rows.is_empty(), "no row in {}", folder().display());
    let wrong: Vec<String> = rows
        .iter()
        .flat_map(|row| {
            let problems = problems(row, &mut exists);
            problems
                .into_iter()
                .map(|problem| format!("{}: {problem}", row.at))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_part_of_keda_that_users_see_has_rows() {
    let rows = all_rows();
    // `3 rule 12, 4.4` is rule 12 of section 3, and section 4.4.
    let places: BTreeSet<String> = rows
        .iter()
        .filter_map(|row| row.cells.get(1))
        .flat_map(|place| place.split(','))
        .filter_map(|place| place.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    let without: Vec<_> = SECTIONS
        .iter()
        .filter(|section| !places.contains(**section))
        .collect();
    assert!(without.is_empty(), "no row for {without:?}");

    let rule = Regex::new(r"\brule (\d+)\b").expect("a valid expression");
    let rules: BTreeSet<u32> = rows
        .iter()
        .flat_map(|row| &row.cells)
        .flat_map(|cell| rule.captures_iter(cell))
        .filter_map(|found| found[1].parse().ok())
        .collect();
    let without: Vec<u32> = ADMISSION_RULES
        .filter(|rule| !rules.contains(rule))
        .collect();
    assert!(without.is_empty(), "no row for admission rules {without:?}");
}

#[test]
fn what_is_wrong_with_a_row_is_told() {
    let table = |row: &str| {
        let text = format!("| Rule | KEDA | Test | Here |\n|---|---|---|---|\n{row}\n");
        let rows = rows("a.md", &text);
        let exists = |file: &str, function: &str| match (file, function) {
            ("a.rs", "it_works") => Ok(()),
            _ => Err(format!("{file} has no test {function}")),
        };
        rows.iter()
            .flat_map(|row| problems(row, exists))
            .collect::<Vec<_>>()
            .join("; ")
    };
    let cases = [
        ("| r | 1.1 | `a.rs::it_works` | same |", ""),
        ("| r | 1.1 | `a.rs::it_works` | departs: better |", ""),
        ("| r | 1.1 | | same |", "Test is empty"),
        (
            "| | 1.1 | `a.rs::it_works` | departs: |",
            "Rule is empty; Here is \"departs:\", expected `same` or `departs: ` and why",
        ),
        ("| r | 1.1 | same |", "3 cells, expected 4"),
        (
            "| r | 1.1 | `a.rs::it_fails` | same |",
            "a.rs has no test it_fails",
        ),
        (
            "| r | 1.1 | later | same |",
            "\"later\" is no test: expected `file::function`",
        ),
    ];
    for (row, expected) in cases {
        assert_eq!(table(row), expected, "{row}");
    }
}

#[test]
fn tests_are_found_under_their_attributes() {
    let source = "#[test]\nfn one() {}\n#[tokio::test(flavor = \"multi_thread\")]\n/// Why.\n#[allow(x)]\nasync fn two() {}\nfn none() {}\n";
    assert_eq!(
        tests_of(source),
        ["one", "two"].map(str::to_owned).into_iter().collect()
    );
}
