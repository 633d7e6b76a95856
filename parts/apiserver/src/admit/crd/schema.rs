//! The schema of a version: which words of OpenAPI may stand in it, and with which others.

use super::budget::Budget;
use super::{lists, shown, structural};
use crate::admit::faults::{Faults, invalid_shown, unsupported};
use crate::admit::json::Json;
use crate::custom;
use crate::custom::cel::{self, Aim, compile};
use api::{FieldError, Path};
use serde_json::Value;

/// Types that a schema may name.
const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
/// Words that are not supported at all, in the order in which they are complained of.
const UNKNOWN_WORDS: &[&str] =
    &["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];
/// What a refusal of a rule may be called.
const REASONS: &[&str] =
    &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
/// What every object has, and the server fills.
const OF_EVERY_OBJECT: &[&str] = &["metadata", "kind", "apiVersion"];
/// Words that may stand at the root of a schema whose status is written apart, by their names in Go.
const ROOT_WORDS: &[&str] = &[
    "Description",
    "Type",
    "Format",
    "Title",
    "Maximum",
    "ExclusiveMaximum",
    "Minimum",
    "ExclusiveMinimum",
    "MaxLength",
    "MinLength",
    "Pattern",
    "MaxItems",
    "MinItems",
    "UniqueItems",
    "MultipleOf",
    "Required",
    "Items",
    "Properties",
    "ExternalDocs",
    "Example",
    "XPreserveUnknownFields",
    "XValidations",
];

/// Every fault of a schema. Structure comes first, then what defaults break, then the words one by one; rules in CEL
/// are compiled only where nothing else is wrong.
pub(super) fn validate(schema: &Value, (halves, kept): (bool, bool), path: &Path) -> Faults {
    let mut faults = Faults::new();
    if !schema.is_object() {
        return faults;
    }
    if halves {
        root(&mut faults, schema, path);
    }
    if schema.flag("nullable") {
        let why = "nullable cannot be true at the root";
        faults.push(FieldError::forbidden(path.child("nullable"), why));
    }
    let unreadable = unreadable(schema);
    let mut wrong = Faults::new();
    if unreadable.is_none() {
        wrong = structural::validate(schema, path);
        if wrong.is_empty() {
            defaults(&mut wrong, schema, path);
        }
    }
    let compiled = unreadable.is_none() && wrong.is_empty();
    faults.extend(wrong);
    let mut found = Found { budget: Budget::new(!kept), ..Found::default() };
    walk(
        &mut found,
        schema,
        path,
        &Place { root: true, compiled, repeated: Some(1), ..Place::default() },
    );
    faults.extend(found.words);
    faults.extend(found.rules);
    faults.extend(found.budget.faults(path));
    if let Some(why) = unreadable.filter(|_| faults.is_empty()) {
        faults.push(FieldError::invalid(path.clone(), "", &why));
    }
    faults
}

/// The first word with which a schema cannot be read as one of structure.
fn unreadable(schema: &Value) -> Option<String> {
    let words = ["id", "$schema", "$ref", "patternProperties", "dependencies", "additionalItems"];
    let mut words = words.into_iter().chain(["definitions"]);
    if let Some(word) = words.find(|word| said(schema.at(word))) {
        let word = if word == "$schema" { "schema" } else { word };
        return Some(format!("OpenAPIV3Schema '{word}' is not supported"));
    }
    if schema.at("items").is_array() {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned());
    }
    if *schema.at("x-kubernetes-preserve-unknown-fields") == Value::Bool(false) {
        let why =
            "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined";
        return Some(why.to_owned());
    }
    let mut first = None;
    below(schema, &Path::root(), |part, _, _, _| {
        if first.is_none() {
            first = unreadable(part);
        }
    });
    first
}

/// Whether a word says anything: Go does not keep empty ones apart from absent ones.
fn said(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    }
}

