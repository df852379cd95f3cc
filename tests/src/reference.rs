//! What is written from the code by `make docs`, and held current by a test: the reference pages in `docs/`, and the dashboards.
//!
//! A trigger type's page is the `//!` header of its file, and a table of its parameters: their declarations, and the `///`
//! lines of the struct that they are parsed into. The command line's page is what `--help` prints, and those of the kinds' fields are in
//! [`fields`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use sakidori_scalers::Kind;
use sakidori_scalers::params::{Field, Source};

use crate::{binary, dashboards, fields, trigger_index};

/// All reference pages, and the dashboards: their paths relative to the repository's root, and what they hold.
///
/// # Errors
/// If a source file is missing, a parameter is undocumented, or there is no `sakidori` binary.
pub fn pages() -> Result<BTreeMap<PathBuf, String>> {
    let root = binary::repository();
    let mut pages = BTreeMap::new();
    for kind in sakidori_scalers::kinds() {
        let page = trigger_page(&root, kind)
            .with_context(|| format!("the page of trigger type {:?}", kind.name))?;
        pages.insert(
            PathBuf::from(format!("docs/scalers/{}.md", kind.name)),
            page,
        );
    }
    pages.insert(
        PathBuf::from("docs/scalers/README.md"),
        trigger_index::page(&root)?,
    );
    pages.insert(
        PathBuf::from("docs/reference/command-line.md"),
        command_line_page()?,
    );
    pages.insert(
        PathBuf::from("charts/sakidori/files/flags.yaml"),
        flags_of_the_chart()?,
    );
    pages.extend(fields::pages()?);
    pages.extend(dashboards::files());
    Ok(pages)
}

/// The main file of a trigger type, relative to `scalers/src`, and what it holds.
pub(crate) fn source_file(root: &Path, kind: &Kind) -> Result<(String, String)> {
    let module = module_of(kind);
    let folder = root.join("scalers/src");
    let main = [format!("{module}.rs"), format!("{module}/mod.rs")]
        .into_iter()
        .find(|file| folder.join(file).is_file())
        .with_context(|| {
            format!("there is neither {module}.rs nor {module}/mod.rs in scalers/src")
        })?;
    let source = std::fs::read_to_string(folder.join(&main))?;
    Ok((main, source))
}

fn module_of(kind: &Kind) -> String {
    kind.name.replace('-', "_")
}

fn trigger_page(root: &Path, kind: &Kind) -> Result<String> {
    let (main, source) = source_file(root, kind)?;
    let descriptions = descriptions(&root.join("scalers/src"), &module_of(kind), &source)?;

    let mut page = format!(
        "<!-- Written by `make docs` from scalers/src/{main}: change it there. -->\n\n# {}\n\n",
        kind.name
    );
    page.push_str(&header(&source));
    let departures = std::fs::read_to_string(root.join("ARCHITECTURE.md"))?;
    page.push_str(&trigger_index::departures_of(&departures, kind.name));
    page.push_str("\n## Parameters\n\n");
    page.push_str("All values are strings. A parameter is looked up in the given places, in their order: `metadata` is the trigger's own, ");
    page.push_str("`FromEnv` means that the metadata key with that ending names a variable of the target's container, and ");
    page.push_str("`authentication` is the TriggerAuthentication.\n\n");
    page.push_str("| parameter | given in | default | meaning |\n|---|---|---|---|\n");
    for field in (kind.fields)() {
        page.push_str(&row(field, &descriptions)?);
    }
    Ok(page)
}

