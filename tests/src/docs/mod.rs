//! The documentation as something that can be run: its pages, the code blocks in them, and what becomes of each block in a shell.
//!
//! What a block is, its language says; what can't be seen from that stands in an HTML comment on the line above it, which no reader
//! is shown:
//!
//! | comment | the block |
//! |---|---|
//! | `<!-- not run: needs a registry -->` | can't be run here, and why |
//! | `<!-- refused: MaxReplicaCount -->` | must fail, with this text in what is printed |

pub mod example;
pub mod expected;
pub mod markdown;
pub mod script;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use markdown::{Block, Language, Mark};

use crate::binary;

/// A Markdown file of the repository.
pub struct Page {
    /// Relative to the repository's root.
    pub path: PathBuf,
    pub blocks: Vec<Block>,
    /// What keeps its blocks from being run, each with its line.
    pub problems: Vec<String>,
}

impl Page {
    /// What its folder and its namespace are called: `docs-scalers-cron`.
    pub fn slug(&self) -> String {
        let path = self.path.with_extension("");
        let path = path.to_string_lossy().to_lowercase();
        path.replace(['/', '_', '.'], "-")
    }
}

/// All pages for users: `docs/`, the README, and those of the examples, in the order of their paths.
///
/// # Errors
/// If one can't be read.
pub fn pages() -> Result<Vec<Page>> {
    let root = binary::repository();
    let mut files = vec![root.join("README.md")];
    for folder in ["docs", "examples"] {
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();
    files
        .iter()
        .map(|file| {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("can't read {}", file.display()))?;
            let (blocks, problems) = markdown::parse(&text);
            Ok(Page {
                path: file.strip_prefix(&root)?.to_owned(),
                blocks,
                problems,
            })
        })
        .collect()
}

/// The manifests of each example, as pages with a block for each file.
///
/// # Errors
/// If one can't be read.
pub fn examples() -> Result<Vec<Page>> {
    let root = binary::repository();
    let mut pages = Vec::new();
    for folder in std::fs::read_dir(root.join("examples"))? {
        let folder = folder?.path();
        let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        files.retain(|file| file.extension().is_some_and(|end| end == "yaml"));
        files.sort();
        let mut blocks = Vec::new();
        for file in &files {
            blocks.push(Block {
                line: blocks.len() + 1,
                language: Language::Yaml,
                mark: None,
                text: std::fs::read_to_string(file)?,
            });
        }
        pages.push(Page {
            path: folder.strip_prefix(&root)?.join("manifests"),
            blocks,
            problems: Vec::new(),
        });
    }
    pages.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(pages)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|end| end == "md") {
            files.push(path);
        }
    }
    Ok(())
}
