//! What an agent may write into a pod's status.

use crate::admit::address;
use crate::admit::faults::{self, Faults, qualified};
use crate::admit::json::{Json, JsonMut};
use api::{FieldError, Path};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Conditions that need no domain.
const SYSTEM: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];

/// Brings the one address of a pod and the list of all in step, as upstream's conversion does: the one wins.
pub(crate) fn settle_addresses(status: &mut Value) {
    let one = status.text("podIP").to_owned();
    let first = status.list("podIPs").first().map(|first| first.text("ip").to_owned());
    match first {
        Some(first) if one.is_empty() => status.set("podIP", first),
        Some(first) if first == one => {}
        _ if one.is_empty() => {}
        _ => status.set("podIPs", json!([{"ip": one}])),
    }
}

/// What a change of status leaves out and upstream takes from before: the class, and of which generation what was
/// told is.
pub(crate) fn keep_what_is_not_said(status: &mut Value, old: &Value) {
    if status.text("qosClass").is_empty() {
        status.restore("qosClass", old);
    }
    keep_generation(status, old);
    let mut known: BTreeMap<&str, VecDeque<&Value>> = BTreeMap::new();
    for condition in old.list("conditions") {
        known.entry(condition.text("type")).or_default().push_back(condition);
    }
    for condition in status.items("conditions") {
        let before = known.get_mut(condition.text("type")).and_then(VecDeque::pop_front);
        if let Some(before) = before {
            keep_generation(condition, before);
        }
    }
}

fn keep_generation(new: &mut Value, old: &Value) {
    let said = |of: &Value| of.int("observedGeneration").is_some_and(|seen| seen != 0);
    if !said(new) && said(old) {
        new.restore("observedGeneration", old);
    }
}

/// Faults of a change of status.
pub(crate) fn validate(object: &Value, old: &Value) -> Faults {
    let (new, before) = (object.at("status"), old.at("status"));
    let path = Path::new("status");
    let mut found = Faults::new();
    super::annotations::validate_update(&mut found, object, old);
    for (i, condition) in new.list("conditions").iter().enumerate() {
        let kind = condition.text("type");
        generation(&mut found, condition, &path.child("conditions").index(i));
        if !SYSTEM.contains(&kind) {
            qualified(&mut found, &path.child("conditions").index(i).child("Type"), kind);
        }
    }
    let nominated = new.text("nominatedNodeName");
    if !nominated.is_empty() && nominated != before.text("nominatedNodeName") {
        let path = path.child("nominatedNodeName");
        faults::dns_subdomain(&mut found, &path, nominated);
        if !old.at("spec").text("nodeName").is_empty() {
            let why = "may not be set on pods that are already bound to a node";
            found.push(FieldError::forbidden(path, why));
        }
    }
    if new.text("qosClass") != before.text("qosClass") {
        let path = path.child("qosClass");
        found.push(FieldError::invalid(path, new.text("qosClass"), faults::IMMUTABLE));
    }
    generation(&mut found, new, &path);
    let all_restart = may_all_restart(old.at("spec"));
    for (list, containers) in [
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
        ("ephemeralContainerStatuses", "ephemeralContainers"),
    ] {
        // of several of one name the first counts
        let present: BTreeMap<&str, &Value> =
            new.list(list).iter().rev().map(|now| (now.text("name"), now)).collect();
        let of_spec: BTreeMap<&str, &Value> =
            old.at("spec").list(containers).iter().rev().map(|c| (c.text("name"), c)).collect();
        for (i, was) in before.list(list).iter().enumerate() {
            let name = was.text("name");
            let Some(code) = was.dig(&["state", "terminated"]).int("exitCode") else { continue };
            let runs = present.get(name).is_some_and(|now| !now.at("state").has("terminated"));
            let container = of_spec.get(name).copied();
            let all = all_restart && list != "ephemeralContainerStatuses";
            if runs && !all && !may_restart(old.at("spec"), container, list, code) {
                let why = "may not be transitioned to non-terminated state";
                let path = path.child(list).index(i).child("state");
                found.push(FieldError::forbidden(path, why));
            }
        }
    }
    addresses(&mut found, (new, before), "podIP", "podIPs", &path);
    addresses(&mut found, (new, before), "hostIP", "hostIPs", &path);
    found
}

fn generation(found: &mut Faults, of: &Value, path: &Path) {
    if let Some(seen) = of.int("observedGeneration").filter(|seen| *seen < 0) {
        let path = path.child("observedGeneration");
        found.push(FieldError::invalid(path, seen, "must be a non-negative integer"));
    }
}

/// Whether a rule of some container may start all of them again, but for ephemeral ones.
fn may_all_restart(spec: &Value) -> bool {
    let all = |container: &Value| {
        let rules = container.list("restartPolicyRules");
        rules.iter().any(|rule| rule.text("action") == "RestartAllContainers")
    };
    ["containers", "initContainers"].iter().any(|list| spec.list(list).iter().any(all))
}

/// Whether a container that ended with a code may run again; `list` is that of its status.
fn may_restart(spec: &Value, container: Option<&Value>, list: &str, code: i64) -> bool {
    let by_rule = |container: &Value, action: &str| {
        container.list("restartPolicyRules").iter().any(|rule| {
            let codes = rule.at("exitCodes");
            let among = codes.list("values").contains(&code.into());
            rule.text("action") == action && among == (codes.text("operator") == "In")
        })
    };
    let restartable = list != "ephemeralContainerStatuses";
    let Some(container) = container else { return false };
    let own = container.text("restartPolicy");
    let policy = if own.is_empty() { spec.text("restartPolicy") } else { own };
    restartable
        && (by_rule(container, "Restart")
            || policy == "Always"
            || (policy == "OnFailure" && code != 0))
}

/// One address for each family at most, the first the same as the single one.
fn addresses(
    found: &mut Faults,
    (status, before): (&Value, &Value),
    single: &str,
    list: &str,
    path: &Path,
) {
    let all: Vec<&str> = status.list(list).iter().map(|one| one.text("ip")).collect();
    let path = path.child(list);
    if single == "hostIP" && all.first().is_some_and(|first| *first != status.text(single)) {
        let why = "must be equal to `hostIP`";
        found.push(FieldError::invalid(path.index(0).child("ip"), all[0], why));
    }
    let known: BTreeSet<&str> = before.list(list).iter().map(|old| old.text("ip")).collect();
    for (i, one) in all.iter().enumerate() {
        // Those that were there are not judged anew.
        if !known.contains(one) {
            address::validate(found, &path.index(i), one);
        }
    }
    let shown = |ip: &str| format!("{{\"IP\":{ip:?}}}");
    let families = |v6: bool| all.iter().filter(|one| one.contains(':') == v6).count();
    let mut faults = Vec::new();
    if all.len() > 1 && (families(true) > 1 || families(false) > 1) {
        let every: Vec<String> = all.iter().map(|ip| shown(ip)).collect();
        let why = "may specify no more than one IP for each IP family";
        let every = format!("[{}]", every.join(","));
        faults.push(faults::invalid_shown(path.clone(), &every, why));
    }
    let mut seen = BTreeSet::new();
    let twice = (0..all.len()).filter(|i| !seen.insert(all[*i]));
    let twice = twice.map(|i| faults::duplicate_shown(path.index(i), &shown(all[i])));
    // Upstream looks for these first among addresses of hosts, and last among those of pods.
    if single == "hostIP" {
        found.extend(twice);
        found.extend(faults);
    } else {
        faults.extend(twice);
        found.extend(faults);
    }
}
