//! PriorityClasses (spec A94, A95).

use super::faults::{Faults, IMMUTABLE};
use super::json::{Json, JsonMut};
use super::pod::spec::choice;
use super::{Column, Context, Strategy, table};
use api::{FieldError, Path};
use serde_json::Value;

/// Highest value a user may give.
const USER_MAX: i64 = 1_000_000_000;

/// Classes that every cluster has: name, value, description.
pub(crate) const SYSTEM: [(&str, i64, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

/// The strategy.
#[derive(Debug)]
pub(crate) struct PriorityClass;

impl Strategy for PriorityClass {
    fn default(&self, object: &mut Value) {
        object.fill("value", 0);
        object.fill("preemptionPolicy", "PreemptLowerPriority");
    }

    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        object.object("metadata").set("generation", 1);
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        let mut found = Faults::new();
        let name = object.at("metadata").text("name");
        let value = object.int("value").unwrap_or(0);
        if name.starts_with("system-") {
            if let Some(why) = not_a_system_class(object) {
                let why = format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
                );
                let path = Path::new("metadata").child("name");
                found.push(FieldError::forbidden(path, &why));
            }
        } else if value > USER_MAX {
            let why = format!("maximum allowed value of a user defined priority is {USER_MAX}");
            found.push(FieldError::forbidden(Path::new("value"), &why));
        }
        policy(&mut found, object);
        found
    }

    fn validate_update(&self, object: &Value, old: &Value, _context: &Context<'_>) -> Faults {
        let mut found = Faults::new();
        if object.at("value") != old.at("value") {
            let why = "may not be changed in an update.";
            found.push(FieldError::forbidden(Path::new("value"), why));
        }
        let (new, old) = (object.at("preemptionPolicy"), old.at("preemptionPolicy"));
        policy(&mut found, object);
        if new != old {
            let path = Path::new("preemptionPolicy");
            found.push(FieldError::invalid(path, new.clone(), IMMUTABLE));
        }
        found
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![
            table::name(object),
            object.int("value").unwrap_or(0).into(),
            object.flag("globalDefault").into(),
            table::age(object, now),
            object.at("preemptionPolicy").clone(),
        ]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Value", "integer", "The priority: more is more important."),
    table::column("Global-Default", "boolean", "Whether pods without a class get this one."),
    table::AGE,
    table::column("PreemptionPolicy", "string", "Whether its pods may take the place of others."),
];

fn policy(found: &mut Faults, object: &Value) {
    let words = ["PreemptLowerPriority", "Never"];
    choice(found, object, &Path::root(), "preemptionPolicy", &words);
}

/// Why an object with a reserved name is none of the system's own classes.
fn not_a_system_class(object: &Value) -> Option<String> {
    let name = object.at("metadata").text("name");
    let Some((_, value, _)) = SYSTEM.iter().find(|(known, _, _)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if object.int("value") != Some(*value) {
        let found = object.int("value").unwrap_or(0);
        return Some(format!("value of {name} PriorityClass must be {value}, but is {found}"));
    }
    object
        .flag("globalDefault")
        .then(|| format!("globalDefault of {name} PriorityClass must be false"))
}
