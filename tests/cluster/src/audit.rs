//! Counts what was written to the API server, and by whom, from its audit log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// Records writes only, without bodies, once each: when the response is complete.
pub(crate) const POLICY: &str = r#"{
  "apiVersion": "audit.k8s.io/v1",
  "kind": "Policy",
  "omitStages": ["RequestReceived", "ResponseStarted"],
  "omitManagedFields": true,
  "rules": [
    {"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
    {"level": "None"}
  ]
}"#;

/// Where an audit event says which token it was (Kubernetes' `CredentialIDKey`), and what the token's id follows.
const CREDENTIAL: (&str, &str) = ("authentication.kubernetes.io/credential-id", "JTI=");

/// One completed write request, successful or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// The API group, empty for the core group.
    pub group: String,
    /// The plural, such as `horizontalpodautoscalers`.
    pub resource: String,
    /// Such as `status` or `scale`; empty for the object itself.
    pub subresource: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Empty for `generateName` and collections.
    pub name: String,
    /// The authenticated user.
    pub username: String,
    /// Which of the user's tokens it was: [`Login::credential`](crate::Login::credential). Empty for a certificate.
    pub credential: String,
    /// The client's User-Agent.
    pub user_agent: String,
    /// The HTTP status of the response, 0 when there was none.
    pub code: u16,
    /// When the request arrived, RFC 3339 with microseconds.
    pub received: String,
}

/// `2026-11-30T12:06:32.613616Z patch scaledobjects/status web (200)`.
impl std::fmt::Display for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            received,
            verb,
            resource,
            subresource,
            name,
            code,
            ..
        } = self;
        let slash = if subresource.is_empty() { "" } else { "/" };
        write!(
            f,
            "{received} {verb} {resource}{slash}{subresource} {name} ({code})"
        )
    }
}

/// What writes are counted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriteKind {
    /// The plural, such as `scaledobjects`.
    pub resource: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// The verb.
    pub verb: String,
}

/// The number of writes of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteCounts(pub BTreeMap<WriteKind, usize>);

impl WriteCounts {
    /// All writes.
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Writes of one kind; `subresource` is empty for the object itself.
    pub fn of(&self, resource: &str, subresource: &str, verb: &str) -> usize {
        let kind = WriteKind {
            resource: resource.into(),
            subresource: subresource.into(),
            verb: verb.into(),
        };
        self.0.get(&kind).copied().unwrap_or(0)
    }

    /// All writes to a resource and its subresources.
    pub fn resource(&self, resource: &str) -> usize {
        self.0
            .iter()
            .filter(|(kind, _)| kind.resource == resource)
            .map(|(_, count)| count)
            .sum()
    }
}

impl<'a> FromIterator<&'a Write> for WriteCounts {
    fn from_iter<I: IntoIterator<Item = &'a Write>>(writes: I) -> WriteCounts {
        let mut counts = WriteCounts::default();
        for write in writes {
            let kind = WriteKind {
                resource: write.resource.clone(),
                subresource: write.subresource.clone(),
                verb: write.verb.clone(),
            };
            *counts.0.entry(kind).or_default() += 1;
        }
        counts
    }
}

/// One line each: `12 patch scaledobjects/status`.
impl std::fmt::Display for WriteCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (kind, count) in &self.0 {
            let slash = if kind.subresource.is_empty() { "" } else { "/" };
            writeln!(
                f,
                "{count:>6} {} {}{slash}{}",
                kind.verb, kind.resource, kind.subresource
            )?;
        }
        Ok(())
    }
}

/// Reads the log from byte `start` on, and gives where the next read goes on. A last line that is still being written is left
/// out.
pub(crate) fn read(path: &Path, start: u64) -> Result<(Vec<Write>, u64)> {
    let text = text_from(path, start)
        .with_context(|| format!("can't read the audit log {}", path.display()))?;
    let complete = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let writes: Result<Vec<Write>> = text[..complete]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let event: Event = serde_json::from_slice(line).with_context(|| {
                format!(
                    "not an audit event in {}: {}",
                    path.display(),
                    String::from_utf8_lossy(line)
                )
            })?;
            Ok(event.into())
        })
        .collect();
    Ok((writes?, start + complete as u64))
}

fn text_from(path: &Path, start: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(text)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    response_status: Response,
    #[serde(default)]
    request_received_timestamp: String,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    api_group: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Response {
    code: u16,
}

impl From<Event> for Write {
    fn from(event: Event) -> Write {
        let (key, prefix) = CREDENTIAL;
        let ids = event.user.extra.get(key).into_iter().flatten();
        let credential = ids.filter_map(|id| id.strip_prefix(prefix)).next();
        Write {
            verb: event.verb,
            group: event.object_ref.api_group,
            resource: event.object_ref.resource,
            subresource: event.object_ref.subresource,
            namespace: event.object_ref.namespace,
            name: event.object_ref.name,
            credential: credential.unwrap_or_default().to_owned(),
            username: event.user.username,
            user_agent: event.user_agent,
            code: event.response_status.code,
            received: event.request_received_timestamp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_lines_are_counted_by_kind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let status = r#"{"verb":"patch","user":{"username":"u"},"userAgent":"a/1","objectRef":{"resource":"pods",
            "subresource":"status","namespace":"n","name":"p","apiVersion":"v1"},"responseStatus":{"code":200}}"#
            .replace('\n', "");
        // A request that is not about an object has no objectRef, and one that was cut off no response.
        let review = r#"{"verb":"create","user":{"extra":{"authentication.kubernetes.io/credential-id":["JTI=7"]}}}"#;
        std::fs::write(
            &path,
            format!("{status}\n{status}\n{review}\n{{\"verb\":\"pat"),
        )
        .unwrap();

        let (writes, end) = read(&path, 0).unwrap();
        assert_eq!(writes.len(), 3);
        assert_eq!((&*writes[0].credential, &*writes[2].credential), ("", "7"));
        assert_eq!(read(&path, end).unwrap(), (Vec::new(), end));
        assert_eq!(
            (
                writes[0].name.as_str(),
                writes[0].user_agent.as_str(),
                writes[0].code
            ),
            ("p", "a/1", 200)
        );
        let counts: WriteCounts = writes.iter().collect();
        assert_eq!(
            (
                counts.of("pods", "status", "patch"),
                counts.of("pods", "", "patch")
            ),
            (2, 0)
        );
        assert_eq!((counts.resource("pods"), counts.total()), (2, 3));
        assert!(
            counts.to_string().contains("2 patch pods/status"),
            "{counts}"
        );
    }

    #[test]
    fn a_line_that_is_no_event_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        std::fs::write(&path, "what is this\n").unwrap();
        let error = read(&path, 0).unwrap_err().to_string();
        assert!(error.contains("what is this"), "{error}");
    }
}
