//! Field errors as Kubernetes words them, and the 422 answer made of them.

use crate::status::{Cause, Details, Status};
use std::fmt;

/// The path of a field: `spec.template.spec.containers[0].name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(String);

impl Path {
    /// The root.
    pub fn root() -> Self {
        Self::default()
    }

    /// A path that starts with `name`.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// `self.name`.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self([&self.0, ".", name].concat()) }
    }

    /// `self[index]`.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// `self[key]`, for maps.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self([&self.0, "[", key, "]"].concat())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with a field; names are upstream's cause reasons without `FieldValue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Missing.
    Required,
    /// Not acceptable.
    Invalid,
    /// Not among the supported values.
    NotSupported,
    /// May not be set.
    Forbidden,
    /// Twice.
    Duplicate,
    /// Refers to something that is not there.
    NotFound,
    /// Longer than allowed.
    TooLong,
    /// More items than allowed.
    TooMany,
    /// Of a wrong type.
    TypeInvalid,
    /// Trouble on our side.
    InternalError,
}

/// One field error.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldError {
    /// Where.
    pub path: Path,
    /// What kind of fault.
    pub fault: Fault,
    /// All that follows `path: `, for instance `Invalid value: "x": must be y`.
    pub body: String,
}

/// The value that an error shows, printed as Go prints it.
pub fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => format!("{text:?}"),
        serde_json::Value::Null => "null".to_owned(),
        other => other.to_string(),
    }
}

impl FieldError {
    /// `path: Required value: detail`.
    pub fn required(path: Path, detail: &str) -> Self {
        Self::make(path, Fault::Required, "Required value", detail)
    }

    /// `path: Invalid value: <value>: detail`.
    pub fn invalid(path: Path, value: impl Into<serde_json::Value>, detail: &str) -> Self {
        let label = format!("Invalid value: {}", shown(&value.into()));
        Self::make(path, Fault::Invalid, &label, detail)
    }

    /// `path: Unsupported value: "x": supported values: "a", "b"`.
    pub fn not_supported(path: Path, value: &str, supported: &[&str]) -> Self {
        let mut list: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        list.sort();
        let detail = if list.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", list.join(", "))
        };
        Self::make(path, Fault::NotSupported, &format!("Unsupported value: {value:?}"), &detail)
    }

    /// `path: Forbidden: detail`.
    pub fn forbidden(path: Path, detail: &str) -> Self {
        Self::make(path, Fault::Forbidden, "Forbidden", detail)
    }

    /// `path: Duplicate value: <value>`.
    pub fn duplicate(path: Path, value: impl Into<serde_json::Value>) -> Self {
        let label = format!("Duplicate value: {}", shown(&value.into()));
        Self::make(path, Fault::Duplicate, &label, "")
    }

    /// `path: Not found: <value>`.
    pub fn not_found(path: Path, value: impl Into<serde_json::Value>) -> Self {
        let label = format!("Not found: {}", shown(&value.into()));
        Self::make(path, Fault::NotFound, &label, "")
    }

    /// `path: Too long: may not be more than N bytes`.
    pub fn too_long(path: Path, bytes_max: usize) -> Self {
        let detail = format!("may not be more than {bytes_max} bytes");
        Self::make(path, Fault::TooLong, "Too long", &detail)
    }

    /// `path: Too many: N: must have at most M items`.
    pub fn too_many(path: Path, found: usize, items_max: usize) -> Self {
        let detail = format!("must have at most {items_max} items");
        Self::make(path, Fault::TooMany, &format!("Too many: {found}"), &detail)
    }

    fn make(path: Path, fault: Fault, label: &str, detail: &str) -> Self {
        let body = if detail.is_empty() { label.to_owned() } else { format!("{label}: {detail}") };
        Self { path, fault, body }
    }

    /// Upstream's cause reason.
    pub fn reason(&self) -> &'static str {
        match self.fault {
            Fault::Required => "FieldValueRequired",
            Fault::Invalid => "FieldValueInvalid",
            Fault::NotSupported => "FieldValueNotSupported",
            Fault::Forbidden => "FieldValueForbidden",
            Fault::Duplicate => "FieldValueDuplicate",
            Fault::NotFound => "FieldValueNotFound",
            Fault::TooLong => "FieldValueTooLong",
            Fault::TooMany => "FieldValueTooMany",
            Fault::TypeInvalid => "FieldValueTypeInvalid",
            Fault::InternalError => "InternalError",
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body)
    }
}

/// The 422 answer for field errors: one as it is, several as `[a, b]`, equal ones once.
pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Status {
    let mut texts: Vec<String> = Vec::new();
    for error in errors {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    let what = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
    let list = if texts.len() == 1 { texts.concat() } else { format!("[{}]", texts.join(", ")) };
    Status::failure(422, "Invalid", format!("{what} \"{name}\" is invalid: {list}")).with_details(
        Details {
            name: name.into(),
            group: group.into(),
            kind: kind.into(),
            causes: errors
                .iter()
                .map(|e| Cause {
                    reason: e.reason().into(),
                    message: e.body.clone(),
                    field: e.path.to_string(),
                })
                .collect(),
            ..Details::default()
        },
    )
}
