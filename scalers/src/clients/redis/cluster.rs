//! A cluster: each key is on the node that has the key's slot.
//!
//! Who has a slot is learnt from the nodes themselves, which send who asks the wrong one on to the right one (`MOVED`). So a
//! cluster of three nodes costs three connections, whatever many keys are read; no table of all slots is asked for, which takes a
//! permission more; and a failover is learnt by the first question after it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::{Cmd, ServerError, Value};

use super::address::Address;
use super::link::Dialer;
use super::node::Node;
use super::slot::slot;
use crate::scaler::ScalerError;

/// While a cluster is changed, one node may send on to another that sends back.
const MOST_REDIRECTIONS: u32 = 5;

/// The nodes of a cluster, as far as they were asked.
pub struct Cluster {
    dialer: Arc<Dialer>,
    /// Where to ask while nobody is known.
    seeds: Vec<Address>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    nodes: HashMap<Address, Arc<Node>>,
    /// By slot.
    owners: HashMap<u16, Address>,
}

/// Where a node sends on to.
#[derive(Debug, PartialEq, Eq)]
enum Redirection {
    /// The slot is there now.
    Moved(Address),
    /// The slot is on its way there, and this key already has arrived.
    Ask(Address),
}

impl Cluster {
    pub fn new(seeds: Vec<Address>, dialer: Arc<Dialer>) -> Self {
        Self {
            dialer,
            seeds,
            known: Mutex::default(),
        }
    }

    /// The answer of the node that has a key.
    pub async fn ask(&self, key: &str, command: &Cmd) -> Result<Value, ScalerError> {
        let slot = slot(key.as_bytes());
        let mut tried = Vec::new();
        let mut redirections = 0;
        let mut last = ScalerError::Unreachable("no address is given".to_owned());
        let mut next = self.first(slot);
        while let Some(node) = next {
            let error = match node.raw(command, false).await {
                Ok(answer) => match redirection(&answer, &node.address) {
                    Some(_) if redirections == MOST_REDIRECTIONS => {
                        let place = self.dialer.place(&node.address);
                        let text = "the cluster's nodes send on to one another without end";
                        return Err(ScalerError::Unreachable(text.to_owned()).at(&place));
                    }
                    // It was asked before, and is the one that fails.
                    Some(Redirection::Moved(owner)) if tried.contains(&owner) => return Err(last),
                    Some(Redirection::Moved(owner)) => {
                        redirections += 1;
                        next = Some(self.learn(slot, owner));
                        continue;
                    }
                    Some(Redirection::Ask(owner)) => {
                        let owner = self.node(&owner);
                        return owner
                            .raw(command, true)
                            .await
                            .and_then(|answer| owner.accepted(answer));
                    }
                    None => match node.accepted(answer) {
                        Err(error @ ScalerError::Unreachable(_)) => error,
                        accepted => {
                            self.learn(slot, node.address.clone());
                            return accepted;
                        }
                    },
                },
                Err(error) => error,
            };
            if !matches!(error, ScalerError::Unreachable(_)) {
                return Err(error);
            }
            self.forget(&node.address);
            tried.push(node.address.clone());
            last = error;
            next = self.untried(&tried);
        }
        Err(last)
    }

    /// Whoever is known to have the slot, else any node.
    fn first(&self, slot: u16) -> Option<Arc<Node>> {
        let owner = self.known().owners.get(&slot).cloned();
        let node = owner.map(|owner| self.node(&owner));
        // One whose connection is gone may be another by now, with the same address: who is in the cluster says who has the slot.
        match node.filter(|node| node.is_connected()) {
            Some(node) => Some(node),
            None => self.untried(&[]),
        }
    }

    /// A node that a connection is likely to be there to, else one of the addresses that were given.
    fn untried(&self, tried: &[Address]) -> Option<Arc<Node>> {
        let known = self.known();
        let connected = known
            .nodes
            .values()
            .find(|node| node.is_connected() && !tried.contains(&node.address));
        if let Some(node) = connected {
            return Some(node.clone());
        }
        let mut others = self.seeds.iter().chain(known.nodes.keys());
        let other = others.find(|address| !tried.contains(address)).cloned();
        drop(known);
        Some(self.node(&other?))
    }

    fn node(&self, address: &Address) -> Arc<Node> {
        let mut known = self.known();
        let node = known
            .nodes
            .entry(address.clone())
            .or_insert_with(|| Arc::new(Node::new(address.clone(), self.dialer.clone())));
        node.clone()
    }

    /// The slot is on that node. When that is news, connections to nodes that have no slot which anybody asks for are let go: nodes
    /// come and go, and none of them is to be remembered for ever.
    fn learn(&self, slot: u16, owner: Address) -> Arc<Node> {
        let node = self.node(&owner);
        let mut known = self.known();
        let Known { nodes, owners } = &mut *known;
        if owners.get(&slot) != Some(&owner) {
            owners.insert(slot, owner);
            nodes.retain(|address, _| owners.values().any(|owner| owner == address));
        }
        node
    }

    /// Nobody knows who has the slots of a node that is away. The node stays, and with it the pause until it is tried again.
    fn forget(&self, address: &Address) {
        self.known().owners.retain(|_, owner| owner != address);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `MOVED 3999 10.0.0.2:6379`, told by the node at `from`.
fn redirection(answer: &Value, from: &Address) -> Option<Redirection> {
    let Value::ServerError(refusal) = answer else {
        return None;
    };
    let to = |refusal: &ServerError| {
        let (_, address) = refusal.details()?.split_once(' ')?;
        let (host, port) = address.trim().rsplit_once(':')?;
        from.told(host, port.parse().ok()?)
    };
    match refusal.code() {
        "MOVED" => Some(Redirection::Moved(to(refusal)?)),
        "ASK" => Some(Redirection::Ask(to(refusal)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_name_a_node() {
        let from = Address::parse("cache:6379").unwrap();
        let of = |line: &str| {
            let answer = redis::parse_redis_value(format!("{line}\r\n").as_bytes()).unwrap();
            redirection(&answer, &from)
        };
        let address = |text: &str| Address::parse(text).unwrap();
        for (line, expected) in [
            (
                "-MOVED 3999 10.0.0.2:7000",
                Some(Redirection::Moved(address("10.0.0.2:7000"))),
            ),
            (
                "-MOVED 3999 :7000",
                Some(Redirection::Moved(address("cache:7000"))),
            ),
            (
                "-MOVED 3999 fd00::2:7000",
                Some(Redirection::Moved(address("[fd00::2]:7000"))),
            ),
            (
                "-ASK 3999 node-2:7000",
                Some(Redirection::Ask(address("node-2:7000"))),
            ),
            ("-MOVED", None),
            ("-MOVED 3999 nowhere", None),
            ("-CLUSTERDOWN The cluster is down", None),
            (":3", None),
        ] {
            assert_eq!(of(line), expected, "{line}");
        }
    }
}
