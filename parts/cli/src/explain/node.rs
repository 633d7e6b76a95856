//! One node in full: every predicate, whom its pod would preempt, the pods that are there, the rollout.

use super::row::{self, PodLine};
use super::{Look, Progress, Standing};
use crate::world::{Engine, World, full_name, node as find};
use fit::reason::thousandths;
use fit::{Amounts, HostPort, Incoming, Occupied, Wish};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint, Toleration};
use rollout::Why;
use rollout::plan::place::Down;
use serde::Serialize;

/// Everything about one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeExplanation {
    /// `NodeExplanation`.
    pub kind: &'static str,
    /// Namespace of the DaemonSet.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The node.
    pub node: String,
    /// Who acts for the DaemonSet.
    pub engine: Engine,
    /// Whether the node has a pod.
    pub standing: Standing,
    /// Why.
    pub reasons: Vec<String>,
    /// Every question that is asked about the node.
    pub checks: Vec<Check>,
    /// Whom its pod would preempt; absent where it need not, or may not, or nobody could go.
    pub preemption: Option<Preemption>,
    /// The DaemonSet's pods there.
    pub pods: Vec<PodFull>,
    /// Where the node stands in the rollout.
    pub turn: Option<String>,
    /// The rollout as a whole.
    pub rollout: Progress,
    /// What is worth knowing besides, and what is not visible.
    pub notes: Vec<String>,
}

/// One question about a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What is asked.
    pub name: &'static str,
    /// Who asks: only the scheduler, or the DaemonSet engine too.
    pub asked_by: &'static str,
    /// Whether the answer is yes; absent where it is not known.
    pub passes: Option<bool>,
    /// Point by point.
    pub details: Vec<String>,
}

/// Whom a pod would preempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preemption {
    /// The pod's own priority.
    pub priority: i32,
    /// Who would go, `namespace/name (priority N)`, most important first.
    pub victims: Vec<String>,
    /// How many of them a PodDisruptionBudget protects.
    pub budgets_broken: usize,
}

/// A pod that is there, in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodFull {
    /// In short.
    #[serde(flatten)]
    pub line: PodLine,
    /// Its hash label.
    pub hash: Option<String>,
    /// Whether it is on its way out.
    pub is_terminating: bool,
    /// What keeps it from being available: messages of conditions and containers.
    pub troubles: Vec<String>,
    /// What the engine does with it next.
    pub next: Option<String>,
}

const ENGINE: &str = "engine and scheduler";
const SCHEDULER: &str = "scheduler";

/// Explains one node; `None` if it is not there.
pub fn explain_node(world: &World, name: &str, now: Timestamp) -> Option<NodeExplanation> {
    let node = find(world, name)?;
    let look = Look::of(world, now);
    let set = &world.rollout.set;
    let row = row::row(&look, name, node);
    let here = look.answer(name).map(|answer| answer.pods.as_slice()).unwrap_or_default();
    let pods: Vec<&rollout::Pod> =
        here.iter().filter_map(|mark| world.rollout.pods.get(&mark.pod)).collect();
    // with surge the new pod has to fit beside the old one; without, the old one makes room first
    let own: Vec<&Pod> = pods
        .iter()
        .filter(|pod| set.may_surge() && !look.board.terms().is_updated(pod))
        .filter_map(|pod| world.mine.get(&pod.name).map(AsRef::as_ref))
        .collect();
    let mut checks = placement(&set.placement.wish(), node);
    let pod = world.daemon_pod(set, &look.history.hash, name);
    let mut notes = look.notes();
    let mut preemption = None;
    match pod.as_ref().and_then(|pod| Some((pod, pod.spec.as_ref()?))) {
        None => {
            notes.push("the template cannot be read as a pod: room was not looked at".to_owned());
        }
        Some((pod, spec)) => {
            checks.extend(room(world, spec, node, &own));
            let lacks_room = world
                .against_room(spec, node, own.iter().copied())
                .is_some_and(|reasons| !reasons.is_empty());
            if lacks_room {
                preemption = preempted(world, pod, node, &own);
            }
        }
    }
    if Down::of(node).is_some() {
        notes.push("the node is down (Ready is not True, or out-of-service)".to_owned());
    }
    Some(NodeExplanation {
        kind: "NodeExplanation",
        namespace: set.namespace.clone(),
        name: set.name.clone(),
        node: name.to_owned(),
        engine: world.engine.clone(),
        standing: row.standing,
        reasons: row.reasons,
        checks,
        preemption,
        pods: pods.into_iter().map(|pod| full(&look, pod)).collect(),
        turn: look.turn(name),
        rollout: look.progress(),
        notes,
    })
}

