//! Rules for the metadata of every kind (spec A40, A41, A81).

use super::json::{Json, JsonMut};
use crate::decode::options::check_manager;
use api::names;
use api::{FieldError, Path};
use serde_json::Value;
use std::collections::BTreeMap;

/// Keys and values of all annotations together, upstream's `TotalAnnotationSizeLimitB`: 256 KiB.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// Longest name of the subresource that one owns fields by, upstream's `MaxSubresourceNameLength`.
const SUBRESOURCE_BYTES_MAX: usize = 256;

/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

const IMMUTABLE: &str = "field is immutable";

/// A name that is a DNS subdomain, as most kinds want.
pub fn name_is_subdomain(name: &str, prefix: bool) -> Vec<String> {
    names::dns_subdomain(&without_trailing_dash(name, prefix))
}

/// A name that is a DNS label.
pub fn name_is_label(name: &str, prefix: bool) -> Vec<String> {
    names::dns_label(&without_trailing_dash(name, prefix))
}

/// A name that can stand in a path, all that RBAC objects want.
pub fn name_is_path_segment(name: &str, prefix: bool) -> Vec<String> {
    let mut faults = Vec::new();
    if !prefix {
        for bad in [".", ".."] {
            if name == bad {
                return vec![format!("may not be '{bad}'")];
            }
        }
    }
    for bad in ["/", "%"] {
        if name.contains(bad) {
            faults.push(format!("may not contain '{bad}'"));
        }
    }
    faults
}

/// A prefix may end in a dash: what the server appends closes it.
fn without_trailing_dash(name: &str, prefix: bool) -> String {
    match name.strip_suffix('-') {
        Some(head) if prefix && !head.is_empty() => format!("{head}a"),
        _ => name.to_owned(),
    }
}

/// Faults of the metadata itself: names, labels, annotations, owners, finalizers.
pub fn validate(
    object: &Value,
    namespaced: bool,
    name_rule: &dyn Fn(&str, bool) -> Vec<String>,
) -> Vec<FieldError> {
    validate_at(object.at("metadata"), namespaced, name_rule, &Path::new("metadata"))
}

/// The same for metadata that stands somewhere else.
pub(crate) fn validate_at(
    metadata: &Value,
    namespaced: bool,
    name_rule: &dyn Fn(&str, bool) -> Vec<String>,
    path: &Path,
) -> Vec<FieldError> {
    let mut faults = Vec::new();
    let prefix = metadata.text("generateName");
    if !prefix.is_empty() {
        for text in name_rule(prefix, true) {
            faults.push(FieldError::invalid(path.child("generateName"), prefix, &text));
        }
    }
    let name = metadata.text("name");
    if name.is_empty() {
        let why = "name or generateName is required";
        faults.push(FieldError::required(path.child("name"), why));
    } else {
        for text in name_rule(name, false) {
            faults.push(FieldError::invalid(path.child("name"), name, &text));
        }
    }
    let namespace = metadata.text("namespace");
    if namespaced && namespace.is_empty() {
        faults.push(FieldError::required(path.child("namespace"), ""));
    } else if namespaced {
        for text in names::dns_label(namespace) {
            faults.push(FieldError::invalid(path.child("namespace"), namespace, &text));
        }
    } else if !namespace.is_empty() {
        let why = "not allowed on this type";
        faults.push(FieldError::forbidden(path.child("namespace"), why));
    }
    if metadata.int("generation").is_some_and(|n| n < 0) {
        let value = metadata.at("generation").clone();
        let why = "must be greater than or equal to 0";
        faults.push(FieldError::invalid(path.child("generation"), value, why));
    }
    faults.extend(labels(metadata, &path.child("labels")));
    faults.extend(annotations(metadata, &path.child("annotations")));
    faults.extend(owners(metadata, &path.child("ownerReferences")));
    faults.extend(finalizers(metadata, &path.child("finalizers")));
    faults.extend(managers(metadata, &path.child("managedFields")));
    faults
}

/// Faults of those who own fields. Entries that cannot be read at all are not here any more: who sends such keeps the
/// owners that were.
fn managers(metadata: &Value, path: &Path) -> Vec<FieldError> {
    let mut faults = Vec::new();
    for (i, entry) in metadata.list("managedFields").iter().enumerate() {
        let path = path.index(i);
        check_manager(entry.text("manager"), &path.child("manager"), &mut faults);
        if entry.text("subresource").len() > SUBRESOURCE_BYTES_MAX {
            faults.push(FieldError::too_long(path.child("subresource"), SUBRESOURCE_BYTES_MAX));
        }
    }
    faults
}

