//! One test binary for everything that spans crates: linking is what costs, so there is one of it. One module per subject;
//! `cargo test -p sakidori-tests --test e2e -- architecture::` runs one of them.

mod architecture;
mod repository;
