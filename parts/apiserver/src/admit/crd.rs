//! CustomResourceDefinitions: what is said of a kind that others define. Conditions and the names accepted are the
//! server's own, set by `custom::keeper`.

mod budget;
mod lists;
mod schema;
mod shown;
mod spec;
mod structural;

use super::faults::{Faults, IMMUTABLE};
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, metadata, table};
use api::names;
use api::{FieldError, Path};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Where an approval of a protected group is said.
pub(crate) const APPROVED: &str = "api-approved.kubernetes.io";

/// The strategy.
#[derive(Debug)]
pub(crate) struct CustomResourceDefinition;

impl Strategy for CustomResourceDefinition {
    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        let names = spec.object("names");
        let kind = names.text("kind").to_owned();
        names.fill_text("singular", &kind.to_lowercase());
        if !kind.is_empty() {
            names.fill_text("listKind", &format!("{kind}List"));
        }
        if !spec.has("conversion") {
            spec.set("conversion", json!({"strategy": "None"}));
        }
    }

    fn first_status(&self) -> Option<Value> {
        Some(json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}}))
    }

    fn counted(&self) -> &'static [&'static str] {
        &["/spec"]
    }

    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        if let Some(stored) = storage_version(object).map(str::to_owned) {
            object.object("status").set("storedVersions", json!([stored]));
        }
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, context: &Context<'_>) {
        if context.subresource == "status" {
            let kept = object.at("metadata").at("managedFields").clone();
            let version = object.at("metadata").at("resourceVersion").clone();
            object.restore("metadata", old);
            let metadata = object.object("metadata");
            metadata.set("managedFields", kept);
            metadata.set("resourceVersion", version);
            return;
        }
        let Some(stored) = storage_version(object).map(str::to_owned) else { return };
        let mut versions = object.at("status").list("storedVersions").to_vec();
        if !versions.iter().any(|version| *version == stored) {
            versions.push(stored.into());
            object.object("status").set("storedVersions", versions);
        }
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        let mut faults = name_of_parts(object);
        faults.extend(spec::validate(object.at("spec"), &Value::Null));
        faults.extend(accepted_names(object));
        faults.extend(stored_versions(object));
        faults.extend(approval(object));
        faults.extend(no_unpruned(object));
        faults
    }

    fn validate_update(&self, object: &Value, old: &Value, context: &Context<'_>) -> Faults {
        if context.subresource == "status" {
            return accepted_names(object);
        }
        let mut faults = spec::validate(object.at("spec"), old.at("spec"));
        let path = Path::new("spec");
        let (new_spec, old_spec) = (object.at("spec"), old.at("spec"));
        let mut keep = |keys: &[&str]| {
            let value = new_spec.dig(keys);
            if value != old_spec.dig(keys) {
                let path = keys.iter().fold(path.clone(), |path, key| path.child(key));
                faults.push(FieldError::invalid(path, value.clone(), IMMUTABLE));
            }
        };
        if is_true(old, "Established") {
            keep(&["scope"]);
            keep(&["names", "kind"]);
        }
        keep(&["group"]);
        keep(&["names", "plural"]);
        faults.extend(accepted_names(object));
        faults.extend(stored_versions(object));
        // What was well or wrong before may stay so.
        if approval_state(old) != approval_state(object) {
            faults.extend(approval(object));
        }
        if !old_spec.flag("preserveUnknownFields") {
            faults.extend(no_unpruned(object));
        }
        faults
    }

    fn name_faults(&self, name: &str, prefix: bool) -> Vec<String> {
        metadata::name_is_subdomain(name, prefix)
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        table::CREATED
    }

    fn cells(&self, object: &Value, _now: jiff::Timestamp) -> Vec<Value> {
        table::created_cells(object)
    }
}

/// The version that objects are stored in.
pub(crate) fn storage_version(object: &Value) -> Option<&str> {
    let versions = object.at("spec").list("versions");
    versions.iter().find(|version| version.flag("storage")).map(|version| version.text("name"))
}

/// Whether a condition is there and true.
pub(crate) fn is_true(object: &Value, condition: &str) -> bool {
    let conditions = object.at("status").list("conditions");
    conditions.iter().any(|c| c.text("type") == condition && c.text("status") == "True")
}

