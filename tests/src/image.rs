//! The image, built from the repository's Dockerfile as a user builds it, and what is in it. There is no registry here to have a
//! builder's image from, so that one is made of the toolchain of this machine.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sakidori_test_cluster::install::{self, BUILDAH};
use sakidori_test_cluster::sandbox::Sandbox;
use serde_json::Value;

use crate::binary;

/// What it is called where it is built.
const NAME: &str = "localhost/sakidori:test";
const BUILDER: &str = "localhost/sakidori-builder:test";

/// What a build of this machine's toolchain needs of the machine, read-only: `/usr/local` stays the image's own, since the Dockerfile
/// keeps a cache there.
const OF_THE_MACHINE: [&str; 10] = [
    "/etc/alternatives",
    "/etc/ssl",
    "/usr/bin",
    "/usr/include",
    "/usr/lib",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/sbin",
    "/usr/share",
    "/var/lib/dpkg",
];

/// The builder's image: links as Debian has them, and where the toolchain and the crates of this machine will be.
const BUILDER_FILE: &str = "FROM scratch
COPY root /
ENV PATH=/rust/bin:/usr/bin:/usr/sbin CARGO_HOME=/cargo HOME=/root
";

/// Where it is said where images are.
const STORAGE_FILE: &str = "storage.conf";

/// An image on this machine.
pub struct Image {
    /// Its configuration, as in the registry.
    pub config: Value,
    /// Of its manifest: what it is pulled by.
    pub digest: String,
    /// Of its layers, unpacked.
    pub bytes: u64,
    /// The commit that it was built from, and when that was made, in seconds since 1970.
    pub revision: String,
    pub committed: i64,
    sandbox: Sandbox,
}

impl Image {
    /// Builds it as `make image` does. What was built before is kept in the cache outside of the clone, by the Dockerfile's own mounts.
    ///
    /// # Errors
    /// If the build fails; what it said is on stderr.
    pub fn build() -> Result<Self> {
        ensure!(
            install::is_root(),
            "images are built as root here: buildah mounts this machine's toolchain"
        );
        let cache = install::cache_dir()?.join("buildah");
        std::fs::create_dir_all(&cache)?;
        let lock = File::create(cache.join("lock"))?;
        // Two builds at once would both be slow, and one writes what the other reads.
        lock.lock()?;
        let sandbox = Sandbox::new("sakidori-image")?;
        let buildah = Buildah {
            cache: &cache,
            storage: sandbox.dir(),
        };
        buildah.set_up()?;
        buildah.build_builder()?;
        let revision = git(&["rev-parse", "HEAD"])?;
        let committed = git(&["log", "-1", "--format=%ct"])?.parse()?;
        buildah.build_image()?;
        let layout = sandbox.dir().join("layout");
        let to = format!("oci:{}:test", layout.display());
        let mut push = buildah.environment(BUILDAH);
        push.args(["push", "--quiet", NAME, &to]);
        finish(push)?;
        let root = sandbox.dir().join("root");
        std::fs::create_dir(&root)?;
        let (digest, config) = unpack(&layout, &root)?;
        let files = files(&root)?;
        Ok(Self {
            config,
            digest,
            bytes: files.values().sum(),
            revision,
            committed,
            sandbox,
        })
    }

    /// Its files, unpacked.
    pub fn root(&self) -> PathBuf {
        self.sandbox.dir().join("root")
    }

    /// Each file in it with its size.
    ///
    /// # Errors
    /// If a folder can't be read.
    pub fn files(&self) -> Result<BTreeMap<String, u64>> {
        files(&self.root())
    }
}

struct Buildah<'b> {
    /// Where it keeps what the Dockerfile's caches hold.
    cache: &'b Path,
    /// Where its images are, until the test ends.
    storage: &'b Path,
}

