//! The bill itself, in the words of CycloneDX 1.6: <https://cyclonedx.org/docs/1.6/json/>.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::crates::{Crate, Name};
use crate::purl;
use crate::system::Package;

/// What the binary is made of.
pub struct Parts<'p> {
    pub target: &'p str,
    pub crates: &'p BTreeMap<Name, Crate>,
    pub hashes: &'p BTreeMap<Name, String>,
    pub packages: &'p [Package],
    /// The version of Rust.
    pub toolchain: &'p str,
}

/// The crate that has librdkafka's sources in it; the part of its version after the plus is librdkafka's.
const KAFKA: &str = "rdkafka-sys";

/// The version of librdkafka whose copies of others are listed below.
const KAFKA_VERSION: &str = "2.12.1";
/// What it has copies of, as its own LICENSES.txt says: name, version where its sources name one, licence. What is in the public domain
/// has no licence.
const IN_KAFKA: [(&str, &str, &str); 12] = [
    ("cJSON", "1.7.14", "MIT"),
    ("crc32c", "1.1", "Zlib"),
    (
        "hdrhistogram",
        "3a0bb77429bd3a61596f5e8a3172445844342120",
        "MIT",
    ),
    ("lz4", "1.9.4", "BSD-2-Clause"),
    ("murmur2", "", "MIT"),
    ("nanopb", "8ef41e0ebd45daaf19459a011f67e66224b247cd", "Zlib"),
    (
        "opentelemetry-proto",
        "81a296f9dba23e32d77f46d58c8ea4244a2157a6",
        "Apache-2.0",
    ),
    ("pycrc", "", "MIT"),
    ("regexp", "875c33568b5a4aa4fb3dd0c52ea98f7f0e5ca684", ""),
    (
        "snappy-c",
        "8015f2d28739b9a6076ebaa6c53fe27bc238d219",
        "BSD-3-Clause",
    ),
    ("tinycthread", "", "Zlib"),
    ("xxHash", "", "BSD-2-Clause"),
];

/// The bill as text. It is the same for the same parts: it holds no date and no number of its own.
///
/// # Errors
/// If there is no such binary among the crates.
pub fn compose(parts: &Parts) -> Result<String> {
    let mut crates = parts.crates.iter();
    let (binary, known) = crates
        .find(|(name, _)| name.name == crate::CRATE)
        .with_context(|| format!("cargo tree doesn't name {}", crate::CRATE))?;
    for version in parts.crates.keys().filter_map(kafka_version) {
        ensure!(
            version == KAFKA_VERSION,
            "librdkafka is {version}, and what it has copies of is known of {KAFKA_VERSION}: compare its LICENSES.txt with IN_KAFKA in image/sbom/src/bom.rs"
        );
    }
    let mut subject = of_crate(binary, known, parts.hashes);
    subject["type"] = json!("application");
    let others = parts.crates.iter().filter(|(name, _)| *name != binary);
    let mut components: Vec<Value> = others
        .map(|(name, known)| of_crate(name, known, parts.hashes))
        .collect();
    components.extend(parts.packages.iter().map(of_package));
    components.push(standard_library(parts.toolchain));
    components.sort_by_key(|component| component["bom-ref"].to_string());
    let bom = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": subject,
            "tools": {"components": [{
                "type": "application",
                "name": env!("CARGO_PKG_NAME"),
                "version": env!("CARGO_PKG_VERSION"),
            }]},
            "properties": [
                {"name": "cargo:target", "value": parts.target},
                {"name": "rust:version", "value": parts.toolchain},
            ],
        },
        "components": components,
        "dependencies": dependencies(parts, binary),
    });
    Ok(format!("{bom:#}\n"))
}

