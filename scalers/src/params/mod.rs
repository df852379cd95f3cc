//! Typed trigger parameters: three string maps in, one plain struct or a list of all problems out.
//!
//! A trigger's parameters are looked up in its metadata, in the environment of the target's container (through the
//! metadata key `<name>FromEnv`) and in what its TriggerAuthentication resolved to. Where a parameter may stand, and in
//! which order the places are searched, is declared per parameter in [`Parameters::FIELDS`]; the types are those of an
//! ordinary `#[derive(Deserialize)]` struct. The rules are KEDA's (`pkg/scalers/scalersconfig/typed_config.go`):
//!
//! - values are trimmed, and an empty value is an absent one;
//! - `bool` is Go's `ParseBool` (`1 t T TRUE true True`, `0 f F FALSE false False`);
//! - numbers are JSON numbers: `5`, `2.5`, `1e3` for `f64`, but no `+5`, `05`, `NaN`;
//! - [`GoDuration`] is a Go duration (`1m30s`) or a whole number of milliseconds;
//! - `Vec<T>` is a list with commas (or [`Field::separator`]), a map is `key=value,key=value`, [`QueryString`] is `a=1&b=2`;
//! - an enum takes exactly the names that serde knows of it.
//!
//! Unknown metadata keys are no error, as in KEDA: [`warnings`] lists them.
//!
//! ```
//! use sakidori_scalers::Trigger;
//! use sakidori_scalers::params::{self, Field, GoDuration, METADATA, Parameters};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize, Debug)]
//! #[serde(rename_all = "camelCase")]
//! struct Queue {
//!     /// The queue to count.
//!     queue_name: String,
//!     /// Messages per replica.
//!     queue_length: u32,
//!     timeout: Option<GoDuration>,
//! }
//!
//! impl Parameters for Queue {
//!     const FIELDS: &'static [Field] = &[
//!         Field::required("queueName", METADATA),
//!         Field::with_default("queueLength", METADATA, "20"),
//!         Field::optional("timeout", METADATA),
//!     ];
//! }
//!
//! let trigger = Trigger::new("queue").metadata([("queueName", "orders"), ("timeout", "1500")]);
//! let queue: Queue = params::parse(&trigger).unwrap();
//! assert_eq!((queue.queue_name.as_str(), queue.queue_length), ("orders", 20));
//!
//! let wrong = Trigger::new("queue").metadata([("queueNmae", "orders"), ("queueLength", "many")]);
//! assert_eq!(params::parse::<Queue>(&wrong).unwrap_err().0, [
//!     r#"missing required parameter "queueName" in [triggerMetadata]: did you mean it with "queueNmae"?"#,
//!     r#"parameter "queueLength" has the value "many": expected a whole number from 0 to 4294967295"#,
//! ]);
//! ```

mod field;
mod lookup;
mod quote;
mod structure;
mod types;
pub(crate) mod unknown;
mod value;

pub use field::{
    AUTHENTICATION, ENVIRONMENT, EVERYWHERE, Field, METADATA, METADATA_AUTHENTICATION, Source,
};
pub(crate) use lookup::is_given;
pub use lookup::{Warning, warnings};
pub use quote::without_credentials;
pub(crate) use sakidori_engine::nearest;
pub use types::{GoDuration, QueryString};

use serde::de::DeserializeOwned;

use crate::Trigger;

/// A struct of parameters. Its serde field names are the parameters' names, the same as in [`Parameters::FIELDS`].
pub trait Parameters: DeserializeOwned {
    /// One entry per field of the struct, in any order.
    const FIELDS: &'static [Field];

    /// Rules that concern several parameters, or go beyond a type: one sentence per broken rule. Runs when all
    /// parameters parse one by one.
    fn check(&self) -> Vec<String> {
        Vec::new()
    }

    /// The same for rules that depend on whose parameters they are: a part of a formula needs no target.
    fn check_of(&self, _: &Trigger) -> Vec<String> {
        self.check()
    }
}

/// One struct of parameters or a tuple of several: groups that trigger types share (TLS, HTTP authentication) are
/// structs of their own, since serde's `flatten` knows no field names.
pub trait ParameterSet: Sized {
    /// All parameters of the set.
    fn fields() -> Vec<&'static Field>;

    /// Reads the set; `None` means that at least one problem was added. `known` are the parameters of all groups.
    #[doc(hidden)]
    fn read(
        trigger: &Trigger,
        known: &[&'static Field],
        problems: &mut Vec<String>,
    ) -> Option<Self>;
}

impl<T: Parameters> ParameterSet for T {
    fn fields() -> Vec<&'static Field> {
        T::FIELDS.iter().collect()
    }

    fn read(
        trigger: &Trigger,
        known: &[&'static Field],
        problems: &mut Vec<String>,
    ) -> Option<Self> {
        let parsed: T = structure::read(trigger, T::FIELDS, known, problems)?;
        let broken = parsed.check_of(trigger);
        let sound = broken.is_empty();
        problems.extend(broken);
        sound.then_some(parsed)
    }
}

impl<A: ParameterSet, B: ParameterSet> ParameterSet for (A, B) {
    fn fields() -> Vec<&'static Field> {
        let mut fields = A::fields();
        fields.extend(B::fields());
        fields
    }

    fn read(
        trigger: &Trigger,
        known: &[&'static Field],
        problems: &mut Vec<String>,
    ) -> Option<Self> {
        let first = A::read(trigger, known, problems);
        let second = B::read(trigger, known, problems);
        first.zip(second)
    }
}

/// Reads a trigger's parameters.
///
/// # Errors
/// All problems at once: missing parameters, values that don't parse, unknown enum names, broken rules.
pub fn parse<T: ParameterSet>(trigger: &Trigger) -> Result<T, ParamErrors> {
    let mut problems = Vec::new();
    match T::read(trigger, &T::fields(), &mut problems) {
        Some(parsed) if problems.is_empty() => Ok(parsed),
        _ => Err(ParamErrors(problems)),
    }
}

/// All problems of one trigger's parameters, one sentence each. Holds no secret: values that come from an
/// authentication or an environment are never quoted.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", .0.join("; "))]
pub struct ParamErrors(pub Vec<String>);
