//! Holds what is promised of the repository as a whole: links lead somewhere, every crate keeps the lints, nothing is half done.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use sakidori_tests::{binary, reference};

/// A file larger than this belongs into a release, not into every clone.
const LARGEST_FILE: u64 = 1024 * 1024;

/// Every file that git tracks or would track, relative to the repository's root.
fn files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(binary::repository())
        .output()
        .expect("git runs");
    assert!(
        output.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = String::from_utf8(output.stdout).expect("file names are UTF-8");
    // Deleted but not yet committed files are still listed.
    names
        .split_terminator('\0')
        .map(PathBuf::from)
        .filter(|file| in_repository(file).is_file())
        .collect()
}

fn in_repository(file: &Path) -> PathBuf {
    binary::repository().join(file)
}

fn files_ending(end: &str) -> Vec<PathBuf> {
    files()
        .into_iter()
        .filter(|file| file.to_string_lossy().ends_with(end))
        .collect()
}

/// The text of a file, or `None` for one that is no text.
fn text_of(file: &Path) -> Option<String> {
    String::from_utf8(std::fs::read(in_repository(file)).expect("a listed file can be read")).ok()
}

/// `file:line: what` for every line of every text file on which `find` finds something.
fn search(find: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for file in files() {
        let Some(text) = text_of(&file) else { continue };
        for (index, line) in text.lines().enumerate() {
            if find(line) {
                found.push(format!("{}:{}: {}", file.display(), index + 1, line.trim()));
            }
        }
    }
    found
}

/// The anchors of a Markdown text, as forges make them of headings: lower case, punctuation dropped, spaces to dashes.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let mut in_code = false;
    let mut anchors = BTreeSet::new();
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code || !line.starts_with('#') {
            continue;
        }
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let anchor = heading
            .chars()
            .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter))
            .map(|letter| if letter == ' ' { '-' } else { letter })
            .collect();
        anchors.insert(anchor);
    }
    anchors
}

