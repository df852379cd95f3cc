//! The operator: watches ScaledObjects, feeds the engine, and carries out what it decides.

mod api_error;
mod api_service;
mod authentication;
mod certificates;
mod clock;
mod cluster_view;
mod control;
mod deletion;
mod environment;
mod events;
mod executor;
mod external_metrics;
mod hpa;
mod hpa_index;
mod hpa_writer;
mod leader;
mod objects;
mod options;
mod poll;
mod prepare;
mod probes;
mod prometheus;
mod readings;
mod references;
mod refusals;
mod repairs;
mod resource_trigger;
mod run;
mod status;
mod target;
mod triggers;
mod watches;

pub use options::Options;
pub use run::run;
pub use sakidori_scalers::clients::ClientSettings;
pub use watches::Namespaces;