/// Faults of a change of metadata.
pub fn validate_update(object: &Value, old: &Value) -> Vec<FieldError> {
    let (new, old) = (object.at("metadata"), old.at("metadata"));
    let path = Path::new("metadata");
    let mut faults = Vec::new();
    if old.has("deletionTimestamp") {
        let added: Vec<&str> = new
            .list("finalizers")
            .iter()
            .filter(|f| !old.list("finalizers").contains(f))
            .filter_map(Value::as_str)
            .collect();
        if !added.is_empty() {
            let list: Vec<String> = added.iter().map(|f| format!("{f:?}")).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                list.join(", ")
            );
            faults.push(FieldError::forbidden(path.child("finalizers"), &why));
        }
    }
    for key in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp"] {
        if new.at(key) != old.at(key) && !(new.text(key).is_empty() && old.text(key).is_empty()) {
            faults.push(FieldError::invalid(path.child(key), new.at(key).clone(), IMMUTABLE));
        }
    }
    let grace = "deletionGracePeriodSeconds";
    if new.at(grace) != old.at(grace) {
        faults.push(FieldError::invalid(path.child(grace), new.at(grace).clone(), IMMUTABLE));
    }
    if new.int("generation").unwrap_or(0) < old.int("generation").unwrap_or(0) {
        let value = new.at("generation").clone();
        faults.push(FieldError::invalid(
            path.child("generation"),
            value,
            "must not be decremented",
        ));
    }
    faults.extend(labels(new, &path.child("labels")));
    faults.extend(annotations(new, &path.child("annotations")));
    faults.extend(owners(new, &path.child("ownerReferences")));
    faults.extend(managers(new, &path.child("managedFields")));
    faults
}

/// Generation is the server's: on update it starts as it was.
pub(crate) fn keep_generation(object: &mut Value, old: &Value) {
    object.object("metadata").restore("generation", old.at("metadata"));
}

/// What no update can change or remove, silently.
pub(crate) fn keep_server_owned(object: &mut Value, old: &Value) {
    let old = old.at("metadata");
    let metadata = object.object("metadata");
    if metadata.text("uid").is_empty() {
        metadata.restore("uid", old);
    }
    if old.has("creationTimestamp") {
        metadata.restore("creationTimestamp", old);
    }
    if old.has("deletionTimestamp") {
        metadata.restore("deletionTimestamp", old);
    }
    if !metadata.has("deletionGracePeriodSeconds") {
        metadata.restore("deletionGracePeriodSeconds", old);
    }
}

/// Faults of a label map in the field `labels` of `holder`.
pub(crate) fn labels(holder: &Value, path: &Path) -> Vec<FieldError> {
    label_map(holder.at("labels"), path)
}

/// Faults of a map of labels; key and value errors both point at the map.
pub(crate) fn label_map(map: &Value, path: &Path) -> Vec<FieldError> {
    let mut faults = Vec::new();
    for (key, value) in map.as_object().into_iter().flatten() {
        for text in names::qualified_name(key) {
            faults.push(FieldError::invalid(path.clone(), key.as_str(), &text));
        }
        let value = value.as_str().unwrap_or_default();
        for text in names::label_value(value) {
            faults.push(FieldError::invalid(path.clone(), value, &text));
        }
    }
    faults
}

/// Faults of annotations: keys are qualified names in any case, the size is limited.
pub(crate) fn annotations(holder: &Value, path: &Path) -> Vec<FieldError> {
    let mut faults = Vec::new();
    let mut bytes = 0;
    for (key, value) in holder.entries("annotations") {
        for text in names::qualified_name(&key.to_lowercase()) {
            faults.push(FieldError::invalid(path.clone(), key, &text));
        }
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        faults.push(FieldError::too_long(path.clone(), ANNOTATIONS_BYTES_MAX));
    }
    faults
}

/// Bytes after which a controller too many is not told of any more: each is told with the whole list, and a body of
/// 3 MiB holds tens of thousands. A hundred controllers of a hundred bytes are each told.
const OWNERS_SHOWN_BYTES: usize = 1024 * 1024;

fn owners(metadata: &Value, path: &Path) -> Vec<FieldError> {
    let mut faults = Vec::new();
    let mut controller: Option<String> = None;
    let references = metadata.list("ownerReferences");
    let mut room = OWNERS_SHOWN_BYTES;
    for reference in references {
        faults.extend(owner(reference, path));
        if !reference.flag("controller") {
            continue;
        }
        let this = format!("{}/{}", reference.text("kind"), reference.text("name"));
        if let Some(first) = controller.as_ref().filter(|_| room > 0) {
            let why = format!(
                "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
            );
            let label = shown_references(references);
            room = room.saturating_sub(label.len());
            faults.push(FieldError {
                path: path.clone(),
                fault: api::field::Fault::Invalid,
                body: format!("Invalid value: {label}: {why}"),
            });
        }
        controller = Some(this);
    }
    faults
}

/// When owners that stand twice were found, in upstream's words.
const TWIN_OWNERS: [&str; 2] = ["", " after mutating admission happens"];

