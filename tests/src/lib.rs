//! What the demo, the benchmark and the end-to-end cases share beyond the test bed: the operator as a process, applying
//! manifests, and looking at what happened.

pub mod binary;
pub mod chart;
pub mod manifests;
pub mod memory;
pub mod observe;
pub mod operator;
pub mod reference;

pub use operator::{Operator, OperatorSettings};
