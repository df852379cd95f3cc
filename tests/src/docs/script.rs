//! A page as one shell script, so that a variable of its first block is there in its last, as it is for a reader.
//!
//! Blocks of objects become a server-side dry run, with the webhooks and strict about unknown fields; what a page says of a running
//! cluster, its own commands apply. A block that begins with a comment that is a file's name is also that file.
//!
//! Where commands say `NAMESPACE` and `NAME`, for the reader's own, there are objects of that name: see [`example`].

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::example::{self, Example};
use super::{Block, Language, Mark, Page, expected};

/// A page's script, and what is to be compared after it has run.
pub struct Script {
    pub text: String,
    pub steps: Vec<Step>,
}

/// A block that runs, or one command of a console.
pub struct Step {
    /// Of the block, in its page.
    pub line: usize,
    /// It was to fail.
    pub refused: bool,
    /// What the page shows as its output.
    pub shown: Option<String>,
}

impl Step {
    /// Where its output is, in the page's folder.
    pub fn output(index: usize) -> String {
        format!("step-{index}.out")
    }
}

/// Writes the files that a page's blocks are into `folder`, and gives the script that runs them there.
///
/// # Errors
/// If a block is not what its language says.
pub fn write(page: &Page, folder: &Path, of_yaml: &Yaml) -> Result<Script> {
    let mut script = Script {
        text: "set -euo pipefail\n".to_owned(),
        steps: Vec::new(),
    };
    for namespace in namespaces(page) {
        writeln!(
            script.text,
            "kubectl create namespace {namespace} >/dev/null 2>&1 || true"
        )?;
    }
    let example = example::wanted(page).then(|| Example::new(page.slug()));
    if let Some(example) = &example {
        script.text.push_str(&example.write(folder)?);
    }
    for block in &page.blocks {
        let mut block = block.clone();
        if let Some(example) = &example {
            block.text = example.named(&block.text);
        }
        script
            .add(&block, folder, of_yaml)
            .with_context(|| format!("{}:{}", page.path.display(), block.line))?;
    }
    Ok(script)
}

impl Script {
    fn add(&mut self, block: &Block, folder: &Path, of_yaml: &Yaml) -> Result<()> {
        let refused = match &block.mark {
            Some(Mark::NotRun(_)) => {
                // What can't be applied is still to be YAML.
                if block.language == Language::Yaml {
                    documents(&block.text)?;
                }
                return save(block, folder);
            }
            Some(Mark::Refused(words)) => Some(words.as_str()),
            None => None,
        };
        match block.language {
            Language::Yaml => {
                save(block, folder)?;
                let file = format!("block-{}.yaml", block.line);
                let command = of_yaml.command(&block.text, &file, folder)?;
                self.step(block.line, &command, refused, None)
            }
            Language::Bash => self.step(block.line, &block.text, refused, None),
            Language::Console => {
                for (command, shown) in commands(&block.text)? {
                    self.step(block.line, &command, refused, Some(shown))?;
                }
                Ok(())
            }
            Language::Json => {
                let _: Value = serde_json::from_str(&block.text).context("this is no JSON")?;
                Ok(())
            }
            Language::Shown => Ok(()),
        }
    }

    /// One step; `refused` is what it must print when it fails, as it must.
    fn step(
        &mut self,
        line: usize,
        command: &str,
        refused: Option<&str>,
        shown: Option<String>,
    ) -> Result<()> {
        let index = self.steps.len();
        let output = Step::output(index);
        writeln!(self.text, "echo {index} >step\nexec >{output} 2>&1")?;
        match refused {
            None => writeln!(self.text, "{}", command.trim_end())?,
            Some(words) => writeln!(
                self.text,
                "if (\n{}\n); then echo 'this was to be refused'; exit 1; fi\ngrep -qF -- {} {output}",
                command.trim_end(),
                quoted(words)
            )?,
        }
        self.steps.push(Step {
            line,
            refused: refused.is_some(),
            shown,
        });
        Ok(())
    }

    /// Compares what was printed with what the page shows.
    ///
    /// # Errors
    /// With the line of the block that prints something else.
    pub fn compare(&self, folder: &Path) -> Result<()> {
        for (index, step) in self.steps.iter().enumerate() {
            let Some(shown) = &step.shown else { continue };
            let printed = std::fs::read_to_string(folder.join(Step::output(index)))?;
            if let Err(differs) = expected::compare(shown, &printed) {
                bail!("{}: {differs}", step.line);
            }
        }
        Ok(())
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A block whose first line is a comment with a file's name is that file.
fn save(block: &Block, folder: &Path) -> Result<()> {
    let name = block.text.lines().next().and_then(|line| {
        let name = line.strip_prefix("# ")?;
        let is_name = name.ends_with(".yaml") && !name.contains([' ', '/']);
        is_name.then_some(name)
    });
    if let Some(name) = name {
        std::fs::write(folder.join(name), &block.text)?;
    }
    Ok(())
}

/// The commands of a console and what each prints. A command goes on after a backslash at the end of its line.
fn commands(text: &str) -> Result<Vec<(String, String)>> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (_, Some((command, _))) if goes_on => {
                command.push_str(line);
                command.push('\n');
                goes_on = line.ends_with('\\');
            }
            (Some(command), _) => {
                goes_on = command.ends_with('\\');
                found.push((format!("{command}\n"), String::new()));
            }
            (None, Some((_, output))) => {
                output.push_str(line);
                output.push('\n');
            }
            (None, None) => {
                bail!("a console begins with a command behind \"$ \", not with {line:?}")
            }
        }
    }
    ensure!(!found.is_empty(), "a console without a command");
    Ok(found)
}