/// Owners that stand twice stand once from here on; answers what to tell of them. Patches are only looked at
/// after their admission.
pub(crate) fn owners_once(object: &mut Value, patched: bool) -> Option<String> {
    let owners = object.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut)?;
    let mut kept: Vec<Value> = Vec::with_capacity(owners.len());
    let mut twins = Vec::new();
    // Only owners whose fields read the same are compared: a body holds tens of thousands.
    let mut alike: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for owner in std::mem::take(owners) {
        let at = alike.entry(shown_references(std::slice::from_ref(&owner))).or_default();
        if at.iter().any(|at| kept[*at] == owner) {
            twins.push(owner.text("uid").to_owned());
        } else {
            at.push(kept.len());
            kept.push(owner);
        }
    }
    *owners = kept;
    (!twins.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries{}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            TWIN_OWNERS[usize::from(patched)],
            twins.join(", ")
        )
    })
}

/// References as Go prints them: fields in the order of the struct.
fn shown_references(references: &[Value]) -> String {
    let all: Vec<String> = references
        .iter()
        .map(|reference| {
            let fields: Vec<String> =
                ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"]
                    .iter()
                    .filter(|key| reference.has(key))
                    .map(|key| format!("\"{key}\":{}", reference.at(key)))
                    .collect();
            format!("{{{}}}", fields.join(","))
        })
        .collect();
    format!("[{}]", all.join(","))
}

fn owner(reference: &Value, path: &Path) -> Vec<FieldError> {
    let mut faults = Vec::new();
    let version = reference.text("apiVersion");
    let kind = reference.text("kind");
    let mut parts = version.split('/');
    let well_formed = version.matches('/').count() <= 1;
    let short = parts.next_back().unwrap_or_default();
    if short.is_empty() || !well_formed {
        let why = "version must not be empty";
        faults.push(FieldError::invalid(path.child("apiVersion"), version, why));
    }
    if kind.is_empty() {
        faults.push(FieldError::invalid(path.child("kind"), kind, "must not be empty"));
    }
    if reference.text("name").is_empty() {
        faults.push(FieldError::invalid(path.child("name"), "", "must not be empty"));
    }
    if reference.text("uid").is_empty() {
        faults.push(FieldError::invalid(path.child("uid"), "", "must not be empty"));
    }
    if version == "v1" && kind == "Event" {
        let why = "v1, Kind=Event is disallowed from being an owner";
        faults.push(FieldError {
            path: path.clone(),
            fault: api::field::Fault::Invalid,
            body: format!(
                "Invalid value: {}: {why}",
                shown_references(std::slice::from_ref(reference)).trim_matches(['[', ']'])
            ),
        });
    }
    faults
}

/// What built-in kinds ask of finalizers besides: a name without a slash is one of the standard ones. Custom resources and
/// their definitions do not ask it.
pub(crate) fn finalizers_known(object: &Value) -> Vec<FieldError> {
    let path = Path::new("metadata").child("finalizers");
    let list = object.at("metadata").list("finalizers").iter().enumerate();
    list.filter_map(|(i, finalizer)| Some((i, finalizer.as_str()?)))
        .filter(|(_, name)| !name.contains('/') && !STANDARD_FINALIZERS.contains(name))
        .map(|(i, name)| {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            FieldError::invalid(path.index(i), name, why)
        })
        .collect()
}

fn finalizers(metadata: &Value, path: &Path) -> Vec<FieldError> {
    let mut faults = Vec::new();
    let list: Vec<&str> = metadata.list("finalizers").iter().filter_map(Value::as_str).collect();
    for finalizer in &list {
        for text in names::qualified_name(finalizer) {
            faults.push(FieldError::invalid(path.clone(), *finalizer, &text));
        }
    }
    if list.contains(&"orphan") && list.contains(&"foregroundDeletion") {
        faults.push(FieldError::invalid(
            path.clone(),
            metadata.at("finalizers").clone(),
            "finalizer orphan and foregroundDeletion cannot be both set",
        ));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn owner(name: &str, uid: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid, "controller": true})
    }

    #[test]
    fn owners_that_stand_twice_stand_once_in_the_order_in_which_they_came() {
        let refs = [("b", "1"), ("a", "2"), ("b", "1"), ("c", "1"), ("a", "2")];
        let refs = refs.map(|(name, uid)| owner(name, uid));
        let mut object = json!({"metadata": {"ownerReferences": refs}});
        let told = owners_once(&mut object, false).unwrap_or_default();
        assert!(told.ends_with("duplicate UID(s) observed: 1, 2"), "{told}");
        let kept = [("b", "1"), ("a", "2"), ("c", "1")].map(|(name, uid)| owner(name, uid));
        assert_eq!(object["metadata"]["ownerReferences"], json!(kept));
        assert_eq!(owners_once(&mut object, false), None);
    }

    #[test]
    fn owners_without_end_cost_no_more_than_their_number() {
        let refs: Vec<Value> = (0..20_000).map(|i| owner(&i.to_string(), "1")).collect();
        let mut object = json!({"metadata": {"ownerReferences": refs}});
        assert_eq!(owners_once(&mut object, false), None);
        let faults = owners(&object["metadata"], &Path::new("metadata"));
        assert_eq!(faults.len(), 1, "the list that is told is as long as the body");
        let few = json!({"ownerReferences": refs[..100]});
        assert_eq!(owners(&few, &Path::new("metadata")).len(), 99);
    }
}
