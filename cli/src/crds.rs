//! `sakidori crds`: prints the custom resource definitions.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use sakidori_api::crds;

/// Print the custom resource definitions as YAML.
#[derive(Args)]
#[command(after_help = "Example: sakidori crds | kubectl apply --server-side -f -")]
pub struct Arguments {
    /// Write one file per definition into this directory instead.
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Some(dir) = &arguments.dir else {
        let printed = std::io::stdout().write_all(crds::yaml().as_bytes());
        return match printed {
            // The reader (`head`, a pager) has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            printed => printed.context("printing the definitions"),
        };
    };
    std::fs::create_dir_all(dir)
        .with_context(|| format!("making the directory {}", dir.display()))?;
    for (name, yaml) in crds::files() {
        let path = dir.join(name);
        std::fs::write(&path, yaml).with_context(|| format!("writing {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
