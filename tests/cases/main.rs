//! One test binary for everything that spans crates: linking is what costs, so there is one of it. One module per subject;
//! `cargo test -p sakidori-tests --test e2e -- architecture::` runs one of them.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy.toml's exemption stops at the functions that tests call"
)]

mod admission;
mod alerts;
mod architecture;
mod attacker;
mod authentications;
mod aws;
mod bad_answers;
mod bad_input;
mod bring_up;
mod broker_faults;
mod calendar_cluster;
mod calendar_database;
mod calendar_faults;
mod calendars;
mod certificates;
mod chart;
mod check;
mod conformance;
mod confused_deputies;
mod control_plane_restart;
mod credential_files;
mod credential_sources;
mod credentials;
mod dashboards;
mod deletion;
mod demo;
mod demo_resize;
mod demo_sale;
mod docs;
mod external;
mod external_metrics_api;
mod external_push;
mod failover;
mod fallback;
mod formula;
mod freshness;
mod helm;
mod hostile_sources;
mod hpa_shape;
mod hpa_transfer;
mod hpa_upkeep;
mod image;
mod installed;
mod isolation;
mod keda_grpc;
mod leaders;
mod logs;
mod metric_names;
mod monitoring;
mod operator_process;
mod operator_start;
mod other_triggers;
mod pausing;
mod pausing_rivals;
mod permissions;
mod plan;
mod prescaling;
mod prescaling_nodes;
mod prescaling_paused;
mod prescaling_proof;
mod prescaling_restart;
mod prometheus;
mod reasons;
mod replicas;
mod repository;
mod resize;
mod resize_field;
mod scaling;
mod scene;
mod sources;
mod targets;
mod values;
mod vault;
mod words;
