//! One version of a custom kind, with the rules of its objects.

use super::path::{self, JsonPath};
use super::schema::Schema;
use super::{cel, check, lists, nowhere, prune};
use crate::admit::faults::Faults;
use crate::admit::json::{Json, JsonMut};
use crate::admit::{Column, Context, Strategy, metadata, table};
use crate::merge;
use api::field::Fault;
use api::{FieldError, Path};
use serde_json::Value;

/// Where a kind keeps the numbers that a Scale shows.
#[derive(Debug)]
pub(crate) struct Scale {
    pub(crate) spec: String,
    pub(crate) status: String,
    /// Empty where none is said.
    pub(crate) selector: String,
}

/// A kind.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) api_version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) schema: Schema,
    /// The schema as it was written, for OpenAPI.
    pub(crate) written: Value,
    /// Whether status is written through a path of its own.
    pub(crate) halves: bool,
    pub(crate) scale: Option<Scale>,
    pub(crate) columns: &'static [Column],
    pub(crate) cells: Vec<JsonPath>,
    pub(crate) selectable: &'static [&'static str],
    /// The version that objects are stored in, with its group.
    pub(crate) stored_as: &'static str,
    /// Whether stored bytes can be shown as they are: there is one version, and its schema never changed.
    pub(crate) reads_plain: bool,
    /// What to tell everybody who uses the version.
    pub(crate) deprecation: Option<String>,
}

