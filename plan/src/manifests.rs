//! The objects of manifests: YAML or JSON texts of several documents, and lists in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sakidori_api::{
    CalendarSource, ClusterSaleCalendar, KeyRef, SaleCalendar, SaleCalendarSpec,
    SaleCalendarStatus, ScaledObject,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::around::Around;
use crate::finding::{Finding, Severity};

/// The trigger type that names calendars.
const TRIGGER: &str = "sale-calendar";

/// Where an object stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A file, and the place of the document in it, counting from 1.
    Document { file: String, number: usize },
    /// What was typed.
    Argument(String),
    #[default]
    Cluster,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document { file, number } => write!(f, "{file}, document {number}"),
            Self::Argument(text) => f.write_str(text),
            Self::Cluster => f.write_str("the cluster"),
        }
    }
}

/// A calendar of either kind.
#[derive(Clone, Debug)]
pub struct Kept {
    pub origin: Origin,
    /// `None` for a ClusterSaleCalendar.
    pub namespace: Option<String>,
    pub name: String,
    pub spec: SaleCalendarSpec,
    pub status: SaleCalendarStatus,
}

impl Kept {
    /// Kind and name, as findings call it.
    pub fn called(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("SaleCalendar {namespace}/{}", self.name),
            None => format!("ClusterSaleCalendar {}", self.name),
        }
    }
}

/// What a source's text may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceKind {
    ConfigMap,
    Secret,
}

impl SourceKind {
    pub fn word(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

/// Kind, namespace and name.
pub type Place = (SourceKind, String, String);

/// Everything that a plan is made of.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    pub scaled_objects: Vec<(Origin, ScaledObject)>,
    pub calendars: Vec<Kept>,
    /// The texts of ConfigMaps and Secrets.
    pub texts: BTreeMap<Place, BTreeMap<String, String>>,
    /// Of a cluster: those that the user may not read, and the server's words.
    pub unread: BTreeMap<Place, String>,
    /// Where ClusterSaleCalendars have their ConfigMaps and Secrets, where that is known.
    pub cluster_object_namespace: Option<String>,
    pub around: Around,
    pub findings: Vec<Finding>,
    /// Documents of any kind.
    pub documents: usize,
}

impl Manifests {
    /// Whether a trigger of the ScaledObjects names the calendar.
    pub(crate) fn names(&self, kept: &Kept) -> bool {
        self.scaled_objects.iter().any(|(_, object)| {
            let near = kept.namespace.is_none() || kept.namespace == object.metadata.namespace;
            near && object.spec.triggers.iter().any(|trigger| {
                trigger.type_ == TRIGGER && trigger.metadata.get("calendar") == Some(&kept.name)
            })
        })
    }

    /// The ConfigMaps and Secrets of the calendars that ScaledObjects name, as far as their namespaces are known.
    pub fn referenced(&self) -> BTreeSet<Place> {
        let mut all = BTreeSet::new();
        for kept in self.calendars.iter().filter(|kept| self.names(kept)) {
            let namespace = kept.namespace.as_ref();
            let Some(namespace) = namespace.or(self.cluster_object_namespace.as_ref()) else {
                continue;
            };
            for (kind, reference) in kept.spec.sources.iter().filter_map(key_of) {
                all.insert((kind, namespace.clone(), reference.name.clone()));
            }
        }
        all
    }

    /// The Deployments and StatefulSets that are scaled where a ResourceQuota is: kind, namespace and name.
    pub fn targets_under_quotas(&self) -> BTreeSet<(String, String, String)> {
        let targets = self.scaled_objects.iter().filter_map(|(_, object)| {
            let namespace = object.metadata.namespace.as_deref()?;
            self.around.quotas(namespace).next()?;
            let target = &object.spec.scale_target_ref;
            let kind = target.kind.as_deref().unwrap_or("Deployment");
            let known = kind == "Deployment" || kind == "StatefulSet";
            known.then(|| (kind.to_owned(), namespace.to_owned(), target.name.clone()))
        });
        targets.collect()
    }

    /// Takes in a text; `namespace` is that of objects that name none.
    pub fn read(&mut self, file: &str, text: &str, namespace: &str) {
        for (index, document) in documents(text).into_iter().enumerate() {
            let origin = Origin::Document {
                file: file.to_owned(),
                number: index + 1,
            };
            match serde_saphyr::from_str::<Value>(&document) {
                Ok(Value::Null) => {}
                Ok(value) => self.take(&origin, value, namespace),
                Err(error) => {
                    // The first line says what and where; the others show the text, which may be a Secret's.
                    let error = error.to_string();
                    let message = error.lines().next().unwrap_or_default();
                    let message = message.strip_prefix("error: ").unwrap_or(message);
                    self.refuse(&origin, "", format!("no YAML: {message}"));
                }
            }
        }
    }

    fn refuse(&mut self, origin: &Origin, object: &str, message: String) {
        self.findings.push(Finding {
            severity: Severity::Error,
            origin: origin.clone(),
            object: object.to_owned(),
            message,
        });
    }

