//! World × now → why each node has a pod, gets one, or does not. Pure.

pub mod groups;
mod look;
pub mod node;
mod row;

pub use groups::{Group, Groups};
pub(crate) use look::Look;
pub use node::{Check, NodeExplanation, explain_node};
pub use row::{PodLine, Row};

use crate::world::{Engine, World};
use jiff::Timestamp;
use serde::Serialize;

/// Whether a node has a pod of the DaemonSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// A live pod is bound there, and it stays or is being replaced.
    Has,
    /// A pod belongs there and is on its way: to be created, or waiting for something.
    Gets,
    /// No pod belongs there; one that is there goes.
    DoesNotGet,
}

/// The answer about all nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `Explanation`.
    pub kind: &'static str,
    /// Namespace of the DaemonSet.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `status.observedGeneration`.
    pub observed_generation: i64,
    /// Who acts for it.
    pub engine: Engine,
    /// How many nodes there are, and how many of each standing.
    pub nodes: Numbers,
    /// The nodes by standing and reason; a node that does not get a pod may stand under several reasons.
    pub reasons: Groups<Standing>,
    /// Where the rollout stands.
    pub rollout: Progress,
    /// What is worth knowing besides, and what is not visible.
    pub notes: Vec<String>,
    /// One row a node, by name.
    pub rows: Vec<Row>,
    /// Rows left out of an output that is limited.
    pub rows_left_out: usize,
}

/// How many nodes stand how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Numbers {
    /// Nodes in all.
    pub all: usize,
    /// That have a pod.
    pub have: usize,
    /// That get one.
    pub get: usize,
    /// That do not get one.
    pub do_not_get: usize,
}

/// The rollout as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// `RollingUpdate` or `OnDelete`.
    pub strategy: &'static str,
    /// `maxUnavailable` in nodes.
    pub max_unavailable: Option<usize>,
    /// `maxSurge` in nodes.
    pub max_surge: Option<usize>,
    /// Hash of the current template's revision.
    pub hash: String,
    /// Number of that revision; absent while the engine has not written it.
    pub revision: Option<i64>,
    /// Nodes with a live pod of an old template.
    pub old: usize,
    /// Nodes that use the limit up: without an available new pod.
    pub unavailable: usize,
    /// In words.
    pub words: String,
}

/// Explains every node.
pub fn explain(world: &World, now: Timestamp) -> Explanation {
    let look = Look::of(world, now);
    let set = &world.rollout.set;
    let rows: Vec<Row> =
        world.rollout.nodes.iter().map(|(name, node)| row::row(&look, name, node)).collect();
    let count = |standing| rows.iter().filter(|row| row.standing == standing).count();
    let nodes = Numbers {
        all: rows.len(),
        have: count(Standing::Has),
        get: count(Standing::Gets),
        do_not_get: count(Standing::DoesNotGet),
    };
    let mut reasons = Groups::default();
    for row in &rows {
        for reason in &row.reasons {
            reasons.add(row.standing, reason, &row.node);
        }
    }
    Explanation {
        kind: "Explanation",
        namespace: set.namespace.clone(),
        name: set.name.clone(),
        generation: set.generation,
        observed_generation: set.status.observed_generation,
        engine: world.engine.clone(),
        nodes,
        reasons: reasons.bounded(),
        rollout: look.progress(),
        notes: look.notes(),
        rows,
        rows_left_out: 0,
    }
}

impl Explanation {
    /// Keeps the first `max` rows; 0 keeps all.
    #[must_use]
    pub fn limited(mut self, max: usize) -> Self {
        if max > 0 && self.rows.len() > max {
            self.rows_left_out += self.rows.len() - max;
            self.rows.truncate(max);
        }
        self
    }
}