/// Name, selector, affinity, taints, cordon: what the engine asks as well.
fn placement(wish: &Wish<'_>, node: &Node) -> Vec<Check> {
    let check =
        |name, passes, details| Check { name, asked_by: ENGINE, passes: Some(passes), details };
    let name = match wish.node_name {
        None => vec!["asks for no node by name".to_owned()],
        Some(wanted) => vec![format!("asks for {wanted}")],
    };
    let mut all = vec![check("node name", fit::place::against_name(wish, node).is_none(), name)];
    let labels = |key: &String| node.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let selector: Vec<(String, bool)> = wish
        .node_selector
        .into_iter()
        .flatten()
        .map(|(key, wanted)| match labels(key) {
            Some(found) if found == wanted => (format!("{key}={wanted}: the node has it"), true),
            Some(found) => (format!("{key}={wanted}: the node has {key}={found}"), false),
            None => (format!("{key}={wanted}: the node has no label {key}"), false),
        })
        .collect();
    let passes = selector.iter().all(|(_, holds)| *holds);
    let details = selector.into_iter().map(|(text, _)| text).collect();
    all.push(check("nodeSelector", passes, or(details, "none")));
    let terms = wish.required.map(|required| fit::place::terms(required, node)).unwrap_or_default();
    let passes = wish.required.is_none() || terms.iter().any(|term| term.matches);
    let details = terms.iter().enumerate().map(|(at, term)| {
        let needs = term.needs.iter().map(|(text, holds)| format!("{} {text}", mark(*holds)));
        let needs: Vec<String> = needs.collect();
        let needs = if needs.is_empty() {
            "empty, matches nothing".to_owned()
        } else {
            needs.join(" and ")
        };
        format!(
            "term {} {}: {needs}",
            at + 1,
            if term.matches { "matches" } else { "does not match" }
        )
    });
    all.push(check("required affinity", passes, or(details.collect(), "none")));
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let taints: Vec<String> = taints.map(|taint| taint_words(taint, wish.tolerations)).collect();
    let passes = fit::taint::against_taints(wish.tolerations, node).is_empty();
    all.push(check("taints", passes, or(taints, "none")));
    let cordon = fit::filter::against_cordon(wish, node);
    let is_cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let details = match (is_cordoned, cordon.is_some()) {
        (false, _) => "the node is not cordoned",
        (true, false) => {
            "the node is cordoned; the toleration of node.kubernetes.io/unschedulable helps"
        }
        (true, true) => "the node is cordoned",
    };
    let cordon = Check {
        name: "unschedulable",
        asked_by: SCHEDULER,
        passes: Some(cordon.is_none()),
        details: vec![details.to_owned()],
    };
    all.push(cordon);
    all
}

fn or(details: Vec<String>, none: &str) -> Vec<String> {
    if details.is_empty() { vec![none.to_owned()] } else { details }
}

fn mark(holds: bool) -> &'static str {
    if holds { "yes:" } else { "no:" }
}

/// A taint, and the toleration that helps against it or the one that is missing.
fn taint_words(taint: &Taint, tolerations: &[Toleration]) -> String {
    let value = taint.value.as_deref().filter(|value| !value.is_empty());
    let value = value.map(|value| format!("={value}")).unwrap_or_default();
    let name = format!("{}{value}:{}", taint.key, taint.effect);
    if taint.effect == "PreferNoSchedule" {
        return format!("{name}: a preference, keeps nobody away");
    }
    match tolerations.iter().find(|toleration| fit::taint::tolerates(toleration, taint)) {
        Some(toleration) => format!("{name}: tolerated by {}", toleration_words(toleration)),
        None => format!(
            "{name}: not tolerated; missing: {{key: {}, operator: Exists, effect: {}}}",
            taint.key, taint.effect
        ),
    }
}

fn toleration_words(toleration: &Toleration) -> String {
    let fields = [
        ("key", toleration.key.clone()),
        ("operator", toleration.operator.clone()),
        ("value", toleration.value.clone()),
        ("effect", toleration.effect.clone()),
        ("tolerationSeconds", toleration.toleration_seconds.map(|seconds| seconds.to_string())),
    ];
    let fields: Vec<String> = fields
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}: {}", value.filter(|v| !v.is_empty())?)))
        .collect();
    format!("{{{}}}", fields.join(", "))
}

