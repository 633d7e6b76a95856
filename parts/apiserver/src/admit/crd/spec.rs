//! The spec of a CustomResourceDefinition: names, versions, subresources, columns.
//!
//! What all versions say alike is checked once, and its faults lie at `spec.validation`, `spec.subresources` and so
//! on: the fields in which upstream holds it after reading.

use super::{label, schema, shown};
use crate::admit::faults::{Faults, invalid_shown, unsupported};
use crate::admit::json::Json;
use api::names;
use api::{FieldError, Path};
use serde_json::Value;
use std::collections::BTreeSet;

/// Most fields that one may select by.
const SELECTABLE_MAX: usize = 8;
/// Most bytes of a warning.
const WARNING_BYTES_MAX: usize = 256;
/// Types of columns.
const COLUMN_TYPES: &str = "boolean,date,integer,number,string";
/// Formats of columns.
const COLUMN_FORMATS: &[&str] =
    &["int32", "int64", "float", "double", "byte", "date", "date-time", "password"];

/// What may be said once for all versions: the field of a version, and the name under which faults stand then.
const HOISTED: [(&str, &str); 4] = [
    ("schema", "validation"),
    ("subresources", "subresources"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

/// Whether all versions say the same in a field, which is then checked once.
pub(super) fn hoisted(versions: &[Value], field: &str) -> bool {
    versions.first().is_some_and(|first| versions.iter().all(|v| v.at(field) == first.at(field)))
}

/// Every fault of the spec; `old` is the one before, or null. What rules may cost is not asked of a schema that is as it
/// was: it may be from before anybody asked, and the definition has to stay writable.
pub(super) fn validate(spec: &Value, old: &Value) -> Faults {
    let mut faults = Faults::new();
    let path = Path::new("spec");
    group(&mut faults, path.child("group"), spec.text("group"));
    scope(&mut faults, path.child("scope"), spec.text("scope"));
    versions(&mut faults, (spec.list("versions"), old.list("versions")), &path);
    let named = spec.at("names");
    for key in ["plural", "singular", "kind", "listKind"] {
        if named.text(key).is_empty() {
            faults.push(FieldError::required(path.child("names").child(key), ""));
        }
    }
    faults.extend(names(named, &path.child("names")));
    let all = spec.list("versions");
    for (field, name) in HOISTED.iter().filter(|(field, _)| hoisted(all, field)) {
        if let Some(first) = all.first() {
            let halves = all.iter().any(|version| version.at("subresources").has("status"));
            let first = (first, halves, is_kept(first, old.list("versions")));
            part(&mut faults, first, field, &path.child(name));
        }
    }
    conversion(&mut faults, spec.at("conversion"), &path.child("conversion"));
    faults
}

fn group(faults: &mut Faults, path: Path, group: &str) {
    let wrong = names::dns_subdomain(group);
    if group.is_empty() {
        faults.push(FieldError::required(path, ""));
    } else if !wrong.is_empty() {
        faults.push(FieldError::invalid(path, group, &wrong.join(",")));
    } else if !group.contains('.') {
        faults.push(FieldError::invalid(path, group, "should be a domain with at least one dot"));
    }
}

fn scope(faults: &mut Faults, path: Path, scope: &str) {
    if scope.is_empty() {
        faults.push(FieldError::required(path, ""));
    } else if !["Cluster", "Namespaced"].contains(&scope) {
        faults.push(unsupported(path, scope, &["Cluster", "Namespaced"]));
    }
}

/// Whether a version has the schema that it had.
fn is_kept(version: &Value, old: &[Value]) -> bool {
    let same = |was: &&Value| was.text("name") == version.text("name");
    old.iter().find(same).is_some_and(|was| was.at("schema") == version.at("schema"))
}

fn versions(faults: &mut Faults, (all, old): (&[Value], &[Value]), path: &Path) {
    let list = path.child("versions");
    for (at, version) in all.iter().enumerate() {
        if !version.at("schema").has("openAPIV3Schema") {
            let path = list.index(at).child("schema").child("openAPIV3Schema");
            faults.push(FieldError::required(path, ""));
        }
    }
    let apart: Vec<_> = HOISTED.iter().filter(|(field, _)| !hoisted(all, field)).collect();
    for (at, version) in all.iter().enumerate() {
        if let Some(why) = label(version.text("name")) {
            let path = list.index(at).child("name");
            faults.push(FieldError::invalid(path, version.text("name"), &why));
        }
        deprecation(faults, version, &list.index(at));
        let halves = version.at("subresources").has("status");
        for (field, _) in &apart {
            let version = (version, halves, is_kept(version, old));
            part(faults, version, field, &list.index(at).child(field));
        }
    }
    let mut known: BTreeSet<&str> = BTreeSet::new();
    let twice = all.iter().any(|version| !known.insert(version.text("name")));
    if twice {
        let shown = shown::versions(all);
        faults.push(invalid_shown(list.clone(), &shown, "must contain unique version names"));
    }
    if all.iter().filter(|version| version.flag("storage")).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        faults.push(invalid_shown(list, &shown::versions(all), why));
    }
    // Upstream keeps the first version a second time.
    if let Some((name, why)) =
        all.first().map(|first| first.text("name")).and_then(|name| Some((name, label(name)?)))
    {
        faults.push(FieldError::invalid(path.child("version"), name, &why));
    }
}

fn deprecation(faults: &mut Faults, version: &Value, path: &Path) {
    let Some(warning) = version.at("deprecationWarning").as_str() else { return };
    let mut refuse = |why: &str| {
        faults.push(FieldError::invalid(path.child("deprecationWarning"), warning, why));
    };
    if !version.flag("deprecated") {
        refuse("can only be set for deprecated versions");
        return;
    }
    if warning.len() > WARNING_BYTES_MAX {
        refuse(&format!("must be <= {WARNING_BYTES_MAX} characters long"));
    }
    if warning.is_empty() {
        refuse("must not be an empty string");
    }
    let plain = |c: char| c == ' ' || !(c.is_control() || c.is_whitespace());
    if let Some((at, _)) = warning.char_indices().find(|(_, c)| !plain(*c)) {
        refuse(&format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        ));
    }
}

