//! One node in one row.

use super::{Look, Standing};
use k8s_openapi::api::core::v1::{Node, Pod};
use rollout::plan::Answer;
use rollout::plan::place::Down;
use rollout::{Phase, Why};
use serde::Serialize;

/// What is said about one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Its name.
    pub node: String,
    /// Whether it has a pod.
    pub standing: Standing,
    /// Why.
    pub reasons: Vec<String>,
    /// The pod that is there or on its way.
    pub pod: Option<PodLine>,
}

/// A pod of the DaemonSet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodLine {
    /// Its name.
    pub name: String,
    /// Whether it is of the current template.
    pub is_current: bool,
    /// Whether its condition Ready is True.
    pub is_ready: bool,
    /// Restarts of all its containers together.
    pub restarts: i32,
    /// The first reason for which a container waits, or the phase.
    pub state: String,
}

/// The set's pods on a node that are not on their way out, in the engine's order.
pub(super) fn live<'a>(look: &'a Look<'_>, answer: &'a Answer) -> Vec<&'a rollout::Pod> {
    let pods = answer.pods.iter().filter_map(|mark| look.world.rollout.pods.get(&mark.pod));
    pods.filter(|pod| !pod.is_terminating && pod.phase == Phase::Alive).collect()
}

pub(super) fn row(look: &Look<'_>, name: &str, node: &Node) -> Row {
    let set = &look.world.rollout.set;
    let Some(answer) = look.answer(name) else {
        let reasons = vec!["not looked at".to_owned()];
        return Row { node: name.to_owned(), standing: Standing::DoesNotGet, reasons, pod: None };
    };
    let live = live(look, answer);
    let shown = live
        .iter()
        .rfind(|pod| look.board.terms().is_updated(pod))
        .or_else(|| live.first())
        .copied();
    let leaves = |pod: &rollout::Pod| {
        answer.delete.iter().any(|(n, why)| *n == pod.name && *why == Why::NotWanted)
    };
    let verdict = answer.verdict.as_ref();
    let stays = live.iter().any(|pod| pod.is_bound && !leaves(pod));
    let (standing, reasons) = if stays {
        (Standing::Has, has(look, name, answer, shown))
    } else if set.is_deleting || set.selects_all() {
        let why = if set.is_deleting {
            "the DaemonSet is being deleted"
        } else {
            "the selector is empty"
        };
        (Standing::DoesNotGet, vec![why.to_owned()])
    } else if verdict.is_some_and(fit::Verdict::should_run)
        || verdict.is_some_and(fit::Verdict::should_continue) && !live.is_empty()
    {
        (Standing::Gets, vec![gets(look, node, answer, shown)])
    } else {
        let mut reasons: Vec<String> =
            verdict.into_iter().flat_map(fit::Verdict::reasons).map(ToString::to_string).collect();
        if live.iter().any(|pod| leaves(pod)) {
            reasons =
                reasons.into_iter().map(|reason| format!("loses its pod: {reason}")).collect();
        }
        (Standing::DoesNotGet, reasons)
    };
    let pod = shown.map(|pod| line(look, pod));
    Row { node: name.to_owned(), standing, reasons, pod }
}

pub(super) fn line(look: &Look<'_>, pod: &rollout::Pod) -> PodLine {
    let seen = look.world.mine.get(&pod.name);
    PodLine {
        name: pod.name.clone(),
        is_current: look.board.terms().is_updated(pod),
        is_ready: pod.is_ready,
        restarts: seen.map_or(0, |pod| restarts(pod)),
        state: seen.map_or_else(|| "Unknown".to_owned(), |pod| state(pod)),
    }
}

pub(super) fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
    statuses.map(|status| status.restart_count).fold(0, i32::saturating_add)
}

/// The reason for which a container waits or ended, else the phase.
pub(super) fn state(pod: &Pod) -> String {
    if pod.metadata.deletion_timestamp.is_some() {
        return "Terminating".to_owned();
    }
    let Some(status) = pod.status.as_ref() else { return "Pending".to_owned() };
    let init = status.init_container_statuses.iter().flatten();
    let states =
        init.chain(status.container_statuses.iter().flatten()).filter_map(|c| c.state.as_ref());
    let waiting = states.filter_map(|state| state.waiting.as_ref()?.reason.clone());
    let reason = waiting.into_iter().next().or_else(|| status.reason.clone());
    reason.or_else(|| status.phase.clone()).unwrap_or_else(|| "Pending".to_owned())
}

/// Why a node that has its pod has it, and how the pod and the rollout fare.
fn has(look: &Look<'_>, name: &str, answer: &Answer, shown: Option<&rollout::Pod>) -> Vec<String> {
    let min_ready = look.world.rollout.set.min_ready;
    let health = match shown {
        Some(pod) if pod.is_available(min_ready, look.now) => "available".to_owned(),
        Some(pod) if pod.is_ready => "ready, waits for minReadySeconds".to_owned(),
        _ => match answer.trouble.or_else(|| shown.and_then(|pod| pod.trouble)) {
            Some(trouble) => format!("not available: {}", trouble.words()),
            None => "starting".to_owned(),
        },
    };
    let is_current = shown.is_some_and(|pod| look.board.terms().is_updated(pod));
    let template = if is_current { "current template" } else { "old template" };
    let turn = look.turn(name).map(|turn| match turn.strip_prefix("old template: ") {
        Some(rest) if !is_current => rest.to_owned(),
        _ => turn,
    });
    let mut words = format!("{health}, {template}");
    if let Some(turn) = turn {
        words = format!("{words}: {turn}");
    }
    let against = answer.verdict.as_ref().map(fit::Verdict::reasons).unwrap_or_default();
    if let Some(first) = against.first() {
        words = format!("{words}; stays, though no new pod would be placed: {first}");
    }
    vec![words]
}

/// What a node that gets a pod waits for.
fn gets(look: &Look<'_>, node: &Node, answer: &Answer, shown: Option<&rollout::Pod>) -> String {
    if let Some(pod) = shown {
        let why = pod.trouble.map_or("waits for the scheduler", rollout::Trouble::words);
        return format!("its pod is not bound yet: {why}");
    }
    if Down::of(node).is_some() {
        return "the node is down: its pod starts when it returns".to_owned();
    }
    let pods: Vec<&rollout::Pod> =
        answer.pods.iter().filter_map(|mark| look.world.rollout.pods.get(&mark.pod)).collect();
    if pods.iter().any(|pod| pod.is_terminating) {
        return "waits for the end of the pod before".to_owned();
    }
    if pods.iter().any(|pod| pod.phase == Phase::Failed) {
        return "its pod failed and is replaced; the engine's back-off is not visible".to_owned();
    }
    if pods.iter().any(|pod| pod.phase == Phase::Succeeded) {
        return "its pod ran to completion and is replaced".to_owned();
    }
    let spec = look.spec.as_ref();
    let against = spec.and_then(|spec| look.world.against_room(spec, node, []));
    match against.as_deref().and_then(<[_]>::first) {
        Some(reason) => format!("a pod is created, but cannot start yet: {}", reason.text()),
        None => "a pod is created next".to_owned(),
    }
}
