//! Defaulting, mutation, validation: one strategy for each kind, and the steps every write takes.
//!
//! A create is `Strategy::default` → `admission::mutate` → [`before_create`] → `admission::validate`;
//! an update is `Strategy::default` → `admission::mutate` → [`before_update`] → `admission::validate`.
//! Everything here is a pure function of the objects, [`Context`] and what a view of other objects says.

use crate::identity::Identity;
use api::{FieldError, Resource, Status};
pub(crate) use faults::Faults;
use json::{Json, JsonMut};
use serde_json::Value;

mod address;
pub mod admission;
mod amount;
mod canonical;
mod conditions;
mod configmap;
mod controllerrevision;
pub(crate) mod crd;
mod csidriver;
mod csr;
mod daemonset;
mod deployment;
pub(crate) mod endpoints;
mod event;
pub(crate) mod faults;
mod ingress;
pub(crate) mod json;
mod lease;
mod limitrange;
pub mod metadata;
mod namespace;
mod networkpolicy;
mod node;
mod persistentvolume;
mod persistentvolumeclaim;
mod plain;
mod pod;
mod poddisruptionbudget;
mod podtemplate;
mod portion;
mod priorityclass;
mod rbac;
mod replicaset;
mod replicationcontroller;
mod resourcequota;
mod runtimeclass;
mod secret;
mod selector;
pub(crate) mod service;
mod serviceaccount;
mod statefulset;
mod storage;
mod strategies;
pub mod table;
mod template;
mod words;
mod workload;

pub(crate) use canonical::OBJECT_META;
pub use canonical::omit_empty;
pub use strategies::strategy_for;

/// What a strategy may know beside the objects. No clock and no chance of its own: both come in here.
#[derive(Debug)]
pub struct Context<'a> {
    /// Who asks.
    pub identity: &'a Identity,
    /// The moment of the request, RFC 3339 to the second.
    pub now: jiff::Timestamp,
    /// Empty for the object itself, `status`, `binding`, ... for a subresource.
    pub subresource: &'a str,
}

/// How one kind behaves. Objects are JSON of the version served. Metadata common to all kinds is checked by
/// [`before_create`] and [`before_update`], not by strategies.
pub trait Strategy: Sync + std::fmt::Debug {
    /// Fills in defaults. Runs on everything that was decoded from a user: creates, updates and the
    /// results of patches. Applying it twice changes nothing.
    fn default(&self, _object: &mut Value) {}

    /// What cannot be converted to the stored form: 400 right after decoding, before anything else.
    fn convert(&self, _object: &Value) -> Result<(), Status> {
        Ok(())
    }

    /// The status of a new object, for kinds whose status has a path of its own: whatever a create says of
    /// status gives way to it.
    fn first_status(&self) -> Option<Value> {
        None
    }

    /// Whether spec and status have writers of their own: an update of one leaves the other as it is.
    fn has_halves(&self) -> bool {
        self.first_status().is_some()
    }

