//! What events say of the node (spec D7), and what others give it.

use super::{NodeCondition, Quantity};
use crate::words;
use std::collections::BTreeMap;

/// Reasons of conditions, and what events about them are called.
const TOLD: [(&str, &str); 8] = [
    (words::KUBELET_READY, "NodeReady"),
    (words::KUBELET_NOT_READY, "NodeNotReady"),
    ("KubeletHasSufficientMemory", "NodeHasSufficientMemory"),
    ("KubeletHasInsufficientMemory", "NodeHasInsufficientMemory"),
    ("KubeletHasNoDiskPressure", "NodeHasNoDiskPressure"),
    ("KubeletHasDiskPressure", "NodeHasDiskPressure"),
    ("KubeletHasSufficientPID", "NodeHasSufficientPID"),
    ("KubeletHasInsufficientPID", "NodeHasInsufficientPID"),
];

/// What to say about conditions that are new or have changed.
pub(super) fn of_conditions(before: &[NodeCondition], now: &[NodeCondition]) -> Vec<&'static str> {
    let is_news = |one: &&NodeCondition| {
        before.iter().all(|old| old.type_ != one.type_ || old.status != one.status)
    };
    let told = |one: &NodeCondition| {
        TOLD.iter().find(|(reason, _)| one.reason.as_deref() == Some(*reason)).map(|told| told.1)
    };
    now.iter().filter(is_news).filter_map(told).collect()
}

/// What to say of a node that was cordoned, and of one that can be used again.
pub(super) fn of_cordon(is_cordoned: bool) -> &'static str {
    if is_cordoned { "NodeNotSchedulable" } else { "NodeSchedulable" }
}

/// What others put into the node's capacity can be asked for; what they took away cannot.
pub(super) fn lend(patch: &mut serde_json::Value, lent: &BTreeMap<String, Option<Quantity>>) {
    for (name, amount) in lent {
        patch["status"]["allocatable"][name] = serde_json::json!(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::super::conditions::{condition, conditions};
    use super::super::{Conditions, Time};
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_that_change_are_told_as_upstream_tells_them() {
        let time = Time("2026-01-01T00:00:00Z".parse().unwrap());
        let all = |trouble: Option<&str>| {
            conditions(&Conditions::new(), trouble).map(|one| condition(one, &time, None)).to_vec()
        };
        let [sick, well] = [all(Some("the agent starts")), all(None)];
        assert_eq!(of_conditions(&sick, &well), ["NodeReady"]);
        assert_eq!(of_conditions(&well, &sick), ["NodeNotReady"]);
        assert!(of_conditions(&well, &well).is_empty());
        assert_eq!(of_conditions(&[], &well)[0], "NodeHasSufficientMemory");
        assert_eq!(of_cordon(true), "NodeNotSchedulable");
    }

    #[test]
    fn what_others_give_a_node_can_be_asked_for_until_they_take_it_away() {
        let node = serde_json::from_value(json!({"status": {
            "capacity": {"cpu": "4", "example.com/fakecpu": "5"},
            "allocatable": {"cpu": "3", "example.com/gone": "2"}}}))
        .unwrap();
        let mut patch = json!({"status": {"allocatable": {"cpu": "3"}}});
        lend(&mut patch, &fit::demand::lent(&node));
        let wanted = json!({"cpu": "3", "example.com/fakecpu": "5", "example.com/gone": null});
        assert_eq!(patch["status"]["allocatable"], wanted);
    }
}
