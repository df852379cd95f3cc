//! Servers that come as Java archives from Maven Central: each with all that it needs in a folder of its own in the cache.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::install::{cache_dir, install_package, run, say};

/// Debian's package of Maven, which brings a Java runtime, and the file that shows that it is there.
const MAVEN: (&str, &str) = ("maven", "/usr/bin/mvn");
/// Copies archives with all that they depend on.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// [ElasticMQ](https://github.com/softwaremill/elasticmq), which serves the API of SQS.
pub const ELASTICMQ_VERSION: &str = "1.7.1";

/// The archives of [`ELASTICMQ_VERSION`].
///
/// # Errors
/// As [`jars`].
pub fn elasticmq() -> Result<PathBuf> {
    let coordinates = format!("org.elasticmq:elasticmq-server_2.13:{ELASTICMQ_VERSION}");
    jars("elasticmq", ELASTICMQ_VERSION, &[&coordinates])
}

/// Apache Kafka, with the programs that set up its storage.
pub const KAFKA_VERSION: &str = "4.3.1";

/// The archives of [`KAFKA_VERSION`].
///
/// # Errors
/// As [`jars`].
pub fn kafka() -> Result<PathBuf> {
    let server = format!("org.apache.kafka:kafka_2.13:{KAFKA_VERSION}");
    let tools = format!("org.apache.kafka:kafka-tools:{KAFKA_VERSION}");
    let log = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4";
    jars("kafka", KAFKA_VERSION, &[&server, &tools, log])
}

/// A folder with the archives of these coordinates (`group:artifact:version`) and of all that they depend on, fetched when they are
/// not there yet.
///
/// # Errors
/// When Maven or the network is missing.
pub fn jars(name: &str, version: &str, coordinates: &[&str]) -> Result<PathBuf> {
    let cache = cache_dir()?;
    let folder = cache.join(format!("{name}-{version}"));
    // Written last: half a folder is made anew.
    let complete = folder.join("complete");
    if complete.exists() {
        return Ok(folder);
    }
    std::fs::create_dir_all(&cache)
        .with_context(|| format!("can't make the folder {}", cache.display()))?;
    let lock = File::create(cache.join("maven.lock"))?;
    lock.lock()?;
    if complete.exists() {
        return Ok(folder);
    }
    say(&format!(
        "fetching {name} {version} from Maven Central into {}; half a minute",
        folder.display()
    ));
    let (package, program) = MAVEN;
    if !Path::new(program).exists() {
        install_package(package, Path::new(program))?;
    }
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("pom.xml"), project(coordinates))?;
    let mut maven = Command::new(program);
    maven
        .args(["-q", "-B", COPY, "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", folder.display()))
        .current_dir(&folder);
    run(maven)?;
    File::create(&complete)?;
    Ok(folder)
}

/// A project that is nothing but its dependencies.
fn project(coordinates: &[&str]) -> String {
    let mut dependencies = String::new();
    for coordinate in coordinates {
        let mut parts = coordinate.split(':');
        let mut part = || parts.next().unwrap_or_default();
        let (group, artifact, version) = (part(), part(), part());
        // Writing to a String never fails.
        let _ = write!(
            dependencies,
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        );
    }
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>local</groupId><artifactId>servers</artifactId><version>1</version>\
         <dependencies>{dependencies}</dependencies></project>\n"
    )
}
