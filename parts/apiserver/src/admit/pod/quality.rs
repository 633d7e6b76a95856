//! The quality of service class: what a pod's requests and limits say of how it may be treated.

use crate::admit::amount;
use crate::admit::json::Json;
use serde_json::Value;

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(crate) fn class(spec: &Value) -> &'static str {
    let pod = spec.at("resources");
    if !pod.entries("requests").is_empty() || !pod.entries("limits").is_empty() {
        return of(&[pod]);
    }
    let all: Vec<&Value> = spec
        .list("containers")
        .iter()
        .chain(spec.list("initContainers"))
        .map(|container| container.at("resources"))
        .collect();
    of(&all)
}

fn of(all: &[&Value]) -> &'static str {
    let set =
        |wanted: &Value, list: &str, name: &str| amount::is_positive(wanted.at(list).at(name));
    let names = ["cpu", "memory"];
    let any = all
        .iter()
        .any(|wanted| names.iter().any(|n| set(wanted, "requests", n) || set(wanted, "limits", n)));
    if !any {
        return "BestEffort";
    }
    let equal = all.iter().all(|wanted| {
        names.iter().all(|name| {
            let (request, limit) = (wanted.at("requests").at(name), wanted.at("limits").at(name));
            set(wanted, "limits", name)
                && (request.is_null() || amount::compare(request, limit).is_eq())
        })
    });
    if equal { "Guaranteed" } else { "Burstable" }
}
