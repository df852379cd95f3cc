//! `filePath`: all parameters in one file, a JSON object of texts, below `--filepath-auth-root-path`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::{Fetched, fields};

/// A changed file counts after at most this long. Reading one of a few KiB costs microseconds.
const AGAIN: Duration = Duration::from_secs(2);
/// The most that is read: the size of a Secret at most (1 MiB), from which such files are mounted.
const LIMIT: u64 = 1024 * 1024;

/// # Errors
/// Where the path leads elsewhere than to a file below the root, or the file can't be read.
pub async fn fetch(root: Option<&Path>, path: &str) -> Result<Fetched, String> {
    let content = match read(root, path).await {
        Ok(text) => Some(fields([("text", text)])),
        Err(Problem::Absent) => None,
        Err(Problem::Because(problem)) => return Err(problem),
    };
    Ok(Fetched {
        content,
        again_in: AGAIN,
        session: None,
    })
}

enum Problem {
    Absent,
    Because(String),
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::Absent,
            _ => Self::Because(error.to_string()),
        }
    }
}

async fn read(root: Option<&Path>, path: &str) -> Result<String, Problem> {
    let because = |text: &str| Problem::Because(text.to_owned());
    let root = root.ok_or_else(|| {
        because("no files may be read: start the operator with --filepath-auth-root-path")
    })?;
    if Path::new(path).is_absolute() || path.contains("..") {
        return Err(because(
            "filePath must be relative and not contain '..': it counts from --filepath-auth-root-path",
        ));
    }
    // A link may lead out of the root too. (Mounted volumes hold links, but within themselves.)
    let root = tokio::fs::canonicalize(root).await.map_err(|error| {
        Problem::Because(format!(
            "--filepath-auth-root-path {}: {error}",
            root.display()
        ))
    })?;
    let real = tokio::fs::canonicalize(root.join(path)).await?;
    if !real.starts_with(&root) {
        return Err(because(
            "it is a link to a place outside of --filepath-auth-root-path",
        ));
    }
    if !tokio::fs::metadata(&real).await?.is_file() {
        return Err(because("it is no file"));
    }
    let mut bytes = Vec::new();
    let file = tokio::fs::File::open(&real).await?;
    file.take(LIMIT + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > LIMIT {
        return Err(because("it is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| because("it is no text"))
}

/// The parameters in such a file.
///
/// # Errors
/// Where it is something else than a JSON object of texts. The message quotes nothing of it.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let parsed: Option<BTreeMap<String, Option<String>>> =
        serde_json::from_str(text).map_err(|error| {
            format!(
                "line {} column {}: expected a JSON object of texts, such as {{\"password\": \"...\"}}",
                error.line(),
                error.column()
            )
        })?;
    // Go reads null as an empty text, or an empty object.
    let parsed = parsed.unwrap_or_default().into_iter();
    Ok(parsed
        .map(|(name, value)| (name, value.unwrap_or_default()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    async fn text(root: &Path, path: &str) -> Result<Option<String>, String> {
        let fetched = fetch(Some(root), path).await?;
        Ok(fetched.content.map(|content| match &content["text"] {
            Value::String(text) => text.clone(),
            other => panic!("{other}"),
        }))
    }

    #[tokio::test]
    async fn only_files_below_the_root_are_read() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        std::fs::create_dir_all(root.join("shop")).unwrap();
        std::fs::write(outside.path().join("secret.json"), "outside").unwrap();
        std::fs::write(root.join("shop/mq.json"), "inside").unwrap();
        std::os::unix::fs::symlink("shop/mq.json", root.join("link")).unwrap();
        std::os::unix::fs::symlink("../secret.json", root.join("out")).unwrap();
        for path in ["shop/mq.json", "./shop/mq.json", "link"] {
            assert_eq!(text(&root, path).await, Ok(Some("inside".into())), "{path}");
        }
        assert_eq!(text(&root, "shop/none.json").await, Ok(None));
        for (path, part) in [
            ("../secret.json", "must be relative"),
            ("shop/../../secret.json", "must be relative"),
            ("/etc/hostname", "must be relative"),
            ("out", "outside"),
            ("shop", "no file"),
        ] {
            let problem = text(&root, path).await.unwrap_err();
            assert!(problem.contains(part), "{path}: {problem}");
        }
        let problem = fetch(None, "shop/mq.json").await.err().unwrap();
        assert!(problem.contains("--filepath-auth-root-path"), "{problem}");
    }

    #[tokio::test]
    async fn what_is_no_such_file_is_refused() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("large"), vec![b'x'; LIMIT as usize + 1]).unwrap();
        std::fs::write(root.path().join("binary"), [0xff, 0xfe]).unwrap();
        for (path, part) in [("large", "larger than 1 MiB"), ("binary", "no text")] {
            let problem = text(root.path(), path).await.unwrap_err();
            assert!(problem.contains(part), "{problem}");
        }
    }

    #[test]
    fn a_file_holds_texts_by_name() {
        let parsed = parse(r#"{"user": "me", "password": "a\"b", "none": null}"#).unwrap();
        let expected = [("none", ""), ("password", "a\"b"), ("user", "me")];
        assert!(parsed.iter().map(|(k, v)| (&**k, &**v)).eq(expected));
        assert!(parse("null").unwrap().is_empty());
        for wrong in [
            "",
            "hunter2",
            "[\"hunter2\"]",
            "{\"port\": 5672, \"x\": \"hunter2\"}",
            "{\"a\": {\"hunter2\": \"\"}}",
            "{\"a\": \"hunter2\"",
        ] {
            let problem = parse(wrong).unwrap_err();
            assert!(problem.contains("expected a JSON object"), "{problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }
}
