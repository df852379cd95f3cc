//! The Kubernetes API of Sakidori: KEDA's `keda.sh/v1alpha1` kinds as Rust types, and everything that users and
//! dashboards match on: annotation keys, condition and Event reasons, names, defaults.
//!
//! No IO here. A manifest written for KEDA parses into these types and serialises back with every field it had.
//! Where the CRD's schema restricts a text to some values, the Rust field stays a `String`: the API server is the
//! one that refuses new objects, while an object that was stored under an older, wider schema must still be
//! readable. One unreadable object would otherwise end the watch of all.

pub mod annotations;
pub mod crds;
pub mod defaults;
pub mod reasons;

mod checks;
mod condition;
mod for_calendars;
mod for_engine;
mod for_resize;
mod in_place_resize;
mod modifiers;
mod resize_checks;
mod sale_calendar;
mod sale_checks;
mod scaled_object;
mod schema;
mod switches;
mod trigger;
mod trigger_authentication;

pub use checks::{Problem, problems_of_triggers};
pub use condition::Condition;
pub use for_calendars::{CalendarProblem, next_occurrences, source_status};
pub use for_engine::{conditions_from_engine, conditions_to_engine, hpa_name};
pub use in_place_resize::{InPlaceResize, ResizePolicy, SakidoriOptions};
pub use resize_checks::resize_warnings_of_pod;
pub use sale_calendar::{
    CalendarSource, ClusterSaleCalendar, ClusterSaleCalendarSpec, KeyRef, NextOccurrence,
    RecurringSale, RememberedEvent, SaleCalendar, SaleCalendarSpec, SaleCalendarStatus, SaleEvent,
    SourceStatus,
};
pub use sale_checks::Need;
pub use scaled_object::{
    Advanced, Fallback, GroupVersionKindResource, HealthStatus, HorizontalPodAutoscalerConfig,
    PrescaleReport, PrescalingStatus, ResizedTarget, RoomStatus, SakidoriStatus, ScaleTargetRef,
    ScaledObject, ScaledObjectSpec, ScaledObjectStatus, ScalingModifiers, TriggerActivity,
};
pub use trigger::{AuthenticationRef, Trigger};
pub use trigger_authentication::{
    AwsSecretManager, AwsSecretManagerCredentials, AwsSecretManagerSecret, AzureKeyVault,
    AzureKeyVaultCloud, AzureKeyVaultCredentials, AzureKeyVaultSecret, BoundServiceAccountToken,
    ClusterTriggerAuthentication, ClusterTriggerAuthenticationSpec, EnvRef, GcpCredentials,
    GcpSecretManager, GcpSecretManagerSecret, HashiCorpVault, OAuth2, PodIdentity, SecretKeyRef,
    SecretSource, TargetRef, TriggerAuthentication, TriggerAuthenticationSpec,
    TriggerAuthenticationStatus, VaultCredential, VaultPki, VaultSecret,
};
