//! The environment of the scale target's container, as its process would see it: triggers may take parameters from it
//! (`hostFromEnv`), and so may a TriggerAuthentication (`env`).
//!
//! KEDA's rules (pkg/scaling/resolver/scale_resolvers.go): `envFrom` first, in its order, then `env`, each later one winning;
//! `$(NAME)` expands to what is resolved so far; `fieldRef` and `resourceFieldRef` are skipped. Where KEDA gives up at the first
//! missing Secret, here the variable is left out and a problem names it.

use std::collections::{BTreeMap, HashMap, HashSet};

use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec};
use sakidori_engine::ObjectKey;

use crate::references::{Reference, References};
use crate::target::Target;

/// Variables and what keeps others from being known.
#[derive(Clone, Default)]
pub struct Environment {
    pub variables: BTreeMap<String, String>,
    pub problems: Vec<String>,
}

/// Resolves the environments of a target's containers when they are first asked for.
pub struct TargetEnvironment<'a> {
    references: &'a References,
    owner: &'a ObjectKey,
    target: &'a Target,
    /// `scaleTargetRef.envSourceContainerName`.
    default_container: Option<&'a str>,
    resolved: HashMap<Option<String>, Environment>,
}

impl<'a> TargetEnvironment<'a> {
    pub fn new(
        references: &'a References,
        owner: &'a ObjectKey,
        target: &'a Target,
        default_container: Option<&'a str>,
    ) -> Self {
        Self {
            references,
            owner,
            target,
            default_container,
            resolved: HashMap::new(),
        }
    }

    /// The environment of the container that triggers look at. Everything read is put into `used`.
    pub async fn variables(&mut self, used: &mut HashSet<Reference>) -> &Environment {
        self.of_container(None, used).await
    }

    /// The environment of a container; `None` is the one that triggers look at.
    pub async fn of_container(
        &mut self,
        name: Option<&str>,
        used: &mut HashSet<Reference>,
    ) -> &Environment {
        let name = name
            .filter(|name| !name.is_empty())
            .or(self.default_container)
            .map(str::to_owned);
        if !self.resolved.contains_key(&name) {
            let environment = self.resolve(name.as_deref(), used).await;
            self.resolved.insert(name.clone(), environment);
        }
        self.resolved.entry(name).or_default()
    }

    async fn resolve(&self, container: Option<&str>, used: &mut HashSet<Reference>) -> Environment {
        let failed = |problem: String| Environment {
            problems: vec![problem],
            ..Environment::default()
        };
        let target = Reference::target(
            self.target.resource.clone(),
            &self.target.namespace,
            &self.target.name,
        );
        used.insert(target.clone());
        let pod = match self.references.get(self.owner, &target).await {
            Ok(Some(found)) => match found.pod_spec() {
                Ok(Some(pod)) => pod,
                Ok(None) => {
                    return failed(format!(
                        "{target} has no pod template whose environment could be read"
                    ));
                }
                Err(problem) => return failed(problem),
            },
            Ok(None) => return failed(format!("{target} doesn't exist")),
            Err(error) => return failed(error.to_string()),
        };
        let container = match pick(&pod, container) {
            Ok(container) => container,
            Err(problem) => return failed(format!("{target}: {problem}")),
        };
        let mut sources = Sources::default();
        for reference in referenced(container, &self.target.namespace) {
            used.insert(reference.clone());
            let source = match self.references.get(self.owner, &reference).await {
                Ok(Some(found)) if reference.kind() == "Secret" => found
                    .secret()
                    .map(text_values)
                    .map_or_else(Source::Unknown, Source::Contents),
                Ok(Some(found)) => found
                    .config_map()
                    .map_or_else(Source::Unknown, Source::Contents),
                Ok(None) => Source::Absent(format!("{reference} doesn't exist")),
                Err(error) => Source::Unknown(error.to_string()),
            };
            sources.insert(reference, source);
        }
        assemble(container, &self.target.namespace, &sources)
    }
}

/// What the container refers to.
type Sources = HashMap<Reference, Source>;

enum Source {
    Contents(BTreeMap<String, String>),
    /// It isn't there, which `optional` forgives.
    Absent(String),
    /// It can't be read now. What it holds may matter, so nothing forgives that.
    Unknown(String),
}

