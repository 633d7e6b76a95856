//! Affinity and topology spread (spec A77).

use crate::admit::faults::{self, Faults, unsupported};
use crate::admit::json::{Json, JsonMut};
use crate::admit::selector;
use api::names;
use api::{FieldError, Path};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Faults of `spec.affinity`.
pub(crate) fn validate(found: &mut Faults, affinity: &Value, path: &Path) {
    if affinity.has("nodeAffinity") {
        node_affinity(found, affinity.at("nodeAffinity"), &path.child("nodeAffinity"));
    }
    for key in ["podAffinity", "podAntiAffinity"] {
        let (terms, path) = (affinity.at(key), path.child(key));
        for (i, term) in terms.list(REQUIRED).iter().enumerate() {
            pod_term(found, term, &path.child(REQUIRED).index(i));
        }
        for (i, weighted) in terms.list(PREFERRED).iter().enumerate() {
            let path = path.child(PREFERRED).index(i);
            weight(found, weighted, &path);
            pod_term(found, weighted.at("podAffinityTerm"), &path.child("podAffinityTerm"));
        }
    }
}

fn node_affinity(found: &mut Faults, affinity: &Value, path: &Path) {
    if affinity.has(REQUIRED) {
        required_terms(found, affinity.at(REQUIRED), &path.child(REQUIRED));
    }
    for (i, preferred) in affinity.list(PREFERRED).iter().enumerate() {
        let path = path.child(PREFERRED).index(i);
        weight(found, preferred, &path);
        node_term(found, preferred.at("preference"), false, &path.child("preference"));
    }
}

/// Faults of a node selector: terms of which one has to fit.
pub(crate) fn required_terms(found: &mut Faults, selector: &Value, path: &Path) {
    let path = path.child("nodeSelectorTerms");
    let terms = selector.list("nodeSelectorTerms");
    if terms.is_empty() {
        let why = "must have at least one node selector term";
        found.push(FieldError::required(path.clone(), why));
    }
    for (i, term) in terms.iter().enumerate() {
        node_term(found, term, true, &path.index(i));
    }
}

fn weight(found: &mut Faults, of: &Value, path: &Path) {
    let weight = of.int("weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        let why = "must be in the range 1-100";
        found.push(FieldError::invalid(path.child("weight"), weight, why));
    }
}

/// A term; in preferred ones values of labels are not looked at, as upstream has it.
fn node_term(found: &mut Faults, term: &Value, judge_values: bool, path: &Path) {
    for (i, wanted) in term.list("matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(i);
        expression(found, wanted, &path);
        faults::qualified(found, &path.child("key"), wanted.text("key"));
        if judge_values {
            for (j, value) in wanted.list("values").iter().enumerate() {
                let value = value.as_str().unwrap_or_default();
                let path = path.child("values").index(j);
                faults::texts(found, &path, value, names::label_value(value));
            }
        }
    }
    for (i, wanted) in term.list("matchFields").iter().enumerate() {
        field(found, wanted, &path.child("matchFields").index(i));
    }
}

fn expression(found: &mut Faults, wanted: &Value, path: &Path) {
    let count = wanted.list("values").len();
    let values = path.child("values");
    match wanted.text("operator") {
        "In" | "NotIn" if count == 0 => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            found.push(FieldError::required(values, why));
        }
        "Exists" | "DoesNotExist" if count > 0 => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            found.push(FieldError::forbidden(values, why));
        }
        "Gt" | "Lt" if count != 1 => {
            let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            found.push(FieldError::required(values, why));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => {
            let why = "not a valid selector operator";
            found.push(FieldError::invalid(path.child("operator"), other, why));
        }
    }
}

fn field(found: &mut Faults, wanted: &Value, path: &Path) {
    match wanted.text("operator") {
        "In" | "NotIn" => {
            if wanted.list("values").len() != 1 {
                let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                found.push(FieldError::required(path.child("values"), why));
            }
        }
        other => {
            let why = "not a valid selector operator";
            found.push(FieldError::invalid(path.child("operator"), other, why));
        }
    }
    let key = wanted.text("key");
    if key == "metadata.name" {
        for (i, value) in wanted.list("values").iter().enumerate() {
            let path = path.child("values").index(i);
            faults::dns_subdomain(found, &path, value.as_str().unwrap_or_default());
        }
    } else {
        let why = "not a valid field selector key";
        found.push(FieldError::invalid(path.child("key"), key, why));
    }
}

fn pod_term(found: &mut Faults, term: &Value, path: &Path) {
    for key in ["labelSelector", "namespaceSelector"] {
        if term.has(key) {
            found.extend(selector::validate(term.at(key), &path.child(key)));
        }
    }
    for name in term.list("namespaces").iter().filter_map(Value::as_str) {
        faults::dns_label(found, &path.child("namespace"), name);
    }
    label_keys(found, term, path);
    let key = term.text("topologyKey");
    let path = path.child("topologyKey");
    if key.is_empty() {
        found.push(FieldError::required(path.clone(), "can not be empty"));
    }
    faults::qualified(found, &path, key);
}