/// One field of a version; `halves` says that status is written apart, `kept` that its schema is as it was.
fn part(
    faults: &mut Faults,
    (version, halves, kept): (&Value, bool, bool),
    field: &str,
    path: &Path,
) {
    match field {
        "schema" => {
            let held = version.at("schema").at("openAPIV3Schema");
            faults.extend(schema::validate(held, (halves, kept), &path.child("openAPIV3Schema")));
        }
        "subresources" => scale(faults, version.at(field).at("scale"), &path.child("scale")),
        "additionalPrinterColumns" => {
            for (at, found) in version.list(field).iter().enumerate() {
                column(faults, found, &path.index(at));
            }
        }
        _ => selectable(faults, version, path),
    }
}

/// Names, as they stand in spec and status: empty ones are judged elsewhere.
pub(super) fn names(names: &Value, path: &Path) -> Faults {
    let mut faults = Faults::new();
    let mut check = |path: Path, text: &str, any_case: bool| {
        let judged = if any_case { text.to_lowercase() } else { text.to_owned() };
        if let Some(why) = label(&judged).filter(|_| !text.is_empty()) {
            let why = if any_case {
                format!("may have mixed case, but should otherwise match: {why}")
            } else {
                why
            };
            faults.push(FieldError::invalid(path, text, &why));
        }
    };
    check(path.child("plural"), names.text("plural"), false);
    check(path.child("singular"), names.text("singular"), false);
    check(path.child("kind"), names.text("kind"), true);
    check(path.child("listKind"), names.text("listKind"), true);
    for (at, name) in names.list("shortNames").iter().enumerate() {
        check(path.child("shortNames").index(at), name.as_str().unwrap_or_default(), false);
    }
    let kind = names.text("kind");
    if !kind.is_empty() && kind == names.text("listKind") {
        let why = "kind and listKind may not be the same";
        faults.push(FieldError::invalid(path.child("listKind"), kind, why));
    }
    for (at, name) in names.list("categories").iter().enumerate() {
        let name = name.as_str().unwrap_or_default();
        if let Some(why) = label(name) {
            faults.push(FieldError::invalid(path.child("categories").index(at), name, &why));
        }
    }
    faults
}

/// A path of fields; true when it is one.
fn simple(faults: &mut Faults, path: &Path, text: &str) -> bool {
    let why = match text.as_bytes().first() {
        None => "must not be empty",
        Some(b'.') => return true,
        Some(_) => "must be a simple json path starting with .",
    };
    faults.push(FieldError::invalid(path.clone(), text, why));
    false
}

