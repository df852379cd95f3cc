//! What the builder's own system puts into the image: Debian's packages, and Rust's standard library.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::crates::output;

/// A source package of Debian's of which something is in the image.
#[derive(Debug, PartialEq, Eq)]
pub struct Package {
    pub source: String,
    pub version: String,
    /// An SPDX expression for what is taken of it.
    pub licence: &'static str,
    /// What is taken, as paths in the builder.
    pub files: BTreeSet<String>,
    /// The binary package that these files are of; where its `copyright` stands.
    pub binary: String,
    pub homepage: String,
    /// Such as `debian-12`.
    pub distribution: String,
}

/// The authorities that clients believe, which stand in the image as a file.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Licences by source package: Debian's own files about them are for people. What isn't listed here is not to be linked before
/// somebody has looked at it.
const LICENCES: [(&str, &str); 4] = [
    ("openssl", "Apache-2.0"),
    ("glibc", "LGPL-2.1-or-later"),
    ("gcc-", "GPL-3.0-or-later WITH GCC-exception-3.1"),
    ("ca-certificates", "MPL-2.0"),
];

/// The packages that these libraries, and the authorities, are of.
///
/// # Errors
/// If dpkg doesn't know a file, or a licence isn't known here.
pub fn packages(libraries: &BTreeSet<String>) -> Result<Vec<Package>> {
    let distribution = distribution()?;
    let mut packages: BTreeMap<String, Package> = BTreeMap::new();
    // The file itself is made by a script of its package, so dpkg doesn't know it.
    let mut owned = vec![(AUTHORITIES.to_owned(), "ca-certificates".to_owned())];
    for library in libraries {
        owned.push((library.clone(), owner(library)?));
    }
    for (file, binary) in owned {
        let package = match packages.entry(binary.clone()) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                new.insert(describe(&binary, &distribution)?)
            }
        };
        package.files.insert(file);
    }
    Ok(packages.into_values().collect())
}

fn owner(file: &str) -> Result<String> {
    // Debian's /lib is a link to /usr/lib, and older packages' files are known under /lib.
    let said = output(Command::new("dpkg").args(["--search", file]))
        .with_context(|| format!("{file} is linked, and of no package that dpkg knows"))?;
    let (package, _) = said
        .split_once(": ")
        .with_context(|| format!("dpkg says of {file}: {said}"))?;
    Ok(package.to_owned())
}

fn describe(binary: &str, distribution: &str) -> Result<Package> {
    let format = "${source:Package}\t${source:Version}\t${Homepage}\n";
    let said = output(Command::new("dpkg-query").args(["--show", "--showformat", format, binary]))?;
    let fields: Vec<&str> = said.trim_end_matches('\n').split('\t').collect();
    let [source, version, homepage] = fields[..] else {
        bail!("dpkg-query says of {binary}: {said}");
    };
    Ok(Package {
        source: source.to_owned(),
        version: version.to_owned(),
        licence: licence(source)?,
        files: BTreeSet::new(),
        binary: binary.split(':').next().unwrap_or(binary).to_owned(),
        homepage: homepage.to_owned(),
        distribution: distribution.to_owned(),
    })
}

fn licence(source: &str) -> Result<&'static str> {
    let known = LICENCES.iter().find(|(name, _)| {
        // GCC's source package is named after its version.
        source == *name || (name.ends_with('-') && source.starts_with(name))
    });
    let (_, licence) = known.with_context(|| {
        format!("{source} is linked, and its licence isn't known: look at it, and add it to LICENCES in image/sbom/src/system.rs")
    })?;
    Ok(licence)
}

fn distribution() -> Result<String> {
    let file = "/usr/lib/os-release";
    let text = std::fs::read_to_string(file).with_context(|| format!("can't read {file}"))?;
    let field = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_matches('"').to_owned())
    };
    let named = field("ID=").zip(field("VERSION_ID="));
    let (id, version) =
        named.with_context(|| format!("{file} has no ID and VERSION_ID: expected Debian's"))?;
    Ok(format!("{id}-{version}"))
}

/// Rust's version, whose standard library is in the binary.
///
/// # Errors
/// If there is no Rust.
pub fn toolchain() -> Result<String> {
    let said = output(Command::new("rustc").arg("-vV"))?;
    let release = said.lines().find_map(|line| line.strip_prefix("release: "));
    Ok(release.context("rustc -vV names no release")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_nobody_has_looked_at_is_refused() {
        assert_eq!(licence("openssl").unwrap(), "Apache-2.0");
        assert!(licence("gcc-12").unwrap().contains("GCC-exception"));
        let error = licence("zlib").unwrap_err().to_string();
        assert!(
            error.contains("zlib") && error.contains("LICENCES"),
            "{error}"
        );
    }
}
