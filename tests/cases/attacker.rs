//! What somebody does who reaches the operator's ports and has no right to anything: wrong protocols, made-up identities, and as much of
//! everything as a machine can send.

mod floods;
mod identities;
mod protocols;
mod wire;

use anyhow::Result;
use sakidori_tests::{Operator, OperatorSettings};

use crate::credential_sources::ready;
use crate::installed::Installed;

/// An operator that has nothing to do but to be attacked.
async fn victim(
    installed: &Installed,
    change: impl FnOnce(&mut OperatorSettings),
) -> Result<Operator> {
    let mut settings = installed.watching("attacker-nothing");
    change(&mut settings);
    ready(settings).await
}
