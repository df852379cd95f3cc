//! Pods that are resized in place, on the real API server with a kubelet that acts it out.

mod between;
mod faults;
mod faults_changed;
mod faults_deleted;
mod faults_foreign;
mod faults_killed;
mod faults_nodes;
mod faults_paused;
mod faults_refused;
mod faults_slow;
mod faults_unsupported;
mod sale;
mod saturated;
mod stage;
mod starting;
mod waves;
mod witness;
