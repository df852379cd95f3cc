//! Holds that the documentation is true: every command and every manifest in it is run on a control plane with an operator, and what
//! a page shows as output is what is printed.

mod stage;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use sakidori_tests::docs::{self, Block, Language, Mark, Page};

use stage::Stage;

/// What plays a sale waits for it, so these have a lane of their own, beside that of all other pages. In each lane, one page at a time: they use
/// the same names.
const SLOW: [&str; 2] = ["docs/in-place-resize.md", "docs/prescaling.md"];

/// More than the slowest page takes on a busy machine.
const PAGE: Duration = Duration::from_secs(300);

#[test]
fn every_code_block_says_what_it_is() {
    let problems: Vec<String> = docs::pages()
        .unwrap()
        .iter()
        .flat_map(|page| {
            let path = page.path.display().to_string();
            page.problems
                .iter()
                .map(move |problem| format!("{path}:{problem}"))
        })
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_command_and_every_manifest_works() {
    let mut pages = docs::pages().unwrap();
    pages.extend(docs::examples().unwrap());
    // For who works on one page.
    if let Some(only) = std::env::var_os("SAKIDORI_DOCS_PAGE") {
        pages.retain(|page| page.path.as_os_str() == only);
        assert!(!pages.is_empty(), "there is no page {only:?}");
    }
    let begun = Instant::now();
    let (slow, others): (Vec<&Page>, Vec<&Page>) = pages
        .iter()
        .partition(|page| SLOW.iter().any(|slow| page.path.ends_with(slow)));
    let stage = Stage::start().unwrap();
    let failed = stage.run(async |stage| {
        let (first, second) = tokio::join!(lane(stage, &slow), lane(stage, &others));
        Ok([first, second].concat())
    });
    println!(
        "{}in {:.0} s",
        counted(&pages),
        begun.elapsed().as_secs_f64()
    );
    let failed = failed.unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// Runs pages one after the other, and gives what is wrong with each.
async fn lane(stage: &Stage, pages: &[&Page]) -> Vec<String> {
    let mut failed = Vec::new();
    for page in pages {
        let begun = Instant::now();
        if let Err(error) = play(stage, page).await {
            failed.push(format!("{error:#}"));
        }
        if begun.elapsed() > Duration::from_secs(10) {
            println!(
                "{}: {:.0} s",
                page.path.display(),
                begun.elapsed().as_secs_f64()
            );
        }
    }
    failed
}

async fn play(stage: &Stage, page: &Page) -> Result<()> {
    let path = page.path.display();
    let folder = stage.folder(page)?;
    let script = match docs::script::write(page, &folder, stage.yaml()) {
        Ok(script) if script.steps.is_empty() => return Ok(()),
        Ok(script) => script,
        Err(error) => bail!("{error:#}"),
    };
    let ended = stage.shell(page, &folder, &script.text, PAGE).await?;
    if let Err(ended) = ended {
        let step: usize = std::fs::read_to_string(folder.join("step"))
            .unwrap_or_default()
            .trim()
            .parse()
            .unwrap_or_default();
        let output = folder.join(docs::script::Step::output(step));
        let line = script.steps.get(step).map_or(0, |step| step.line);
        let output = std::fs::read_to_string(output).unwrap_or_default();
        bail!("{path}:{line}: {ended}: {}", output.trim());
    }
    script
        .compare(&folder)
        .map_err(|error| error.context(format!("{path}")))?;
    for (index, step) in script.steps.iter().enumerate() {
        if step.refused || step.shown.is_some() {
            continue;
        }
        let output = std::fs::read_to_string(folder.join(docs::script::Step::output(index)))?;
        // The API server's word for a misspelt parameter, which it stores all the same.
        let unmatched = output.lines().find(|line| line.contains("Unmatched input"));
        ensure!(unmatched.is_none(), "{path}:{}: {unmatched:?}", step.line);
    }
    // A dry run leaves nothing.
    match page.blocks.iter().any(is_run) {
        true => stage.clean(page).await,
        false => Ok(()),
    }
}

/// Whether a block's commands are carried out.
fn is_run(block: &Block) -> bool {
    let is_shell = matches!(block.language, Language::Bash | Language::Console);
    is_shell && !matches!(block.mark, Some(Mark::NotRun(_)))
}

/// How many blocks there are, and why those that were not run weren't.
fn counted(pages: &[Page]) -> String {
    let mut text = String::new();
    let (mut ran, mut shown, mut not) = (0, 0, 0);
    for page in pages {
        for block in &page.blocks {
            match (&block.mark, block.language) {
                (Some(Mark::NotRun(why)), _) => {
                    not += 1;
                    let path = page.path.display();
                    let _ = writeln!(text, "{path}:{}: not run: {why}", block.line);
                }
                (_, Language::Shown) => shown += 1,
                _ => ran += 1,
            }
        }
    }
    let pages = pages.len();
    let _ = write!(
        text,
        "{pages} pages and examples: {ran} blocks run, {not} not run, {shown} to be looked at; "
    );
    text
}
