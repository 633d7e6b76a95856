//! Stories: one world in YAML, what happens to it as text. Every file in `tests/stories` is told.
//!
//! A story names the fields that matter. `hash: current` and `hash: old` stand for the template as it is and for
//! the one before it (image `agent:old`); ages are seconds before the start.

#[path = "laws/worlds.rs"]
#[expect(dead_code, reason = "stories need only how a world moves on")]
mod worlds;

#[path = "laws/planted.rs"]
mod planted;

#[path = "laws/told.rs"]
mod told;

use fit::Verdict;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as core;
use rollout::plan::history::{self, History};
use rollout::words::HASH_LABEL;
use rollout::world::{Failure, Failures, Phase, Pod, Refusal, Revision};
use rollout::{Board, Plan, Set, Trouble, World, json, plan, shape};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use worlds::{UID, carry_out, start};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Story {
    /// What the story is about.
    story: String,
    /// `spec` of the DaemonSet, as far as it differs from the plainest one.
    #[serde(default)]
    spec: BTreeMap<String, Value>,
    /// Template's pod spec, as far as it differs.
    #[serde(default)]
    pod: BTreeMap<String, Value>,
    nodes: BTreeMap<String, NodeIn>,
    #[serde(default)]
    pods: BTreeMap<String, PodIn>,
    #[serde(default)]
    revisions: BTreeMap<String, RevisionIn>,
    #[serde(default)]
    failures: BTreeMap<String, FailureIn>,
    /// What the API said when it refused a pod.
    refusal: Option<String>,
    /// Annotations of the DaemonSet.
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    /// Its name, if it is not `x`.
    name: Option<String>,
    /// Its `status.collisionCount`.
    collisions: Option<i64>,
    /// Its `status.observedGeneration`, 1 if not given; its generation is 2.
    observed: Option<i64>,
    /// Whether it is being deleted.
    #[serde(default)]
    deleting: bool,
    /// Whether conditions are told.
    #[serde(default)]
    conditions: bool,
    /// What others do before a pass, by its number from 0.
    #[serde(default)]
    changes: BTreeMap<usize, ChangeIn>,
    /// How many passes are told.
    #[serde(default = "one")]
    passes: usize,
}

fn one() -> usize {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeIn {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    taints: Vec<String>,
    /// Seconds since it fell silent.
    silent: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "a form to fill in")]
