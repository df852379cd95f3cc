//! Pods that are resized in place, on the real API server with a kubelet that acts it out.

mod sale;
mod saturated;
mod stage;
mod starting;
mod waves;