impl Kind {
    /// The value of a field that may be selected by, as selectors compare it.
    pub(crate) fn selected(object: &Value, field: &str) -> String {
        match path::plain(object, field) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    fn named_wrong(&self, object: &Value) -> Faults {
        let mut faults = Faults::new();
        for (key, wanted) in [("kind", self.kind), ("apiVersion", self.api_version)] {
            if object.text(key) != wanted {
                let why = format!("must be {wanted}");
                faults.push(FieldError::invalid(Path::new(key), object.text(key), &why));
            }
        }
        faults
    }

    fn scale_faults(&self, object: &Value) -> Faults {
        let mut faults = Faults::new();
        let Some(scale) = &self.scale else { return faults };
        for at in [&scale.spec, &scale.status] {
            match number(object, at) {
                Err(why) => faults.push(FieldError::invalid(Path::new(at), 0, &why)),
                Ok(Some(count)) if count < 0 => {
                    let why = "should be a non-negative integer";
                    faults.push(FieldError::invalid(Path::new(at), count, why));
                }
                Ok(Some(count)) if count > i64::from(i32::MAX) => {
                    let why = format!("should be less than or equal to {}", i32::MAX);
                    faults.push(FieldError::invalid(Path::new(at), count, &why));
                }
                Ok(_) => {}
            }
        }
        faults
    }
}

/// The number at a path; nothing there is `None`. The error is Go's.
pub(crate) fn number(object: &Value, at: &str) -> Result<Option<i64>, String> {
    let keys: Vec<&str> = at.trim_start_matches('.').split('.').collect();
    let wrong = |value: &Value, depth: usize, wanted: &str| {
        let path = keys.get(..depth).unwrap_or_default().join(".");
        let shown = merge::shown(value);
        format!(
            ".{path} accessor error: {shown} is of the type {}, expected {wanted}",
            go_type(value)
        )
    };
    let mut found = object;
    for (depth, key) in keys.iter().enumerate() {
        let Some(fields) = found.as_object() else {
            return Err(wrong(found, depth + 1, "map[string]interface{}"));
        };
        match fields.get(*key) {
            None => return Ok(None),
            Some(value) => found = value,
        }
    }
    found.as_i64().map(Some).ok_or_else(|| wrong(found, keys.len(), "int64"))
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Faults after which upstream does not run rules: they would be about values of the wrong shape.
fn blocks(fault: &FieldError) -> bool {
    matches!(
        fault.fault,
        Fault::NotSupported
            | Fault::Required
            | Fault::TooLong
            | Fault::TooMany
            | Fault::TypeInvalid
    )
}

const NOT_CHECKED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

impl Kind {
    fn validate(&self, object: &Value, old: Option<&Value>) -> Faults {
        let named_wrong = self.named_wrong(object);
        if !named_wrong.is_empty() {
            return named_wrong;
        }
        let mut faults = check(object, old, &self.schema, None);
        faults.extend(self.scale_faults(object));
        faults.extend(embedded(object, &self.schema, &Path::root()));
        let twice = lists::duplicates(object, &self.schema, &Path::root());
        let before =
            old.is_some_and(|old| !lists::duplicates(old, &self.schema, &Path::root()).is_empty());
        if !before {
            faults.extend(twice);
        }
        if self.schema.has_rules {
            if faults.iter().any(blocks) {
                faults.push(FieldError::invalid(nowhere(), Value::Null, NOT_CHECKED));
            } else {
                faults.extend(cel::check(object, old, &self.schema, &nowhere()));
            }
        }
        faults
    }
}

/// Objects in objects must say what they are.
fn embedded(value: &Value, schema: &Schema, path: &Path) -> Faults {
    let mut faults = Faults::new();
    if schema.embedded && value.is_object() {
        faults.extend(self_described(value, path));
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some(part) = schema.field(name) {
                    let known = schema.properties.contains_key(name);
                    let path = if known { path.child(name) } else { path.key(name) };
                    faults.extend(embedded(value, part, &path));
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                if let Some(part) = schema.items.as_deref() {
                    faults.extend(embedded(item, part, &path.index(at)));
                }
            }
        }
        _ => {}
    }
    faults
}

/// Faults of what an object in an object says of itself. It may have no name, and no namespace.
fn self_described(value: &Value, path: &Path) -> Faults {
    let mut faults = Faults::new();
    for key in ["apiVersion", "kind"] {
        let at = path.child(key);
        match value.get(key) {
            None => faults.push(FieldError::required(at, "must not be empty")),
            Some(Value::String(text)) => {
                let why = if text.is_empty() {
                    Some("must not be empty".to_owned())
                } else if key == "kind" {
                    mixed_case(text)
                } else {
                    (text.matches('/').count() > 1)
                        .then(|| format!("unexpected GroupVersion string: {text}"))
                };
                faults.extend(why.map(|why| FieldError::invalid(at, text.as_str(), &why)));
            }
            // Refused when it was read.
            Some(_) => {}
        }
    }
    let mut said = value.at("metadata").clone();
    if said.is_object() {
        // It has to have one for the others to be looked at.
        said.fill_text("name", "fakename");
        let rule = metadata::name_is_path_segment;
        let namespaced = !said.text("namespace").is_empty();
        faults.extend(metadata::validate_at(&said, namespaced, &rule, &path.child("metadata")));
    }
    faults
}

/// Why a kind is not one.
fn mixed_case(kind: &str) -> Option<String> {
    let why = api::names::dns_1035_label(&kind.to_lowercase());
    (!why.is_empty())
        .then(|| format!("may have mixed case, but should otherwise match: {}", why.join(",")))
}

impl Strategy for Kind {
    fn default(&self, object: &mut Value) {
        prune::default(object, &self.schema);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn counts(&self, object: &Value, old: &Value) -> bool {
        let bare = |object: &Value| {
            let mut object = object.clone();
            object.unset("metadata");
            object.unset("apiVersion");
            if self.halves {
                object.unset("status");
            }
            object
        };
        bare(object) != bare(old)
    }

    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        if self.halves {
            object.unset("status");
        }
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, context: &Context<'_>) {
        if !self.halves {
            return;
        }
        if context.subresource != "status" {
            object.restore("status", old);
            return;
        }
        let (status, meta) = (object.at("status").clone(), object.at("metadata").clone());
        *object = old.clone();
        object.set("status", status);
        if !object.has("status") {
            object.unset("status");
        }
        let kept = object.object("metadata");
        kept.restore("managedFields", &meta);
        kept.restore("resourceVersion", &meta);
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        self.validate(object, None)
    }

    fn validate_update(&self, object: &Value, old: &Value, _context: &Context<'_>) -> Faults {
        self.validate(object, Some(old))
    }

    fn standing_warning(&self) -> Option<String> {
        self.deprecation.clone()
    }

    fn field_names(&self) -> &'static [&'static str] {
        self.selectable
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        self.columns
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let others = self.columns.iter().skip(1).zip(&self.cells);
        let others = others.map(|(column, path)| cell(column.r#type, path.first(object), now));
        std::iter::once(table::name(object)).chain(others).collect()
    }
}

fn cell(kind: &str, found: Option<&Value>, now: jiff::Timestamp) -> Value {
    let Some(found) = found.filter(|found| !found.is_null()) else { return Value::Null };
    match (kind, found) {
        ("string", other) if !other.is_string() => other.to_string().into(),
        ("integer", number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.into(),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "Go cuts reals in columns of whole numbers"
            )]
            (None, Some(real)) => (real as i64).into(),
            _ => Value::Null,
        },
        ("string", _) | ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => found.clone(),
        ("date", Value::String(text)) if text.parse::<jiff::Timestamp>().is_ok() => {
            table::since(text, now).into()
        }
        ("date", Value::String(_)) => "<invalid>".into(),
        _ => Value::Null,
    }
}
