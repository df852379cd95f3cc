//! Which pods are asked next.
//!
//! First those that give resources back: that makes room for the others. Then those whose nodes have the fewest pods under
//! way, so that no node is asked for everything at once; among them the oldest: a workload that scales in loses its youngest
//! pods first, so the oldest keep longest what they get. Where a node lacks the room for one, the others there wait for its
//! outcome.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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

/// Those to ask now, while `most` may be under way and `taken` are, with those candidates that count already.
pub(super) fn next_wave(
    mut candidates: Vec<Candidate>,
    most: usize,
    taken: usize,
    mut nodes: Nodes,
) -> Vec<Arc<str>> {
    candidates.sort_by(|a, b| {
        let key = |it: &Candidate| (!it.homeward, it.created);
        (key(a), &a.name, &a.uid).cmp(&(key(b), &b.name, &b.uid))
    });
    let (counted, waiting): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|it| it.counted);
    // Where more have a place than may (somebody else had a pod for a moment, and another took its place; or fewer may be under way now), whoever is
    // to grow waits until that is over. What gives back doesn't.
    let is_full = taken > most;
    let counted = counted.into_iter().filter(|it| it.homeward || !is_full);
    let mut wave: Vec<_> = counted.map(|it| it.uid).collect();
    let mut free = most.saturating_sub(taken);
    let mut queues: BTreeMap<Option<Arc<str>>, VecDeque<(usize, Candidate)>> = BTreeMap::new();
    for (place, it) in waiting.into_iter().enumerate() {
        if it.homeward || !nodes.get(it.node.as_ref()).full {
            let queue = queues.entry(it.node.clone()).or_default();
            queue.push_back((place, it));
        }
    }
    // Of each node only the first is compared, since all of its pods count the same number under way.
    let first = |node: &Option<Arc<str>>, queue: &VecDeque<(usize, Candidate)>, nodes: &Nodes| {
        let (place, it) = queue.front()?;
        let under_way = nodes.get(node.as_ref()).under_way;
        Some((!it.homeward, under_way, *place, node.clone()))
    };
    let firsts = queues.iter();
    let mut firsts: BTreeSet<_> = firsts
        .filter_map(|(node, queue)| first(node, queue, &nodes))
        .collect();
    while free > 0 {
        let Some((.., node)) = firsts.pop_first() else {
            break;
        };
        let Some(queue) = queues.get_mut(&node) else {
            break;
        };
        if let Some((_, chosen)) = queue.pop_front() {
            wave.push(chosen.uid);
            free -= 1;
        }
        nodes.add_under_way(node.as_ref());
        firsts.extend(first(&node, queue, &nodes));
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
            let (homeward, counted) = (text.starts_with('-'), text.contains('='));
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
        for (list, most, under_way, full, wave) in [
            (vec!["b 2 x", "a 1 x", "c 3 x"], 2, "", "", "a b"),
            (vec!["a 1 x", "b 2 x", "c 3 y"], 2, "", "", "a c"),
            (vec!["a 1 x", "b 2 x", "c 3 y"], 4, "xx", "", "c a"),
            (vec!["a 1 x", "b 2 x", "-c 3 y"], 1, "", "", "c"),
            (vec!["a 1 x", "b 2 y"], 2, "", "x", "b"),
            (vec!["-a 1 x", "b 2 y"], 2, "", "x", "a b"),
            // One that is under way already takes no place.
            (vec!["=a 1 x", "b 2 y"], 1, "x", "x", "a"),
            // Unless another has it.
            (vec!["=a 1 x"], 1, "xy", "", ""),
            (vec!["=a 1 x", "=b 2 x"], 1, "xx", "", ""),
            (vec!["=a 1 x", "=b 2 x"], 2, "xx", "", "a b"),
            (vec!["=a 1 x", "-=b 2 x"], 1, "xx", "", "b"),
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
            let taken = under_way.len();
            let chosen = next_wave(candidates(&list), most, taken, nodes);
            assert_eq!(chosen.join(" "), wave, "{list:?}");
        }
    }
}
