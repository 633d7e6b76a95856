//! A pod's class becomes its number (spec C30); only one class is everyone's (spec A94).

use super::{Attributes, Operation, View};
use crate::admit::json::{Json, JsonMut};
use crate::admit::priorityclass::SYSTEM;
use api::Status;
use serde_json::{Value, json};
use std::sync::Arc;

const GROUP: &str = "scheduling.k8s.io";

/// What pods without any class do to others.
const PREEMPTS: &str = "PreemptLowerPriority";

/// Sets `spec.priority` and `spec.preemptionPolicy` of a new pod; an updated pod keeps its own.
pub(super) fn resolve(
    pod: &mut Value,
    attributes: &Attributes<'_>,
    view: &dyn View,
) -> Result<(), Status> {
    if attributes.operation == Operation::Update {
        let old = attributes.old.map_or(&Value::Null, |old| old.at("spec"));
        let spec = pod.object("spec");
        for key in ["priority", "preemptionPolicy"] {
            if !spec.has(key) && old.has(key) {
                spec.restore(key, old);
            }
        }
        return Ok(());
    }
    let asked = pod.at("spec").text("priorityClassName").to_owned();
    let class = if asked.is_empty() {
        everyones(view)
    } else {
        let found = view
            .get(GROUP, "priorityclasses", "", &asked)
            .or_else(|| built_in(&asked).map(Arc::new));
        Some(found.ok_or_else(|| {
            attributes.forbidden(&format!("no PriorityClass with name {asked} was found"))
        })?)
    };
    let class = class.unwrap_or_else(|| Arc::new(json!({"value": 0})));
    let value = class.int("value").unwrap_or(0);
    let policy = match class.text("preemptionPolicy") {
        "" => PREEMPTS,
        policy => policy,
    };
    let spec = pod.object("spec");
    if let Some(given) = spec.int("priority")
        && given != value
    {
        return Err(attributes.forbidden(&format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        )));
    }
    let given = spec.text("preemptionPolicy");
    if spec.has("preemptionPolicy") && given != policy {
        return Err(attributes.forbidden(&format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        )));
    }
    let name = class.at("metadata").text("name");
    if asked.is_empty() && !name.is_empty() {
        spec.set("priorityClassName", name);
    }
    spec.set("priority", value);
    spec.set("preemptionPolicy", policy);
    Ok(())
}

/// The class for pods that name none: of several, that of the lowest value.
fn everyones(view: &dyn View) -> Option<Arc<Value>> {
    view.list(GROUP, "priorityclasses", "")
        .into_iter()
        .filter(|class| class.flag("globalDefault"))
        .min_by_key(|class| class.int("value").unwrap_or(0))
}

/// Classes that are there even before anyone made them.
fn built_in(name: &str) -> Option<Value> {
    let (name, value, _) = SYSTEM.iter().find(|(known, _, _)| *known == name)?;
    Some(json!({"metadata": {"name": name}, "value": value, "preemptionPolicy": PREEMPTS}))
}

/// Refuses a second class for everyone.
pub(super) fn validate_class(
    class: &Value,
    attributes: &Attributes<'_>,
    view: &dyn View,
) -> Result<(), Status> {
    if !class.flag("globalDefault") {
        return Ok(());
    }
    let name = class.at("metadata").text("name");
    let other = everyones(view).filter(|other| other.at("metadata").text("name") != name);
    match other {
        Some(other) => Err(attributes.forbidden(&format!(
            "PriorityClass {} is already marked as default. Only one default can exist",
            other.at("metadata").text("name")
        ))),
        None => Ok(()),
    }
}
