//! What a node's conditions and taints should be. Pure.

use crate::words::{
    MESSAGE_NEVER_UPDATED, MESSAGE_STATUS_UNKNOWN, REASON_NEVER_UPDATED, REASON_STATUS_UNKNOWN,
    TAINT_DISK, TAINT_MEMORY, TAINT_NETWORK, TAINT_NOT_READY, TAINT_PIDS, TAINT_UNREACHABLE,
    TAINT_UNSCHEDULABLE,
};
use fit::taint::{NO_EXECUTE, NO_SCHEDULE};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeSet;
use std::time::Duration;

/// A node that spoke before may be silent for this long (spec D2).
pub(crate) const GRACE: Duration = Duration::from_secs(50);
/// A node that never spoke gets this long (spec D2).
pub(crate) const GRACE_FIRST: Duration = Duration::from_mins(1);

/// Conditions that nobody can know of a silent node (spec D3).
const OF_THE_AGENT: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
/// Condition, its status, and the taint that stands for it (spec D4).
const TAINT_OF: [(&str, &str, &str); 6] = [
    ("Ready", "False", TAINT_NOT_READY),
    ("Ready", "Unknown", TAINT_UNREACHABLE),
    ("MemoryPressure", "True", TAINT_MEMORY),
    ("DiskPressure", "True", TAINT_DISK),
    ("PIDPressure", "True", TAINT_PIDS),
    ("NetworkUnavailable", "True", TAINT_NETWORK),
];

/// How the Ready condition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    Yes,
    No,
    Unknown,
    /// Nobody ever said.
    Absent,
}

/// Whether evictions may happen at all (spec D5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Some zone has a ready node.
    Normal,
    /// All zones are down: more likely it is us.
    AllDown,
}

/// What to do about a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Conditions to write.
    pub(crate) conditions: Vec<NodeCondition>,
    /// All taints, if they are to change.
    pub(crate) taints: Option<Vec<Taint>>,
    /// The NoExecute taint that the node should get when its zone's turn comes.
    pub(crate) expel: Option<&'static str>,
}

pub(crate) fn ready(node: &Node) -> Ready {
    match condition(node, "Ready").map(|condition| condition.status.as_str()) {
        Some("True") => Ready::Yes,
        Some("False") => Ready::No,
        Some(_) => Ready::Unknown,
        None => Ready::Absent,
    }
}