/// The targets of `[text](target)`, also of images, and of `[name]: target`, outside of code.
fn links(markdown: &str) -> Vec<String> {
    let link = Regex::new(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$").expect("a valid expression");
    let code = Regex::new(r"`[^`]*`").expect("a valid expression");
    let mut in_block = false;
    let mut links = Vec::new();
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if !in_block {
            links.extend(
                link.captures_iter(&code.replace_all(line, ""))
                    .filter_map(|found| Some(found.get(1).or(found.get(2))?.as_str().to_owned())),
            );
        }
    }
    links
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for file in files_ending(".md") {
        let markdown = text_of(&file).expect("Markdown is text");
        for link in links(&markdown) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link.as_str(), ""));
            let target = match path {
                "" => file.clone(),
                path => file.parent().unwrap_or(Path::new("")).join(path),
            };
            if !in_repository(&target).exists() {
                broken.push(format!("{}: no {link}", file.display()));
            } else if !anchor.is_empty()
                && !text_of(&target).is_some_and(|text| anchors(&text).contains(anchor))
            {
                broken.push(format!(
                    "{}: {} has no heading for #{anchor}",
                    file.display(),
                    target.display()
                ));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

/// Where documents lead outside of the repository. Nothing asks these hosts in a test; a new one is written down here by who has looked at it.
const HOSTS: [&str; 9] = [
    "cloud.google.com",
    "cyclonedx.org",
    "docs.aws.amazon.com",
    "github.com",
    "keda.sh",
    "kwok.sigs.k8s.io",
    "learn.microsoft.com",
    "www.alibabacloud.com",
    "www.iana.org",
];

#[test]
fn links_to_elsewhere_are_https_and_to_known_hosts() {
    let mut wrong = Vec::new();
    for file in files_ending(".md") {
        let markdown = text_of(&file).expect("Markdown is text");
        for link in links(&markdown) {
            if !link.contains("://") {
                continue;
            }
            let known = reqwest::Url::parse(&link).is_ok_and(|url| {
                url.scheme() == "https" && url.host_str().is_some_and(|host| HOSTS.contains(&host))
            });
            if !known {
                wrong.push(format!("{}: {link}", file.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "neither https nor to one of HOSTS:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_page_is_found_from_the_index_of_documentation() {
    let start = PathBuf::from("docs/README.md");
    let mut open = vec![start.clone()];
    let mut found = BTreeSet::from([start]);
    while let Some(page) = open.pop() {
        for link in links(&text_of(&page).expect("Markdown is text")) {
            let path = link.split('#').next().unwrap_or_default();
            let target = page.parent().unwrap_or(Path::new("")).join(path);
            let Ok(target) = in_repository(&target).canonicalize() else {
                continue;
            };
            let root = binary::repository().canonicalize().expect("a repository");
            let target = target.strip_prefix(&root).unwrap_or(&target).to_owned();
            if target.extension().is_some_and(|end| end == "md") && found.insert(target.clone()) {
                open.push(target);
            }
        }
    }
    let lost: Vec<PathBuf> = files_ending(".md")
        .into_iter()
        .filter(|file| file.starts_with("docs") && !found.contains(file))
        .collect();
    assert!(lost.is_empty(), "no page leads to {lost:?}");
}

#[test]
fn nothing_names_a_folder_of_the_machine_it_was_written_on() {
    // Composed, so that this file isn't found itself.
    let folder = Regex::new(concat!(
        r#"(^|[\s"'`(=:])/"#,
        r"(home|root|Users|work)/[\w.]"
    ))
    .expect("a valid expression");
    let found = search(|line| folder.is_match(line));
    assert!(
        found.is_empty(),
        "paths of some machine:\n{}",
        found.join("\n")
    );
}

#[test]
fn nothing_is_marked_as_unfinished() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("#[ig", "nore"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
    ];
    let found = search(|line| marks.iter().any(|mark| line.contains(mark)));
    assert!(
        found.is_empty(),
        "do it, or file an issue for it:\n{}",
        found.join("\n")
    );
}

#[test]
fn no_file_is_larger_than_one_mebibyte() {
    let large: Vec<_> = files()
        .into_iter()
        .filter(|file| {
            in_repository(file)
                .metadata()
                .is_ok_and(|metadata| metadata.len() > LARGEST_FILE)
        })
        .collect();
    assert!(large.is_empty(), "larger than 1 MiB: {large:?}");
}

#[test]
fn every_crate_keeps_the_workspace_lints() {
    let root = text_of(Path::new("Cargo.toml")).expect("Cargo.toml is text");
    assert!(
        root.contains("unsafe_code = \"forbid\""),
        "the workspace must forbid unsafe code"
    );
    // What librdkafka has no safe method for; ARCHITECTURE.md says why.
    const UNSAFE: &str = "scalers/kafka-ffi/Cargo.toml";
    let mut without = Vec::new();
    for file in files_ending("/Cargo.toml") {
        if file == Path::new(UNSAFE) {
            continue;
        }
        let manifest = text_of(&file).expect("Cargo.toml is text");
        if !manifest.contains("[lints]\nworkspace = true") {
            without.push(file);
        }
    }
    assert!(
        without.is_empty(),
        "no `[lints]` with `workspace = true` in {without:?}"
    );
}

/// With SAKIDORI_UPDATE set it writes the pages instead: that is `make docs`.
#[test]
fn reference_pages_are_current() {
    let update = std::env::var_os("SAKIDORI_UPDATE").is_some();
    let mut outdated = Vec::new();
    for (page, text) in reference::pages().unwrap() {
        let file = in_repository(&page);
        if std::fs::read_to_string(&file).is_ok_and(|current| current == text) {
            continue;
        }
        if update {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, text).unwrap();
        }
        outdated.push(page);
    }
    if update {
        println!("written: {outdated:?}");
    } else {
        assert!(
            outdated.is_empty(),
            "run `make docs` and commit what it changes: {outdated:?}"
        );
    }
}

#[test]
fn every_source_file_says_what_it_is_about() {
    let silent: Vec<_> = files_ending(".rs")
        .into_iter()
        .filter(|file| !text_of(file).is_some_and(|text| text.starts_with("//! ")))
        .collect();
    assert!(silent.is_empty(), "no `//!` header in {silent:?}");
}

#[test]
fn anchors_are_those_of_headings() {
    let markdown = "# One `code`, two\n```\n# no heading\n```\n## Why 2 writes?\n";
    assert_eq!(
        anchors(markdown),
        ["one-code-two", "why-2-writes"].map(str::to_owned).into()
    );
}

#[test]
fn links_in_code_are_none() {
    assert_eq!(
        links("[a](b.md) `[c](d)`\n```\n[e](f)\n```\n![g](h#i)\n[j]: https://k"),
        ["b.md", "h#i", "https://k"]
    );
}
