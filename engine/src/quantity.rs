//! Kubernetes quantities: `100m`, `2Gi`, `1e3`.

use std::fmt;

/// A number in thousandths, as the external metrics API carries it. Displays as Kubernetes' canonical decimal form:
/// `5`, `2250m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity {
    milli: i128,
}

impl Quantity {
    pub const fn from_integer(value: i64) -> Self {
        Self {
            milli: value as i128 * 1000,
        }
    }

    pub const fn from_milli(milli: i128) -> Self {
        Self { milli }
    }

    pub const fn milli(self) -> i128 {
        self.milli
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.milli % 1000 == 0 {
            write!(f, "{}", self.milli / 1000)
        } else {
            write!(f, "{}m", self.milli)
        }
    }
}

/// A text that is no quantity.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no quantity: expected a number such as 5, 2.5, 100m or 2Gi")]
pub struct ParseQuantityError(pub String);
