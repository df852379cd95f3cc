//! Code blocks of a Markdown text.

/// A fenced code block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Of its opening fence, from 1.
    pub line: usize,
    pub language: Language,
    pub mark: Option<Mark>,
    /// Without the fences' indentation.
    pub text: String,
}

/// What a block is written in, and so what is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Objects that are applied, values of the chart, or a part of a ScaledObject.
    Yaml,
    /// Commands, for copying.
    Bash,
    /// Commands behind `$ `, each with what it prints.
    Console,
    /// One document, which is parsed.
    Json,
    /// To be looked at: output, and files that are neither of the above.
    Shown,
}

/// What the comment above a block says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    NotRun(String),
    Refused(String),
}

/// Languages of which a block is only looked at.
const SHOWN: [&str; 9] = [
    "text", "csv", "diff", "go", "ics", "promql", "proto", "rust", "sql",
];

fn language(name: &str) -> Option<Language> {
    match name {
        "yaml" => Some(Language::Yaml),
        "bash" => Some(Language::Bash),
        "console" => Some(Language::Console),
        "json" => Some(Language::Json),
        shown if SHOWN.contains(&shown) => Some(Language::Shown),
        _ => None,
    }
}

/// The mark in a line that is one comment; `Err` for a mark that says nothing behind its colon.
fn mark(line: &str) -> Option<Result<Mark, String>> {
    let comment = line
        .trim()
        .strip_prefix("<!--")?
        .strip_suffix("-->")?
        .trim();
    let (kind, text) = comment.split_once(':').unwrap_or((comment, ""));
    let text = text.trim().to_owned();
    let make: fn(String) -> Mark = match kind {
        "not run" => Mark::NotRun,
        "refused" => Mark::Refused,
        _ => return None,
    };
    Some(match text.is_empty() {
        true => Err(format!(
            "<!-- {kind}: --> doesn't say why, or with which words"
        )),
        false => Ok(make(text)),
    })
}

/// All blocks of a text, and what is wrong with them.
pub fn parse(markdown: &str) -> (Vec<Block>, Vec<String>) {
    let mut blocks = Vec::new();
    let mut problems = Vec::new();
    let mut above = "";
    // Where the text of the list that we are in begins: only what is indented four spaces further is code.
    let mut list = 0;
    let mut lines = markdown.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let number = index + 1;
        let indent = line.len() - line.trim_start().len();
        let words = line.trim_start();
        if let Some(name) = words.strip_prefix("```") {
            let mut text = String::new();
            let closed = lines.by_ref().any(|(_, line)| {
                let ends = line.trim() == "```";
                if !ends {
                    text.push_str(without_indent(line, indent));
                    text.push('\n');
                }
                ends
            });
            if !closed {
                problems.push(format!("{number}: the code block doesn't end"));
            }
            let mark = match mark(above).transpose() {
                Ok(mark) => mark,
                Err(problem) => {
                    problems.push(format!("{number}: {problem}"));
                    None
                }
            };
            match language(name.trim()) {
                Some(language) => blocks.push(Block {
                    line: number,
                    language,
                    mark,
                    text,
                }),
                None => problems.push(format!(
                    "{number}: the code block's language is {:?}: expected yaml, bash, console, json or one of {SHOWN:?}",
                    name.trim()
                )),
            }
            above = "";
            continue;
        }
        if !words.is_empty() {
            if indent >= list + 4 && above.trim().is_empty() {
                problems.push(format!(
                    "{number}: an indented code block: write it between fences, with its language"
                ));
            }
            if let Some(marker) = list_marker(words) {
                list = indent + marker;
            } else if indent < list {
                list = 0;
            }
        }
        above = line;
    }
    (blocks, problems)
}

/// How many letters stand before the text of a list's item.
fn list_marker(words: &str) -> Option<usize> {
    let digits = words.len()
        - words
            .trim_start_matches(|letter: char| letter.is_ascii_digit())
            .len();
    let rest = &words[digits..];
    let marked = match digits {
        0 => rest.starts_with("- ") || rest.starts_with("* "),
        _ => rest.starts_with(". "),
    };
    marked.then_some(digits + 2)
}

fn without_indent(line: &str, indent: usize) -> &str {
    let spaces = line.len() - line.trim_start_matches(' ').len();
    &line[spaces.min(indent)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_its_language_its_mark_and_its_text() {
        let page = "One\n\n<!-- not run: needs a registry -->\n```bash\npush\n```\n\n- two:\n\n  ```yaml\n  a:\n    b: 1\n  ```\n";
        let (blocks, problems) = parse(page);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            blocks,
            [
                Block {
                    line: 4,
                    language: Language::Bash,
                    mark: Some(Mark::NotRun("needs a registry".to_owned())),
                    text: "push\n".to_owned(),
                },
                Block {
                    line: 10,
                    language: Language::Yaml,
                    mark: None,
                    text: "a:\n  b: 1\n".to_owned(),
                }
            ]
        );
    }

    #[test]
    fn what_could_not_be_run_is_a_problem() {
        for (page, told) in [
            ("```\nls\n```", "language is \"\""),
            ("```shell\nls\n```", "language is \"shell\""),
            ("a\n\n    ls\n", "3: an indented code block"),
            ("- a\n\n      ls\n", "3: an indented code block"),
            ("1. a\n\n       ls\n", "3: an indented code block"),
            ("```bash\nls\n", "doesn't end"),
            ("<!-- not run -->\n```bash\nls\n```", "doesn't say why"),
        ] {
            let (_, problems) = parse(page);
            let found = problems.iter().any(|problem| problem.contains(told));
            assert!(found, "{page}: {problems:?}");
        }
    }

    #[test]
    fn what_goes_on_a_list_is_no_code() {
        for page in ["- a\n\n  b\n", "1. a\n    b\n", "a\n    b\n", "| a |\n"] {
            assert_eq!(parse(page).1, Vec::<String>::new(), "{page}");
        }
    }
}