/// A definition is named by its plural and its group.
fn name_of_parts(object: &Value) -> Faults {
    let (name, spec) = (object.at("metadata").text("name"), object.at("spec"));
    let wanted = format!("{}.{}", spec.at("names").text("plural"), spec.text("group"));
    if name == wanted || name.is_empty() {
        return Faults::new();
    }
    let why = "must be spec.names.plural+\".\"+spec.group";
    vec![FieldError::invalid(Path::new("metadata").child("name"), name, why)]
}

fn accepted_names(object: &Value) -> Faults {
    let path = Path::new("status").child("acceptedNames");
    spec::names(object.at("status").at("acceptedNames"), &path)
}

/// The version in use is among the stored ones, and all of these can still be read.
fn stored_versions(object: &Value) -> Faults {
    let held = object.at("status").at("storedVersions");
    let stored = object.at("status").list("storedVersions");
    let path = Path::new("status").child("storedVersions");
    if stored.is_empty() {
        let shown = held.clone();
        return vec![FieldError::invalid(path, shown, "must have at least one stored version")];
    }
    let mut faults = Faults::new();
    let versions = object.at("spec").list("versions");
    for version in versions.iter().filter(|version| version.flag("storage")) {
        if !stored.contains(version.at("name")) {
            let why = format!("must have the storage version {}", version.text("name"));
            faults.push(FieldError::invalid(path.clone(), held.clone(), &why));
        }
    }
    let known: BTreeSet<&str> = versions.iter().map(|version| version.text("name")).collect();
    for (at, version) in stored.iter().enumerate() {
        if version.as_str().is_none_or(|version| !known.contains(version)) {
            let name = version.as_str().unwrap_or_default();
            let why = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            faults.push(FieldError::invalid(path.index(at), name, &why));
        }
    }
    faults
}

/// What kind of thing is said of approval: nothing, approved, not approved, or what does not do.
fn approval_state(object: &Value) -> &'static str {
    let said = object.at("metadata").at("annotations").text(APPROVED);
    match approved(object) {
        _ if said.is_empty() => "missing",
        None | Some(Err(_)) => "invalid",
        Some(Ok(_)) if said.starts_with("unapproved") => "bypassed",
        Some(Ok(_)) => "approved",
    }
}

/// What is said of approval where the group is Kubernetes' own; `Err` tells why it does not do.
pub(crate) fn approved(object: &Value) -> Option<Result<String, String>> {
    let group = object.at("spec").text("group");
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group == *domain || group.ends_with(&format!(".{domain}")));
    if !protected {
        return None;
    }
    let said = object.at("metadata").at("annotations").text(APPROVED);
    let about = format!("protected groups must have approval annotation \"{APPROVED}\"");
    let link = "see https://github.com/kubernetes/enhancements/pull/1111";
    let address = said.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.is_empty() && !rest.trim_start_matches('/').is_empty()
    });
    Some(match said {
        "" => Err(format!("{about}, {link}")),
        said if said.starts_with("unapproved") => Ok(format!("not approved: {said:?}")),
        said if address => Ok(format!("approved in {said}")),
        _ => Err(format!(
            "{about} with either a URL or a reason starting with \"unapproved\", {link}"
        )),
    })
}

fn approval(object: &Value) -> Faults {
    let Some(Err(why)) = approved(object) else { return Faults::new() };
    let said = object.at("metadata").at("annotations").text(APPROVED);
    let path = Path::new("metadata").child("annotations").key(APPROVED);
    vec![if said.is_empty() {
        FieldError::required(path, &why)
    } else {
        FieldError::invalid(path, said, &why)
    }]
}

fn no_unpruned(object: &Value) -> Faults {
    if !object.at("spec").flag("preserveUnknownFields") {
        return Faults::new();
    }
    let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
    vec![FieldError::invalid(Path::new("spec").child("preserveUnknownFields"), true, why)]
}

/// Faults of a label of the older kind, joined as upstream joins them.
fn label(text: &str) -> Option<String> {
    let faults = names::dns_1035_label(text);
    (!faults.is_empty()).then(|| faults.join(","))
}
