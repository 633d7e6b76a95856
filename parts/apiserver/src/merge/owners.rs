//! The entries of `metadata.managedFields`.

use super::set::Set;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Most entries of operation Update; beyond it the oldest are merged. Upstream's number.
const UPDATERS_MAX: usize = 10;

/// The one form of fields there is.
const FIELDS_TYPE: &str = "FieldsV1";

/// Who stands for merged entries.
const ANCIENT: &str = "ancient-changes";

/// Who an entry belongs to. Of appliers the API version is not part: one applier, one entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    pub(super) manager: String,
    /// True for Apply, false for Update.
    pub(super) applies: bool,
    /// Empty for appliers.
    pub(super) api_version: String,
    pub(super) subresource: String,
}

impl Owner {
    /// As conflicts name it.
    pub(super) fn shown(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text = format!("{text} with subresource {:?}", self.subresource);
        }
        if !self.applies {
            text = format!("{text} using {}", self.api_version);
        }
        text
    }
}

/// What an owner owns.
#[derive(Clone, Debug, Default)]
pub(super) struct Owned {
    pub(super) fields: Set,
    /// The API version the fields were set in.
    pub(super) api_version: String,
    /// RFC 3339; absent for entries that never changed anything.
    pub(super) time: Option<String>,
}

/// All owners of an object.
pub(super) type Owners = BTreeMap<Owner, Owned>;

/// Reads the entries of an object. What cannot be read counts as nobody's, as upstream has it.
pub(super) fn read(object: &Value) -> Owners {
    entries(object).and_then(|entries| parse(entries)).unwrap_or_default()
}

/// Reads the entries that a writer sent: its own if they can be read and there are any, else those of `live`; none
/// at all if it sent the single empty entry that asks for a clean slate.
pub(super) fn sent(object: &Value, live: &Value) -> Owners {
    let sent = entries(object);
    if let Some([Value::Object(only)]) = sent.map(Vec::as_slice)
        && only.is_empty()
    {
        return Owners::new();
    }
    match sent.and_then(|entries| parse(entries)) {
        Some(owners) if !owners.is_empty() => owners,
        _ => read(live),
    }
}

fn entries(object: &Value) -> Option<&Vec<Value>> {
    object.pointer("/metadata/managedFields").and_then(Value::as_array)
}

fn parse(entries: &[Value]) -> Option<Owners> {
    let mut owners = Owners::new();
    for entry in entries {
        let text =
            |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let applies = match text("operation").as_str() {
            "Apply" => true,
            "Update" => false,
            _ => return None,
        };
        let api_version = text("apiVersion");
        if api_version.is_empty() || text("fieldsType") != FIELDS_TYPE {
            return None;
        }
        let owner = Owner {
            manager: text("manager"),
            applies,
            api_version: if applies { String::new() } else { api_version.clone() },
            subresource: text("subresource"),
        };
        let fields = entry.get("fieldsV1").map_or_else(|| Some(Set::default()), Set::parse)?;
        let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
        owners.insert(owner, Owned { fields, api_version, time });
    }
    Some(owners)
}

/// Writes the one entry of who made an object, unless it owns nothing.
pub(super) fn write_first(object: &mut Value, owner: &Owner, time: Option<String>, fields: Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if fields.as_object().is_none_or(Map::is_empty) {
        metadata.remove("managedFields");
        return;
    }
    let entry = entry(owner, &owner.api_version, time, fields);
    metadata.insert("managedFields".to_owned(), vec![entry].into());
}

/// Writes the entries into an object, or takes the field away when there are none.
pub(super) fn write(object: &mut Value, owners: &Owners) {
    let Some(fields) = object.as_object_mut() else { return };
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    let Some(metadata) = metadata.as_object_mut() else { return };
    if owners.is_empty() {
        metadata.remove("managedFields");
        return;
    }
    let mut sorted: Vec<(&Owner, &Owned)> = owners.iter().collect();
    sorted.sort_by_key(|(owner, owned)| {
        (!owner.applies, owned.time.clone(), &owner.manager, &owned.api_version, &owner.subresource)
    });
    let entries: Vec<Value> = sorted
        .into_iter()
        .map(|(owner, owned)| {
            entry(owner, &owned.api_version, owned.time.clone(), owned.fields.to_json())
        })
        .collect();
    metadata.insert("managedFields".to_owned(), entries.into());
}

fn entry(owner: &Owner, api_version: &str, time: Option<String>, fields: Value) -> Value {
    let mut out = Map::new();
    if !owner.manager.is_empty() {
        out.insert("manager".to_owned(), owner.manager.clone().into());
    }
    let operation = if owner.applies { "Apply" } else { "Update" };
    out.insert("operation".to_owned(), operation.into());
    out.insert("apiVersion".to_owned(), api_version.into());
    if let Some(time) = time {
        out.insert("time".to_owned(), time.into());
    }
    out.insert("fieldsType".to_owned(), FIELDS_TYPE.into());
    out.insert("fieldsV1".to_owned(), fields);
    if !owner.subresource.is_empty() {
        out.insert("subresource".to_owned(), owner.subresource.clone().into());
    }
    Value::Object(out)
}

/// Takes the entries out of an object.
pub(super) fn strip(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// Merges the oldest updaters of each API version until at most [`UPDATERS_MAX`] are left, so that the field cannot
/// grow with the number of those who ever wrote.
pub(super) fn cap(owners: &mut Owners) {
    let mut updaters: Vec<Owner> = owners.keys().filter(|owner| !owner.applies).cloned().collect();
    let mut left = updaters.len();
    if left <= UPDATERS_MAX {
        return;
    }
    updaters.sort_by_key(|owner| {
        (owners.get(owner).and_then(|owned| owned.time.clone()), owner.clone())
    });
    let mut first: BTreeMap<String, Owner> = BTreeMap::new();
    for owner in updaters {
        if left <= UPDATERS_MAX {
            break;
        }
        let version = owner.api_version.clone();
        let Some(kept) = first.get(&version) else {
            first.insert(version, owner);
            continue;
        };
        let bucket = Owner {
            manager: ANCIENT.to_owned(),
            applies: false,
            api_version: version.clone(),
            subresource: String::new(),
        };
        let oldest = if owners.contains_key(&bucket) { None } else { owners.remove(kept) };
        let Some(newer) = owners.remove(&owner) else { continue };
        let mut merged = oldest.or_else(|| owners.remove(&bucket)).unwrap_or_default();
        merged.fields = merged.fields.union(&newer.fields);
        merged.api_version = version;
        merged.time = newer.time;
        owners.insert(bucket, merged);
        left -= 1;
    }
}
