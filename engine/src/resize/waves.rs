//! Which pods are asked next.
//!
//! First those that give resources back: that makes room for the others. Then those whose nodes have the fewest pods under
//! way, so that no node is asked for everything at once; among them the oldest: a workload that scales in loses its youngest
//! pods first, so the oldest keep longest what they get. Where a node lacks the room for one, the others there wait for its
//! outcome.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

/// A pod that is to be asked in a wave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub uid: Arc<str>,
    pub name: Arc<str>,
    pub node: Option<Arc<str>>,
    pub created: Timestamp,
    pub homeward: bool,
    /// It is under way already, and counts once.
    pub counted: bool,
}

/// The nodes of an object's pods while waves run.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes(BTreeMap<Arc<str>, Node>);

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    under_way: usize,
    full: bool,
}

impl Nodes {
    pub(super) fn add_under_way(&mut self, node: Option<&Arc<str>>) {
        if let Some(node) = node {
            self.0.entry(node.clone()).or_default().under_way += 1;
        }
    }

    /// A pod is deferred there.
    pub(super) fn set_full(&mut self, node: Option<&Arc<str>>) {
        if let Some(node) = node {
            self.0.entry(node.clone()).or_default().full = true;
        }
    }

    fn get(&self, node: Option<&Arc<str>>) -> Node {
        node.and_then(|node| self.0.get(node))
            .copied()
            .unwrap_or_default()
    }
}

/// Those to ask now, while `free` more may be under way.
pub(super) fn next_wave(
    mut candidates: Vec<Candidate>,
    mut free: usize,
    mut nodes: Nodes,
) -> Vec<Arc<str>> {
    let mut wave = Vec::new();
    candidates.sort_by(|a, b| (a.created, &a.name, &a.uid).cmp(&(b.created, &b.name, &b.uid)));
    candidates.retain(|candidate| {
        if candidate.counted {
            wave.push(candidate.uid.clone());
        }
        !candidate.counted
    });
    while free > 0 {
        let best = candidates
            .iter()
            .enumerate()
            .filter(|(_, it)| it.homeward || !nodes.get(it.node.as_ref()).full)
            .min_by_key(|(place, it)| (!it.homeward, nodes.get(it.node.as_ref()).under_way, *place))
            .map(|(place, _)| place);
        let Some(best) = best else {
            break;
        };
        let chosen = candidates.remove(best);
        nodes.add_under_way(chosen.node.as_ref());
        wave.push(chosen.uid);
        free -= 1;
    }
    wave
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resize::tests::at;

    /// `name created node`, with `-` before those that give back and `=` before those under way.
    fn candidates(list: &[&str]) -> Vec<Candidate> {
        let parse = |text: &&str| {
            let (homeward, counted) = (text.starts_with('-'), text.starts_with('='));
            let parts: Vec<&str> = text.trim_start_matches(['-', '=']).split(' ').collect();
            Candidate {
                uid: parts[0].into(),
                name: parts[0].into(),
                node: Some(parts[2].into()),
                created: at(parts[1].parse().unwrap()),
                homeward,
                counted,
            }
        };
        list.iter().map(parse).collect()
    }

    #[test]
    fn waves_make_room_first_and_spread_over_nodes() {
        for (list, free, under_way, full, wave) in [
            (vec!["b 2 x", "a 1 x", "c 3 x"], 2, "", "", "a b"),
            (vec!["a 1 x", "b 2 x", "c 3 y"], 2, "", "", "a c"),
            (vec!["a 1 x", "b 2 x", "c 3 y"], 2, "xx", "", "c a"),
            (vec!["a 1 x", "b 2 x", "-c 3 y"], 1, "", "", "c"),
            (vec!["a 1 x", "b 2 y"], 2, "", "x", "b"),
            (vec!["-a 1 x", "b 2 y"], 2, "", "x", "a b"),
            // One that is under way already takes no place.
            (vec!["=a 1 x", "b 2 y"], 0, "x", "x", "a"),
            (vec!["a 1 x"], 9, "", "", "a"),
            (vec![], 3, "", "", ""),
        ] {
            let mut nodes = Nodes::default();
            for node in under_way.chars() {
                nodes.add_under_way(Some(&node.to_string().into()));
            }
            for node in full.chars() {
                nodes.set_full(Some(&node.to_string().into()));
            }
            let chosen = next_wave(candidates(&list), free, nodes);
            assert_eq!(chosen.join(" "), wave, "{list:?}");
        }
    }
}
