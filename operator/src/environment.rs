//! The environment of the scale target's container, as its process would see it: triggers may take parameters from it
//! (`hostFromEnv`), and so may a TriggerAuthentication (`env`).
//!
//! KEDA's rules (pkg/scaling/resolver/scale_resolvers.go): `envFrom` first, in its order, then `env`, each later one winning;
//! `$(NAME)` expands to what is resolved so far; `fieldRef` and `resourceFieldRef` are skipped. Where KEDA gives up at the first
//! missing Secret, here only those variables are broken whose value could be in it, and only who asks for one of them is told.

use std::collections::{BTreeMap, HashMap, HashSet};

use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec};
use sakidori_engine::ObjectKey;

use crate::references::{Reference, References};
use crate::target::Target;

/// The variables of one container. No `Debug`: it holds secrets.
#[derive(Clone, Default)]
pub struct Environment {
    /// The value, or what keeps it from being known.
    variables: BTreeMap<String, Result<String, String>>,
    /// What can't be read, by the prefix that all variables from there begin with: any of them may be in there.
    unread: Vec<(String, String)>,
}

impl Environment {
    /// A variable's value; `None` where the container has no such variable.
    ///
    /// # Errors
    /// What keeps it from being known.
    pub fn get(&self, name: &str) -> Result<Option<&str>, String> {
        match self.variables.get(name) {
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(problem)) => Err(problem.clone()),
            None => {
                let mut problems = self.unread.iter();
                match problems.find(|(prefix, _)| name.starts_with(prefix.as_str())) {
                    Some((_, problem)) => Err(problem.clone()),
                    None => Ok(None),
                }
            }
        }
    }

    /// Nothing of it can be known.
    fn unknown(problem: String) -> Self {
        Self {
            unread: vec![(String::new(), problem)],
            ..Self::default()
        }
    }

    /// What begins with `prefix` may have another value in there.
    fn cannot_read(&mut self, prefix: &str, problem: &str) {
        for (name, value) in &mut self.variables {
            if name.starts_with(prefix) {
                *value = Err(problem.to_owned());
            }
        }
        self.unread.push((prefix.to_owned(), problem.to_owned()));
    }
}

