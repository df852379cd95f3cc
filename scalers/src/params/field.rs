//! The declaration of one parameter: where it may stand, whether it must, what it is when absent.

/// A place where a parameter may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `spec.triggers[].metadata`.
    Metadata,
    /// The variable of the target's container that the metadata key `<name>FromEnv` names.
    Environment,
    /// What the TriggerAuthentication resolved to.
    Authentication,
}

impl Source {
    /// KEDA's word for it, as users know it from its messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Metadata => "triggerMetadata",
            Self::Environment => "resolvedEnv",
            Self::Authentication => "authParams",
        }
    }
}

pub const METADATA: &[Source] = &[Source::Metadata];
pub const AUTHENTICATION: &[Source] = &[Source::Authentication];
pub const ENVIRONMENT: &[Source] = &[Source::Environment];
pub const METADATA_AUTHENTICATION: &[Source] = &[Source::Metadata, Source::Authentication];
/// Metadata first, then the environment, then the authentication. Where KEDA's order differs, write it out.
pub const EVERYWHERE: &[Source] = &[
    Source::Metadata,
    Source::Environment,
    Source::Authentication,
];

/// One parameter.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name in the manifest and of the struct's serde field.
    pub name: &'static str,
    /// Where it is looked up, in this order.
    pub sources: &'static [Source],
    /// Other names for it, searched after `name` in each place.
    pub aliases: &'static [&'static str],
    pub required: bool,
    /// The value of an absent parameter, written as a user would.
    pub default: Option<&'static str>,
    /// Between the elements of a list or a map.
    pub separator: char,
    /// Its value is never quoted, and in plain metadata it gets a warning.
    pub secret: bool,
    /// A warning for those who still use it: what to write instead.
    pub deprecated: Option<&'static str>,
}

impl Field {
    const fn new(name: &'static str, sources: &'static [Source]) -> Self {
        Self {
            name,
            sources,
            aliases: &[],
            required: false,
            default: None,
            separator: ',',
            secret: false,
            deprecated: None,
        }
    }

    /// Must be given: the struct's field is a plain `T`.
    pub const fn required(name: &'static str, sources: &'static [Source]) -> Self {
        let mut field = Self::new(name, sources);
        field.required = true;
        field
    }

    /// May be absent: the struct's field is an `Option<T>`.
    pub const fn optional(name: &'static str, sources: &'static [Source]) -> Self {
        Self::new(name, sources)
    }

    /// Is `default` when absent: the struct's field is a plain `T`.
    pub const fn with_default(
        name: &'static str,
        sources: &'static [Source],
        default: &'static str,
    ) -> Self {
        let mut field = Self::new(name, sources);
        field.default = Some(default);
        field
    }

    #[must_use]
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    #[must_use]
    pub const fn separator(mut self, separator: char) -> Self {
        self.separator = separator;
        self
    }

    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    #[must_use]
    pub const fn deprecated(mut self, instead: &'static str) -> Self {
        self.deprecated = Some(instead);
        self
    }

    /// The name and its aliases.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// `[triggerMetadata resolvedEnv]`, as KEDA prints it.
    pub(super) fn places(&self) -> String {
        let places: Vec<_> = self.sources.iter().map(|source| source.as_str()).collect();
        format!("[{}]", places.join(" "))
    }
}
