//! What an agent may write into a pod's status.

use crate::admit::faults::{self, Faults, qualified};
use crate::admit::json::Json;
use api::{FieldError, Path};
use serde_json::Value;

/// Conditions that need no domain.
const SYSTEM: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];

/// Faults of a change of status.
pub(crate) fn validate(object: &Value, old: &Value) -> Faults {
    let (new, before) = (object.at("status"), old.at("status"));
    let path = Path::new("status");
    let mut found = Faults::new();
    super::annotations::validate_update(&mut found, object, old);
    for (i, condition) in new.list("conditions").iter().enumerate() {
        let kind = condition.text("type");
        if !SYSTEM.contains(&kind) {
            // Upstream's path says metadata here.
            let path = Path::new("metadata").child("conditions").index(i).child("Type");
            qualified(&mut found, &path, kind);
        }
    }
    let nominated = new.text("nominatedNodeName");
    if !nominated.is_empty() && nominated != before.text("nominatedNodeName") {
        faults::dns_subdomain(&mut found, &path.child("nominatedNodeName"), nominated);
    }
    let policy = old.at("spec").text("restartPolicy");
    let init = old.at("spec").list("initContainers");
    let sidecar = |name: &str| {
        init.iter().any(|c| c.text("name") == name && c.text("restartPolicy") == "Always")
    };
    for (list, policy) in [
        ("containerStatuses", policy),
        ("initContainerStatuses", policy),
        ("ephemeralContainerStatuses", "Never"),
    ] {
        if policy == "Always" {
            continue;
        }
        for (i, was) in before.list(list).iter().enumerate() {
            let code = was.dig(&["state", "terminated"]).int("exitCode");
            let name = was.text("name");
            let may_run = policy == "OnFailure" && code.is_some_and(|code| code != 0);
            if !was.at("state").has("terminated") || may_run || sidecar(name) {
                continue;
            }
            let runs = new
                .list(list)
                .iter()
                .any(|now| now.text("name") == name && !now.at("state").has("terminated"));
            if runs {
                let why = "may not be transitioned to non-terminated state";
                let path = path.child(list).index(i).child("state");
                found.push(FieldError::forbidden(path, why));
            }
        }
    }
    addresses(&mut found, new, "podIP", "podIPs", &path);
    addresses(&mut found, new, "hostIP", "hostIPs", &path);
    found
}

/// One address for each family at most, the first the same as the single one.
fn addresses(found: &mut Faults, status: &Value, single: &str, list: &str, path: &Path) {
    let all: Vec<&str> = status.list(list).iter().map(|one| one.text("ip")).collect();
    let path = path.child(list);
    if single == "hostIP" && all.first().is_some_and(|first| *first != status.text(single)) {
        let why = "must be equal to `hostIP`";
        found.push(FieldError::invalid(path.index(0).child("ip"), all[0], why));
    }
    for (i, one) in all.iter().enumerate() {
        faults::ip(found, path.index(i), one);
    }
    let families = |v6: bool| all.iter().filter(|one| one.contains(':') == v6).count();
    if all.len() > 1 && (families(true) > 1 || families(false) > 1) {
        let why = "may specify no more than one IP for each IP family";
        found.push(FieldError::invalid(path, status.at(list).clone(), why));
    }
}
