//! In-place resize, seen from outside: stories with a cluster that is played, and made-up traces of everything that goes
//! wrong.

mod chance;
mod cluster;
mod faults;
mod served;
mod stories;
mod traces;
mod world;