fn of_crate(name: &Name, known: &Crate, hashes: &BTreeMap<Name, String>) -> Value {
    let reference = purl::of_crate(name);
    let mut component = json!({
        "type": "library",
        "bom-ref": reference,
        "name": name.name,
        "version": name.version,
        // What is excluded runs inside the compiler.
        "scope": if known.linked { "required" } else { "excluded" },
    });
    // Nobody else has our own crates: their name in a registry may be another's.
    if !known.own {
        component["purl"] = json!(reference);
        component["externalReferences"] = json!([{
            "type": "distribution",
            "url": format!("https://crates.io/crates/{}/{}", name.name, name.version),
        }]);
    }
    if !known.licence.is_empty() {
        component["licenses"] = licences(&known.licence);
    }
    if let Some(hash) = hashes.get(name) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": hash}]);
    }
    let features = known.features.iter();
    let features: Vec<Value> = features
        .map(|feature| json!({"name": "cargo:feature", "value": feature}))
        .collect();
    if !features.is_empty() {
        component["properties"] = json!(features);
    }
    if let Some(version) = kafka_version(name) {
        component["components"] = json!([kafka(version)]);
    }
    component
}

fn kafka_version(name: &Name) -> Option<&str> {
    let (_, version) = name.version.split_once('+')?;
    (name.name == KAFKA).then_some(version)
}

fn kafka(version: &str) -> Value {
    let copies = IN_KAFKA.iter().map(|(name, version, licence)| {
        let mut copy = json!({
            "type": "library",
            "bom-ref": format!("librdkafka/{name}"),
            "name": name,
        });
        if !licence.is_empty() {
            copy["licenses"] = licences(licence);
        }
        if !version.is_empty() {
            copy["version"] = json!(version);
        }
        copy
    });
    json!({
        "type": "library",
        "bom-ref": kafka_reference(version),
        "name": "librdkafka",
        "version": version,
        "purl": kafka_reference(version),
        "cpe": format!("cpe:2.3:a:confluent:librdkafka:{version}:*:*:*:*:*:*:*"),
        "licenses": licences("BSD-2-Clause"),
        "components": copies.collect::<Vec<_>>(),
    })
}

fn kafka_reference(version: &str) -> String {
    format!("pkg:github/confluentinc/librdkafka@v{version}")
}

fn of_package(package: &Package) -> Value {
    let reference = package_reference(package);
    let mut component = json!({
        // The authorities are data.
        "type": if package.source == "ca-certificates" { "data" } else { "library" },
        "bom-ref": reference,
        "purl": reference,
        "name": package.source,
        "version": package.version,
        "scope": "required",
        "licenses": licences(package.licence),
        "evidence": {
            "occurrences": package.files.iter().map(|file| json!({"location": file})).collect::<Vec<_>>(),
        },
    });
    if !package.homepage.is_empty() {
        component["externalReferences"] = json!([{"type": "website", "url": package.homepage}]);
    }
    component
}

fn package_reference(package: &Package) -> String {
    purl::of_source_package(&package.source, &package.version, &package.distribution)
}

fn standard_library(version: &str) -> Value {
    let reference = purl::generic("rust-std", version);
    json!({
        "type": "library",
        "bom-ref": reference,
        "purl": reference,
        "name": "rust-std",
        "version": version,
        "scope": "required",
        "licenses": licences("MIT OR Apache-2.0"),
    })
}

fn licences(expression: &str) -> Value {
    json!([{"expression": expression}])
}

/// Who needs whom. What the linker took of the system is needed by the binary: which crate asked for it, nobody tells.
fn dependencies(parts: &Parts, binary: &Name) -> Vec<Value> {
    let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, known) in parts.crates {
        let needed = needs.entry(purl::of_crate(name)).or_default();
        needed.extend(known.dependencies.iter().map(purl::of_crate));
        if let Some(version) = kafka_version(name) {
            needed.insert(kafka_reference(version));
        }
    }
    let of_system = parts.packages.iter().map(package_reference);
    needs
        .entry(purl::of_crate(binary))
        .or_default()
        .extend(of_system.chain([purl::generic("rust-std", parts.toolchain)]));
    let entry = |(reference, needed): (String, BTreeSet<String>)| json!({"ref": reference, "dependsOn": needed});
    needs.into_iter().map(entry).collect()
}
