//! Tolerations and taint effects (spec A76).

use crate::admit::faults::{self, Faults, unsupported};
use crate::admit::json::Json;
use api::names;
use api::{FieldError, Path};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What a taint does.
pub(crate) const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Faults of a list of tolerations.
pub(crate) fn validate(found: &mut Faults, tolerations: &[Value], path: &Path) {
    for (i, toleration) in tolerations.iter().enumerate() {
        one(found, toleration, &path.index(i));
    }
}

fn one(found: &mut Faults, toleration: &Value, path: &Path) {
    let (key, operator) = (toleration.text("key"), toleration.text("operator"));
    let (value, effect) = (toleration.text("value"), toleration.text("effect"));
    if key.is_empty() && operator != "Exists" {
        let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        found.push(FieldError::invalid(path.child("operator"), operator, why));
    } else if !key.is_empty() {
        faults::qualified(found, &path.child("key"), key);
    }
    if toleration.has("tolerationSeconds") && effect != "NoExecute" {
        let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        found.push(FieldError::invalid(path.child("effect"), effect, why));
    }
    match operator {
        "" | "Equal" => {
            let all = names::label_value(value);
            if !all.is_empty() {
                found.push(FieldError::invalid(path.child("operator"), value, &all.join(";")));
            }
        }
        "Exists" if value.is_empty() => {}
        "Exists" => {
            let why = "value must be empty when `operator` is 'Exists'";
            found.push(FieldError::invalid(path.child("operator"), value, why));
        }
        // Comparisons are off in 1.36.
        "Lt" | "Gt" => {
            let operators = ["Equal", "Exists", "Lt", "Gt"];
            found.push(unsupported(path.child("operator"), operator, &operators));
        }
        other => found.push(unsupported(path.child("operator"), other, &["Equal", "Exists"])),
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        found.push(unsupported(path.child("effect"), effect, &EFFECTS));
    }
}

/// All of a toleration but its seconds.
fn words(of: &Value) -> [&str; 4] {
    ["key", "operator", "value", "effect"].map(|key| of.text(key))
}

/// Spec A90: a change may add tolerations and change their seconds.
pub(crate) fn validate_only_added(found: &mut Faults, new: &[Value], old: &[Value], path: &Path) {
    let known: BTreeSet<[&str; 4]> = new.iter().map(words).collect();
    if old.iter().any(|old| !known.contains(&words(old))) {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        found.push(FieldError::forbidden(path.clone(), why));
        return;
    }
    validate(found, new, path);
}

/// A toleration as upstream's struct prints.
pub(crate) fn shown(toleration: &Value) -> String {
    let word = |key: &str| json!(toleration.text(key));
    format!(
        "{{\"Key\":{},\"Operator\":{},\"Value\":{},\"Effect\":{},\"TolerationSeconds\":{}}}",
        word("key"),
        word("operator"),
        word("value"),
        word("effect"),
        toleration.at("tolerationSeconds")
    )
}
