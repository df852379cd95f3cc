//! Quantities, and what a pod asks its node for.

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The resources that can be resized.
pub(super) const CPU: &str = "cpu";
pub(super) const MEMORY: &str = "memory";

/// What is asked for, or what there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amounts {
    /// Thousandths of a CPU.
    pub cpu: i128,
    /// Bytes.
    pub memory: i128,
}

impl Amounts {
    pub fn max(self, other: Amounts) -> Amounts {
        Amounts {
            cpu: self.cpu.max(other.cpu),
            memory: self.memory.max(other.memory),
        }
    }

    pub fn plus(self, other: Amounts) -> Amounts {
        Amounts {
            cpu: self.cpu + other.cpu,
            memory: self.memory + other.memory,
        }
    }
}

impl Amounts {
    pub fn minus(self, other: Amounts) -> Amounts {
        Amounts {
            cpu: self.cpu - other.cpu,
            memory: self.memory - other.memory,
        }
    }
}

/// Thousandths of a quantity as the API server writes it. Nothing else comes here: it has checked them.
pub(super) fn milli(quantity: &Quantity) -> i128 {
    let text = quantity.0.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+')))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let negative = whole.starts_with('-');
    let mut value: i128 = whole.trim_start_matches(['-', '+']).parse().unwrap_or(0);
    let mut divisor: i128 = 1;
    for digit in fraction.bytes().take(9) {
        value = value * 10 + i128::from(digit - b'0');
        divisor *= 10;
    }
    let kibi = |power: u32| 1000 * 1024_i128.pow(power);
    let (factor, parts) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1_000),
        "m" => (1, 1),
        "k" => (1_000_000, 1),
        "M" => (1_000_000_000, 1),
        "G" => (1_000_000_000_000, 1),
        "T" => (1_000_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000_000, 1),
        "Ki" => (kibi(1), 1),
        "Mi" => (kibi(2), 1),
        "Gi" => (kibi(3), 1),
        "Ti" => (kibi(4), 1),
        "Pi" => (kibi(5), 1),
        _ => match suffix.strip_prefix(['e', 'E']).map(str::parse::<i32>) {
            Some(Ok(power)) if power >= 0 => (1000 * 10_i128.pow(power.min(18).unsigned_abs()), 1),
            Some(Ok(power)) => (1000, 10_i128.pow(power.unsigned_abs().min(18))),
            _ => (1000, 1),
        },
    };
    let thousandths = value * factor;
    let whole = divisor * parts;
    let rounded_up = (thousandths + whole - 1) / whole;
    if negative { -rounded_up } else { rounded_up }
}

/// Bytes, or whatever the quantity counts.
pub(super) fn units(quantity: &Quantity) -> i128 {
    (milli(quantity) + 999) / 1000
}

/// What a container requests of a resource, in thousandths.
pub(super) fn requested(resources: &ResourceRequirements, name: &str) -> Option<i128> {
    Some(milli(resources.requests.as_ref()?.get(name)?))
}

/// What a container is limited to, in thousandths.
pub(super) fn limited(resources: &ResourceRequirements, name: &str) -> Option<i128> {
    Some(milli(resources.limits.as_ref()?.get(name)?))
}

/// Whether they have the same requests and limits of a resource.
pub(super) fn same(a: &ResourceRequirements, b: &ResourceRequirements, name: &str) -> bool {
    requested(a, name) == requested(b, name) && limited(a, name) == limited(b, name)
}

pub(super) fn requests(resources: &ResourceRequirements) -> Amounts {
    Amounts {
        cpu: requested(resources, CPU).unwrap_or(0),
        memory: (requested(resources, MEMORY).unwrap_or(0) + 999) / 1000,
    }
}

/// A container of `initContainers` that runs as long as the pod.
pub(super) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What a pod asks its node for, where its containers ask for what `of` says: all containers together, or what the
/// containers before them need at one time.
pub(super) fn of_pod(spec: &PodSpec, of: impl Fn(&Container) -> Amounts) -> Amounts {
    let mut together = Amounts::default();
    for container in &spec.containers {
        together = together.plus(of(container));
    }
    let mut sidecars = Amounts::default();
    let mut first = Amounts::default();
    for container in spec.init_containers.iter().flatten() {
        if is_sidecar(container) {
            sidecars = sidecars.plus(of(container));
            first = first.max(sidecars);
        } else {
            first = first.max(sidecars.plus(of(container)));
        }
    }
    let mut all = together.plus(sidecars).max(first);
    // What the pod as a whole asks for goes before its containers' sum.
    if let Some(resources) = &spec.resources {
        if let Some(cpu) = requested(resources, CPU) {
            all.cpu = cpu;
        }
        if let Some(memory) = requested(resources, MEMORY) {
            all.memory = (memory + 999) / 1000;
        }
    }
    let overhead = |name: &str| {
        let quantity = spec.overhead.as_ref().and_then(|all| all.get(name));
        quantity.map_or(0, milli)
    };
    all.plus(Amounts {
        cpu: overhead(CPU),
        memory: (overhead(MEMORY) + 999) / 1000,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_are_read_as_kubernetes_does() {
        let of = |text: &str| milli(&Quantity(text.to_owned()));
        assert_eq!(of("2"), 2000);
        assert_eq!(of("250m"), 250);
        assert_eq!(of("0.5"), 500);
        assert_eq!(of("1500u"), 2, "rounded up");
        assert_eq!(of("128Mi"), 128 * 1024 * 1024 * 1000);
        assert_eq!(of("1.5Gi"), 3 * 512 * 1024 * 1024 * 1000);
        assert_eq!(of("1G"), 1_000_000_000_000);
        assert_eq!(of("1e3"), 1_000_000);
        assert_eq!(of("5e-1"), 500);
        assert_eq!(units(&Quantity("1Ki".to_owned())), 1024);
    }

    #[test]
    fn a_pod_asks_for_its_containers_and_sidecars_or_its_largest_start() {
        let spec: PodSpec = serde_json::from_value(json!({
            "initContainers": [
                {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
                {"name": "first", "resources": {"requests": {"cpu": "5", "memory": "1Ki"}}},
            ],
            "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "2"}}},
                {"name": "b"},
            ],
        }))
        .unwrap();
        let of = |container: &Container| requests(&container.resources.clone().unwrap_or_default());
        let expected = Amounts {
            cpu: 6000,
            memory: 1024,
        };
        assert_eq!(of_pod(&spec, of), expected);
    }
}
