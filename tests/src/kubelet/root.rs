//! The root filesystem of a container: the binary, what it is linked with, and the volumes. Nothing else is in it, as in an image that is
//! made `FROM scratch`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::command::Invocation;

/// A script that makes the filesystem on `root` in the mount namespace that it runs in, and becomes the container's process.
///
/// # Errors
/// If a mount names a volume that isn't there.
pub fn script(
    root: &Path,
    binary: &Path,
    volumes: &BTreeMap<String, PathBuf>,
    invocation: &Invocation,
) -> Result<String> {
    let quoted = |path: &Path| quote(&path.display().to_string());
    let mut script = String::from("set -e\n");
    let root = quoted(root);
    // Its own filesystem: what is written to it is gone with it.
    writeln!(script, "mount -t tmpfs -o mode=755 tmpfs {root}")?;
    writeln!(script, "cd {root}")?;
    writeln!(script, "mkdir -p proc dev etc")?;
    writeln!(script, "touch sakidori dev/null")?;
    let binary = quoted(binary);
    writeln!(script, "mount --bind {binary} sakidori")?;
    // A development build is linked with the C library; the image has a binary that isn't.
    for folder in ["usr/lib", "usr/lib64"] {
        writeln!(
            script,
            "if [ -d /{folder} ]; then mkdir -p {folder}; mount --bind -o ro /{folder} {folder}; fi"
        )?;
    }
    writeln!(script, "ln -s usr/lib lib; ln -s usr/lib64 lib64")?;
    writeln!(script, "mount --rbind /proc proc")?;
    writeln!(script, "mount --bind /dev/null dev/null")?;
    for mount in &invocation.mounts {
        let source = volumes
            .get(&mount.volume)
            .with_context(|| format!("there is no volume {}", mount.volume))?;
        let target = quote(mount.path.trim_start_matches('/'));
        writeln!(script, "mkdir -p {target}")?;
        writeln!(script, "mount --bind {} {target}", quoted(source))?;
        if mount.read_only {
            writeln!(script, "mount -o remount,bind,ro {target}")?;
        }
    }
    if invocation.read_only_root {
        writeln!(script, "mount -o remount,ro {root}")?;
    }
    // By their paths: what the container's own PATH finds is in the container.
    script.push_str("exec /usr/bin/env -i");
    for (name, value) in &invocation.environment {
        write!(script, " {}", quote(&format!("{name}={value}")))?;
    }
    if !invocation.may_gain_privileges {
        script.push_str(" /usr/bin/setpriv --no-new-privs");
    }
    // Whoever leaves root this way leaves all capabilities behind.
    write!(
        script,
        " /usr/sbin/chroot --userspec={}:{} --groups= {root}",
        invocation.user, invocation.group
    )?;
    for word in &invocation.line {
        write!(script, " {}", quote(word))?;
    }
    script.push('\n');
    Ok(script)
}

/// A word of a shell script.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