/// The root of a schema whose status is written apart, and therefore judged apart: the first word that is wrong.
fn root(faults: &mut Faults, schema: &Value, path: &Path) {
    for (go, word) in shown::words().filter(|(_, word)| said(schema.at(word))) {
        if word == "type" && schema.text("type") != "object" {
            let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
            faults.push(FieldError::invalid(path.child("type"), schema.text("type"), why));
            return;
        }
        if !ROOT_WORDS.contains(&go) {
            let why = format!(
                "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
                ROOT_WORDS.join(" ")
            );
            faults.push(invalid_shown(path.clone(), &shown::schema(schema), &why));
            return;
        }
    }
}

/// Visits the schemas below one: `visit` gets each with its path and whether it describes a part of metadata.
pub(super) fn below<'v>(
    schema: &'v Value,
    path: &Path,
    mut visit: impl FnMut(&'v Value, Path, &'static str, &str),
) {
    if schema.at("additionalProperties").is_object() {
        visit(schema.at("additionalProperties"), path.child("additionalProperties"), "values", "");
    }
    for (key, value) in schema.entries("properties") {
        visit(value, path.child("properties").key(key), "properties", key);
    }
    if schema.at("not").is_object() {
        visit(schema.at("not"), path.child("not"), "not", "");
    }
    for word in ["allOf", "oneOf", "anyOf"] {
        for (at, value) in schema.list(word).iter().enumerate() {
            visit(value, path.child(word).index(at), word, "");
        }
    }
    if schema.at("items").is_object() {
        visit(schema.at("items"), path.child("items"), "items", "");
    }
}

/// What a walk found: faults of the schema itself, and of the rules in it.
#[derive(Default)]
struct Found {
    words: Faults,
    rules: Faults,
    /// Bytes of regular expressions in rules so far.
    patterns: usize,
    /// Bytes said about rules that cannot be read so far.
    told: usize,
    /// What rules cost so far.
    budget: Budget,
}

/// Where a part of a schema stands.
#[derive(Clone, Default)]
struct Place {
    root: bool,
    /// Inside of what every object has.
    in_metadata: bool,
    /// Why it may not have a default.
    no_default: Option<String>,
    /// The list whose items cannot be told from one revision to the next.
    unrelated: Option<Path>,
    /// Whether rules are compiled here: not below words that only judge values.
    compiled: bool,
    /// How often a value may stand here in one object; `None` where nothing bounds it.
    repeated: Option<u64>,
}

impl Place {
    /// The same for a part, which is not the root.
    fn part(&self) -> Self {
        Self { root: false, ..self.clone() }
    }
}

fn walk(found: &mut Found, schema: &Value, path: &Path, place: &Place) {
    let before = found.words.len();
    words(&mut found.words, schema, path, place);
    let related = schema.text("x-kubernetes-list-type") == "map";
    let meta = place.root || schema.flag("x-kubernetes-embedded-resource");
    below(schema, path, |part, at, word, key| {
        let mut inner = place.part();
        let bound = match word {
            "values" => schema.at("maxProperties").as_u64(),
            "items" => schema.at("maxItems").as_u64(),
            _ => Some(1),
        };
        inner.repeated = inner.repeated.zip(bound).map(|(all, each)| all.saturating_mul(each));
        match word {
            "values" if inner.in_metadata => {
                let why = "inside additionalProperties applying to object metadata";
                inner.no_default = Some(why.to_owned());
            }
            "properties" if meta && OF_EVERY_OBJECT.contains(&key) => {
                inner.in_metadata = true;
                if place.root {
                    inner.no_default = Some(format!("in top-level {key}"));
                }
            }
            "items" if !related => {
                inner.unrelated.get_or_insert_with(|| path.clone());
            }
            "not" | "allOf" | "oneOf" | "anyOf" => inner.compiled = false,
            _ => {}
        }
        walk(found, part, &at, &inner);
    });
    lists::validate(&mut found.words, schema, path);
    for (at, rule) in schema.list("x-kubernetes-validations").iter().enumerate() {
        let at = path.child("x-kubernetes-validations").index(at);
        rule_words(&mut found.words, rule, schema, &at);
    }
    if found.words.len() == before && place.compiled {
        rules(found, schema, path, place);
    }
}