/// Faults of `spec.topologySpreadConstraints`.
pub(crate) fn validate_spread(found: &mut Faults, spec: &Value, path: &Path) {
    let constraints = spec.list("topologySpreadConstraints");
    let pair = |of: &Value| {
        let (key, when) = (of.text("topologyKey"), of.text("whenUnsatisfiable"));
        (key.to_owned(), when.to_owned())
    };
    let mut later: BTreeMap<(String, String), usize> = BTreeMap::new();
    for constraint in constraints {
        *later.entry(pair(constraint)).or_default() += 1;
    }
    for (i, constraint) in constraints.iter().enumerate() {
        let at = path.index(i);
        let skew = constraint.int("maxSkew").unwrap_or(0);
        if skew <= 0 {
            let why = "must be greater than zero";
            found.push(FieldError::invalid(at.child("maxSkew"), skew, why));
        }
        let key = constraint.text("topologyKey");
        if key.is_empty() {
            found.push(FieldError::required(at.child("topologyKey"), "can not be empty"));
        }
        let when = constraint.text("whenUnsatisfiable");
        let supported = ["DoNotSchedule", "ScheduleAnyway"];
        if !supported.contains(&when) {
            found.push(unsupported(at.child("whenUnsatisfiable"), when, &supported));
        }
        let left = later.entry(pair(constraint)).or_default();
        *left = left.saturating_sub(1);
        if *left > 0 {
            let shown = format!("{{{key}, {when}}}");
            let path = at.child("{topologyKey, whenUnsatisfiable}");
            found.push(FieldError::duplicate(path, shown));
        }
        spread_details(found, constraint, &at);
        if constraint.has("labelSelector") {
            let selector = constraint.at("labelSelector");
            found.extend(selector::validate(selector, &at.child("labelSelector")));
        }
    }
}

fn spread_details(found: &mut Faults, constraint: &Value, path: &Path) {
    if let Some(domains) = constraint.int("minDomains") {
        let path = path.child("minDomains");
        if domains <= 0 {
            found.push(FieldError::invalid(path.clone(), domains, "must be greater than zero"));
        }
        let when = constraint.text("whenUnsatisfiable");
        if when != "DoNotSchedule" {
            let why =
                format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
            found.push(FieldError::invalid(path, domains, &why));
        }
    }
    for key in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        let word = constraint.text(key);
        if constraint.has(key) && word != "Honor" && word != "Ignore" {
            found.push(unsupported(path.child(key), word, &["Honor", "Ignore"]));
        }
    }
    label_keys(found, constraint, path);
}

const MATCHED: &str = "matchLabelKeys";
const MISMATCHED: &str = "mismatchLabelKeys";

fn words<'a>(of: &'a Value, key: &str) -> Vec<&'a str> {
    of.list(key).iter().filter_map(Value::as_str).collect()
}

/// Keys of the pod's own labels that the selector is to be narrowed by.
fn label_keys(found: &mut Faults, of: &Value, path: &Path) {
    let (matched, mismatched) = (words(of, MATCHED), words(of, MISMATCHED));
    for (key, words) in [(MATCHED, &matched), (MISMATCHED, &mismatched)] {
        if words.is_empty() {
            continue;
        }
        let path = path.child(key);
        if !of.has("labelSelector") {
            let why = "must not be specified when labelSelector is not set";
            found.push(FieldError::forbidden(path, why));
            continue;
        }
        for (i, word) in words.iter().enumerate() {
            faults::qualified(found, &path.index(i), word);
        }
    }
    let selector = of.at("labelSelector");
    // of a key that is named twice the last counts
    let places: BTreeMap<&str, usize> =
        matched.iter().enumerate().map(|(i, word)| (*word, i)).collect();
    let mut taken: BTreeSet<&str> =
        selector.entries("matchLabels").iter().map(|(key, _)| *key).collect();
    for wanted in selector.list("matchExpressions") {
        // The selector already holds one expression for each of the keys.
        let key = wanted.text("key");
        if let Some(&i) = places.get(key)
            && taken.contains(key)
        {
            let why = "exists in both matchLabelKeys and labelSelector";
            found.push(FieldError::invalid(path.index(i), key, why));
        }
        taken.insert(key);
    }
    let mismatched: BTreeSet<&str> = mismatched.into_iter().collect();
    for (i, word) in matched.iter().enumerate().filter(|(_, word)| mismatched.contains(*word)) {
        let why = "exists in both matchLabelKeys and mismatchLabelKeys";
        found.push(FieldError::invalid(path.child(MATCHED).index(i), *word, why));
    }
}

/// Narrows the selectors of a new pod by its own labels, where label keys ask for it.
pub(crate) fn narrow(spec: &mut Value, labels: &Value) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(terms) = spec.present("affinity").and_then(|all| all.present(kind)) else {
            continue;
        };
        for weighted in terms.items(PREFERRED) {
            if let Some(term) = weighted.present("podAffinityTerm") {
                narrow_one(term, labels);
            }
        }
        for term in terms.items(REQUIRED) {
            narrow_one(term, labels);
        }
    }
    for constraint in spec.items("topologySpreadConstraints") {
        narrow_one(constraint, labels);
    }
}

fn narrow_one(of: &mut Value, labels: &Value) {
    let mut added = Vec::new();
    for (key, operator) in [(MATCHED, "In"), (MISMATCHED, "NotIn")] {
        for word in words(of, key).into_iter().filter(|word| labels.has(word)) {
            let value = labels.at(word);
            added.push(json!({"key": word, "operator": operator, "values": [value]}));
        }
    }
    if let Some(selector) = of.present("labelSelector")
        && !added.is_empty()
    {
        let mut all = selector.list("matchExpressions").to_vec();
        all.extend(added);
        selector.set("matchExpressions", all);
    }
}