/// Resources and host ports beside the other pods: the scheduler's questions.
fn room(world: &World, spec: &PodSpec, node: &Node, own: &[&Pod]) -> Vec<Check> {
    let incoming = Incoming::of(spec);
    let others = world.occupants.get(fit::place::name_of(node));
    let Some(others) = others else {
        let unknown = |name| Check {
            name,
            asked_by: SCHEDULER,
            passes: None,
            details: vec!["the pods of the node could not be read".to_owned()],
        };
        return vec![unknown("resources"), unknown("host ports")];
    };
    let all: Vec<&Pod> = others.iter().map(AsRef::as_ref).chain(own.iter().copied()).collect();
    let (occupied, allocatable) = (Occupied::by(all.iter().copied()), Amounts::allocatable(node));
    let against = fit::filter::against_room(&incoming.requested, &allocatable, &occupied);
    let max = allocatable.get(fit::demand::PODS) / 1000;
    let mut details = vec![format!("pods: {} of {max} are there", occupied.pods())];
    for (resource, asked) in incoming.requested.iter().filter(|(_, asked)| *asked > 0) {
        let has = allocatable.get(resource);
        let free = has - occupied.requested().get(resource);
        let (asked, free, has) = (thousandths(asked), thousandths(free), thousandths(has));
        details.push(format!("{resource}: asks for {asked}, {free} of {has} is free"));
    }
    let resources =
        Check { name: "resources", asked_by: SCHEDULER, passes: Some(against.is_empty()), details };
    let mut passes = true;
    let mut details = Vec::new();
    for port in &incoming.ports {
        let holder = all.iter().find(|pod| holds(pod, port));
        passes &= holder.is_none();
        let by =
            holder.map_or_else(|| "free".to_owned(), |pod| format!("taken by {}", full_name(pod)));
        details.push(format!("{}/{}: {by}", port.port, port.protocol));
    }
    let ports = Check {
        name: "host ports",
        asked_by: SCHEDULER,
        passes: Some(passes),
        details: or(details, "none asked for"),
    };
    vec![resources, ports]
}

fn holds(pod: &Pod, port: &HostPort) -> bool {
    let spec = pod.spec.as_ref().filter(|_| !fit::filter::is_finished(pod));
    spec.is_some_and(|spec| fit::ports::of(spec).iter().any(|held| held.conflicts(port)))
}

fn preempted(world: &World, pod: &Pod, node: &Node, own: &[&Pod]) -> Option<Preemption> {
    let victims = world.victims(pod, node, own)?;
    let words =
        |pod: &&Pod| format!("{} (priority {})", full_name(pod), fit::victims::priority(pod));
    Some(Preemption {
        priority: fit::victims::priority(pod),
        victims: victims.pods.iter().map(words).collect(),
        budgets_broken: victims.budgets_broken,
    })
}

fn full(look: &Look<'_>, pod: &rollout::Pod) -> PodFull {
    let next = look.deletes.get(&pod.name).map(|why| match why {
        Why::NotWanted => "deleted: the node may not keep it",
        Why::NoSuchNode => "deleted: its node is not there",
        Why::Failed => "deleted: it failed (the back-off is not visible)",
        Why::Succeeded => "deleted: it ran to completion",
        Why::Duplicate => "deleted: there is another",
        Why::Replaced => "deleted: the new pod beside it took over",
        Why::Outdated => "deleted: its template is old and its turn has come",
    });
    PodFull {
        line: row::line(look, pod),
        hash: pod.hash().map(str::to_owned),
        is_terminating: pod.is_terminating,
        troubles: look.world.mine.get(&pod.name).map(|pod| troubles(pod)).unwrap_or_default(),
        next: next.map(str::to_owned),
    }
}

/// What conditions that are False and containers that wait or crash say.
fn troubles(pod: &Pod) -> Vec<String> {
    let Some(status) = pod.status.as_ref() else { return Vec::new() };
    let words = |reason: &Option<String>, message: &Option<String>| {
        let parts = [reason.as_deref(), message.as_deref()];
        parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
    };
    let mut all = Vec::new();
    for condition in status.conditions.iter().flatten() {
        let is_cause =
            condition.type_ == "PodScheduled" || condition.type_ == "PodReadyToStartContainers";
        if condition.status == "False" && is_cause {
            all.push(format!(
                "{} is False: {}",
                condition.type_,
                words(&condition.reason, &condition.message)
            ));
        }
    }
    let init = status.init_container_statuses.iter().flatten();
    for container in init.chain(status.container_statuses.iter().flatten()) {
        let Some(state) = &container.state else { continue };
        if let Some(waiting) = &state.waiting {
            let why = words(&waiting.reason, &waiting.message);
            all.push(format!("container {} waits: {why}", container.name));
        }
        let last = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
        if let Some(ended) = last.filter(|_| container.restart_count > 0) {
            let reason = words(&ended.reason, &ended.message);
            all.push(format!(
                "container {} ended before with {} {reason}",
                container.name, ended.exit_code
            ));
        }
    }
    if status.phase.as_deref() == Some("Failed") {
        all.push(format!("failed: {}", words(&status.reason, &status.message)));
    }
    all
}
