//! Nodes summed by reason, bounded at any fleet size.

use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Node names shown for each reason.
pub const EXAMPLES_MAX: usize = 3;
/// Reasons shown for each heading; what is beyond is summed in one more.
pub const REASONS_MAX: usize = 20;
/// What is said about the reasons beyond.
const OTHERS: &str = "other reasons; -o wide shows each node";

/// Reasons under headings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Groups<H: Ord> {
    all: Vec<Group<H>>,
    #[serde(skip)]
    found: BTreeMap<(H, String), (usize, Vec<String>)>,
}

impl<H: Ord> Default for Groups<H> {
    fn default() -> Self {
        Self { all: Vec::new(), found: BTreeMap::new() }
    }
}

/// One reason under one heading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Group<H> {
    /// The heading.
    pub standing: H,
    /// The reason.
    pub reason: String,
    /// How many nodes.
    pub nodes: usize,
    /// The first of them by name.
    pub examples: Vec<String>,
}

impl<H: Ord + Copy> Groups<H> {
    /// Counts a node under a reason.
    pub fn add(&mut self, standing: H, reason: &str, node: &str) {
        let (nodes, examples) = self.found.entry((standing, reason.to_owned())).or_default();
        *nodes += 1;
        if examples.len() < EXAMPLES_MAX {
            examples.push(node.to_owned());
        }
    }

    /// Sorts by heading, then the most nodes first; reasons beyond the limit become one.
    #[must_use]
    pub fn bounded(self) -> Self {
        let mut by_heading: BTreeMap<H, Vec<Group<H>>> = BTreeMap::new();
        for ((standing, reason), (nodes, examples)) in self.found {
            by_heading.entry(standing).or_default().push(Group {
                standing,
                reason,
                nodes,
                examples,
            });
        }
        let mut all = Vec::new();
        for (standing, mut groups) in by_heading {
            groups
                .sort_by(|a, b| (Reverse(a.nodes), &a.reason).cmp(&(Reverse(b.nodes), &b.reason)));
            let beyond = groups.split_off(groups.len().min(REASONS_MAX));
            all.extend(groups);
            if let Some(first) = beyond.first() {
                all.push(Group {
                    standing,
                    reason: format!("{} {OTHERS}", beyond.len()),
                    nodes: beyond.iter().map(|group| group.nodes).sum(),
                    examples: first.examples.clone(),
                });
            }
        }
        Self { all, found: BTreeMap::new() }
    }

    /// The reasons under a heading, the most nodes first; filled by [`Groups::bounded`].
    pub fn under(&self, standing: H) -> impl Iterator<Item = &Group<H>> {
        self.all.iter().filter(move |group| group.standing == standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_of_any_size_has_a_bounded_number_of_reasons() {
        let mut groups = Groups::default();
        for node in 0..5000 {
            groups.add(1, &format!("reason {}", node % 1000), &format!("n{node:04}"));
            groups.add(2, "the same", &format!("n{node:04}"));
        }
        let groups = groups.bounded();
        assert_eq!(groups.under(1).count(), REASONS_MAX + 1);
        assert_eq!(groups.under(1).map(|group| group.nodes).sum::<usize>(), 5000);
        let same = groups.under(2).next().unwrap();
        assert_eq!((same.nodes, same.examples.len()), (5000, EXAMPLES_MAX));
    }
}