impl Buildah<'_> {
    /// A program that finds in its environment how buildah is to work here: without a file system of its own, and without namespaces.
    fn environment(&self, program: &str) -> Command {
        // A build is not to slow down the tests that run beside it.
        let mut command = Command::new("nice");
        command
            .args(["-n", "15", program])
            .env("CONTAINERS_STORAGE_CONF", self.storage.join(STORAGE_FILE))
            .env("BUILDAH_ISOLATION", "chroot")
            .env("TMPDIR", self.cache)
            .stdout(std::io::stderr());
        command
    }

    fn set_up(&self) -> Result<()> {
        let storage = self.storage.display();
        let text = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{storage}/storage\"\nrunroot = \"{storage}/run\"\n"
        );
        Ok(std::fs::write(self.storage.join(STORAGE_FILE), text)?)
    }

    fn build_builder(&self) -> Result<()> {
        let context = self.storage.join("builder");
        let root = context.join("root");
        for folder in [
            "cargo/registry",
            "etc",
            "root",
            "rust",
            "tmp",
            "usr",
            "var/lib",
        ] {
            std::fs::create_dir_all(root.join(folder))?;
        }
        for link in ["bin", "lib", "lib64", "sbin"] {
            symlink(format!("usr/{link}"), root.join(link))?;
        }
        std::fs::write(context.join("Dockerfile"), BUILDER_FILE)?;
        let mut build = self.environment(BUILDAH);
        build
            .args(["build", "--quiet", "--tag", BUILDER])
            .arg(context);
        finish(build)
    }

    /// By the script of `make image`.
    fn build_image(&self) -> Result<()> {
        let mut arguments = vec![format!("--build-arg BUILDER={BUILDER}")];
        let present = OF_THE_MACHINE.iter();
        let present = present.filter(|folder| Path::new(folder).exists());
        arguments.extend(present.map(|folder| format!("--volume {folder}:{folder}:ro")));
        let rust = printed(Command::new("rustc").args(["--print", "sysroot"]))?;
        let registry = cargo_home()?.join("registry");
        arguments.push(format!("--volume {rust}:/rust:ro"));
        arguments.push(format!("--volume {}:/cargo/registry", registry.display()));
        let mut make = self.environment("image/make.sh");
        make.current_dir(binary::repository())
            .env("IMAGE", NAME)
            .env("IMAGE_BUILDER", "buildah")
            .env("IMAGE_ARGUMENTS", arguments.join(" "));
        finish(make)
    }
}

fn finish(mut command: Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("can't start {command:?}"))?;
    ensure!(status.success(), "failed ({status}): {command:?}");
    Ok(())
}

/// What a command prints, without the end of its last line.
fn printed(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?} failed");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn git(arguments: &[&str]) -> Result<String> {
    let mut git = Command::new("git");
    printed(git.args(arguments).current_dir(binary::repository()))
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        return Ok(PathBuf::from(home));
    }
    let home = std::env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cargo"))
}

/// Unpacks the layers of the one image in an [OCI layout](https://github.com/opencontainers/image-spec/blob/main/image-layout.md), and
/// gives the digest of its manifest and its configuration.
fn unpack(layout: &Path, root: &Path) -> Result<(String, Value)> {
    let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json"))?)?;
    let digest = index["manifests"][0]["digest"]
        .as_str()
        .context("the layout has no manifest")?;
    let manifest: Value = serde_json::from_slice(&std::fs::read(blob(layout, digest)?)?)?;
    let of = |part: &Value| {
        let digest = part["digest"].as_str().context("no digest")?;
        blob(layout, digest)
    };
    let layers = manifest["layers"].as_array().context("no layers")?;
    for layer in layers {
        // As root, so that owners are kept.
        let mut tar = Command::new("tar");
        tar.arg("-xzf").arg(of(layer)?).arg("-C").arg(root);
        ensure!(tar.status()?.success(), "{tar:?} failed");
    }
    let config = serde_json::from_slice(&std::fs::read(of(&manifest["config"])?)?)?;
    Ok((digest.to_owned(), config))
}

fn blob(layout: &Path, digest: &str) -> Result<PathBuf> {
    let Some((algorithm, hash)) = digest.split_once(':') else {
        bail!("{digest} is no digest");
    };
    Ok(layout.join("blobs").join(algorithm).join(hash))
}

fn files(root: &Path) -> Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let about = entry.metadata()?;
            if about.is_dir() {
                folders.push(entry.path());
            } else {
                let path = entry.path();
                let path = path.strip_prefix(root)?.to_string_lossy();
                found.insert(format!("/{path}"), about.len());
            }
        }
    }
    Ok(found)
}
