//! What containers request and are limited to, of the two resources that can change while they run.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::quantity::Quantity;

/// A resource that Kubernetes changes in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    Cpu,
    Memory,
}

impl Resource {
    pub const ALL: [Self; 2] = [Self::Cpu, Self::Memory];

    /// Thousandths in the smallest amount of it: a thousandth of a CPU, a byte.
    pub(super) fn grain(self) -> i128 {
        match self {
            Self::Cpu => 1,
            Self::Memory => 1000,
        }
    }

    /// As people write it: `500m`, `2Gi`.
    pub fn worded(self, amount: Quantity) -> String {
        match self {
            Self::Cpu => amount.to_string(),
            Self::Memory => in_binary(amount),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        })
    }
}

/// `2Gi`: with the largest binary suffix that loses nothing; in decimal where none does.
fn in_binary(amount: Quantity) -> String {
    const KI: i128 = 1024;
    let milli = amount.milli();
    if milli == 0 || milli % (1000 * KI) != 0 {
        return amount.to_string();
    }
    let mut number = milli / 1000;
    let mut suffix = "";
    for name in ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] {
        if number % KI != 0 {
            break;
        }
        number /= KI;
        suffix = name;
    }
    format!("{number}{suffix}")
}

/// Amounts of both resources, where there are any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceList {
    #[serde(default, with = "cpu", skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    #[serde(default, with = "memory", skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
}

impl ResourceList {
    pub fn get(&self, resource: Resource) -> Option<Quantity> {
        match resource {
            Resource::Cpu => self.cpu,
            Resource::Memory => self.memory,
        }
    }

    pub(super) fn set(&mut self, resource: Resource, amount: Quantity) {
        match resource {
            Resource::Cpu => self.cpu = Some(amount),
            Resource::Memory => self.memory = Some(amount),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cpu.is_none() && self.memory.is_none()
    }

    /// Where one has none, the other's.
    pub(super) fn plus(&self, other: &Self) -> Self {
        let sum = |one: Option<Quantity>, other: Option<Quantity>| match (one, other) {
            (Some(one), Some(other)) => Some(Quantity::from_milli(
                one.milli().saturating_add(other.milli()),
            )),
            (one, other) => one.or(other),
        };
        Self {
            cpu: sum(self.cpu, other.cpu),
            memory: sum(self.memory, other.memory),
        }
    }

    pub(super) fn minus(&self, other: &Self) -> Self {
        let rest = |one: Option<Quantity>, other: Option<Quantity>| {
            one.map(|one| Quantity::from_milli(one.milli() - other.unwrap_or_default().milli()))
        };
        Self {
            cpu: rest(self.cpu, other.cpu),
            memory: rest(self.memory, other.memory),
        }
    }

    /// Less of one resource at least. None is taken for nothing.
    pub(super) fn is_below(&self, other: &Self) -> bool {
        let below = |one: Option<Quantity>, other: Option<Quantity>| {
            one.unwrap_or_default() < other.unwrap_or_default()
        };
        below(self.cpu, other.cpu) || below(self.memory, other.memory)
    }
}

/// A container's `resources`, as far as they can change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    #[serde(default, skip_serializing_if = "ResourceList::is_empty")]
    pub requests: ResourceList,
    #[serde(default, skip_serializing_if = "ResourceList::is_empty")]
    pub limits: ResourceList,
}

/// The resources of a pod's containers by their names.
pub type Sizes = BTreeMap<String, Resources>;

/// What all of them request together.
pub(super) fn requested(sizes: &Sizes) -> ResourceList {
    sizes
        .values()
        .fold(ResourceList::default(), |sum, one| sum.plus(&one.requests))
}