fn row(field: &Field, descriptions: &BTreeMap<String, String>) -> Result<String> {
    let description = descriptions.get(field.name).with_context(|| {
        format!(
            "no struct field of parameter {:?} has a `///` line",
            field.name
        )
    })?;
    let places: Vec<&str> = field
        .sources
        .iter()
        .map(|source| match source {
            Source::Metadata => "metadata",
            Source::Environment => "FromEnv",
            Source::Authentication => "authentication",
        })
        .collect();
    let default = match field.default {
        _ if field.required => "**required**".to_owned(),
        Some(default) => format!("`{default}`"),
        None => String::new(),
    };
    let mut text = description.replace('|', r"\|");
    if !field.aliases.is_empty() {
        text.push_str(&format!(" Also called `{}`.", field.aliases.join("`, `")));
    }
    if field.secret && field.sources.contains(&Source::Metadata) {
        text.push_str(" A secret: keep it in a TriggerAuthentication.");
    }
    if let Some(instead) = field.deprecated {
        text.push_str(&format!(" Deprecated: {instead}."));
    }
    Ok(format!(
        "| `{}` | {} | {default} | {text} |\n",
        field.name,
        places.join(", ")
    ))
}

/// The `//!` lines at the start of a source file, without the trigger type's name before the first sentence. Links to items,
/// which only rustdoc resolves, lose their brackets.
pub(crate) fn header(source: &str) -> String {
    let lines: Vec<&str> = source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let text = lines.join("\n");
    let text = match text.split_once("`: ") {
        Some((name, rest)) if name.starts_with('`') && !name.contains('\n') => capitalised(rest),
        _ => text,
    };
    without_item_links(&text) + "\n"
}

/// Brackets around code stay where a target follows.
fn without_item_links(text: &str) -> String {
    let mut parts = text.split("[`");
    let mut without = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once("`]") {
            Some((code, rest)) if !rest.starts_with('(') => {
                without.push_str(&format!("`{code}`{rest}"));
            }
            _ => without.push_str(&format!("[`{part}")),
        }
    }
    without
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// What the `///` lines before each field of a struct of parameters say, by the field's name in manifests. The trigger type's
/// own files go before those that several types share, and of these the ones that its main file, whose text is given, uses before
/// others; other types' files don't count.
fn descriptions(folder: &Path, module: &str, main: &str) -> Result<BTreeMap<String, String>> {
    let mut own = Vec::new();
    let mut used = Vec::new();
    let mut shared = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in
            std::fs::read_dir(&next).with_context(|| format!("can't read {}", next.display()))?
        {
            let path = entry?.path();
            let relative = path.strip_prefix(folder)?;
            let first = relative
                .components()
                .next()
                .map(|part| part.as_os_str().to_string_lossy().into_owned());
            let is_in = |module: &str| {
                let first = first.as_deref();
                first.is_some_and(|first| first.strip_suffix(".rs").unwrap_or(first) == module)
            };
            let is_own = is_in(module);
            let is_others = sakidori_scalers::kinds()
                .iter()
                .any(|kind| is_in(&module_of(kind)));
            if is_others && !is_own {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let uses = |name: &str| main.contains(&format!("use crate::{name}::"));
                match first.as_deref() {
                    _ if is_own => own.push(path),
                    Some(first) if uses(first) => used.push(path),
                    _ => shared.push(path),
                }
            }
        }
    }
    // Where a trigger type has a file of its parameters, that file says what they are.
    own.sort_by_key(|path| (!path.ends_with("parameters.rs"), path.clone()));
    used.sort();
    shared.sort();
    let mut found = BTreeMap::new();
    for path in own.iter().chain(&used).chain(&shared) {
        for (name, text) in fields(&std::fs::read_to_string(path)?) {
            found.entry(name).or_insert(text);
        }
    }
    Ok(found)
}

