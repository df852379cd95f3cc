//! What is in it, and what it says about itself.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use sakidori_tests::binary;
use sakidori_tests::canary;
use serde_json::{Value, json};

use super::image;

/// 40 MiB, all files together.
const LARGEST: u64 = 40 * 1024 * 1024;

/// `{"alg":"none"}` in base64, with which such a token begins.
const SIGNED_BY_NOBODY: &str = "eyJhbGciOiJub25lIn0";

#[test]
fn it_runs_as_nobody_and_says_what_it_is() -> Result<()> {
    let created = Timestamp::from_second(image().committed)?.to_string();
    let config = &image().config["config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], json!(["/sakidori"]));
    assert_eq!(config["Env"], json!(["PATH=/"]));
    for unset in ["Cmd", "Volumes", "ExposedPorts", "Shell", "OnBuild"] {
        assert_eq!(config[unset], Value::Null, "{unset}");
    }
    let label = |name: &str| {
        let name = format!("org.opencontainers.image.{name}");
        config["Labels"][&name].as_str().unwrap_or_default()
    };
    assert_eq!(label("title"), "sakidori");
    assert_eq!(label("licenses"), "Apache-2.0");
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("revision"), image().revision);
    assert_eq!(label("created"), created);
    assert!(!label("description").is_empty());
    // Of the commit, so that it is the same in each build of it.
    assert_eq!(image().config["created"], *created);
    assert_eq!(image().config["os"], "linux");
    Ok(())
}

#[test]
fn its_root_has_the_binary_the_authorities_and_the_licences_and_nothing_else() -> Result<()> {
    let image = image();
    let files = image.files()?;
    for (file, size) in &files {
        println!("{size:>10} {file}");
    }
    println!("{:>10} bytes in all; {}", image.bytes, image.digest);
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "/etc/ssl/certs/ca-certificates.crt",
            "/licenses/LICENSE",
            "/licenses/THIRD-PARTY",
            "/licenses/sbom.cdx.json",
            "/sakidori",
        ]
    );
    ensure!(image.bytes <= LARGEST, "{} bytes are too many", image.bytes);
    for file in files.keys() {
        let about = std::fs::metadata(image.root().join(&file[1..]))?;
        let mode = if file == "/sakidori" { 0o755 } else { 0o644 };
        assert_eq!(about.permissions().mode() & 0o7777, mode, "{file}");
        assert_eq!((about.uid(), about.gid()), (0, 0), "{file}");
    }
    Ok(())
}

#[test]
fn the_authorities_are_those_of_the_distribution() -> Result<()> {
    let file = image().root().join("etc/ssl/certs/ca-certificates.crt");
    let bundle = std::fs::read_to_string(file)?;
    // Mozilla's list has had more than a hundred for many years.
    let authorities = bundle.matches("-----BEGIN CERTIFICATE-----").count();
    ensure!(authorities > 100, "{authorities} authorities");
    Ok(())
}

#[test]
fn no_place_of_the_machine_that_built_it_and_no_secret_is_in_it() -> Result<()> {
    let image = image();
    let home = std::env::var("HOME").context("HOME is not set")?;
    let repository = binary::repository().canonicalize()?;
    let places = [
        repository.display().to_string(),
        format!("{home}/"),
        // Where the Dockerfile has the sources, and cargo its own; `/target` and `/cargo` are what all builders' folders become.
        "/src/operator".to_owned(),
        "/usr/local/cargo".to_owned(),
    ];
    for file in image.files()?.keys() {
        let content = std::fs::read(image.root().join(&file[1..]))?;
        let text = String::from_utf8_lossy(&content);
        for place in &places {
            if let Some(at) = text.find(place.as_str()) {
                let around: String = text[at..].chars().take(120).collect();
                panic!("{file} names {place}: {around}");
            }
        }
        // The beginnings of keys are in it: it reads them. So are the tokens of librdkafka's own tests, which say that they are signed by nobody.
        let text = text
            .replace("PRIVATE KEY", "")
            .replace(SIGNED_BY_NOBODY, "");
        canary::tells_no_secret(file, &text)?;
    }
    let config = image.config.to_string();
    for place in &places {
        ensure!(!config.contains(place.as_str()), "{place}: {config}");
    }
    canary::tells_no_secret("the image's configuration", &config)
}