/// Resolves the environments of a target's containers when they are first asked for.
pub struct TargetEnvironment<'a> {
    references: &'a References,
    owner: &'a ObjectKey,
    /// `None` for what scales nothing, such as a calendar.
    target: Option<&'a Target>,
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
            target: Some(target),
            default_container,
            resolved: HashMap::new(),
        }
    }

    /// Where there is no target, and so no container.
    pub fn none(references: &'a References, owner: &'a ObjectKey) -> Self {
        Self {
            references,
            owner,
            target: None,
            default_container: None,
            resolved: HashMap::new(),
        }
    }

    /// The environment of the container that triggers look at. Everything read is put into `used`.
    pub async fn variables(&mut self, used: &mut HashSet<Reference>) -> &Environment {
        self.of_container(self.default_container, used).await
    }

    /// The environment of a container; `None` is the first one, whatever `envSourceContainerName` says (as in KEDA).
    pub async fn of_container(
        &mut self,
        name: Option<&str>,
        used: &mut HashSet<Reference>,
    ) -> &Environment {
        let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
        if !self.resolved.contains_key(&name) {
            let environment = self.resolve(name.as_deref(), used).await;
            self.resolved.insert(name.clone(), environment);
        }
        self.resolved.entry(name).or_default()
    }

    /// The ServiceAccount that the target's pods run as.
    ///
    /// # Errors
    /// Where the target has no pod template that could be read.
    pub async fn service_account(&self, used: &mut HashSet<Reference>) -> Result<String, String> {
        let pod = self.pod(used).await?;
        let named = pod.service_account_name.filter(|name| !name.is_empty());
        Ok(named.unwrap_or_else(|| "default".to_owned()))
    }

    fn target(&self) -> Result<(&'a Target, Reference), String> {
        let target = self
            .target
            .ok_or("a calendar has no container and no ServiceAccount to look at")?;
        let reference = Reference::target(target.resource.clone(), &target.namespace, &target.name);
        Ok((target, reference))
    }

    async fn pod(&self, used: &mut HashSet<Reference>) -> Result<PodSpec, String> {
        let (_, target) = self.target()?;
        used.insert(target.clone());
        match self.references.get(self.owner, &target).await {
            Ok(Some(found)) => found.pod_spec()?.ok_or_else(|| {
                format!("{target} has no pod template whose containers could be looked at")
            }),
            Ok(None) => Err(format!("{target} doesn't exist")),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn resolve(&self, container: Option<&str>, used: &mut HashSet<Reference>) -> Environment {
        let (target, named) = match self.target() {
            Ok(target) => target,
            Err(problem) => return Environment::unknown(problem),
        };
        let pod = match self.pod(used).await {
            Ok(pod) => pod,
            Err(problem) => return Environment::unknown(problem),
        };
        let container = match pick(&pod, container) {
            Ok(container) => container,
            Err(problem) => {
                return Environment::unknown(format!("{named}: {problem}"));
            }
        };
        let mut sources = Sources::default();
        for reference in referenced(container, &target.namespace) {
            used.insert(reference.clone());
            let source = match self.references.get(self.owner, &reference).await {
                Ok(Some(found)) if reference.is_secret() => found
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
        assemble(container, &target.namespace, &sources)
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
                    .map(|(key, value)| (format!("{prefix}{key}"), Ok(value.clone()))),
            ),
            Some(Source::Absent(_)) if optional == Some(true) => {}
            Some(Source::Absent(problem) | Source::Unknown(problem)) => {
                environment.cannot_read(prefix, problem);
            }
            None => {}
        }
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value_of(variable, namespace, sources, &environment).transpose() {
            environment.variables.insert(variable.name.clone(), value);
        }
    }
    environment
}

fn value_of(
    variable: &EnvVar,
    namespace: &str,
    sources: &Sources,
    so_far: &Environment,
) -> Result<Option<String>, String> {
    if let Some(value) = variable.value.as_deref().filter(|value| !value.is_empty()) {
        return expand(value, so_far).map(Some);
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
fn expand(text: &str, variables: &Environment) -> Result<String, String> {
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
        let Some((name, after)) = name else {
            expanded.push('$');
            continue;
        };
        match variables.get(name)? {
            Some(value) => expanded.push_str(value),
            None => expanded.push_str(&format!("$({name})")),
        }
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
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

    fn environment(entries: &[(&str, &str)]) -> Environment {
        let known = |(name, value): (String, String)| (name, Ok(value));
        Environment {
            variables: map(entries).into_iter().map(known).collect(),
            ..Environment::default()
        }
    }

    #[test]
    fn dollars_expand_as_in_a_pod() {
        let variables = environment(&[("A", "1"), ("EMPTY", "")]);
        for (text, expanded) in [
            ("plain", "plain"),
            ("$(A)-$(A)", "1-1"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$(A", "$(A"),
            ("a$b$", "a$b$"),
            ("x$(EMPTY)y", "xy"),
        ] {
            assert_eq!(expand(text, &variables).unwrap(), expanded, "{text}");
        }
    }

    #[test]
    fn later_wins_and_only_what_could_be_elsewhere_is_broken() {
        let container: Container = serde_json::from_value(json!({
            "name": "app",
            "envFrom": [
                {"configMapRef": {"name": "base"}, "prefix": "P_"},
                {"secretRef": {"name": "gone"}, "prefix": "G_"},
                {"secretRef": {"name": "gone", "optional": true}},
            ],
            "env": [
                {"name": "P_HOST", "value": "own"},
                {"name": "URL", "value": "amqp://$(P_USER)@$(P_HOST)"},
                {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "mq", "key": "password"}}},
                {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "mq", "key": "other"}}},
                {"name": "FROM_ABSENT", "value": "x$(ABSENT)"},
                {"name": "FROM_GONE", "value": "x$(G_X)"},
                {"name": "G_OWN", "value": "own"},
                {"name": "MAYBE", "valueFrom": {"secretKeyRef": {"name": "mq", "key": "other", "optional": true}}},
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ],
        }))
        .unwrap();
        let gone = "Secret shop/gone doesn't exist";
        let sources = Sources::from([
            (
                Reference::config_map("shop", "base"),
                Source::Contents(map(&[("USER", "me"), ("HOST", "base")])),
            ),
            (
                Reference::secret("shop", "gone"),
                Source::Absent(gone.to_owned()),
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
        let no_key = "Secret shop/mq has no key \"other\"";
        for (name, expected) in [
            ("P_HOST", Ok(Some("own"))),
            ("P_USER", Ok(Some("me"))),
            ("URL", Ok(Some("amqp://me@own"))),
            ("PASSWORD", Ok(Some("pw"))),
            ("ABSENT", Err(no_key)),
            ("FROM_ABSENT", Err(no_key)),
            ("G_ANY", Err(gone)),
            ("FROM_GONE", Err(gone)),
            ("G_OWN", Ok(Some("own"))),
            ("MAYBE", Ok(None)),
            ("POD", Ok(None)),
            ("NOWHERE", Ok(None)),
        ] {
            assert_eq!(
                environment.get(name),
                expected.map_err(str::to_owned),
                "{name}"
            );
        }
    }

    /// A later source that can't be read may hold another value of the variable; an earlier one can't.
    #[test]
    fn what_an_unread_source_could_override_is_broken() {
        let names = ["first", "second"];
        for (unread, expected) in [("second", true), ("first", false)] {
            let container: Container = serde_json::from_value(json!({
                "name": "app",
                "envFrom": names.map(|name| json!({"secretRef": {"name": name}})),
            }))
            .unwrap();
            let source = |name: &str| match name == unread {
                true => Source::Unknown("not known yet".to_owned()),
                false => Source::Contents(map(&[("HOST", "a")])),
            };
            let sources = names.map(|name| (Reference::secret("shop", name), source(name)));
            let environment = assemble(&container, "shop", &Sources::from(sources));
            assert_eq!(environment.get("HOST").is_err(), expected, "{unread}");
            assert!(environment.get("OTHER").is_err(), "{unread}");
        }
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
        let broken = |source| {
            let environment = assemble(&container, "shop", &Sources::from([(mq.clone(), source)]));
            ["VHOST", "ANY"].map(|name| environment.get(name).is_err())
        };
        assert_eq!(broken(Source::Absent("gone".into())), [false, false]);
        assert_eq!(
            broken(Source::Unknown("not known yet".into())),
            [true, true]
        );
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