/// The documented fields of a source file's structs of parameters.
fn fields(source: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut text: Vec<&str> = Vec::new();
    let mut renamed = None;
    let mut of_parameters = false;
    for line in source.lines().map(str::trim) {
        if let Some(doc) = line.strip_prefix("///") {
            text.push(doc.trim());
        } else if let Some(attribute) = line.strip_prefix("#[serde(") {
            renamed = attribute
                .split_once("rename = \"")
                .and_then(|(_, rest)| rest.split_once('"'))
                .map(|(name, _)| name);
        } else if !line.starts_with("#[") {
            let declaration = match line.split_once(' ') {
                Some((visibility, rest)) if visibility.starts_with("pub") => rest,
                _ => line,
            };
            if let Some(name) = declaration.strip_prefix("struct ") {
                let name = name.split(|letter: char| !letter.is_alphanumeric()).next();
                let declared = format!("impl Parameters for {} ", name.unwrap_or_default());
                of_parameters = source.contains(&declared);
            }
            let identifier = declaration
                .split_once(": ")
                .map(|(name, _)| name.trim_start_matches("r#"))
                .filter(|name| of_parameters && !text.is_empty() && is_identifier(name));
            if let Some(identifier) = identifier {
                let name = renamed.map_or_else(|| camel_case(identifier), str::to_owned);
                found.push((name, text.join(" ")));
            }
            text.clear();
            renamed = None;
        }
    }
    found
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
}

/// `pod_selector` as serde's `rename_all = "camelCase"` writes it.
fn camel_case(identifier: &str) -> String {
    let mut words = identifier.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| name + &capitalised(word))
}

fn command_line_page() -> Result<String> {
    let mut page =
        "<!-- Written by `make docs` from what --help prints. -->\n\n# Command line\n\n".to_owned();
    let main = help(&[])?;
    page.push_str(&format!("```text\n{main}\n```\n"));
    for command in subcommands(&main) {
        page.push_str(&format!(
            "\n## sakidori {command}\n\n```text\n{}\n```\n",
            help(&[command])?
        ));
    }
    Ok(page)
}

/// The flags that the chart's `extraArgs` may name.
fn flags_of_the_chart() -> Result<String> {
    let mut text = "# The flags of both processes, which extraArgs may name. Written by `make docs` from what --help prints.\n".to_owned();
    for (name, command) in [
        ("operator", "operator"),
        ("metricsAdapter", "metrics-adapter"),
    ] {
        text.push_str(&format!("{name}:\n"));
        for flag in flags(&help(&[command])?) {
            text.push_str(&format!("  - {flag}\n"));
        }
    }
    Ok(text)
}

/// The long flags that a help text declares, in alphabetical order.
fn flags(help: &str) -> BTreeSet<&str> {
    let declared = help.lines().filter_map(|line| {
        let flag = line.strip_prefix("      --")?;
        flag.split([' ', '[', '=']).next()
    });
    declared.collect()
}

fn help(subcommand: &[&str]) -> Result<String> {
    let program = binary::sakidori()?;
    let output = Command::new(&program)
        .args(subcommand)
        .arg("--help")
        // The environment's values would stand in the text, and a terminal's width would wrap it.
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("can't run {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} --help ended with {}",
        program.display(),
        output.status
    );
    let text = String::from_utf8(output.stdout)?;
    Ok(text
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
        .trim()
        .to_owned())
}

/// The names below `Commands:`, without `help`.
fn subcommands(main: &str) -> Vec<&str> {
    main.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_names_of_manifests() {
        let source = "struct A {\n    /// One\n    /// text.\n    pod_selector: String,\n    undocumented: u8,\n    /// Two.\n    #[serde(rename = \"URL\")]\n    pub(super) url: String,\n}\nimpl Parameters for A {}\nstruct B {\n    /// No parameter.\n    other: u8,\n}";
        assert_eq!(
            fields(source),
            [
                ("podSelector".into(), "One text.".into()),
                ("URL".into(), "Two.".into())
            ]
        );
    }

    #[test]
    fn a_header_starts_with_its_first_sentence() {
        assert_eq!(
            header("//! `cron`: a number, see [`schedule`].\n//!\n//! As [`x`](x.md).\nuse x;"),
            "A number, see `schedule`.\n\nAs [`x`](x.md).\n"
        );
    }

    #[test]
    fn subcommands_are_found() {
        assert_eq!(
            subcommands(
                "Usage\n\nCommands:\n  operator  Run\n            on\n  help      Print\n\nOptions:\n  -h"
            ),
            ["operator"]
        );
    }
}