/// What changes from one to the other: `app: cpu 500m -> 2, memory limit 1Gi -> 2Gi`.
pub(super) fn change_in_words(from: &Sizes, to: &Sizes) -> String {
    let containers = to.iter().filter_map(|(name, new)| {
        let old = from.get(name).copied().unwrap_or_default();
        let changes: Vec<_> = Resource::ALL
            .iter()
            .flat_map(|resource| {
                let request = step(*resource, "", &old.requests, &new.requests);
                let limit = step(*resource, " limit", &old.limits, &new.limits);
                // Both the same: the field's word for that is the resource alone.
                let one = old.requests.get(*resource) == old.limits.get(*resource)
                    && new.requests.get(*resource) == new.limits.get(*resource);
                [request, limit.filter(|_| !one)]
            })
            .flatten()
            .collect();
        (!changes.is_empty()).then(|| format!("{name}: {}", changes.join(", ")))
    });
    containers.collect::<Vec<_>>().join("; ")
}

fn step(resource: Resource, what: &str, old: &ResourceList, new: &ResourceList) -> Option<String> {
    let (old, new) = (old.get(resource), new.get(resource));
    let worded = |amount: Option<Quantity>| amount.map_or("none".into(), |it| resource.worded(it));
    (old != new).then(|| format!("{resource}{what} {} -> {}", worded(old), worded(new)))
}

/// Both are written as people write them, so that an annotation can be read.
macro_rules! written_as {
    ($module:ident, $resource:expr) => {
        mod $module {
            use serde::{Deserialize, Deserializer, Serializer, de};

            use crate::quantity::Quantity;

            pub(super) fn serialize<S: Serializer>(
                amount: &Option<Quantity>,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                match amount {
                    Some(amount) => serializer.serialize_str(&$resource.worded(*amount)),
                    None => serializer.serialize_none(),
                }
            }

            pub(super) fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Option<Quantity>, D::Error> {
                Option::<String>::deserialize(deserializer)?
                    .map(|text| text.parse().map_err(de::Error::custom))
                    .transpose()
            }
        }
    };
}
written_as!(cpu, super::Resource::Cpu);
written_as!(memory, super::Resource::Memory);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resize::tests::{resources, sizes};

    #[test]
    fn amounts_are_written_as_people_write_them() {
        for (resource, text, written) in [
            (Resource::Cpu, "0.5", "500m"),
            (Resource::Cpu, "2000m", "2"),
            (Resource::Memory, "2Gi", "2Gi"),
            (Resource::Memory, "1536Mi", "1536Mi"),
            (Resource::Memory, "1073741825", "1073741825"),
            (Resource::Memory, "1G", "976562500Ki"),
            (Resource::Memory, "0", "0"),
        ] {
            let amount: Quantity = text.parse().unwrap();
            let worded = resource.worded(amount);
            assert_eq!(worded.parse(), Ok(amount), "{text}");
            if text != "1G" {
                assert_eq!(worded, written);
            }
        }
    }

    #[test]
    fn a_change_is_told_in_one_line() {
        for (from, to, told) in [
            ("500m 1Gi", "2 1Gi", "app: cpu 500m -> 2"),
            (
                "500m/1 1Gi/1Gi",
                "2/2 2Gi/2Gi",
                "app: cpu 500m -> 2, cpu limit 1 -> 2, memory 1Gi -> 2Gi",
            ),
            ("500m/1 1Gi/2Gi", "500m/2 1Gi/2Gi", "app: cpu limit 1 -> 2"),
            ("500m 1Gi", "500m 1Gi", ""),
        ] {
            assert_eq!(change_in_words(&sizes(from), &sizes(to)), told);
        }
    }

    #[test]
    fn resources_survive_an_annotation() {
        for text in ["500m/1 1Gi/1Gi", "500m", "250m 64Mi/1000000001", ""] {
            let known = resources(text);
            let json = serde_json::to_string(&known).unwrap();
            assert_eq!(
                serde_json::from_str::<Resources>(&json).unwrap(),
                known,
                "{json}"
            );
        }
        assert_eq!(
            serde_json::to_string(&resources("500m/1 1Gi")).unwrap(),
            r#"{"requests":{"cpu":"500m","memory":"1Gi"},"limits":{"cpu":"1"}}"#
        );
        assert!(serde_json::from_str::<Resources>(r#"{"limits":{"cpu":"much"}}"#).is_err());
    }
}
