//! Server-side apply, and what every other write means for the ownership of fields.

use super::owners::{self, Owned, Owner, Owners};
use super::set::Set;
use super::tree::{self, Difference};
use super::{created, form};
use api::Status;
use api::schema::{Origin, Type};
use api::status::{Cause, Details};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The annotation in which client-side apply keeps what it applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The manager whose objects may come from client-side apply.
const KUBECTL: &str = "kubectl";

/// Who owned everything before the first apply of an object whose owners nobody kept.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// The annotation that a DaemonSet always has in the form ownership is reckoned on.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// That kind.
const DAEMON_SET: &str = "DaemonSet";

/// Who writes, how and when.
#[derive(Clone, Copy, Debug)]
pub struct Manager<'a> {
    /// `fieldManager`, or the beginning of the User-Agent.
    pub name: &'a str,
    /// The API version of the request, `apps/v1`.
    pub api_version: &'a str,
    /// Empty, or `status`, `scale`, ...
    pub subresource: &'a str,
    /// The moment of the request.
    pub now: Timestamp,
}

impl Manager<'_> {
    fn owner(&self, applies: bool) -> Owner {
        Owner {
            manager: self.name.to_owned(),
            applies,
            api_version: if applies { String::new() } else { self.api_version.to_owned() },
            subresource: self.subresource.to_owned(),
        }
    }

    /// When the manager wrote; what comes by way of a Scale has no time, as upstream has it.
    fn time(&self) -> Option<String> {
        let seconds = Timestamp::from_second(self.now.as_second()).unwrap_or(self.now);
        (self.subresource != "scale").then(|| seconds.to_string())
    }

    /// What a write through this door cannot set, so nobody owns it by such a write.
    fn ignored(&self, kind: &'static Type, objects: [&Value; 2]) -> Set {
        let mut set = Set::default();
        if let Origin::Custom { halves, .. } = kind.origin {
            let of_status = self.subresource == "status";
            let names = objects.iter().filter_map(|object| object.as_object()).flatten();
            for (name, _) in names.filter(|(name, _)| halves && (*name == "status") != of_status) {
                set.insert_path(&[name]);
            }
            return set;
        }
        let has = |name: &str| kind.field(name).is_some();
        match self.subresource {
            "" | "finalize" if has("status") => set.insert_path(&["status"]),
            "status" | "approval" if has("spec") => {
                set.insert_path(&["spec"]);
                match kind.go_name() {
                    "Deployment" => set.insert_path(&["metadata", "labels"]),
                    "Pod" => {
                        set.insert_path(&["metadata", "deletionTimestamp"]);
                        set.insert_path(&["metadata", "ownerReferences"]);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        set
    }
}

/// Fields that belong to nobody: the identity of the object and what the server keeps about it.
fn nobodys() -> Set {
    let mut set = Set::default();
    for name in ["apiVersion", "kind", "metadata"] {
        set.insert_path(&[name]);
    }
    for name in created::NOBODYS {
        set.insert_path(&["metadata", name]);
    }
    set
}

/// After a write that is no apply: `new` gets the `metadata.managedFields` that follow from how it differs from
/// `old`. `old` is `None` for a create. `new` still carries the managedFields that the writer sent, if any.
/// Call it after defaults, before the strategy's `prepare_*`.
pub fn track_update(
    old: Option<&Value>,
    new: &mut Value,
    manager: &Manager<'_>,
    kind: &'static Type,
) {
    if old.is_none() && is_plain_create(new, manager, kind) {
        let fields = created::owned(new, kind);
        owners::write_first(new, &manager.owner(false), manager.time(), fields.into());
        return;
    }
    let nothing = json!({});
    let live = old.unwrap_or(&nothing);
    let known =
        if manager.subresource.is_empty() { owners::sent(new, live) } else { owners::read(live) };
    if old.is_some() && known.is_empty() {
        // Nobody kept owners so far (or they were just wiped): start only with the first apply.
        owners::strip(new);
        return;
    }
    let found = updated(known, live, new, manager, kind);
    owners::write(new, &found);
    if let Some(old) = old {
        keep_times(old, new);
    }
}

/// A create of a built-in kind by way of its collection whose writer says nothing of owners. DaemonSets have an
/// annotation more in the form on which ownership is reckoned ([`reckoned`]).
fn is_plain_create(new: &Value, manager: &Manager<'_>, kind: &Type) -> bool {
    let says_owners = new.get("metadata").and_then(|metadata| metadata.get("managedFields"));
    says_owners.is_none()
        && new.get("metadata").is_some_and(Value::is_object)
        && manager.subresource.is_empty()
        && !kind.is_custom()
        && kind.go_name() != DAEMON_SET
}

/// The owners after `new` took the place of `live`.
pub(super) fn updated(
    mut known: Owners,
    live: &Value,
    new: &Value,
    manager: &Manager<'_>,
    kind: &'static Type,
) -> Owners {
    let nothing = live.as_object().is_none_or(serde_json::Map::is_empty);
    let parts = (!nothing && kind.go_name() != DAEMON_SET).then(|| form::apart(live, new, kind));
    let (live, new) = parts.as_ref().map_or((live, new), |(live, new)| (live, new));
    let before = reckoned(live, kind);
    let after = reckoned(new, kind);
    let found =
        tree::compare(&before, &after, kind).without(&manager.ignored(kind, [&before, &after]));
    take_over(&mut known, &found, None);
    let owner = manager.owner(false);
    let taken = found.modified.union(&found.added).difference(&nobodys());
    if !taken.is_empty() {
        let owned = known.entry(owner).or_default();
        owned.fields.add(&taken);
        manager.api_version.clone_into(&mut owned.api_version);
        owned.time = manager.time();
    }
    owners::cap(&mut known);
    known
}

/// The form on which ownership is reckoned.
fn reckoned(object: &Value, kind: &'static Type) -> Value {
    let mut filled = if object.pointer("/metadata/managedFields").is_some() {
        let mut bare = object.clone();
        owners::strip(&mut bare);
        form::filled(&bare, kind)
    } else {
        form::filled(object, kind)
    };
    let is_empty = object.as_object().is_none_or(serde_json::Map::is_empty);
    if kind.go_name() == DAEMON_SET
        && !is_empty
        && let Some(metadata) = filled.get_mut("metadata").and_then(Value::as_object_mut)
    {
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.entry(TEMPLATE_GENERATION).or_insert_with(|| "0".into());
        }
    }
    filled
}

/// Takes from all but `winner` what changed and what is gone.
fn take_over(owners: &mut Owners, found: &Difference, winner: Option<&Owner>) {
    let lost = found.modified.union(&found.added).union(&found.removed);
    for (owner, owned) in owners.iter_mut() {
        if Some(owner) != winner {
            owned.fields.remove(&lost);
        }
    }
    owners.retain(|_, owned| !owned.fields.is_empty());
}

/// Whether two objects differ at most in `metadata.managedFields`.
fn is_same_beside_owners(one: &Value, other: &Value) -> bool {
    let same = |one: &Value, other: &Value, but: &str, check: &dyn Fn(&Value, &Value) -> bool| {
        let (Some(one), Some(other)) = (one.as_object(), other.as_object()) else {
            return one == other;
        };
        let is_known = |(key, value): (&String, &Value)| {
            let found = other.get(key);
            if key == but {
                check(value, found.unwrap_or(&Value::Null))
            } else {
                found == Some(value)
            }
        };
        one.iter().all(is_known) && other.keys().all(|key| key == but || one.contains_key(key))
    };
    let metadata = |one: &Value, other: &Value| same(one, other, "managedFields", &|_, _| true);
    same(one, other, "metadata", &metadata)
}

/// A write that changed nothing but times keeps the old ones, so that it is no change at all.
fn keep_times(old: &Value, new: &mut Value) {
    if !is_same_beside_owners(old, new) {
        return;
    }
    let timeless = |object: &Value| {
        let mut entries = object.pointer("/metadata/managedFields").cloned().unwrap_or_default();
        for entry in entries.as_array_mut().into_iter().flatten() {
            if let Some(entry) = entry.as_object_mut() {
                entry.remove("time");
            }
        }
        let mut entries = entries.as_array().cloned().unwrap_or_default();
        entries.sort_by_key(Value::to_string);
        entries
    };
    if timeless(old) != timeless(new) {
        return;
    }
    if let (Some(entries), Some(metadata)) = (
        old.pointer("/metadata/managedFields").cloned(),
        new.get_mut("metadata").and_then(Value::as_object_mut),
    ) {
        metadata.insert("managedFields".to_owned(), entries);
    }
}

/// Server-side apply: the object after `applied` was merged into `live`, with its managedFields; not yet defaulted or
/// validated. Fields that `manager` applied before and now leaves out are removed unless somebody else owns them.
///
/// # Errors
/// 400 when `applied` carries managedFields; 409 naming every conflict, unless `force`; 500 without reason (upstream's
/// habit) when `applied` does not fit its type.
pub fn apply(
    live: Option<&Value>,
    applied: &Value,
    manager: &Manager<'_>,
    kind: &'static Type,
    force: bool,
) -> Result<Value, Status> {
    if applied.pointer("/metadata/managedFields").is_some_and(|entries| !entries.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let said = tree::field_set(applied, kind).map_err(|faults| misfit(applied, &faults))?;
    let said = said.without(&manager.ignored(kind, [applied, applied]));
    let mine = said.difference(&nobodys());
    let nothing = json!({});
    let live = live.unwrap_or(&nothing);
    let mut known = owners::read(live);
    if known.is_empty() {
        let before = Manager { name: BEFORE_FIRST_APPLY, ..*manager };
        known = updated(known, &nothing, live, &before, kind);
    }
    let mut bare = live.clone();
    owners::strip(&mut bare);
    let job = Job { live: &bare, applied, said: &said, mine: &mine, manager, kind };
    let outcome = match job.run(known.clone(), force) {
        Err(conflicts) if manager.name == KUBECTL && job.all_last_applied(&conflicts) => {
            job.run(known, true)
        }
        outcome => outcome,
    };
    let (mut object, found) = outcome.map_err(|conflicts| refusal(&conflicts))?;
    if manager.name == KUBECTL {
        renew_last_applied(&mut object, applied);
    }
    owners::write(&mut object, &found);
    keep_times(live, &mut object);
    Ok(object)
}

/// What stands in the way of an apply: owners and the fields that they hold.
type Conflicts = Vec<(Owner, Set)>;

struct Job<'a> {
    live: &'a Value,
    applied: &'a Value,
    /// The fields that the applied document says, its identity among them.
    said: &'a Set,
    /// Those that the manager owns by it.
    mine: &'a Set,
    manager: &'a Manager<'a>,
    kind: &'static Type,
}

impl Job<'_> {
    fn run(&self, mut known: Owners, force: bool) -> Result<(Value, Owners), Conflicts> {
        let owner = self.manager.owner(true);
        let last = known.get(&owner).map(|owned| owned.fields.clone()).unwrap_or_default();
        let time = known.get(&owner).and_then(|owned| owned.time.clone());
        let api_version = self.manager.api_version.to_owned();
        known.insert(owner.clone(), Owned { fields: self.mine.clone(), api_version, time });

        let before = reckoned(self.live, self.kind);
        let merged = tree::merge(&before, self.applied, self.kind);
        let gone = self.given_up(&merged, &last, &known);
        let after = tree::remove(&merged, &gone, self.kind);
        let ignored = self.manager.ignored(self.kind, [&before, &after]);
        let found = tree::compare(&before, &after, self.kind).without(&ignored);

        let changed = found.modified.union(&found.added);
        let conflicts: Conflicts = known
            .iter()
            .filter(|(other, _)| **other != owner)
            .map(|(other, owned)| (other.clone(), owned.fields.intersection(&changed)))
            .filter(|(_, fields)| !fields.is_empty())
            .collect();
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        take_over(&mut known, &found, Some(&owner));
        if !found.is_none()
            && let Some(owned) = known.get_mut(&owner)
        {
            owned.time = self.manager.time();
        }
        // The same once more on the object as it is, without what only the form has.
        let merged = tree::merge(self.live, self.applied, self.kind);
        let object = tree::remove(&merged, &gone, self.kind);
        let object = if object.is_object() { object } else { json!({}) };
        Ok((form::without_nulls(object, self.kind), known))
    }

    /// What the manager applied last, does not say now, and nobody else owns.
    fn given_up(&self, merged: &Value, last: &Set, known: &Owners) -> Set {
        if last.is_empty() {
            return Set::default();
        }
        let kind = self.kind;
        let last = tree::with_named(last, kind);
        let all = tree::with_named(&tree::known_set(merged, kind), kind);
        let fields_of = |value: &Value| tree::with_named(&tree::known_set(value, kind), kind);
        let pruned = tree::remove(merged, &last, kind);
        // What is said now stays even where nobody owns it, as the name: it holds `metadata` in place.
        let owned = known.values().fold(self.said.clone(), |all, owned| all.union(&owned.fields));
        let owned = tree::with_named(&owned, kind);
        // Back comes what is owned, then what hung below it and was never this manager's.
        let pruned = tree::remove(merged, &all.difference(&fields_of(&pruned).union(&owned)), kind);
        // What is nobody's (name, uid, the metadata as such) nobody can give up.
        all.difference(&fields_of(&pruned)).intersection(&last).difference(&nobodys())
    }

    /// Whether every conflict is about a field that client-side apply set and that still has that value: then the
    /// same person applies again, by other means.
    fn all_last_applied(&self, conflicts: &Conflicts) -> bool {
        let Some(last) = annotation(self.live)
            .and_then(|text| serde_json::from_str::<Value>(text).ok())
            .filter(Value::is_object)
        else {
            return false;
        };
        let Ok(set) = tree::field_set(&last, self.kind) else { return false };
        let found = tree::compare(&last, self.live, self.kind);
        let still =
            set.difference(&found.modified).difference(&found.added).difference(&found.removed);
        conflicts.iter().all(|(_, fields)| fields.difference(&still).is_empty())
    }
}

fn annotation(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(LAST_APPLIED)?.as_str()
}

/// Keeps client-side apply's annotation true, so that both ways of apply can take turns.
fn renew_last_applied(object: &mut Value, applied: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let mut said = applied.clone();
    if let Some(annotations) =
        said.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(LAST_APPLIED);
    }
    if let Some(annotations) =
        object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
    {
        annotations.insert(LAST_APPLIED.to_owned(), format!("{said}\n").into());
    }
}