    /// Takes in one object, or all of a list.
    pub fn take(&mut self, origin: &Origin, mut value: Value, namespace: &str) {
        self.documents += 1;
        let field = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        let (group, kind) = (
            field("apiVersion")
                .split('/')
                .next()
                .unwrap_or_default()
                .to_owned(),
            field("kind").to_owned(),
        );
        if kind.is_empty() {
            return self.refuse(origin, "", "no kind: expected a Kubernetes object".into());
        }
        if group == "v1" && kind.ends_with("List") || kind == "List" {
            if let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) {
                items
                    .into_iter()
                    .for_each(|item| self.take(origin, item, namespace));
            }
            return;
        }
        let name = value["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if value["metadata"]["namespace"]
            .as_str()
            .is_none_or(str::is_empty)
            && kind != "ClusterSaleCalendar"
            && let Some(Value::Object(metadata)) = value.get_mut("metadata")
        {
            metadata.insert("namespace".into(), namespace.into());
        }
        let own = value["metadata"]["namespace"]
            .as_str()
            .unwrap_or(namespace)
            .to_owned();
        let called = match kind.as_str() {
            "ClusterSaleCalendar" => format!("{kind} {name}"),
            _ => format!("{kind} {own}/{name}"),
        };
        match (group.as_str(), kind.as_str()) {
            ("keda.sh", "ScaledObject") => {
                if let Some(object) = self.typed::<ScaledObject>(origin, &called, value) {
                    let same = |(_, known): &(Origin, ScaledObject)| {
                        known.metadata.namespace == object.metadata.namespace
                            && known.metadata.name == object.metadata.name
                    };
                    if let Some(at) = self.scaled_objects.iter().position(same) {
                        let (earlier, _) = self.scaled_objects.remove(at);
                        let message = format!("it is also in {earlier}: this one counts");
                        self.refuse(origin, &called, message);
                    }
                    self.scaled_objects.push((origin.clone(), object));
                }
            }
            ("sakidori.dev", "SaleCalendar") => {
                if let Some(calendar) = self.typed::<SaleCalendar>(origin, &called, value) {
                    self.calendars.push(Kept {
                        origin: origin.clone(),
                        namespace: Some(own),
                        name,
                        spec: calendar.spec,
                        status: calendar.status.unwrap_or_default(),
                    });
                }
            }
            ("sakidori.dev", "ClusterSaleCalendar") => {
                if let Some(calendar) = self.typed::<ClusterSaleCalendar>(origin, &called, value) {
                    self.calendars.push(Kept {
                        origin: origin.clone(),
                        namespace: None,
                        name,
                        spec: calendar.spec.0,
                        status: calendar.status.unwrap_or_default(),
                    });
                }
            }
            ("v1", "ConfigMap") => {
                let texts = texts(&value["data"], |text| Some(text.to_owned()));
                self.texts.insert((SourceKind::ConfigMap, own, name), texts);
            }
            ("v1", "Secret") => {
                let mut all = texts(&value["data"], |text| {
                    String::from_utf8(STANDARD.decode(text).ok()?).ok()
                });
                all.extend(texts(&value["stringData"], |text| Some(text.to_owned())));
                self.texts.insert((SourceKind::Secret, own, name), all);
            }
            ("v1", "ResourceQuota") | ("apps", "Deployment" | "StatefulSet") => {
                self.around.take(&kind, &own, &name, value);
            }
            _ => {}
        }
    }

    fn typed<T: DeserializeOwned>(
        &mut self,
        origin: &Origin,
        called: &str,
        value: Value,
    ) -> Option<T> {
        if value["metadata"]["name"].as_str().is_none_or(str::is_empty) {
            self.refuse(origin, called, "metadata.name is missing".into());
            return None;
        }
        match serde_path_to_error::deserialize(value) {
            Ok(object) => Some(object),
            Err(error) => {
                let (path, message) = (error.path().to_string(), error.inner().to_string());
                // YAML takes 20 for a number, and no for false.
                let quotes = if message.ends_with("expected a string") {
                    ": write it in quotes"
                } else {
                    ""
                };
                self.refuse(origin, called, format!("{path}: {message}{quotes}"));
                None
            }
        }
    }
}

/// The key that a source's text is in, where it is in one.
pub(crate) fn key_of(source: &CalendarSource) -> Option<(SourceKind, &KeyRef)> {
    let config_map = source.config_map_key_ref.as_ref();
    let secret = source.secret_key_ref.as_ref();
    config_map
        .map(|reference| (SourceKind::ConfigMap, reference))
        .or(secret.map(|reference| (SourceKind::Secret, reference)))
        .filter(|_| source.format != "postgresql")
}

fn texts(map: &Value, read: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let entries = map.as_object().into_iter().flatten();
    entries
        .filter_map(|(key, value)| Some((key.clone(), read(value.as_str()?)?)))
        .collect()
}

/// The documents of a YAML text. One that is broken must not cost the others, so they are told apart before they are read: a
/// line that begins with `---` cannot stand inside a block of text of a mapping, as its lines are indented.
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for line in text.lines() {
        let marked = line.strip_prefix("---");
        if let Some(rest) = marked.filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t'])) {
            let only_comments = |text: &String| {
                text.lines()
                    .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
            };
            if documents.last().is_some_and(only_comments) {
                documents.pop();
            }
            documents.push(format!("{rest}\n"));
        } else if let Some(last) = documents.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    documents
}
