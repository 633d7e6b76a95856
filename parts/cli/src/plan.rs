//! World × what is wanted × now → what would happen on every node, in which order. Pure.
//!
//! The engine's own plans are carried out on model nodes (`plan/model.rs`), pass by pass, until nothing moves. What
//! a model cannot know (images that do not exist, probes that fail) is taken to go well; pods that are in trouble now
//! stay in it until they are replaced.

mod change;
mod model;

pub use change::{Change, field_changes};

use crate::explain::Groups;
use crate::world::{World, node as find};
use fit::{Reason, Verdict};
use jiff::Timestamp;
use model::Model;
use rollout::plan::history::History;
use rollout::{Set, Strategy};
use serde::Serialize;
use serde_json::Value;

/// What a DaemonSet shall become.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The object as the API would hold it: from a dry run where that was permitted.
    pub object: Value,
    /// The object as it is; absent where there is none.
    pub live: Option<Value>,
}

/// What becomes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Gets a pod where none is.
    Gains,
    /// Loses its pod.
    Loses,
    /// Gets another pod for the one it has.
    Replaces,
    /// Should have a pod, which cannot start there.
    DoesNotFit,
    /// Keeps a pod of an old template until something else happens.
    Waits,
    /// Keeps the pod it has.
    Keeps,
    /// Has none and gets none.
    Without,
}

/// One step of the way: what the engine does in one go before it waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wave {
    /// Nodes that get a pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gains: Vec<String>,
    /// Nodes whose pod is replaced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<String>,
    /// Nodes whose pod, or a surplus one, goes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loses: Vec<String>,
}

/// Whom a pod would preempt on its way in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preempted {
    /// Where.
    pub node: String,
    /// Who, `namespace/name`.
    pub pods: Vec<String>,
}

/// What becomes of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeOutcome {
    /// Its name.
    pub node: String,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Why.
    pub reasons: Vec<String>,
}

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// `Plan`.
    pub kind: &'static str,
    /// Namespace of the DaemonSet.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether applying changes anything.
    pub has_changes: bool,
    /// What about the object changes.
    pub change: Change,
    /// The nodes by outcome and reason.
    pub outcomes: Groups<Outcome>,
    /// How many waves there are.
    pub steps: usize,
    /// The waves in their order.
    pub waves: Vec<Wave>,
    /// Waves left out of an output that is limited.
    pub waves_left_out: usize,
    /// Whether the model came to rest; else the waves are only the first ones.
    pub is_complete: bool,
    /// Whom the pods would preempt.
    pub preempted: Vec<Preempted>,
    /// What is worth knowing besides.
    pub notes: Vec<String>,
    /// Every node, by name.
    pub nodes: Vec<NodeOutcome>,
    /// Nodes left out of an output that is limited.
    pub nodes_left_out: usize,
}

/// Foresees what happens once `wanted` is applied.
///
/// # Errors
/// What cannot be read of the wanted object.
pub fn plan(world: &World, wanted: &Wanted, now: Timestamp) -> Result<Forecast, rollout::Problem> {
    let mut after = Set::read(&wanted.object)?;
    let before = &world.rollout.set;
    if wanted.live.is_some() {
        after.uid.clone_from(&before.uid);
        after.status = before.status.clone();
    }
    after.compat = world.engine.compat(&after);
    let mut world_after = world.rollout.clone();
    world_after.set = after.clone();
    let history = History::of(&after, &world_after.revisions);
    let mut model = Model::new(world, world_after, now);
    let first = model.live();
    model.run();
    let last = model.live();
    let outcomes_of = |name: &String| {
        let (was, is) = (first.get(name), last.get(name));
        outcome(&model, &after, name, (was.map(String::as_str), is.map(String::as_str)))
    };
    let nodes: Vec<NodeOutcome> = world.rollout.nodes.keys().map(outcomes_of).collect();
    let mut outcomes = Groups::default();
    for node in &nodes {
        for reason in &node.reasons {
            outcomes.add(node.outcome, reason, &node.node);
        }
    }
    let change = Change::of(wanted, before, &history, &world.rollout.revisions);
    let mut notes = world.gaps.clone();
    notes.extend(change_notes(world, &after, &model));
    Ok(Forecast {
        kind: "Plan",
        namespace: after.namespace.clone(),
        name: after.name.clone(),
        has_changes: change.is_any(),
        change,
        outcomes: outcomes.bounded(),
        steps: model.waves.len(),
        waves_left_out: 0,
        is_complete: model.is_complete,
        preempted: model.preempted(),
        waves: model.waves,
        notes,
        nodes,
        nodes_left_out: 0,
    })
}