/// How long a node may be silent.
pub(crate) fn grace(node: &Node) -> Duration {
    if ready(node) == Ready::Absent { GRACE_FIRST } else { GRACE }
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Decides. `silent`: nothing was heard for [`grace`]. Taints follow once the conditions are written.
pub(crate) fn plan(node: &Node, silent: bool, mood: Mood, now: Timestamp) -> Plan {
    let conditions = if silent { unknown(node, now) } else { Vec::new() };
    if !conditions.is_empty() {
        return Plan { conditions, ..Plan::default() };
    }
    let old = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let (wanted, expel) = expulsion(node, &old, mood);
    let taints = taints(node, &old, wanted, now);
    Plan { conditions, taints: (taints != old).then_some(taints), expel }
}

/// The taints with `key`'s NoExecute added.
pub(crate) fn with_expulsion(node: &Node, key: &'static str, now: Timestamp) -> Vec<Taint> {
    let old = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    taints(node, &old, Some(key), now)
}

/// Conditions of a silent node that are not Unknown yet.
fn unknown(node: &Node, now: Timestamp) -> Vec<NodeCondition> {
    let created = node.metadata.creation_timestamp.clone().unwrap_or(Time(now));
    OF_THE_AGENT
        .into_iter()
        .filter_map(|kind| match condition(node, kind) {
            Some(known) if known.status == "Unknown" => None,
            Some(known) => Some(NodeCondition {
                status: "Unknown".to_owned(),
                reason: Some(REASON_STATUS_UNKNOWN.to_owned()),
                message: Some(MESSAGE_STATUS_UNKNOWN.to_owned()),
                last_transition_time: Some(Time(now)),
                ..known.clone()
            }),
            None => Some(NodeCondition {
                type_: kind.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some(REASON_NEVER_UPDATED.to_owned()),
                message: Some(MESSAGE_NEVER_UPDATED.to_owned()),
                last_heartbeat_time: Some(created.clone()),
                last_transition_time: Some(Time(now)),
            }),
        })
        .collect()
}

/// The NoExecute taint to have at once, and the one to get when the zone's turn comes.
fn expulsion(
    node: &Node,
    old: &[Taint],
    mood: Mood,
) -> (Option<&'static str>, Option<&'static str>) {
    let expelled = old.iter().any(|taint| {
        taint.effect == NO_EXECUTE
            && [TAINT_NOT_READY, TAINT_UNREACHABLE].contains(&taint.key.as_str())
    });
    let key = match (ready(node), mood) {
        (_, Mood::AllDown) | (Ready::Yes | Ready::Absent, _) => return (None, None),
        (Ready::No, Mood::Normal) => TAINT_NOT_READY,
        (Ready::Unknown, Mood::Normal) => TAINT_UNREACHABLE,
    };
    // going from one to the other is one swap and spends no turn (spec D4)
    if expelled { (Some(key), None) } else { (None, Some(key)) }
}

/// All taints: foreign ones as they are, ours as they should be.
fn taints(node: &Node, old: &[Taint], expel: Option<&'static str>, now: Timestamp) -> Vec<Taint> {
    let holds = |(kind, status, _): &&(&str, &str, &str)| {
        condition(node, kind).is_some_and(|condition| condition.status == *status)
    };
    let mut wanted: BTreeSet<(&str, &str)> =
        TAINT_OF.iter().filter(holds).map(|(_, _, key)| (*key, NO_SCHEDULE)).collect();
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.insert((TAINT_UNSCHEDULABLE, NO_SCHEDULE));
    }
    wanted.extend(expel.map(|key| (key, NO_EXECUTE)));
    let ours = |taint: &Taint| {
        let key = taint.key.as_str();
        match taint.effect.as_str() {
            NO_SCHEDULE => {
                key == TAINT_UNSCHEDULABLE || TAINT_OF.iter().any(|(_, _, known)| *known == key)
            }
            NO_EXECUTE => key == TAINT_NOT_READY || key == TAINT_UNREACHABLE,
            _ => false,
        }
    };
    let keep = |taint: &&Taint| {
        !ours(taint) || wanted.contains(&(taint.key.as_str(), taint.effect.as_str()))
    };
    let mut taints: Vec<Taint> = old.iter().filter(keep).cloned().collect();
    // what drives pods away says since when, so that a restart of ours does not count from the start again
    for taint in taints.iter_mut().filter(|taint| taint.effect == NO_EXECUTE) {
        taint.time_added.get_or_insert(Time(now));
    }
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
            taints.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                value: None,
                time_added: Some(Time(now)),
            });
        }
    }
    taints
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn node(conditions: &[(&str, &str)], taints: &[(&str, &str)]) -> Node {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(kind, status)| json!({"type": kind, "status": status}))
            .collect();
        let taints: Vec<_> = taints
            .iter()
            .map(|(key, effect)| {
                let since = (*effect == NO_EXECUTE).then_some("2026-01-01T00:00:00Z");
                json!({"key": key, "effect": effect, "timeAdded": since})
            })
            .collect();
        serde_json::from_value(json!({
            "metadata": {"name": "n"}, "spec": {"taints": taints}, "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    fn after(node: &Node, mood: Mood) -> (Option<Vec<String>>, Option<&'static str>) {
        let plan = plan(node, false, mood, now());
        let show = |taint: &Taint| format!("{}:{}", taint.key, taint.effect);
        (plan.taints.map(|taints| taints.iter().map(show).collect()), plan.expel)
    }

    #[test]
    fn a_silent_node_is_unknown_once() {
        let node_ = node(&[("Ready", "True"), ("DiskPressure", "Unknown")], &[]);
        let plan_ = plan(&node_, true, Mood::Normal, now());
        let shown: Vec<_> = plan_
            .conditions
            .iter()
            .map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_deref().unwrap()))
            .collect();
        assert_eq!(
            shown,
            [
                ("Ready", "Unknown", REASON_STATUS_UNKNOWN),
                ("MemoryPressure", "Unknown", REASON_NEVER_UPDATED),
                ("PIDPressure", "Unknown", REASON_NEVER_UPDATED),
            ]
        );
        let all = OF_THE_AGENT.map(|kind| (kind, "Unknown"));
        assert!(plan(&node(&all, &[]), true, Mood::Normal, now()).conditions.is_empty());
    }

    #[test]
    fn taints_follow_conditions_and_leave_others_alone() {
        let foreign = ("dedicated", "NoSchedule");
        let sick = node(&[("Ready", "False"), ("MemoryPressure", "True")], &[foreign]);
        let wanted = [
            "dedicated:NoSchedule",
            "node.kubernetes.io/memory-pressure:NoSchedule",
            "node.kubernetes.io/not-ready:NoSchedule",
        ];
        assert_eq!(
            after(&sick, Mood::Normal),
            (Some(wanted.map(str::to_owned).to_vec()), Some(TAINT_NOT_READY))
        );
        let well = node(
            &[("Ready", "True"), ("MemoryPressure", "False")],
            &[foreign, (TAINT_NOT_READY, "NoSchedule"), (TAINT_UNREACHABLE, "NoExecute")],
        );
        assert_eq!(after(&well, Mood::Normal), (Some(vec!["dedicated:NoSchedule".into()]), None));
        assert_eq!(after(&node(&[("Ready", "True")], &[foreign]), Mood::Normal), (None, None));
    }

    #[test]
    fn not_ready_and_unreachable_are_swapped_at_once() {
        let taints = [(TAINT_NOT_READY, "NoSchedule"), (TAINT_NOT_READY, "NoExecute")];
        let lost = node(&[("Ready", "Unknown")], &taints);
        let swapped =
            ["NoExecute", "NoSchedule"].map(|effect| format!("{TAINT_UNREACHABLE}:{effect}"));
        assert_eq!(after(&lost, Mood::Normal), (Some(swapped.to_vec()), None));
    }

    #[test]
    fn nobody_is_expelled_while_every_zone_is_down() {
        let taints = [(TAINT_UNREACHABLE, "NoSchedule"), (TAINT_UNREACHABLE, "NoExecute")];
        let lost = node(&[("Ready", "Unknown")], &taints);
        assert_eq!(
            after(&lost, Mood::AllDown),
            (Some(vec![format!("{TAINT_UNREACHABLE}:NoSchedule")]), None)
        );
        assert_eq!(after(&lost, Mood::Normal), (None, None));
    }

    #[test]
    fn a_taint_that_drives_pods_away_says_since_when() {
        let mut node = node(&[("Ready", "True")], &[("a", "NoExecute"), ("b", "NoSchedule")]);
        let taints = |node: &Node| plan(node, false, Mood::Normal, now()).taints;
        assert_eq!(taints(&node), None);
        let spec = node.spec.as_mut().unwrap();
        for taint in spec.taints.iter_mut().flatten() {
            taint.time_added = None;
        }
        let times: Vec<bool> =
            taints(&node).unwrap().iter().map(|taint| taint.time_added.is_some()).collect();
        assert_eq!(times, [true, false]);
    }

    #[test]
    fn cordon_is_a_taint() {
        let mut node = node(&[("Ready", "True")], &[]);
        node.spec.as_mut().unwrap().unschedulable = Some(true);
        assert_eq!(
            after(&node, Mood::Normal),
            (Some(vec![format!("{TAINT_UNSCHEDULABLE}:NoSchedule")]), None)
        );
    }

    #[test]
    fn a_plan_carried_out_leaves_nothing_to_do() {
        for ready in ["True", "False", "Unknown"] {
            for mood in [Mood::Normal, Mood::AllDown] {
                let mut node = node(&[("Ready", ready), ("PIDPressure", "True")], &[]);
                let first = plan(&node, false, mood, now());
                let spec = node.spec.as_mut().unwrap();
                spec.taints = first.taints.or_else(|| spec.taints.take());
                if let Some(key) = first.expel {
                    let taints = with_expulsion(&node, key, now());
                    node.spec.as_mut().unwrap().taints = Some(taints);
                }
                assert_eq!(plan(&node, false, mood, now()), Plan::default(), "{ready} {mood:?}");
            }
        }
    }
}