fn documents(yaml: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).context("this is no YAML")?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

/// The namespaces that a page's objects and commands name, without those that its commands make.
pub fn namespaces(page: &Page) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    let mut made = BTreeSet::new();
    for block in &page.blocks {
        match block.language {
            Language::Yaml => {
                for document in documents(&block.text).unwrap_or_default() {
                    let namespace = document["metadata"]["namespace"].as_str();
                    named.extend(namespace.map(str::to_owned));
                }
            }
            Language::Bash | Language::Console => {
                let words: Vec<&str> = block.text.split_whitespace().collect();
                let variables = words.iter().filter_map(|word| word.strip_prefix("NS="));
                named.extend(variables.map(str::to_owned));
                for pair in words.windows(2) {
                    match pair {
                        ["-n" | "--namespace", name] => named.insert((*name).to_owned()),
                        ["namespace", name] => made.insert((*name).to_owned()),
                        ["--create-namespace", _] => made.insert("keda".to_owned()),
                        _ => false,
                    };
                }
            }
            Language::Json | Language::Shown => {}
        }
    }
    let is_name = |name: &String| {
        name.chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-')
    };
    named
        .into_iter()
        .filter(|name| is_name(name) && !made.contains(name))
        .collect()
}

/// What a block of YAML may be besides objects.
pub struct Yaml {
    /// The top-level names of the chart's values.
    pub values: BTreeSet<String>,
    /// The fields of a ScaledObject's spec.
    pub spec: BTreeSet<String>,
}

impl Yaml {
    /// The command that has the API server, or Helm, look at a block, whose text it puts into `file`.
    fn command(&self, text: &str, file: &str, folder: &Path) -> Result<String> {
        let documents = documents(text)?;
        let apply = format!(
            "kubectl apply --server-side --force-conflicts --dry-run=server --validate=strict -f {file}\n"
        );
        let is_object =
            |document: &Value| document["apiVersion"].is_string() && document["kind"].is_string();
        if documents.iter().all(is_object) {
            std::fs::write(folder.join(file), text)?;
            return Ok(apply);
        }
        let [document] = documents.as_slice() else {
            bail!("several documents, and not all of them are objects with apiVersion and kind");
        };
        let fields = document
            .as_object()
            .context("neither an object nor fields of one")?;
        if fields.keys().all(|field| self.spec.contains(field)) {
            std::fs::write(folder.join(file), scaled_object(document).to_string())?;
            return Ok(apply);
        }
        if fields.keys().all(|field| self.values.contains(field)) {
            std::fs::write(folder.join(file), text)?;
            return Ok(format!(
                "helm template keda charts/sakidori --set image.keda.repository=example.org/sakidori --values {file}\n"
            ));
        }
        bail!(
            "{:?}: neither an object (apiVersion and kind) nor values of the chart nor fields of a ScaledObject's spec",
            fields.keys().collect::<Vec<_>>()
        )
    }
}

/// A ScaledObject with these fields of its spec.
fn scaled_object(fields: &Value) -> Value {
    let mut spec = serde_json::json!({
        "scaleTargetRef": {"name": "part"},
        "triggers": [{"type": "cron", "metadata": {
            "timezone": "UTC", "start": "0 8 * * *", "end": "0 20 * * *", "desiredReplicas": "2"
        }}],
    });
    for (field, value) in fields.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    serde_json::json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "part"},
        "spec": spec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_is_commands_with_what_they_print() {
        let text = "$ kubectl get \\\n    pods\nNAME\nweb\n$ true\n";
        assert_eq!(
            commands(text).unwrap(),
            [
                (
                    "kubectl get \\\n    pods\n".to_owned(),
                    "NAME\nweb\n".to_owned()
                ),
                ("true\n".to_owned(), String::new()),
            ]
        );
        commands("NAME\n").unwrap_err();
    }

    #[test]
    fn yaml_is_objects_values_or_a_part_of_a_spec() {
        let folder = tempfile::tempdir().unwrap();
        let yaml = Yaml {
            values: ["replicas".to_owned()].into(),
            spec: ["minReplicaCount".to_owned()].into(),
        };
        for (text, begins) in [
            ("apiVersion: v1\nkind: Pod\n", "kubectl apply"),
            ("minReplicaCount: 1\n", "kubectl apply"),
            ("replicas: 2\n", "helm template"),
        ] {
            let command = yaml.command(text, "a.yaml", folder.path()).unwrap();
            assert!(command.starts_with(begins), "{text}: {command}");
        }
        for text in [
            "other: 1\n",
            "apiVersion: v1\nkind: Pod\n---\na: 1\n",
            "- a\n",
        ] {
            yaml.command(text, "a.yaml", folder.path()).unwrap_err();
        }
    }
}
