//! The chart, installed by a real Helm into a real control plane. Its pods run with the command lines that the API server has of them
//! (`tests/src/kubelet/`). Needs root.

mod handbook;
mod install;
mod keda;
mod keda_chart;
mod mistakes;
mod shop;
mod stage;
mod upgrade;
