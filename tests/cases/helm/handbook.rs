//! Doing what a page of the documentation says.

use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use sakidori_tests::binary;
use sakidori_tests::docs::{Block, Language, markdown};
use sakidori_tests::helm::Helm;
use tempfile::TempDir;
use tokio::process::Command;

/// A shell in a folder with the chart at hand, as in a clone of the repository.
pub struct Handbook {
    folder: TempDir,
}

impl Handbook {
    pub fn open() -> Result<Self> {
        let folder = TempDir::new()?;
        let charts = std::path::absolute(binary::repository().join("charts"))?;
        symlink(charts, folder.path().join("charts"))?;
        Ok(Self { folder })
    }

    /// Runs the commands of a page that stand below `heading`, one after the other, and gives what they print. `instead` is put in
    /// the place of what there is only in the world outside.
    ///
    /// # Errors
    /// With the first command that fails.
    pub async fn follow(
        &self,
        helm: &Helm,
        page: &str,
        heading: &str,
        instead: &[(&str, &str)],
    ) -> Result<String> {
        let text = std::fs::read_to_string(binary::repository().join(page))?;
        let section = section(&text, heading)
            .with_context(|| format!("{page} has no heading {heading:?}"))?;
        let mut script = String::from("set -euo pipefail\n");
        let (blocks, problems) = markdown::parse(section);
        ensure!(problems.is_empty(), "{page}, {heading:?}: {problems:?}");
        for Block { language, text, .. } in blocks {
            let first = text.lines().next().unwrap_or_default();
            let file = first
                .strip_prefix("# ")
                .filter(|name| name.ends_with(".yaml"));
            match (language, file) {
                (Language::Yaml, Some(file)) => {
                    std::fs::write(self.folder.path().join(file), &text)?;
                }
                (Language::Bash, _) => script.push_str(&text),
                _ => {}
            }
        }
        for (said, here) in instead {
            ensure!(
                script.contains(said),
                "{page}, {heading:?} doesn't say {said:?}"
            );
            script = script.replace(said, here);
        }
        let mut command = Command::new("bash");
        command.arg("-c").arg(&script);
        helm.at_hand(&mut command)?;
        let output = command
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        write!(said, "{}", String::from_utf8_lossy(&output.stderr))?;
        ensure!(
            output.status.success(),
            "{page}, {heading:?}: {script}\n{said}"
        );
        Ok(said)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// What stands below a heading, up to the next one.
fn section<'t>(text: &'t str, heading: &str) -> Option<&'t str> {
    let start = text.find(&format!("\n{heading}\n"))? + heading.len() + 2;
    let rest = &text[start..];
    Some(rest.find("\n##").map_or(rest, |end| &rest[..end]))
}

#[test]
fn a_section_ends_with_the_next_heading() {
    let text = "# A\n\n## B\n\none\n### C\n";
    assert_eq!(section(text, "## B"), Some("\none"));
    assert_eq!(section(text, "## C"), None);
}