struct PodIn {
    node: Option<String>,
    #[serde(default = "current")]
    hash: String,
    #[serde(default = "minute")]
    age: i64,
    ready: Option<i64>,
    #[serde(default)]
    terminating: bool,
    #[serde(default)]
    unbound: bool,
    #[serde(default)]
    failed: bool,
    #[serde(default)]
    succeeded: bool,
    #[serde(default)]
    evicted: bool,
    trouble: Option<String>,
    owner: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

fn current() -> String {
    "current".to_owned()
}

fn minute() -> i64 {
    60
}

/// What others do: nodes and pods appear as given; a node or pod that is null goes; the template gets another image or
/// pod spec.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeIn {
    #[serde(default)]
    nodes: BTreeMap<String, Option<NodeIn>>,
    #[serde(default)]
    pods: BTreeMap<String, Option<PodIn>>,
    image: Option<String>,
    pod: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    spec: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevisionIn {
    #[serde(default = "current")]
    template: String,
    number: i64,
    hash: Option<String>,
    owner: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FailureIn {
    ago: i64,
    delay: i64,
}

fn template(image: &str, pod: &BTreeMap<String, Value>) -> Value {
    let mut spec = json!({"containers": [{"name": "c", "image": format!("agent:{image}")}]});
    spec.as_object_mut().expect("an object").extend(pod.clone());
    json!({"metadata": {"labels": {"app": "x"}}, "spec": spec})
}

/// `nobody` is no controller, `other` another one, nothing the set.
fn owner(owner: Option<&str>) -> Option<String> {
    match owner {
        None => Some(UID.to_owned()),
        Some("nobody") => None,
        Some(other) => Some(other.to_owned()),
    }
}

impl Story {
    fn template(&self, which: &str) -> Value {
        template(which, &self.pod)
    }

    fn hash(&self, which: &str) -> String {
        match which {
            "current" | "old" | "older" | "oldest" => {
                history::hash(&json::canonical(&self.template(which)), self.collisions)
            }
            literal => literal.to_owned(),
        }
    }

    fn set(&self, template: &Value, changed: &BTreeMap<String, Value>) -> Set {
        let mut spec = json!({
            "selector": {"matchLabels": {"app": "x"}},
            "template": template,
            "updateStrategy": {"type": "RollingUpdate"},
        });
        spec.as_object_mut().expect("an object").extend(self.spec.clone());
        spec.as_object_mut().expect("an object").extend(changed.clone());
        let set = json!({
            "metadata": {"namespace": "ns", "name": self.name.as_deref().unwrap_or("x"), "uid": UID,
                         "generation": 2, "annotations": self.annotations},
            "spec": spec,
            "status": {"observedGeneration": self.observed.unwrap_or(1), "collisionCount": self.collisions},
        });
        Set { is_deleting: self.deleting, ..Set::read(&set).expect("a set") }
    }

    /// Lets others do what they do before a pass; answers the hash of the template that it makes.
    fn change(&self, change: &ChangeIn, world: &mut World) -> Option<String> {
        for (name, node) in &change.nodes {
            match node {
                Some(node) => world.nodes.insert(name.clone(), Arc::new(node.node(name))),
                None => world.nodes.remove(name),
            };
        }
        for (name, pod) in &change.pods {
            match pod {
                Some(pod) => world.pods.insert(name.clone(), self.pod(name, pod)),
                None => world.pods.remove(name),
            };
        }
        if change.image.is_none() && change.pod.is_none() && change.spec.is_empty() {
            return None;
        }
        let pod = change.pod.as_ref().unwrap_or(&self.pod);
        let template = template(change.image.as_deref().unwrap_or("current"), pod);
        let set = self.set(&template, &change.spec);
        let (generation, status) = (world.set.generation + 1, world.set.status.clone());
        world.set = Set { generation, status, ..set };
        Some(history::hash(&json::canonical(&template), self.collisions))
    }

    fn world(&self) -> World {
        World {
            set: self.set(&self.template("current"), &BTreeMap::new()),
            nodes: self
                .nodes
                .iter()
                .map(|(name, node)| (name.clone(), Arc::new(node.node(name))))
                .collect(),
            pods: self.pods.iter().map(|(name, pod)| (name.clone(), self.pod(name, pod))).collect(),
            revisions: self
                .revisions
                .iter()
                .map(|(name, revision)| (name.clone(), self.revision(name, revision)))
                .collect(),
            failures: Failures {
                observed_generation: self.observed.unwrap_or(1),
                by_node: self
                    .failures
                    .iter()
                    .map(|(node, failure)| (node.clone(), failure.failure()))
                    .collect(),
                refusal: self
                    .refusal
                    .clone()
                    .map(|message| Refusal { message, nodes: BTreeSet::default() }),
            },
        }
    }

    fn pod(&self, name: &str, pod: &PodIn) -> Pod {
        let mut labels = pod
            .labels
            .clone()
            .unwrap_or_else(|| BTreeMap::from([("app".to_owned(), "x".to_owned())]));
        labels.insert(HASH_LABEL.to_owned(), self.hash(&pod.hash));
        Pod {
            name: name.to_owned(),
            node: pod.node.clone(),
            is_bound: pod.node.is_some() && !pod.unbound,
            created: ago(pod.age),
            is_terminating: pod.terminating,
            phase: match (pod.failed, pod.succeeded) {
                (true, _) => Phase::Failed,
                (_, true) => Phase::Succeeded,
                (false, false) => Phase::Alive,
            },
            is_ready: pod.ready.is_some(),
            ready_changed: pod.ready.map(ago),
            labels,
            controller: owner(pod.owner.as_deref()),
            trouble: pod.trouble.as_deref().map(|name| {
                let found = Trouble::ALL.into_iter().find(|trouble| trouble.reason() == name);
                found.expect("the reason of a trouble")
            }),
            is_evicted: pod.evicted,
        }
    }

    fn revision(&self, name: &str, revision: &RevisionIn) -> Revision {
        let hash = revision.hash.clone().unwrap_or_else(|| self.hash(&revision.template));
        let mut labels = BTreeMap::from([("app".to_owned(), "x".to_owned())]);
        if !hash.is_empty() {
            labels.insert(HASH_LABEL.to_owned(), hash);
        }
        Revision {
            name: name.to_owned(),
            labels,
            controller: owner(revision.owner.as_deref()),
            is_terminating: false,
            number: revision.number,
            data: json::canonical(&shape::data(&self.template(&revision.template))),
        }
    }
}

impl NodeIn {
    fn node(&self, name: &str) -> core::Node {
        let taints: Vec<Value> = self
            .taints
            .iter()
            .map(|text| {
                let (key, effect) = text.split_once(':').expect("key:effect");
                json!({"key": key, "effect": effect})
            })
            .collect();
        let node =
            json!({"metadata": {"name": name, "labels": self.labels}, "spec": {"taints": taints}});
        let node: core::Node = serde_json::from_value(node).expect("a node");
        match self.silent {
            Some(seconds) => worlds::silenced(node, ago(seconds)),
            None => node,
        }
    }
}

impl FailureIn {
    fn failure(&self) -> Failure {
        Failure {
            at: ago(self.ago),
            delay: SignedDuration::from_secs(self.delay),
            evicted: BTreeSet::new(),
            counted: BTreeSet::new(),
        }
    }
}

fn ago(seconds: i64) -> Timestamp {
    start() - SignedDuration::from_secs(seconds)
}

fn tell(story: &Story) -> String {
    describe_engine(story, |_| {}, &plan)
}

/// Tells a story by an engine that sees worlds through a glass.
fn describe_engine(
    story: &Story,
    glass: fn(&mut World),
    engine: &dyn Fn(&World, Timestamp) -> Plan,
) -> String {
    let (mut world, mut now, mut serial, mut out) = (story.world(), start(), 0, String::new());
    let mut seen = world.clone();
    glass(&mut seen);
    let history = History::of(&seen.set, &seen.revisions);
    for (node, answer) in Board::of(&seen, &history, now).answers() {
        let (word, reasons) = match &answer.verdict {
            None => ("is not there", Vec::new()),
            Some(Verdict::Fits) => continue,
            Some(Verdict::Stays(reasons)) => ("takes no new pod", reasons.clone()),
            Some(Verdict::Refused(reasons)) => ("takes no pod", reasons.clone()),
        };
        let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        let name = if node.is_empty() { "(no node)" } else { node };
        let line = format!("{name} {word}: {}", reasons.join("; "));
        writeln!(out, "{}", line.trim_end_matches([' ', ':'])).expect("a string");
    }
    let mut hashes = BTreeMap::new();
    for pass in 0..story.passes {
        let change = story.changes.get(&pass);
        if let Some(hash) = change.and_then(|change| story.change(change, &mut world)) {
            hashes.entry(hash).or_insert_with(|| format!("<changed {pass}>"));
        }
        let next = engine(&world, now);
        writeln!(out, "after {} s:", now.duration_since(start()).as_secs()).expect("a string");
        describe(&next, story.conditions, &mut out);
        carry_out(&mut world, &next, now, &mut serial);
        for name in story.pods.iter().filter(|(_, pod)| pod.trouble.is_some()).map(|(name, _)| name)
        {
            world.pods.entry(name.clone()).and_modify(|pod| pod.is_ready = false);
        }
        now = next.again_at.unwrap_or(now).max(now + SignedDuration::from_secs(1));
    }
    for which in ["current", "old", "older", "oldest"] {
        out = out.replace(&story.hash(which), &format!("<{which}>"));
    }
    for (hash, name) in hashes {
        out = out.replace(&hash, &name);
    }
    out
}

fn describe(plan: &Plan, has_conditions: bool, out: &mut String) {
    let steps = &plan.revisions;
    let mut line = |what: &str, list: Vec<String>| {
        if !list.is_empty() {
            writeln!(out, "  {what}: {}", list.join(", ")).expect("a string");
        }
    };
    line("adopt", plan.adopt.clone());
    line("release", plan.release.clone());
    line("adopt revision", steps.adopt.clone());
    line("release revision", steps.release.clone());
    line("label revision", steps.label.clone());
    let new = steps.create.iter().map(|new| format!("{} as number {}", new.name, new.number));
    line("new revision", new.collect());
    let renumber = steps.renumber.iter().map(|(name, number)| format!("{name} as number {number}"));
    line("renumber revision", renumber.collect());
    line("relabel", plan.relabel.clone());
    line("delete duplicate revision", steps.duplicates.clone());
    line("create on", plan.create.iter().map(|create| create.node.clone()).collect());
    let delete = plan.delete.iter().map(|d| format!("{} on {} ({:?})", d.pod, d.node, d.why));
    line("delete", delete.collect());
    line("keep", plan.keep.clone());
    line("wait", plan.wait.iter().map(|w| format!("{} ({:?})", w.pod, w.what)).collect());
    line("trim revision", steps.trim.clone());
    let events = plan.events.iter().map(|event| {
        let kind = if event.is_warning { "Warning" } else { "Normal" };
        format!("{kind} {} {:?}", event.reason, event.message)
    });
    line("tell", events.collect());
    let status = plan.status.iter().map(|s| {
        format!(
            "desired {} current {} ready {} up-to-date {} available {} unavailable {} misscheduled {} \
             generation {}",
            s.desired_number_scheduled,
            s.current_number_scheduled,
            s.number_ready,
            s.updated_number_scheduled,
            s.number_available,
            s.number_unavailable,
            s.number_misscheduled,
            s.observed_generation
        )
    });
    line("status", status.collect());
    if has_conditions {
        let conditions = plan.status.iter().flat_map(|status| &status.conditions);
        for c in conditions {
            line(c.kind, vec![format!("{} {}: {}", c.is_true, c.reason, c.message)]);
        }
    }
    line("again at", plan.again_at.iter().map(ToString::to_string).collect());
    if plan.is_quiet() {
        writeln!(out, "  nothing to do").expect("a string");
    }
}

#[test]
fn stories_end_as_they_did() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    told::all_are_told_as_they_were(&folder, 10, |story: &Story| &story.story, tell);
}