fn words(faults: &mut Faults, schema: &Value, path: &Path, place: &Place) {
    let kind = schema.text("type");
    if !kind.is_empty() && !TYPES.contains(&kind) {
        faults.push(unsupported(path.child("type"), kind, TYPES));
    }
    let mut forbid =
        |word: &str, why: &str| faults.push(FieldError::forbidden(path.child(word), why));
    if let Some(why) = place.no_default.as_ref().filter(|_| schema.has("default")) {
        forbid("default", &format!("must not be set {why}"));
    }
    for word in UNKNOWN_WORDS.iter().filter(|word| said(schema.at(word))) {
        forbid(word, &format!("{word} is not supported"));
    }
    if kind == "null" {
        forbid("type", "type cannot be set to null, use nullable as an alternative");
    }
    if schema.at("items").is_array() {
        forbid("items", "items must be a schema object and not an array");
    }
    if place.in_metadata && schema.flag("x-kubernetes-embedded-resource") {
        forbid("x-kubernetes-embedded-resource", "must not be used inside of resource meta");
    }
    if schema.flag("uniqueItems") {
        let why =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        forbid("uniqueItems", why);
    }
    let additional = schema.at("additionalProperties");
    let closed = additional.is_object() || *additional == Value::Bool(false);
    if closed && !schema.entries("properties").is_empty() {
        let why = "additionalProperties and properties are mutual exclusive";
        forbid("additionalProperties", why);
    }
}

/// What stands beside the expressions of a rule.
fn rule_words(faults: &mut Faults, rule: &Value, schema: &Value, path: &Path) {
    let broken = |text: &str| text.contains(['\n', '\r']);
    let (text, message) = (rule.text("rule").trim(), rule.text("message"));
    let invalid =
        |key: &str, value: &str, why: &str| FieldError::invalid(path.child(key), value, why);
    if text.is_empty() {
        faults.push(FieldError::required(path.child("rule"), "rule is not specified"));
    } else if !message.is_empty() && message.trim().is_empty() {
        faults.push(invalid("message", message, "message must be non-empty if specified"));
    } else if broken(message.trim()) {
        faults.push(invalid("message", message, "message must not contain line breaks"));
    } else if broken(text) && message.is_empty() {
        let why = "message must be specified if rule contains line breaks";
        faults.push(FieldError::required(path.child("message"), why));
    }
    let speaking = rule.text("messageExpression");
    if !speaking.is_empty() && speaking.trim().is_empty() {
        let why = "messageExpression must be non-empty if specified";
        faults.push(FieldError::required(path.child("messageExpression"), why));
    }
    if let Some(reason) = rule.at("reason").as_str().filter(|reason| !REASONS.contains(reason)) {
        faults.push(unsupported(path.child("reason"), reason, REASONS));
    }
    let field = rule.text("fieldPath");
    if field.is_empty() {
        return;
    }
    if field.trim().is_empty() {
        faults.push(invalid("fieldPath", field, "fieldPath must be non-empty if specified"));
    }
    if broken(field) {
        faults.push(invalid("fieldPath", field, "fieldPath must not contain line breaks"));
    }
    if !leads_somewhere(schema, field) {
        faults.push(invalid("fieldPath", field, "fieldPath must be a valid path"));
    }
}

/// Whether a path such as `.spec.names['a.b']` leads to a part of a schema.
fn leads_somewhere(schema: &Value, text: &str) -> bool {
    let (mut at, mut rest) = (schema, text.trim());
    while !rest.is_empty() {
        let key;
        (key, rest) = if let Some(quoted) = rest.strip_prefix("['") {
            let Some(split) = quoted.split_once("']") else { return false };
            split
        } else if let Some(plain) = rest.strip_prefix('.') {
            plain.split_at(plain.find(['.', '[']).unwrap_or(plain.len()))
        } else {
            return false;
        };
        let values = at.at("additionalProperties");
        at = match at.at("properties").get(key) {
            Some(part) if !key.is_empty() => part,
            None if !key.is_empty() && values.is_object() => values,
            _ => return false,
        };
    }
    !text.is_empty()
}

