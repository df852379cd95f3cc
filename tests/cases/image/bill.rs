//! Its bill of materials.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::python;
use sakidori_tests::binary;
use serde_json::Value;

use super::image;

/// CycloneDX's own schema, which knows SPDX's names of licences, too.
const VALIDATE: &str = "
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(problem and str(problem))
";

fn bill() -> Result<Value> {
    let file = image().root().join("licenses/sbom.cdx.json");
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

fn components(bill: &Value) -> Result<&Vec<Value>> {
    bill["components"].as_array().context("no components")
}

/// Name and version of the crates in the bill that `choose` chooses, with the binary's own.
fn crates(bill: &Value, choose: impl Fn(&Value) -> bool) -> Result<BTreeSet<String>> {
    let subject = &bill["metadata"]["component"];
    let components = components(bill)?.iter().chain([subject]);
    let named = |component: &Value| {
        let reference = component["bom-ref"].as_str()?;
        let crate_of = reference.starts_with("pkg:cargo/") && choose(component);
        let (name, version) = (component["name"].as_str()?, component["version"].as_str()?);
        crate_of.then(|| format!("{name} v{version}"))
    };
    Ok(components.filter_map(named).collect())
}

/// What cargo says of the binary's crates: its own words, without what comes behind the version.
fn tree(edges: &str) -> Result<BTreeSet<String>> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new("cargo")
        .args(["tree", "--offline", "--locked", "--package", "sakidori"])
        .args(["--target", &target, "--edges", edges, "--prefix", "none"])
        .current_dir(binary::repository())
        .output()?;
    ensure!(output.status.success(), "cargo tree failed");
    let text = String::from_utf8(output.stdout)?;
    let lines = text.lines().filter(|line| !line.is_empty());
    let package = |line: &str| {
        let words: Vec<&str> = line.split(' ').take(2).collect();
        words.join(" ")
    };
    Ok(lines.map(package).collect())
}

#[test]
fn it_is_valid() -> Result<()> {
    let file = image().root().join("licenses/sbom.cdx.json");
    let output = Command::new(python::cyclonedx()?)
        .args(["-c", VALIDATE])
        .arg(file)
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn it_names_the_crates_that_cargo_names_and_no_others() -> Result<()> {
    let bill = bill()?;
    assert_eq!(crates(&bill, |_| true)?, tree("normal")?);
    let linked = crates(&bill, |component| component["scope"] == "required")?;
    assert_eq!(linked, tree("normal,no-proc-macro")?);
    println!("{} crates are linked", linked.len());
    Ok(())
}

#[test]
fn each_part_has_a_version_a_licence_and_what_a_scanner_finds_it_by() -> Result<()> {
    let bill = bill()?;
    for component in components(&bill)? {
        for field in ["name", "version", "bom-ref"] {
            assert!(component[field].is_string(), "{field}: {component}");
        }
        assert!(component["licenses"].is_array(), "{component}");
        let name = component["name"].as_str().unwrap_or_default();
        if name.starts_with("sakidori") {
            // Nobody else's package may be taken for it.
            assert_eq!(component["purl"], Value::Null, "{component}");
        } else {
            assert!(component["purl"].is_string(), "{component}");
        }
        let from_registry = component["purl"]
            .as_str()
            .is_some_and(|purl| purl.starts_with("pkg:cargo/"));
        assert_eq!(component["hashes"].is_array(), from_registry, "{component}");
    }
    Ok(())
}

#[test]
fn it_names_the_c_libraries_that_are_linked() -> Result<()> {
    let bill = bill()?;
    let of_debian = |component: &&Value| {
        let purl = component["purl"].as_str().unwrap_or_default();
        purl.starts_with("pkg:deb/debian/")
    };
    let packages: Vec<&Value> = components(&bill)?.iter().filter(of_debian).collect();
    let names: Vec<&str> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .map(|name| name.split_once('-').map_or(name, |(name, _)| name))
        .collect();
    assert_eq!(names, ["ca", "gcc", "glibc", "openssl"]);
    // What they say of themselves in the binary.
    let binary = std::fs::read(image().root().join("sakidori"))?;
    let binary = String::from_utf8_lossy(&binary);
    let version = |name: &str| {
        let package = packages.iter().find(|package| package["name"] == name);
        let version = package.and_then(|package| package["version"].as_str());
        version.unwrap_or_default().to_owned()
    };
    let openssl = version("openssl");
    let upstream = openssl.split('-').next().unwrap_or_default();
    assert!(
        binary.contains(&format!("OpenSSL {upstream} ")),
        "{openssl}"
    );
    let kafka = components(&bill)?
        .iter()
        .find(|component| component["name"] == "rdkafka-sys");
    let kafka = kafka.context("no rdkafka-sys")?;
    let library = &kafka["components"][0];
    assert_eq!(library["name"], "librdkafka");
    let version = library["version"].as_str().unwrap_or_default();
    assert!(
        kafka["version"]
            .as_str()
            .unwrap_or_default()
            .ends_with(version)
    );
    // It says its version by a number alone, but its files' names stand in its messages.
    assert!(
        binary.contains("rdkafka_"),
        "librdkafka is not in the binary"
    );
    // It is compiled in by other features only.
    assert!(!binary.contains("inflate 1."), "zlib is in the binary");
    Ok(())
}

#[test]
fn the_licences_of_all_parts_are_there() -> Result<()> {
    let texts = std::fs::read_to_string(image().root().join("licenses/THIRD-PARTY"))?;
    let bill = bill()?;
    for component in components(&bill)? {
        let name = component["name"].as_str().unwrap_or_default();
        let ours = name.starts_with("sakidori");
        if component["scope"] == "required" && !ours && name != "rust-std" {
            let version = component["version"].as_str().unwrap_or_default();
            let line = format!("\n{name} {version} (");
            assert!(texts.contains(&line), "{name} {version}");
        }
    }
    // A text breaks its lines where it likes.
    let words: Vec<&str> = texts.split_whitespace().collect();
    let words = words.join(" ");
    for text in ["LICENSE.snappy", "GNU Lesser General Public License"] {
        assert!(words.contains(text), "{text}");
    }
    Ok(())
}