fn change_notes(world: &World, after: &Set, model: &Model<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    if !world.engine.is_pernode {
        notes.push(
            "the engine is not pernode's: the order of nodes is its own; numbers hold".to_owned(),
        );
    }
    if world.occupied.is_none() && world.occupants.is_empty() {
        notes.push("what other pods take was not looked at: every pod is taken to fit".to_owned());
    }
    if after.is_deleting {
        notes
            .push("the DaemonSet is being deleted: its engine does nothing more for it".to_owned());
    }
    if after.selects_all() {
        notes.push("the selector is empty: the engine refuses to act".to_owned());
    }
    notes.extend(crate::world::blind_spots(model.spec()));
    let min_ready = after.min_ready.as_secs();
    if min_ready > 0 && model.waves.len() > 1 {
        notes
            .push(format!("each step waits {min_ready} s (minReadySeconds) for its pods at least"));
    }
    notes
}

/// What became of a node between its first and its last live pod.
fn outcome(
    model: &Model<'_>,
    set: &Set,
    name: &str,
    (was, is): (Option<&str>, Option<&str>),
) -> NodeOutcome {
    let node = find(model.world, name);
    let verdict = node.map(|node| World::verdict(set, node));
    let against: Vec<String> =
        verdict.iter().flat_map(|v| v.reasons().iter().map(ToString::to_string)).collect();
    let is_down = node.is_some_and(|node| rollout::plan::place::Down::of(node).is_some());
    let returns =
        is_down && verdict.as_ref().is_some_and(|v| v.reasons().iter().all(is_of_silence));
    let fits = || "a pod belongs there".to_owned();
    let one = |outcome, reason: String| (outcome, vec![reason]);
    let (outcome, reasons) = match (was, is) {
        (_, Some(_)) if model.stuck.contains_key(name) => {
            (Outcome::DoesNotFit, model.stuck.get(name).cloned().unwrap_or_default())
        }
        (None, Some(_)) if is_down => {
            one(Outcome::Gains, "starts when the node returns: it is down".to_owned())
        }
        (None, Some(_)) => one(Outcome::Gains, fits()),
        (Some(_), None) if verdict.as_ref().is_some_and(Verdict::should_run) => one(
            Outcome::Waits,
            "its pod goes, the new one is still to come when the model rests".to_owned(),
        ),
        (Some(_), None) => (Outcome::Loses, against),
        (Some(was), Some(is)) if was != is && model.is_current(is) => {
            one(Outcome::Replaces, "its pod is of another template, or ended".to_owned())
        }
        (Some(_), Some(is)) if model.is_current(is) => {
            let stays = against.first().map(|why| {
                format!("current template; stays, though no new pod would be placed: {why}")
            });
            one(
                Outcome::Keeps,
                stays.unwrap_or_else(|| "its pod is of this template already".to_owned()),
            )
        }
        (Some(_), Some(_)) => one(Outcome::Waits, waits(set, &against, returns)),
        (None, None) if returns => {
            one(Outcome::Waits, "the node is down; its pod is made when it returns".to_owned())
        }
        (None, None) if verdict.as_ref().is_some_and(Verdict::should_run) => {
            one(Outcome::Waits, "a pod belongs there, but none is made".to_owned())
        }
        (None, None) => (Outcome::Without, against),
    };
    NodeOutcome { node: name.to_owned(), outcome, reasons }
}

/// Whether a reason goes away by itself when a node that is down returns: the taints that its silence brought (spec D4).
fn is_of_silence(reason: &Reason) -> bool {
    const KEYS: [&str; 2] = ["node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"];
    matches!(reason, Reason::Taint { key, .. } if KEYS.contains(&key.as_str()))
}

/// Why a node keeps a pod of an old template when nothing moves any more.
fn waits(set: &Set, against: &[String], returns: bool) -> String {
    match (&set.strategy, against.first()) {
        (Strategy::OnDelete, _) => "until its pod is deleted (OnDelete)".to_owned(),
        _ if returns => "the node is down; it is updated when it returns".to_owned(),
        (_, Some(why)) => format!("keeps the old pod, since no new one would be placed: {why}"),
        (_, None) => {
            "the rollout stands still before its turn: pods that do not start use maxUnavailable up"
                .to_owned()
        }
    }
}

impl Forecast {
    /// Keeps the first `max` waves and nodes; 0 keeps all.
    #[must_use]
    pub fn limited(mut self, max: usize) -> Self {
        if max > 0 {
            self.waves_left_out += self.waves.len().saturating_sub(max);
            self.waves.truncate(max);
            self.nodes_left_out += self.nodes.len().saturating_sub(max);
            self.nodes.truncate(max);
        }
        self
    }

    /// How many nodes come to this.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.nodes.iter().filter(|node| node.outcome == outcome).count()
    }
}