/// Defaults must be what their own schema allows.
fn defaults(faults: &mut Faults, schema: &Value, path: &Path) {
    if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
        let compiled = custom::Schema::read(schema);
        let mut pruned = default.clone();
        let unknown = custom::prune(&mut pruned, &compiled, false);
        let place = path.child("default");
        if !unknown.is_empty() {
            let why = "must not have unknown fields";
            faults.push(FieldError::invalid(place.clone(), default.clone(), why));
        }
        faults.extend(custom::check(default, None, &compiled, Some(&place)));
    }
    below(schema, path, |part, place, _, _| defaults(faults, part, &place));
}

/// Bytes said about rules that cannot be read, after which no more are looked at: each quotes lines of its rule, so that
/// a definition of 3 MiB could be answered with gigabytes.
const TOLD_BYTES_MAX: usize = 1 << 20;

/// Rules in CEL must be rules, and about fields that are there.
fn rules(found: &mut Found, schema: &Value, path: &Path, place: &Place) {
    let list = path.child("x-kubernetes-validations");
    for (at, rule) in schema.list("x-kubernetes-validations").iter().enumerate() {
        let at = list.index(at);
        if found.patterns > custom::PATTERNS_BYTES_MAX || found.told > TOLD_BYTES_MAX {
            return;
        }
        let wrong = |key: &str, why: &str| invalid_shown(at.child(key), &shown::rule(rule), why);
        let mut patterns = 0;
        let compares = match compile(rule.text("rule"), schema, place.root, Aim::Rule) {
            Ok(program) => {
                patterns += program.patterns();
                let times = || cel::repeated(schema, place.root);
                let cost = program.cost().saturating_mul(place.repeated.unwrap_or_else(times));
                let dear = found.budget.spend("estimated rule cost", cost, at.child("rule"));
                found.rules.extend(dear);
                program.compares()
            }
            Err(why) => {
                found.told += why.len();
                found.rules.push(wrong("rule", &why));
                // Nothing more is known of it, so nothing more is said.
                true
            }
        };
        let speaking = rule.text("messageExpression");
        if !speaking.is_empty() {
            match compile(speaking, schema, place.root, Aim::Message) {
                Ok(program) => {
                    patterns += program.patterns();
                    let what = "estimated messageExpression cost";
                    let at = at.child("messageExpression");
                    found.rules.extend(found.budget.spend(what, program.cost(), at));
                }
                Err(why) => {
                    found.told += why.len();
                    found.rules.push(wrong("messageExpression", &why));
                }
            }
        }
        found.patterns += patterns;
        if found.patterns > custom::PATTERNS_BYTES_MAX {
            // Said once; what comes after is not built any more.
            let why = format!(
                "the regular expressions of a schema's rules may need {} bytes in all; this one exceeds them",
                custom::PATTERNS_BYTES_MAX
            );
            found.rules.push(FieldError::forbidden(at.child("rule"), &why));
            return;
        }
        let faults = &mut found.rules;
        let unrelated = place.unrelated.as_ref().filter(|_| rule.text("rule").contains("oldSelf"));
        if let Some(list) = unrelated.filter(|_| compares) {
            let why = format!(
                "oldSelf cannot be used on the uncorrelatable portion of the schema within {list}"
            );
            faults.push(FieldError::invalid(at.child("rule"), rule.text("rule"), &why));
        } else if !compares && let Some(may) = rule.at("optionalOldSelf").as_bool() {
            let why = "may not be set if oldSelf is not used in rule";
            faults.push(FieldError::invalid(at.child("optionalOldSelf"), may, why));
        }
    }
}
