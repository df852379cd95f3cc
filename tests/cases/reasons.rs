//! The pages about reasons of conditions, and about log lines, are about all that there are, and about no others.

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;
use sakidori_tests::binary;

/// Each condition's type and reasons.
type Conditions = &'static [(&'static str, &'static [&'static str])];

fn read(path: impl AsRef<Path>) -> String {
    let path = binary::repository().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn each_reason_of_a_condition_has_a_page_and_each_page_a_reason() {
    let all: [(&str, Conditions); 2] = [
        (
            "ScaledObject",
            sakidori_engine::condition_reasons::OF_SCALED_OBJECTS,
        ),
        ("SaleCalendar", sakidori_api::reasons::OF_CALENDARS),
    ];
    let index = read("docs/reasons/README.md");
    let mut known = BTreeSet::from(["README.md".to_owned()]);
    for (kind, conditions) in all {
        for (condition, reasons) in conditions {
            for reason in *reasons {
                let page = read(format!("docs/reasons/{reason}.md"));
                assert!(page.starts_with(&format!("# {reason}\n")), "{page}");
                let about = format!("Condition `{condition}` of a {kind}");
                assert!(page.contains(&about), "{reason}.md lacks {about:?}");
                assert!(
                    page.contains("**Check first:**"),
                    "{reason}.md says nothing to check first"
                );
                assert!(
                    index.contains(&format!("[{reason}]({reason}.md)")),
                    "{reason} is not in the index"
                );
                known.insert(format!("{reason}.md"));
            }
        }
    }
    let pages = std::fs::read_dir(binary::repository().join("docs/reasons")).unwrap();
    let pages: BTreeSet<String> = pages
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(pages, known);
}

/// The sources of a crate.
fn sources(folder: &Path, into: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(std::fs::read_to_string(path).unwrap());
        }
    }
}

/// The words of all warnings and errors in a source, with `...` for what is put in.
fn warnings(source: &str) -> Vec<String> {
    let statement = Regex::new(r"\b(?:warn|error)!\(").unwrap();
    let words = Regex::new(r#""((?:[^"\\]|\\.)*)""#).unwrap();
    let put_in = Regex::new(r"\{[^}]*\}").unwrap();
    // What is tested of lines is none.
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let found = statement.find_iter(source).filter_map(|found| {
        let rest = &source[found.end()..];
        let end = rest.find(");").unwrap_or(rest.len());
        let message = words.captures_iter(&rest[..end]).last()?;
        Some(put_in.replace_all(&message[1], "...").into_owned())
    });
    // An Event's sentence, a parameter's, or what ended the process.
    found.filter(|message| message != "...").collect()
}

#[test]
fn each_warning_stands_in_the_documentation_with_what_to_do() {
    let documented = read("docs/logs.md");
    let mut texts = Vec::new();
    for crate_ in ["cli", "operator", "values", "metrics-adapter", "scalers"] {
        sources(&binary::repository().join(crate_).join("src"), &mut texts);
    }
    let warnings: BTreeSet<String> = texts.iter().flat_map(|text| warnings(text)).collect();
    assert!(warnings.len() > 30, "only {warnings:#?}");
    let missing: Vec<_> = warnings
        .iter()
        .filter(|message| !documented.contains(&format!("`{message}`")))
        .collect();
    assert!(missing.is_empty(), "docs/logs.md lacks {missing:#?}");
}
