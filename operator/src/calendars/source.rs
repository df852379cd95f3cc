//! Reads one source of a calendar: a key of a ConfigMap or Secret, a URL, or a query of a database.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use jiff::tz::TimeZone;
use sakidori_api::{CalendarSource, KeyRef};
#[cfg(feature = "postgresql")]
use sakidori_calendars::table;
use sakidori_calendars::{Events, Refresh, csv, ics, json, limits};
use sakidori_engine::ObjectKey;
use sakidori_scalers::{Document, DocumentLimits, Text};
use tokio::sync::Semaphore;

use super::follow::Around;
use crate::authentication;
use crate::environment::TargetEnvironment;
use crate::references::Reference;

/// The longest that a source may take to answer.
const WITHIN: Duration = Duration::from_secs(10);
/// From where calendars are published to where they are is one redirect, or two.
const REDIRECTS: usize = 5;

/// Texts that are taken apart at the same time: it takes the processor, which the scaling needs too, and many times a text's memory.
static TURNS: Semaphore = Semaphore::const_new(1);

/// Asks a source. `owner` stands for this source among the [`References`](crate::references::References), and its namespace is
/// where what it refers to is. Takes seconds, never minutes.
pub async fn read(
    around: &Around,
    owner: &ObjectKey,
    source: &CalendarSource,
    zone: &TimeZone,
) -> Refresh {
    let mut used = HashSet::new();
    let content = content(around, owner, source, &mut used).await;
    around.references.retain(owner, &used);
    let (content, zone) = match content {
        Ok(content) => (content, zone.clone()),
        Err(message) => return Refresh::Failed(message),
    };
    // 5 MiB take a while to read: not where polls run. Never closed.
    let turn = TURNS.acquire().await;
    let parsed = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        content.parse(&zone)
    })
    .await;
    match parsed {
        Ok(Ok(events)) => Refresh::Read(events),
        Ok(Err(message)) => Refresh::Failed(message),
        Err(_) => Refresh::Failed("reading its text failed; please report this".to_owned()),
    }
}

/// What a source answered.
enum Content {
    Text {
        format: String,
        text: Text,
    },
    #[cfg(feature = "postgresql")]
    Rows(sakidori_scalers::Rows),
}

impl Content {
    fn parse(self, zone: &TimeZone) -> Result<Events, String> {
        let parsed = match self {
            Self::Text { format, text } => match format.as_str() {
                "ics" => ics::read(&text, zone),
                "csv" => csv::read(&text, zone),
                "json" => json::read(&text, zone),
                other => {
                    return Err(format!(
                        "format {other:?} is not supported here: expected ics, csv, json or postgresql"
                    ));
                }
            },
            #[cfg(feature = "postgresql")]
            Self::Rows(answer) => table::read(&answer.columns, answer.rows, zone),
        };
        parsed.map_err(|error| error.to_string())
    }
}

async fn content(
    around: &Around,
    owner: &ObjectKey,
    source: &CalendarSource,
    used: &mut HashSet<Reference>,
) -> Result<Content, String> {
    if source.format == "postgresql" {
        return rows(around, owner, source, used).await;
    }
    let text = if let Some(key) = &source.config_map_key_ref {
        config_map(around, owner, key, used).await.map(Text::from)
    } else if let Some(key) = &source.secret_key_ref {
        secret(around, owner, key, used).await.map(Text::from)
    } else if let Some(url) = &source.url {
        fetched(around, owner, source, url, used).await
    } else {
        Err("nothing says where it is: give url, configMapKeyRef or secretKeyRef".to_owned())
    };
    Ok(Content::Text {
        format: source.format.clone(),
        text: text?,
    })
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
) -> Result<Text, String> {
    let parameters = parameters(around, owner, source, used).await?;
    let document = Document::new(url, parameters, &around.clients)?;
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

#[cfg(feature = "postgresql")]
async fn rows(
    around: &Around,
    owner: &ObjectKey,
    source: &CalendarSource,
    used: &mut HashSet<Reference>,
) -> Result<Content, String> {
    let query = source
        .query
        .as_deref()
        .filter(|query| !query.trim().is_empty());
    let query = query.ok_or("query: missing: postgresql needs one")?;
    let parameters = parameters(around, owner, source, used).await?;
    let asked = sakidori_scalers::Table::new(query, parameters, &around.clients);
    // They all come from there.
    let asked = asked.map_err(|problem| format!("authenticationRef: {problem}"))?;
    let limits = sakidori_scalers::TableLimits {
        bytes: limits::MAX_TEXT,
        // Each row is one event, and most of them one occurrence.
        rows: limits::MAX_OCCURRENCES,
        within: WITHIN,
    };
    let answer = asked.read(&limits).await;
    answer.map(Content::Rows).map_err(|error| error.to_string())
}

#[cfg(not(feature = "postgresql"))]
async fn rows(
    _: &Around,
    _: &ObjectKey,
    _: &CalendarSource,
    _: &mut HashSet<Reference>,
) -> Result<Content, String> {
    Err("format \"postgresql\": this operator was built without PostgreSQL".to_owned())
}

/// What the source's `authenticationRef` resolves to.
async fn parameters(
    around: &Around,
    owner: &ObjectKey,
    source: &CalendarSource,
    used: &mut HashSet<Reference>,
) -> Result<BTreeMap<String, String>, String> {
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
    match resolved.problems.as_slice() {
        [] => Ok(resolved.parameters),
        problems => Err(problems.join("; ")),
    }
}
