//! Says what the binary of the image is made of, as a bill of materials in CycloneDX's JSON: the crates that cargo resolves for the
//! target with the features that are on, the C libraries that the linker took from the system, and what a crate brings in C.
//!
//! It says nothing by hand that a tool knows: crates, their features and licences are cargo's, hashes those of Cargo.lock, and which files
//! of the system are in the binary stands in the linker's map.

mod bom;
mod crates;
mod licences;
mod linked;
mod lock;
mod purl;
mod system;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: sbom TARGET LINKER_MAP CARGO_HOME IMAGE\n\n\
    writes sbom.cdx.json and the licences of all parts into the folder IMAGE/licenses, of the binary that was linked for TARGET";

/// The crate that the binary is of.
const CRATE: &str = "sakidori";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, map, cargo_home, image] = arguments.as_slice() else {
        bail!(USAGE);
    };
    let lock = read(Path::new("Cargo.lock"))?;
    let crates = crates::of_binary(CRATE, target)?;
    let linked = linked::system_archives(&read(Path::new(map))?);
    let packages = system::packages(&linked)?;
    let toolchain = system::toolchain()?;
    let registry = Path::new(cargo_home).join("registry/src");
    let folder = PathBuf::from(image).join("licenses");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("can't make the folder {}", folder.display()))?;
    let bom = bom::compose(&bom::Parts {
        target,
        crates: &crates,
        hashes: &lock::hashes(&lock),
        packages: &packages,
        toolchain: &toolchain,
    })?;
    write(&folder.join("sbom.cdx.json"), &bom)?;
    write(
        &folder.join("THIRD-PARTY"),
        &licences::texts(&registry, &crates, &packages)?,
    )
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("can't write {}", path.display()))
}
