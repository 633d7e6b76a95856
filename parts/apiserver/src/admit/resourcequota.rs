//! ResourceQuotas: how much a namespace may use.

use super::faults::{Faults, IMMUTABLE, invalid_shown};
use super::json::{Json, JsonMut};
use super::pod::{defaults, resources};
use super::{Column, Context, Strategy, amount, table};
use api::{FieldError, Path};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

/// Scopes that contradict each other.
const CONFLICTS: [[&str; 2]; 2] =
    [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

/// The strategy.
#[derive(Debug)]
pub(crate) struct ResourceQuota;

impl Strategy for ResourceQuota {
    fn default(&self, object: &mut Value) {
        for (half, lists) in [("spec", &["hard"][..]), ("status", &["hard", "used"])] {
            let half = object.object(half);
            for list in lists {
                if let Some(list) = half.present(list) {
                    defaults::round_all(list);
                }
            }
        }
    }

    fn first_status(&self) -> Option<Value> {
        Some(json!({}))
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        validate(object.at("spec"))
    }

    fn validate_update(&self, object: &Value, old: &Value, context: &Context<'_>) -> Faults {
        if context.subresource == "status" {
            let (status, path) = (object.at("status"), Path::new("status"));
            let mut found = Faults::new();
            for list in ["hard", "used"] {
                amounts(&mut found, status.at(list), &path.child(list));
            }
            return found;
        }
        let mut found = validate(object.at("spec"));
        let scopes = |of: &Value| -> BTreeSet<String> {
            let scopes = of.at("spec").list("scopes").iter();
            scopes.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        if scopes(object) != scopes(old) {
            let path = Path::new("spec").child("scopes");
            found.push(invalid_shown(path, &object.at("spec").at("scopes").to_string(), IMMUTABLE));
        }
        found
    }

    fn delete_answers_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let status = object.at("status");
        let (limits, requests): (Vec<_>, Vec<_>) =
            status.entries("hard").into_iter().partition(|(name, _)| name.starts_with("limits."));
        let shown = |all: Vec<(&str, &Value)>| -> Value {
            let all = all.into_iter().map(|(name, hard)| {
                let used = amount::canonical(status.at("used").at(name));
                let used = if used.is_empty() { "0" } else { &used };
                format!("{name}: {used}/{}", amount::canonical(hard))
            });
            all.collect::<Vec<_>>().join(", ").into()
        };
        vec![table::name(object), shown(requests), shown(limits), table::age(object, now)]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Request", "string", "What is used of what may be asked for."),
    table::column("Limit", "string", "What is used of what limits may add up to."),
    table::AGE,
];

fn validate(spec: &Value) -> Faults {
    let path = Path::new("spec");
    let mut found = Faults::new();
    amounts(&mut found, spec.at("hard"), &path.child("hard"));
    scopes(&mut found, spec, &path.child("scopes"));
    if spec.has("scopeSelector") {
        selector(&mut found, spec, &path.child("scopeSelector").child("matchExpressions"));
    }
    found
}

fn amounts(found: &mut Faults, list: &Value, path: &Path) {
    for (name, value) in list.as_object().into_iter().flatten() {
        let at = path.key(name);
        resources::any_name(found, name, &at);
        if !name.contains('/') && !resources::is_counted(name) {
            let why = "must be a standard resource for quota";
            found.push(FieldError::invalid(at.clone(), name.as_str(), why));
        }
        resources::amount(found, name, value, &at);
    }
}

/// Whether a scope says anything about a resource.
fn fits(scope: &str, name: &str) -> bool {
    match scope {
        "BestEffort" => name == "pods",
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        scope if SCOPES.contains(&scope) => matches!(
            name,
            "pods"
                | "cpu"
                | "memory"
                | "limits.cpu"
                | "limits.memory"
                | "requests.cpu"
                | "requests.memory"
        ),
        _ => true,
    }
}

/// Counted resources of the quota that a scope says nothing about.
fn misfits(spec: &Value, scope: &str) -> usize {
    let hard = spec.entries("hard");
    hard.iter().filter(|(name, _)| resources::is_counted(name) && !fits(scope, name)).count()
}

fn scopes(found: &mut Faults, spec: &Value, path: &Path) {
    let all: Vec<&str> = spec.list("scopes").iter().filter_map(Value::as_str).collect();
    let shown = spec.at("scopes").to_string();
    for scope in &all {
        if !SCOPES.contains(scope) {
            found.push(invalid_shown(path.clone(), &shown, "unsupported scope"));
        }
        for _ in 0..misfits(spec, scope) {
            let why = "unsupported scope applied to resource";
            found.push(invalid_shown(path.clone(), &shown, why));
        }
    }
    conflicts(found, &all, &shown, path);
}

fn conflicts(found: &mut Faults, all: &[&str], shown: &str, path: &Path) {
    for pair in CONFLICTS {
        if pair.iter().all(|scope| all.contains(scope)) {
            found.push(invalid_shown(path.clone(), shown, "conflicting scopes"));
        }
    }
}

fn selector(found: &mut Faults, spec: &Value, path: &Path) {
    let wanted = spec.at("scopeSelector").list("matchExpressions");
    for one in wanted {
        let (scope, operator) = (one.text("scopeName"), one.text("operator"));
        if !SCOPES.contains(&scope) {
            let why = "unsupported scope";
            found.push(FieldError::invalid(path.child("scopeName"), scope, why));
        }
        for _ in 0..misfits(spec, scope) {
            let why = "unsupported scope applied to resource";
            found.push(invalid_shown(path.clone(), &shown_selector(wanted), why));
        }
        let free = ["PriorityClass", "VolumeAttributesClass"].contains(&scope);
        if SCOPES.contains(&scope) && !free && operator != "Exists" {
            let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            found.push(FieldError::invalid(path.child("operator"), operator, why));
        }
        values(found, one, operator, path);
    }
    let names: Vec<&str> = wanted.iter().map(|one| one.text("scopeName")).collect();
    conflicts(found, &names, &spec.at("scopes").to_string(), path);
}

fn values(found: &mut Faults, one: &Value, operator: &str, path: &Path) {
    let values = one.list("values");
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let why =
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            found.push(FieldError::required(path.child("values"), why));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why =
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            found.push(FieldError::invalid(path.child("values"), one.at("values").clone(), why));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => {
            let why = "not a valid selector operator";
            found.push(FieldError::invalid(path.child("operator"), other, why));
        }
    }
}

/// The selector as upstream's struct prints.
fn shown_selector(wanted: &[Value]) -> String {
    let all: Vec<String> = wanted
        .iter()
        .map(|one| {
            format!(
                "{{\"ScopeName\":{:?},\"Operator\":{:?},\"Values\":{}}}",
                one.text("scopeName"),
                one.text("operator"),
                one.at("values")
            )
        })
        .collect();
    format!("{{\"MatchExpressions\":[{}]}}", all.join(","))
}
