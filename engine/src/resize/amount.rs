//! How much of a resource a policy gives: `2`, `1Gi`, `+500m`, `+100%`, `x3`.

use std::fmt;

use thiserror::Error;

use super::resources::Resource;
use crate::prescale::Multiplier;
use crate::quantity::Quantity;

/// An amount, most of them measured from a container's own request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// `2`, `1Gi`: this much.
    Of(Quantity),
    /// `+500m`, `+1Gi`: so much more.
    More(Quantity),
    /// `+100%`: so many hundredths of the request more.
    MorePercent(Multiplier),
    /// `x3`: so many times the request.
    Times(Multiplier),
}

/// A text that is no amount of this resource.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{resource}: {text:?} is no amount: {expected}")]
pub struct ParseAmountError {
    pub resource: Resource,
    pub text: String,
    pub expected: &'static str,
}

/// Kubernetes keeps quantities in 64 bits; no node has as much.
const LARGEST: i128 = i64::MAX as i128 * 1000;
/// No machine has more: whoever writes 20000 means 20000m.
const MOST_CPUS: Quantity = Quantity::from_integer(10_000);
/// No container runs in less: whoever writes 512 means 512Mi. (A container runtime wants 4 to 6 MiB.)
const LEAST_MEMORY: Quantity = Quantity::from_integer(1024 * 1024);

impl Amount {
    /// # Errors
    /// What is no amount, or one that nobody can mean for this resource.
    pub fn parse(resource: Resource, text: &str) -> Result<Self, ParseAmountError> {
        let refused = |expected| ParseAmountError {
            resource,
            text: text.to_owned(),
            expected,
        };
        let trimmed = text.trim();
        if let Some(times) = trimmed.strip_prefix('x') {
            let times: Multiplier = times
                .parse()
                .map_err(|_| refused("expected a factor such as x3 or x1.5"))?;
            if times < Multiplier::ONE {
                return Err(refused("a factor below 1 would make the pod smaller"));
            }
            return Ok(Self::Times(times));
        }
        let Some(more) = trimmed.strip_prefix('+') else {
            return plausible(resource, trimmed).map(Self::Of).map_err(refused);
        };
        match more.strip_suffix('%') {
            Some(percent) => percent
                .parse()
                .map(Self::MorePercent)
                .map_err(|_| refused("expected a percentage above 0 such as +50%")),
            None => plausible(resource, more).map(Self::More).map_err(refused),
        }
    }

    /// What a container gets that requests `request` by itself: rounded up to a thousandth of a CPU or a byte, and never less
    /// than it requests, since a policy makes pods bigger.
    pub fn of(self, resource: Resource, request: Quantity) -> Quantity {
        let own = request.milli().clamp(0, LARGEST);
        let milli = match self {
            Self::Of(amount) => amount.milli(),
            Self::More(amount) => own.saturating_add(amount.milli()),
            // A hundredth of the product, rounded up.
            Self::MorePercent(percent) => own + percent.of_exact(own).saturating_add(99) / 100,
            Self::Times(times) => times.of_exact(own),
        };
        let grain = resource.grain();
        let rounded = milli.saturating_add(grain - 1) / grain * grain;
        Quantity::from_milli(rounded.min(LARGEST).max(request.milli()))
    }
}