fn text_values(secret: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, String> {
    secret
        .into_iter()
        .map(|(key, value)| (key, String::from_utf8_lossy(&value).into_owned()))
        .collect()
}

fn pick<'p>(pod: &'p PodSpec, name: Option<&str>) -> Result<&'p Container, String> {
    match name {
        None => pod
            .containers
            .first()
            .ok_or_else(|| "it has no containers".to_owned()),
        Some(name) => pod
            .containers
            .iter()
            .find(|container| container.name == name)
            .ok_or_else(|| {
                let names: Vec<&str> = pod
                    .containers
                    .iter()
                    .map(|container| container.name.as_str())
                    .collect();
                format!(
                    "it has no container {name:?}: expected one of {}",
                    names.join(", ")
                )
            }),
    }
}

fn referenced(container: &Container, namespace: &str) -> HashSet<Reference> {
    let from = container.env_from.iter().flatten().flat_map(|source| {
        let secret = source
            .secret_ref
            .as_ref()
            .map(|secret| Reference::secret(namespace, &secret.name));
        let config_map = source
            .config_map_ref
            .as_ref()
            .map(|map| Reference::config_map(namespace, &map.name));
        secret.into_iter().chain(config_map)
    });
    let single = container
        .env
        .iter()
        .flatten()
        .filter_map(|variable| variable.value_from.as_ref())
        .flat_map(|source| {
            let secret = source
                .secret_key_ref
                .as_ref()
                .map(|key| Reference::secret(namespace, &key.name));
            let config_map = source
                .config_map_key_ref
                .as_ref()
                .map(|key| Reference::config_map(namespace, &key.name));
            secret.into_iter().chain(config_map)
        });
    from.chain(single).collect()
}

/// Puts the variables together. Pure.
fn assemble(container: &Container, namespace: &str, sources: &Sources) -> Environment {
    let mut environment = Environment::default();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let (reference, optional) = match (&source.config_map_ref, &source.secret_ref) {
            (Some(map), _) => (Reference::config_map(namespace, &map.name), map.optional),
            (None, Some(secret)) => (Reference::secret(namespace, &secret.name), secret.optional),
            (None, None) => continue,
        };
        match sources.get(&reference) {
            Some(Source::Contents(contents)) => environment.variables.extend(
                contents
                    .iter()
                    .map(|(key, value)| (format!("{prefix}{key}"), value.clone())),
            ),
            Some(Source::Absent(_)) if optional == Some(true) => {}
            Some(Source::Absent(problem) | Source::Unknown(problem)) => {
                environment.problems.push(problem.clone());
            }
            None => {}
        }
    }
    for variable in container.env.iter().flatten() {
        match value_of(variable, namespace, sources, &environment.variables) {
            Ok(Some(value)) => drop(environment.variables.insert(variable.name.clone(), value)),
            Ok(None) => {}
            Err(problem) => {
                environment.problems.push(format!(
                    "environment variable {:?}: {problem}",
                    variable.name
                ));
            }
        }
    }
    environment
}

fn value_of(
    variable: &EnvVar,
    namespace: &str,
    sources: &Sources,
    so_far: &BTreeMap<String, String>,
) -> Result<Option<String>, String> {
    if let Some(value) = variable.value.as_deref().filter(|value| !value.is_empty()) {
        return Ok(Some(expand(value, so_far)));
    }
    let Some(source) = &variable.value_from else {
        return Ok(Some(String::new()));
    };
    let (reference, key, optional) = match (&source.secret_key_ref, &source.config_map_key_ref) {
        (Some(secret), _) => (
            Reference::secret(namespace, &secret.name),
            &secret.key,
            secret.optional,
        ),
        (None, Some(map)) => (
            Reference::config_map(namespace, &map.name),
            &map.key,
            map.optional,
        ),
        // fieldRef and resourceFieldRef differ from pod to pod.
        (None, None) => return Ok(None),
    };
    let absent = match sources.get(&reference) {
        Some(Source::Contents(contents)) => match contents.get(key) {
            Some(value) => return Ok(Some(value.clone())),
            None => format!("{reference} has no key {key:?}"),
        },
        Some(Source::Absent(problem)) => problem.clone(),
        Some(Source::Unknown(problem)) => return Err(problem.clone()),
        None => return Err(format!("{reference} is not known")),
    };
    if optional == Some(true) {
        Ok(None)
    } else {
        Err(absent)
    }
}

