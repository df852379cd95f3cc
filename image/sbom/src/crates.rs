//! The crates of the binary, as `cargo tree` prints them: for one target, with the features that are on, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A crate and its version, which names it in one binary.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub name: String,
    pub version: String,
}

/// What is known of one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Crate {
    /// An SPDX expression, as far as its author wrote one.
    pub licence: String,
    pub features: BTreeSet<String>,
    pub dependencies: BTreeSet<Name>,
    /// It is in the binary. What is not, ran inside the compiler: macros, and what they are made of.
    pub linked: bool,
    /// It comes from this repository.
    pub own: bool,
}

/// All crates that `name` needs, itself too.
///
/// # Errors
/// If cargo can't be run or prints something else than expected.
pub fn of_binary(name: &str, target: &str) -> Result<BTreeMap<Name, Crate>> {
    let mut crates = parse(&tree(name, target, "normal")?)?;
    for linked in parse(&tree(name, target, "normal,no-proc-macro")?)?.keys() {
        crates
            .get_mut(linked)
            .with_context(|| format!("cargo tree names {} only without macros", linked.name))?
            .linked = true;
    }
    Ok(crates)
}

fn tree(name: &str, target: &str, edges: &str) -> Result<String> {
    output(Command::new("cargo").args([
        "tree",
        "--locked",
        "--package",
        name,
        "--target",
        target,
        "--edges",
        edges,
        "--prefix",
        "depth",
        "--format",
        "\t{p}\t{l}\t{f}",
    ]))
}

/// What a command prints.
///
/// # Errors
/// If it can't be started or fails.
pub fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("can't start {program}"))?;
    if !output.status.success() {
        bail!("{program} failed ({})", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} printed no UTF-8"))
}

/// Lines of depth, crate, licence and features. What stood before stands again without its dependencies.
fn parse(tree: &str) -> Result<BTreeMap<Name, Crate>> {
    let mut crates: BTreeMap<Name, Crate> = BTreeMap::new();
    let mut path: Vec<Name> = Vec::new();
    for line in tree.lines() {
        let unexpected = || format!("cargo tree printed a line that isn't expected: {line}");
        let columns: Vec<&str> = line.split('\t').collect();
        let [depth, package, licence, features] = columns[..] else {
            bail!(unexpected());
        };
        let depth: usize = depth.parse().with_context(unexpected)?;
        let (name, own) = package_name(package).with_context(unexpected)?;
        path.truncate(depth);
        if let Some(parent) = path.last().and_then(|parent| crates.get_mut(parent)) {
            parent.dependencies.insert(name.clone());
        }
        let known = crates.entry(name.clone()).or_default();
        known.own = own;
        // Older crates separate licences with a slash, which SPDX doesn't know.
        known.licence = licence.replace(" / ", " OR ").replace('/', " OR ");
        let features = features.trim_end_matches(" (*)").split(',');
        let features = features.filter(|feature| !feature.is_empty());
        known.features.extend(features.map(str::to_owned));
        path.push(name);
    }
    Ok(crates)
}

/// Of `serde v1.0.0`, `serde_derive v1.0.0 (proc-macro)` or `sakidori v0.1.0 (/src/cli)`; and whether it stands in a folder.
fn package_name(package: &str) -> Option<(Name, bool)> {
    let (name, rest) = package.split_once(" v")?;
    let mut words = rest.splitn(2, ' ');
    let version = words.next()?;
    let own = words.next().is_some_and(|place| place.contains('/'));
    let name = Name {
        name: name.to_owned(),
        version: version.to_owned(),
    };
    Some((name, own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str, version: &str) -> Name {
        Name {
            name: name.to_owned(),
            version: version.to_owned(),
        }
    }

    #[test]
    fn a_tree_becomes_crates_with_features_and_dependencies() {
        let tree = "0\tsakidori v0.1.0 (/src/cli)\tApache-2.0\taws,kafka\n\
            1\tserde v1.0.9\tMIT/Apache-2.0\tstd\n\
            2\tserde_derive v1.0.9 (proc-macro)\tMIT OR Apache-2.0\t\n\
            1\trdkafka-sys v4.10.0+2.12.1\tMIT\tssl\n\
            2\tserde v1.0.9\tMIT/Apache-2.0\tderive (*)\n";
        let crates = parse(tree).unwrap();
        let serde = &crates[&name("serde", "1.0.9")];
        assert_eq!(serde.licence, "MIT OR Apache-2.0");
        assert!(serde.features.iter().eq(["derive", "std"]));
        assert!(
            serde
                .dependencies
                .iter()
                .eq([&name("serde_derive", "1.0.9")])
        );
        let own: Vec<&str> = crates
            .iter()
            .filter(|(_, known)| known.own)
            .map(|(name, _)| name.name.as_str())
            .collect();
        assert_eq!(own, ["sakidori"]);
        let kafka = &crates[&name("rdkafka-sys", "4.10.0+2.12.1")];
        assert!(kafka.dependencies.iter().eq([&name("serde", "1.0.9")]));
        assert_eq!(crates.len(), 4);
    }

    #[test]
    fn other_lines_are_refused() {
        for tree in ["serde v1.0.9", "x\tserde v1\tMIT\t", "0\tserde\tMIT\t"] {
            let error = parse(tree).unwrap_err().to_string();
            assert!(error.contains(tree), "{error}");
        }
    }
}