fn scale(faults: &mut Faults, scale: &Value, path: &Path) {
    if scale.is_null() {
        return;
    }
    for (key, under) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
        let (path, text) = (path.child(key), scale.text(key));
        if text.is_empty() {
            faults.push(FieldError::required(path, ""));
        } else if simple(faults, &path, text) && !text.starts_with(&format!("{under}.")) {
            let why = format!("should be a json path under {under}");
            faults.push(FieldError::invalid(path, text, &why));
        }
    }
    let (path, text) = (path.child("labelSelectorPath"), scale.text("labelSelectorPath"));
    let placed = text.starts_with(".spec.") || text.starts_with(".status.");
    if !text.is_empty() && simple(faults, &path, text) && !placed {
        let why = "should be a json path under either .spec or .status";
        faults.push(FieldError::invalid(path, text, why));
    }
}

fn column(faults: &mut Faults, column: &Value, path: &Path) {
    if column.text("name").is_empty() {
        faults.push(FieldError::required(path.child("name"), ""));
    }
    let must = format!("must be one of {COLUMN_TYPES}");
    let kind = column.text("type");
    if kind.is_empty() {
        faults.push(FieldError::required(path.child("type"), &must));
    } else if !COLUMN_TYPES.split(',').any(|known| known == kind) {
        faults.push(FieldError::invalid(path.child("type"), kind, &must));
    }
    let format = column.text("format");
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        let mut known = COLUMN_FORMATS.to_vec();
        known.sort_unstable();
        let why = format!("must be one of {}", known.join(","));
        faults.push(FieldError::invalid(path.child("format"), format, &why));
    }
    let place = path.child("JSONPath");
    if column.text("jsonPath").is_empty() {
        faults.push(FieldError::required(place, ""));
    } else {
        simple(faults, &place, column.text("jsonPath"));
    }
}

fn selectable(faults: &mut Faults, version: &Value, path: &Path) {
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for (at, field) in version.list("selectableFields").iter().enumerate() {
        let (place, text) = (path.index(at).child("jsonPath"), field.text("jsonPath"));
        if text.is_empty() {
            faults.push(FieldError::required(place, ""));
            continue;
        }
        let root = version.at("schema").at("openAPIV3Schema");
        let found = text
            .trim_start_matches('.')
            .split('.')
            .try_fold(root, |schema, key| schema.at("properties").get(key));
        let Some(found) = found else {
            let why = "is an invalid path: does not refer to a valid field";
            faults.push(FieldError::invalid(place, text, why));
            continue;
        };
        if text == ".metadata" || text.starts_with(".metadata.") {
            let why = "must not point to fields in metadata";
            faults.push(FieldError::invalid(place.clone(), text, why));
        }
        if !["string", "boolean", "integer"].contains(&found.text("type")) {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            faults.push(FieldError::invalid(place.clone(), text, why));
        }
        if !known.insert(text) {
            faults.push(FieldError::duplicate(place, text));
        }
    }
    if known.len() > SELECTABLE_MAX {
        faults.push(FieldError::too_many(path.clone(), known.len(), SELECTABLE_MAX));
    }
}

fn conversion(faults: &mut Faults, conversion: &Value, path: &Path) {
    let strategy = conversion.text("strategy");
    match strategy {
        "" => faults.push(FieldError::required(path.child("strategy"), "")),
        "None" => {
            let why = "should not be set when strategy is not set to Webhook";
            let webhook = conversion.at("webhook");
            if webhook.has("clientConfig") {
                faults.push(FieldError::forbidden(path.child("webhookClientConfig"), why));
            }
            if !webhook.list("conversionReviewVersions").is_empty() {
                faults.push(FieldError::forbidden(path.child("conversionReviewVersions"), why));
            }
        }
        // Kubernetes would ask the webhook. We cannot yet, and stored objects nobody can convert are worse than a no.
        "Webhook" => {
            let why = "this server does not call conversion webhooks; use None";
            faults.push(FieldError::forbidden(path.child("strategy"), why));
        }
        other => faults.push(unsupported(path.child("strategy"), other, &["None", "Webhook"])),
    }
}
