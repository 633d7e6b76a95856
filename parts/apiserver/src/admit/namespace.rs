//! Namespaces.

use super::faults::Faults;
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, metadata, table};
use api::names;
use api::{FieldError, Path};
use serde_json::{Value, json};

/// The label that says the name again, so that selectors can ask for it.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The strategy.
#[derive(Debug)]
pub(crate) struct Namespace;

impl Strategy for Namespace {
    fn default(&self, object: &mut Value) {
        object.object("status").fill_text("phase", "Active");
        object.object("spec");
        let name = object.at("metadata").text("name").to_owned();
        if !name.is_empty() {
            object.object("metadata").object("labels").set(NAME_LABEL, name);
        }
    }

    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        // A generated name came after the defaults.
        self.default(object);
        object.set("status", json!({"phase": "Active"}));
        let spec = object.object("spec");
        let mut finalizers = spec.list("finalizers").to_vec();
        if !finalizers.contains(&json!("kubernetes")) {
            finalizers.push(json!("kubernetes"));
        }
        spec.set("finalizers", finalizers);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, context: &Context<'_>) {
        match context.subresource {
            "status" => object.restore("spec", old),
            "finalize" => {
                object.restore("status", old);
                if object.at("spec").list("finalizers").is_empty() {
                    object.object("spec").unset("finalizers");
                }
            }
            _ => {
                object.restore("spec", old);
                object.restore("status", old);
            }
        }
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        validate_finalizers(object, false)
    }

    fn validate_update(&self, object: &Value, old: &Value, context: &Context<'_>) -> Faults {
        match context.subresource {
            "finalize" => validate_finalizers(object, true),
            "status" => validate_phase(object, old),
            _ => Vec::new(),
        }
    }

    fn name_faults(&self, name: &str, prefix: bool) -> Vec<String> {
        metadata::name_is_label(name, prefix)
    }

    fn delete_answers_object(&self) -> bool {
        true
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let name = object.at("metadata").text("name").to_owned();
        vec![("status.phase", object.at("status").text("phase").to_owned()), ("name", name)]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.phase", "name"]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let phase = object.at("status").at("phase").clone();
        vec![table::name(object), phase, table::age(object, now)]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Status", "string", "Whether it is in use or being emptied."),
    table::AGE,
];

/// Finalizers that need no domain.
const STANDARD: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// On create upstream files faults under the list, later under the entry.
fn validate_finalizers(object: &Value, by_entry: bool) -> Faults {
    let mut found = Faults::new();
    let list = Path::new("spec").child("finalizers");
    for (i, finalizer) in object.at("spec").list("finalizers").iter().enumerate() {
        let finalizer = finalizer.as_str().unwrap_or_default();
        let path = if by_entry { list.index(i) } else { list.clone() };
        let texts = names::qualified_name(finalizer);
        let formed = texts.is_empty();
        super::faults::texts(&mut found, &path, finalizer, texts);
        if formed && !finalizer.contains('/') && !STANDARD.contains(&finalizer) {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            found.push(FieldError::invalid(path.clone(), finalizer, why));
        }
    }
    found
}

fn validate_phase(object: &Value, old: &Value) -> Faults {
    let phase = object.at("status").text("phase");
    let leaving = old.at("metadata").has("deletionTimestamp");
    let (expected, when) = if leaving {
        ("Terminating", "`deletionTimestamp` is not empty")
    } else {
        ("Active", "`deletionTimestamp` is empty")
    };
    if phase == expected {
        return Vec::new();
    }
    let path = Path::new("status").child("Phase");
    let why = format!("may only be '{expected}' if {when}");
    vec![FieldError::invalid(path, phase, &why)]
}
