//! Reads one source of a calendar: a key of a ConfigMap or Secret, or a URL.

use std::collections::HashSet;
use std::time::Duration;

use jiff::tz::TimeZone;
use sakidori_api::{CalendarSource, KeyRef};
use sakidori_calendars::{Events, Refresh, csv, ics, json, limits};
use sakidori_engine::ObjectKey;
use sakidori_scalers::{Document, DocumentLimits};

use super::follow::Around;
use crate::authentication;
use crate::environment::TargetEnvironment;
use crate::references::Reference;

/// The longest that a source may take to answer.
const WITHIN: Duration = Duration::from_secs(10);
/// From where calendars are published to where they are is one redirect, or two.
const REDIRECTS: usize = 5;

/// Asks a source. `owner` stands for this source among the [`References`](crate::references::References), and its namespace is
/// where what it refers to is. Takes seconds, never minutes.
pub async fn read(
    around: &Around,
    owner: &ObjectKey,
    source: &CalendarSource,
    zone: &TimeZone,
) -> Refresh {
    let text = match text(around, owner, source).await {
        Ok(text) => text,
        Err(message) => return Refresh::Failed(message),
    };
    let (format, zone) = (source.format.clone(), zone.clone());
    // 5 MiB take a while to read: not where polls run.
    let parsed = tokio::task::spawn_blocking(move || parse(&format, &text, &zone)).await;
    match parsed {
        Ok(Ok(events)) => Refresh::Read(events),
        Ok(Err(message)) => Refresh::Failed(message),
        Err(_) => Refresh::Failed("reading its text failed; please report this".to_owned()),
    }
}

fn parse(format: &str, text: &str, zone: &TimeZone) -> Result<Events, String> {
    match format {
        "ics" => ics::read(text, zone),
        "csv" => csv::read(text, zone),
        "json" => json::read(text, zone),
        other => {
            return Err(format!(
                "format {other:?} is not supported here: expected ics, csv or json"
            ));
        }
    }
    .map_err(|error| error.to_string())
}

async fn text(
    around: &Around,
    owner: &ObjectKey,
    source: &CalendarSource,
) -> Result<String, String> {
    let mut used = HashSet::new();
    let text = if let Some(key) = &source.config_map_key_ref {
        config_map(around, owner, key, &mut used).await
    } else if let Some(key) = &source.secret_key_ref {
        secret(around, owner, key, &mut used).await
    } else if let Some(url) = &source.url {
        fetched(around, owner, source, url, &mut used).await
    } else {
        Err("nothing says where it is: give url, configMapKeyRef or secretKeyRef".to_owned())
    };
    around.references.retain(owner, &used);
    text
}

async fn config_map(
    around: &Around,
    owner: &ObjectKey,
    key: &KeyRef,
    used: &mut HashSet<Reference>,
) -> Result<String, String> {
    let reference = Reference::config_map(&owner.namespace, &key.name);
    used.insert(reference.clone());
    let found = around.references.get(owner, &reference).await;
    let found = found
        .map_err(|error| error.to_string())?
        .ok_or_else(|| format!("{reference} doesn't exist"))?;
    let mut texts = found.config_map()?;
    texts
        .remove(&key.key)
        .ok_or_else(|| format!("{reference} has no key {:?}", key.key))
}

async fn secret(
    around: &Around,
    owner: &ObjectKey,
    key: &KeyRef,
    used: &mut HashSet<Reference>,
) -> Result<String, String> {
    let reference = Reference::secret(&owner.namespace, &key.name);
    used.insert(reference.clone());
    let found = around.references.get(owner, &reference).await;
    let found = found
        .map_err(|error| error.to_string())?
        .ok_or_else(|| format!("{reference} doesn't exist"))?;
    let bytes = found
        .secret()?
        .remove(&key.key)
        .ok_or_else(|| format!("{reference} has no key {:?}", key.key))?;
    String::from_utf8(bytes).map_err(|_| {
        format!(
            "{reference}: the value of key {:?} is no text in UTF-8",
            key.key
        )
    })
}

async fn fetched(
    around: &Around,
    owner: &ObjectKey,
    source: &CalendarSource,
    url: &str,
    used: &mut HashSet<Reference>,
) -> Result<String, String> {
    let mut environment = TargetEnvironment::none(&around.references, owner);
    let resolved = authentication::resolve(
        &around.references,
        owner,
        &around.cluster_object_namespace,
        source.authentication_ref.as_ref(),
        &mut environment,
        used,
    )
    .await;
    if !resolved.problems.is_empty() {
        return Err(resolved.problems.join("; "));
    }
    let document = Document::new(url, resolved.parameters, &around.clients)?;
    let limits = DocumentLimits {
        bytes: limits::MAX_TEXT,
        within: WITHIN,
        redirects: REDIRECTS,
    };
    document
        .read(&limits)
        .await
        .map_err(|error| error.to_string())
}