/// A quantity that somebody can mean.
fn plausible(resource: Resource, text: &str) -> Result<Quantity, &'static str> {
    let expected = match resource {
        Resource::Cpu => "expected CPUs such as 2, 500m, +1, +100% or x3",
        Resource::Memory => "expected bytes such as 1Gi, 512Mi, +1Gi, +50% or x2",
    };
    // Quantity would take a sign, too: `+-1`.
    if text.starts_with(['+', '-']) {
        return Err(expected);
    }
    let quantity: Quantity = text.parse().map_err(|_| expected)?;
    match resource {
        _ if quantity <= Quantity::default() => Err("expected more than 0"),
        Resource::Cpu if quantity > MOST_CPUS => {
            Err("no node has more than 10000 CPUs; a thousandth of one is written 1m")
        }
        Resource::Memory if quantity < LEAST_MEMORY => {
            Err("less than 1Mi is no memory for a container; is its unit missing, such as 512Mi?")
        }
        _ => Ok(quantity),
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(amount) => write!(f, "{amount}"),
            Self::More(amount) => write!(f, "+{amount}"),
            Self::MorePercent(percent) => write!(f, "+{percent}%"),
            Self::Times(times) => write!(f, "x{times}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Resource::{Cpu, Memory};

    #[test]
    fn amounts_are_exact_and_rounded_up() {
        for (resource, text, request, result) in [
            (Cpu, "2", "500m", "2"),
            (Cpu, " 2 ", "500m", "2"),
            (Cpu, "250m", "500m", "500m"),
            (Cpu, "+500m", "500m", "1"),
            (Cpu, "+100%", "500m", "1"),
            (Cpu, "+50%", "1m", "2m"),
            (Cpu, "+0.1%", "1", "1001m"),
            (Cpu, "x3", "500m", "1500m"),
            // 1.1 in binary floating point is a little more.
            (Cpu, "x1.1", "1", "1100m"),
            (Cpu, "x1", "7m", "7m"),
            (Cpu, "x1.0001", "1", "1001m"),
            (Memory, "1Gi", "512Mi", "1Gi"),
            (Memory, "+1Gi", "1Gi", "2Gi"),
            (Memory, "+33%", "100000001", "133000002"),
            (Memory, "x1.5", "1Mi", "1536Ki"),
            (Memory, "x1.000001", "1048577", "1048579"),
            // As much as Kubernetes can hold.
            (Memory, "x1000000", "7Ei", "9223372036854775807"),
            (Memory, "9Ei", "1Gi", "9223372036854775807"),
            (Memory, "+7Ei", "7Ei", "9223372036854775807"),
        ] {
            let amount = Amount::parse(resource, text).unwrap();
            let expected: Quantity = result.parse().unwrap();
            assert_eq!(
                amount.of(resource, request.parse().unwrap()),
                expected,
                "{text} of {request}"
            );
        }
    }

    #[test]
    fn what_is_no_amount_is_told_with_what_is_expected() {
        for (resource, text, told) in [
            (Cpu, "", "expected CPUs"),
            (Cpu, "two", "expected CPUs"),
            (Cpu, "-1", "expected CPUs"),
            (Cpu, "+-1", "expected CPUs"),
            (Cpu, "++1", "expected CPUs"),
            (Cpu, "100%", "expected CPUs"),
            (Cpu, "0", "more than 0"),
            (Cpu, "+0", "more than 0"),
            (Cpu, "+0%", "percentage above 0"),
            (Cpu, "+%", "percentage above 0"),
            (Cpu, "x", "a factor such as"),
            (Cpu, "3x", "expected CPUs"),
            (Cpu, "x0", "a factor such as"),
            (Cpu, "x0.5", "smaller"),
            (Cpu, "x3m", "a factor such as"),
            (Cpu, "2Gi", "10000 CPUs"),
            (Cpu, "20000", "1m"),
            (Memory, "512", "512Mi"),
            (Memory, "+512m", "512Mi"),
            (Memory, "1GB", "expected bytes"),
        ] {
            let error = Amount::parse(resource, text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
            assert!(
                error.starts_with(&format!("{resource}: {text:?}")),
                "{error}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_gets_smaller_or_overflows(text in "[+x]?[0-9]{1,30}(\\.[0-9]{1,6})?(m|k|Mi|Gi|Ei|%)?", milli in 0..LARGEST, memory in any::<bool>()) {
            let resource = if memory { Memory } else { Cpu };
            if let Ok(amount) = Amount::parse(resource, &text) {
                let request = Quantity::from_milli(milli);
                prop_assert!(amount.of(resource, request) >= request);
            }
        }

        #[test]
        fn an_amount_is_written_as_it_is_read(percent in 1..1_000_000u32, times in 1..1000u32, milli in 1..10_000_000i128) {
            for text in [format!("+{percent}%"), format!("x{times}"), Quantity::from_milli(milli).to_string()] {
                let amount = Amount::parse(Cpu, &text).unwrap();
                prop_assert_eq!(amount.to_string(), text);
            }
        }
    }
}