fn misfit(applied: &Value, faults: &[String]) -> Status {
    let text = |pointer: &str| applied.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    // Go prints an empty group with its slash.
    let version = text("/apiVersion");
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let list = match faults {
        [one] => one.clone(),
        several => format!(
            "errors:\n{}",
            several.iter().map(|fault| format!("  {fault}")).collect::<Vec<_>>().join("\n")
        ),
    };
    Status::failure(
        500,
        "",
        format!(
            "failed to create typed patch object ({}/{}; {group}/{version}, Kind={}): {list}",
            text("/metadata/namespace"),
            text("/metadata/name"),
            text("/kind"),
        ),
    )
}

fn refusal(conflicts: &Conflicts) -> Status {
    let found: Vec<(String, Vec<String>)> =
        conflicts.iter().map(|(owner, fields)| (owner.shown(), fields.paths())).collect();
    let causes: Vec<Cause> = found
        .iter()
        .flat_map(|(owner, paths)| {
            paths.iter().map(move |path| Cause {
                reason: "FieldManagerConflict".to_owned(),
                message: format!("conflict with {owner}"),
                field: path.clone(),
            })
        })
        .collect();
    let text = match causes.as_slice() {
        [one] => format!("Apply failed with 1 conflict: {}: {}", one.message, one.field),
        several => {
            let groups: Vec<String> = found
                .iter()
                .map(|(owner, paths)| {
                    let paths: Vec<String> =
                        paths.iter().map(|path| format!("\n- {path}")).collect();
                    format!("conflicts with {owner}:{}", paths.concat())
                })
                .collect();
            format!("Apply failed with {} conflicts: {}", several.len(), groups.join("\n"))
        }
    };
    Status::failure(409, "Conflict", text).with_details(Details { causes, ..Details::default() })
}