    /// Pointers to the parts of an object whose change raises `metadata.generation`; a kind that counts
    /// nothing has no generation.
    fn counted(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether objects count their changes in `metadata.generation`.
    fn has_generation(&self) -> bool {
        !self.counted().is_empty()
    }

    /// Whether what changed is counted.
    fn counts(&self, object: &Value, old: &Value) -> bool {
        self.counted().iter().any(|part| object.pointer(part) != old.pointer(part))
    }

    /// Before create, after status and generation are set: drop what only the server may set.
    fn prepare_create(&self, _object: &mut Value, _context: &Context<'_>) {}

    /// Before update (also of a subresource: `context.subresource`), after the other half was brought back and
    /// the generation raised: bring back what else may not change here.
    fn prepare_update(&self, _object: &mut Value, _old: &Value, _context: &Context<'_>) {}

    /// Faults of a new object, beside those of its metadata.
    fn validate_create(&self, _object: &Value, _context: &Context<'_>) -> Faults {
        Faults::new()
    }

    /// Faults of a change, beside those of its metadata; those of a new object unless a kind says otherwise.
    fn validate_update(&self, object: &Value, _old: &Value, context: &Context<'_>) -> Faults {
        self.validate_create(object, context)
    }

    /// What is wrong with a name, in upstream's words; `prefix` for a generateName.
    fn name_faults(&self, name: &str, prefix: bool) -> Vec<String> {
        metadata::name_is_subdomain(name, prefix)
    }

    /// How often an update looks at the new object's labels, annotations and the like after the two
    /// looks every kind takes. Each look reports its faults again, as upstream does.
    fn metadata_looks_on_update(&self) -> usize {
        1
    }

    /// Warnings (header 299) for a new or changed object.
    fn warnings(&self, _object: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// What everybody is warned of who asks for the kind, whatever the verb.
    fn standing_warning(&self) -> Option<String> {
        None
    }

    /// Warnings for a new object as it was sent, before [`Self::prepare_create`]; told first.
    fn first_warnings(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }

    /// Values that field selectors may ask for beside `metadata.name` and `metadata.namespace`.
    fn fields(&self, _object: &Value) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Field names that field selectors may use beside `metadata.*`.
    fn field_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether PUT on a missing name creates.
    fn create_on_update(&self) -> bool {
        false
    }

    /// Whether PUT needs no resourceVersion.
    fn unconditional_update(&self) -> bool {
        true
    }

    /// Whether DELETE answers the object rather than a Status.
    fn delete_answers_object(&self) -> bool {
        false
    }

    /// Whether a delete that says nothing of dependents keeps them.
    fn orphans_dependents(&self) -> bool {
        false
    }

    /// Seconds of grace for a delete; `None` when the kind knows no graceful deletion (all but pods).
    /// `asked` is `gracePeriodSeconds` of the request.
    fn grace_seconds(&self, _object: &Value, _asked: Option<i64>) -> Option<i64> {
        None
    }

    /// Columns of the Table, in order.
    fn columns(&self) -> &'static [Column] {
        table::PLAIN
    }

    /// What is said of the whole row of one object.
    fn row_condition(&self, _object: &Value) -> Option<Value> {
        None
    }

    /// Cells of one object, one for each column.
    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        table::plain_cells(object, now)
    }
}

/// A column of a Table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// `string`, `integer`, `date`.
    pub r#type: &'static str,
    /// `name` for the first column, else empty.
    pub format: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
    /// Explanation.
    pub description: &'static str,
}

/// The steps between mutating admission and validating admission of a create: prepare, then validate metadata and
/// object. The caller has set name (also from generateName), namespace, uid and creationTimestamp.
/// Answers the warnings, or 422 with every fault.
pub fn before_create(
    resource: &Resource,
    object: &mut Value,
    context: &Context<'_>,
) -> Result<Vec<String>, Status> {
    let strategy = strategy_for(resource);
    omit_empty(resource, object);
    if let Some(status) = strategy.first_status() {
        object.set("status", status);
    }
    if strategy.has_generation() {
        object.object("metadata").set("generation", 1);
    }
    if resource.custom.is_none() {
        drop_what_is_off(object);
    }
    let mut warnings = strategy.first_warnings(object);
    strategy.prepare_create(object, context);
    let mut faults = metadata::validate(object, resource.namespaced, &|name, prefix| {
        strategy.name_faults(name, prefix)
    });
    if knows_finalizers(resource) {
        faults.extend(metadata::finalizers_known(object));
    }
    faults.extend(strategy.validate_create(object, context));
    if !faults.is_empty() {
        return Err(refusal(resource, object, &faults));
    }
    warnings.extend(strategy.warnings(object, None));
    Ok(warnings)
}

/// Whether names of finalizers without a domain have to be standard ones.
fn knows_finalizers(resource: &Resource) -> bool {
    resource.custom.is_none() && resource.group != "apiextensions.k8s.io"
}

/// Drops fields of pod specs, wherever these stand, that are off in 1.36. Their writers own them all the same.
fn drop_what_is_off(object: &mut Value) {
    for pointer in ["/spec", "/spec/template/spec", "/template/spec"] {
        if let Some(spec) = object.pointer_mut(pointer) {
            pod::defaults::drop_what_is_off(spec);
        }
    }
}

/// The same for an update of the object or one of its subresources. Brings back the metadata no client may change.
pub fn before_update(
    resource: &Resource,
    object: &mut Value,
    old: &Value,
    context: &Context<'_>,
) -> Result<Vec<String>, Status> {
    let strategy = strategy_for(resource);
    omit_empty(resource, object);
    metadata::keep_generation(object, old);
    keep_other_half(strategy, object, old, context.subresource);
    if resource.custom.is_none() {
        drop_what_is_off(object);
    }
    strategy.prepare_update(object, old, context);
    metadata::keep_server_owned(object, old);
    let mut faults =
        metadata::validate(object, resource.namespaced, &metadata::name_is_path_segment);
    faults.extend(metadata::validate_update(object, old));
    for _ in 0..strategy.metadata_looks_on_update() {
        faults.extend(metadata::validate_update(object, old));
        if knows_finalizers(resource) {
            faults.extend(metadata::finalizers_known(object));
        }
    }
    faults.extend(strategy.validate_update(object, old, context));
    if !faults.is_empty() {
        return Err(refusal(resource, object, &faults));
    }
    Ok(strategy.warnings(object, Some(old)))
}

/// A status write leaves everything else, another write leaves status, and a change of what is counted is counted.
fn keep_other_half(strategy: &dyn Strategy, object: &mut Value, old: &Value, subresource: &str) {
    let of_status = subresource == "status";
    if strategy.has_halves() {
        object.restore(if of_status { "spec" } else { "status" }, old);
    }
    if !of_status && strategy.counts(object, old) {
        let generation = old.at("metadata").int("generation").unwrap_or(0);
        object.object("metadata").set("generation", generation + 1);
    }
}

fn refusal(resource: &Resource, object: &Value, faults: &[FieldError]) -> Status {
    let name = object.at("metadata").text("name");
    // Both groups of events are one kind to upstream, the core one.
    let group = if resource.kind == "Event" { "" } else { resource.group };
    // A custom object is called what it calls itself, which may be what is wrong with it.
    let (kind, group) = match resource.custom {
        Some(_) => {
            let said = object.text("apiVersion").split_once('/');
            (object.text("kind"), said.map_or("", |(group, _)| group))
        }
        None => (resource.kind, group),
    };
    api::field::invalid(group, kind, name, faults)
}

#[cfg(test)]
mod tests;
