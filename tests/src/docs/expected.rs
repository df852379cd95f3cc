//! Output as a page shows it, compared with what a command printed.
//!
//! In a page, `...` stands for anything within a line, and a line of it for any lines. Runs of spaces count as one. What differs from one
//! run to the next may stand there as it was once: ages, times and the hashes in names of pods.

use std::sync::LazyLock;

use regex::Regex;

/// What differs from run to run, and what stands in its place while lines are compared.
static VOLATILE: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
        (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<uid>"),
        (r"-[0-9a-f]{7,10}-[0-9a-z]{5}\b", "-<pod>"),
        (r"\b(\d+d)?(\d+h)?(\d+m)?\d+s\b|\b\d+m\b", "<age>"),
        (r"[ \t]+", " "),
    ]
    .into_iter()
    .filter_map(|(pattern, place)| Some((Regex::new(pattern).ok()?, place)))
    .collect()
});

/// `Err` names the first line of the page that the output doesn't have.
///
/// # Errors
/// If they differ.
pub fn compare(shown: &str, printed: &str) -> Result<(), String> {
    let shown: Vec<String> = shown.trim_end().lines().map(settled).collect();
    let printed: Vec<String> = printed.trim_end().lines().map(settled).collect();
    let mut rest = printed.as_slice();
    let mut gap = false;
    for line in &shown {
        if line == "..." {
            gap = true;
            continue;
        }
        let found = match gap {
            true => rest.iter().position(|printed| is_like(line, printed)),
            false => rest
                .first()
                .and_then(|first| is_like(line, first).then_some(0)),
        };
        let Some(found) = found else {
            return Err(format!(
                "the page shows {line:?}, but what was printed is {rest:#?}"
            ));
        };
        rest = &rest[found + 1..];
        gap = false;
    }
    match rest {
        [] => Ok(()),
        _ if gap => Ok(()),
        _ => Err(format!("the page doesn't show {rest:#?}")),
    }
}

fn settled(line: &str) -> String {
    let start = line.trim().to_owned();
    VOLATILE.iter().fold(start, |line, (pattern, place)| {
        pattern.replace_all(&line, *place).into_owned()
    })
}

fn is_like(shown: &str, printed: &str) -> bool {
    let parts: Vec<String> = shown.split("...").map(regex::escape).collect();
    Regex::new(&format!("^{}$", parts.join(".*"))).is_ok_and(|like| like.is_match(printed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_compared_but_for_what_differs_each_time() {
        for (shown, printed, same) in [
            ("a  b", "a b\n", true),
            ("a", "b", false),
            ("a", "a\nb", false),
            ("a\n...", "a\nb\nc", true),
            ("...\nc", "a\nb\nc", true),
            ("...\nd", "a\nb\nc", false),
            ("web 3/3 10s", "web   3/3   2m5s", true),
            ("web 3/3 10s", "web 2/3 10s", false),
            ("pod/web-6c5b7f7b5d-x2x9k", "pod/web-12345678ab-abcde", true),
            ("at 2027-01-02T00:00:00Z", "at 2026-11-30T10:00:00Z", true),
            ("denied ... end", "refused by that end", false),
            ("denied ... end", "denied by that end", true),
        ] {
            let compared = compare(shown, printed);
            assert_eq!(
                compared.is_ok(),
                same,
                "{shown:?} {printed:?}: {compared:?}"
            );
        }
    }
}
