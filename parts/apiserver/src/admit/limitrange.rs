//! LimitRanges: how much single containers, pods and claims may ask for.

use super::faults::{Faults, qualified};
use super::json::{Json, JsonMut};
use super::pod::{defaults, resources};
use super::{Column, Context, Strategy, amount, table};
use api::{FieldError, Path};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

/// The strategy.
#[derive(Debug)]
pub(crate) struct LimitRange;

impl Strategy for LimitRange {
    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        if spec.list("limits").is_empty() {
            spec.set("limits", Value::Null);
        }
        for limit in spec.items("limits") {
            for list in LISTS {
                if let Some(list) = limit.present(list) {
                    defaults::round_all(list);
                }
            }
            if limit.text("type") == "Container" {
                fill_from(limit, "default", "max");
                fill_from(limit, "defaultRequest", "default");
                fill_from(limit, "defaultRequest", "min");
            }
        }
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        validate(object.at("spec"))
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        table::CREATED
    }

    fn cells(&self, object: &Value, _now: jiff::Timestamp) -> Vec<Value> {
        table::created_cells(object)
    }
}

/// What one list does not say another says.
fn fill_from(limit: &mut Value, list: &str, other: &str) {
    let other = limit.at(other).clone();
    for (name, value) in other.as_object().into_iter().flatten() {
        limit.object(list).fill(name, value.clone());
    }
}

fn validate(spec: &Value) -> Faults {
    let mut found = Faults::new();
    let limits = spec.list("limits");
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for (i, limit) in limits.iter().enumerate() {
        let path = Path::new("spec").child("limits").index(i);
        let kind = limit.text("type");
        kind_name(&mut found, kind, &path.child("type"));
        if !taken.insert(kind) {
            found.push(FieldError::duplicate(path.child("type"), kind));
        }
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for list in LISTS {
            if list == "maxLimitRequestRatio" {
                storage(&mut found, limit, &path);
            }
            if kind == "Pod" && list.starts_with("default") {
                if !limit.entries(list).is_empty() {
                    let why = "may not be specified when `type` is 'Pod'";
                    found.push(FieldError::forbidden(path.child(list), why));
                }
                continue;
            }
            for (name, _) in limit.entries(list) {
                resource_name(&mut found, kind, name, &path.child(list).key(name));
                names.insert(name);
            }
        }
        for name in names {
            compare(&mut found, limit, name, &path);
        }
    }
    found
}

fn kind_name(found: &mut Faults, kind: &str, path: &Path) {
    let before = found.len();
    qualified(found, path, kind);
    let known = ["Pod", "Container", "PersistentVolumeClaim"];
    if found.len() == before && !kind.contains('/') && !known.contains(&kind) {
        let why = "must be a standard limit type or fully qualified";
        found.push(FieldError::invalid(path.clone(), kind, why));
    }
}

fn resource_name(found: &mut Faults, kind: &str, name: &str, path: &Path) {
    if kind == "Pod" || kind == "Container" {
        resources::container_name(found, name, path);
    } else {
        resources::any_name(found, name, path);
    }
}

/// Claims are limited in storage, or not at all.
fn storage(found: &mut Faults, limit: &Value, path: &Path) {
    let has = |list: &str| limit.at(list).has("storage");
    if limit.text("type") == "PersistentVolumeClaim" && !has("min") && !has("max") {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        found.push(FieldError::required(path.child("limits"), why));
    }
}

/// Faults between the lists. Upstream shows the bound rather than the value in some, and so do we.
fn compare(found: &mut Faults, limit: &Value, name: &str, path: &Path) {
    let of_pod = limit.text("type") == "Pod";
    let said = |list: &str| match limit.at(list).at(name) {
        _ if of_pod && list.starts_with("default") => &Value::Null,
        value => value,
    };
    let (min, max) = (said("min"), said("max"));
    let (default, request) = (said("default"), said("defaultRequest"));
    let ratio = said("maxLimitRequestRatio");
    let mut above = |a: &Value, b: &Value, list: &str, shown: &Value, words: [&str; 2]| {
        if !a.is_null() && !b.is_null() && amount::compare(a, b).is_gt() {
            let (a, b) = (amount::canonical(a), amount::canonical(b));
            let why = format!("{} value {a} is greater than {} value {b}", words[0], words[1]);
            let at = path.child(list).key(name);
            found.push(FieldError::invalid(at, amount::canonical(shown), &why));
        }
    };
    above(min, max, "min", min, ["min", "max"]);
    above(min, request, "defaultRequest", request, ["min", "default request"]);
    above(request, max, "defaultRequest", request, ["default request", "max"]);
    above(request, default, "defaultRequest", request, ["default request", "default limit"]);
    above(min, default, "default", min, ["min", "default"]);
    above(default, max, "default", max, ["default", "max"]);
    ratios(found, [ratio, min, max], &path.child("maxLimitRequestRatio").key(name));
    let firm = !resources::may_overcommit(name);
    if firm && !default.is_null() && !request.is_null() && amount::compare(default, request).is_ne()
    {
        let (default, request) = (amount::canonical(default), amount::canonical(request));
        let why = format!(
            "default value {default} must equal to defaultRequest value {request} in {name}"
        );
        found.push(FieldError::invalid(path.child("defaultRequest").key(name), request, &why));
    }
}

fn ratios(found: &mut Faults, [ratio, min, max]: [&Value; 3], path: &Path) {
    if ratio.is_null() {
        return;
    }
    let shown = amount::canonical(ratio);
    if amount::compare(ratio, &json!("1")).is_lt() {
        let why = format!("ratio {shown} is less than 1");
        found.push(FieldError::invalid(path.clone(), shown.as_str(), &why));
    }
    if min.is_null() || max.is_null() {
        return;
    }
    let most = amount::as_number(max) / amount::as_number(min);
    if amount::as_number(ratio) > most {
        let why = format!("ratio {shown} is greater than max/min = {most:.6}");
        found.push(FieldError::invalid(path.clone(), shown.as_str(), &why));
    }
}