/// Kubernetes' `$(NAME)`: known names are replaced, unknown ones stay as they are, `$$` is a dollar.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        let name = rest
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'));
        match name.map(|(name, after)| (variables.get(name), name, after)) {
            Some((Some(value), _, after)) => {
                expanded.push_str(value);
                rest = after;
            }
            Some((None, name, after)) => {
                expanded.push_str(&format!("$({name})"));
                rest = after;
            }
            None => expanded.push('$'),
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect()
    }

    #[test]
    fn dollars_expand_as_in_a_pod() {
        let variables = map(&[("A", "1"), ("EMPTY", "")]);
        for (text, expanded) in [
            ("plain", "plain"),
            ("$(A)-$(A)", "1-1"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$(A", "$(A"),
            ("a$b$", "a$b$"),
            ("x$(EMPTY)y", "xy"),
        ] {
            assert_eq!(expand(text, &variables), expanded, "{text}");
        }
    }

    #[test]
    fn later_wins_and_what_is_missing_is_named() {
        let container: Container = serde_json::from_value(json!({
            "name": "app",
            "envFrom": [
                {"configMapRef": {"name": "base"}, "prefix": "P_"},
                {"secretRef": {"name": "gone"}},
                {"secretRef": {"name": "gone", "optional": true}},
            ],
            "env": [
                {"name": "P_HOST", "value": "own"},
                {"name": "URL", "value": "amqp://$(P_USER)@$(P_HOST)"},
                {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "mq", "key": "password"}}},
                {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "mq", "key": "other"}}},
                {"name": "MAYBE", "valueFrom": {"secretKeyRef": {"name": "mq", "key": "other", "optional": true}}},
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ],
        }))
        .unwrap();
        let sources = Sources::from([
            (
                Reference::config_map("shop", "base"),
                Source::Contents(map(&[("USER", "me"), ("HOST", "base")])),
            ),
            (
                Reference::secret("shop", "gone"),
                Source::Absent("Secret shop/gone doesn't exist".to_owned()),
            ),
            (
                Reference::secret("shop", "mq"),
                Source::Contents(map(&[("password", "pw")])),
            ),
        ]);
        assert_eq!(
            referenced(&container, "shop"),
            sources.keys().cloned().collect()
        );
        let environment = assemble(&container, "shop", &sources);
        assert_eq!(
            environment.variables,
            map(&[
                ("P_HOST", "own"),
                ("P_USER", "me"),
                ("URL", "amqp://me@own"),
                ("PASSWORD", "pw")
            ])
        );
        assert_eq!(
            environment.problems,
            [
                "Secret shop/gone doesn't exist",
                "environment variable \"ABSENT\": Secret shop/mq has no key \"other\"",
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_now_is_not_forgiven() {
        let container: Container = serde_json::from_value(json!({
            "name": "app",
            "envFrom": [{"secretRef": {"name": "mq", "optional": true}}],
            "env": [{"name": "VHOST", "valueFrom": {"secretKeyRef": {"name": "mq", "key": "vhost", "optional": true}}}],
        }))
        .unwrap();
        let mq = Reference::secret("shop", "mq");
        let problems = |source| {
            assemble(&container, "shop", &Sources::from([(mq.clone(), source)]))
                .problems
                .len()
        };
        assert_eq!(problems(Source::Absent("gone".into())), 0);
        assert_eq!(problems(Source::Unknown("not known yet".into())), 2);
    }

    #[test]
    fn the_named_container_counts() {
        let pod: PodSpec =
            serde_json::from_value(json!({"containers": [{"name": "a"}, {"name": "b"}]})).unwrap();
        assert_eq!(pick(&pod, None).unwrap().name, "a");
        assert_eq!(pick(&pod, Some("b")).unwrap().name, "b");
        assert_eq!(
            pick(&pod, Some("c")).unwrap_err(),
            "it has no container \"c\": expected one of a, b"
        );
    }
}
