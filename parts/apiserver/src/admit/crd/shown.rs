//! Versions of a definition as Go prints them in messages: structs with all their fields, set or not.

use super::spec::hoisted;
use crate::admit::json::Json;
use serde_json::Value;

/// How Go keeps a field of `JSONSchemaProps`.
#[derive(Clone, Copy)]
enum Kept {
    Text,
    Flag,
    /// A pointer, a list or a map: `null` when nothing is there.
    Maybe,
    /// A schema behind a pointer.
    Schema,
    /// A list of schemas.
    Schemas,
    /// A map of schemas.
    Named,
    /// A schema or a list of schemas.
    Items,
    /// A schema or a flag.
    OrFlag,
}

/// The fields, in the order in which Go declares them, with their names in JSON.
const FIELDS: &[(&str, &str, Kept)] = &[
    ("ID", "id", Kept::Text),
    ("Schema", "$schema", Kept::Text),
    ("Ref", "$ref", Kept::Maybe),
    ("Description", "description", Kept::Text),
    ("Type", "type", Kept::Text),
    ("Nullable", "nullable", Kept::Flag),
    ("Format", "format", Kept::Text),
    ("Title", "title", Kept::Text),
    ("Default", "default", Kept::Maybe),
    ("Maximum", "maximum", Kept::Maybe),
    ("ExclusiveMaximum", "exclusiveMaximum", Kept::Flag),
    ("Minimum", "minimum", Kept::Maybe),
    ("ExclusiveMinimum", "exclusiveMinimum", Kept::Flag),
    ("MaxLength", "maxLength", Kept::Maybe),
    ("MinLength", "minLength", Kept::Maybe),
    ("Pattern", "pattern", Kept::Text),
    ("MaxItems", "maxItems", Kept::Maybe),
    ("MinItems", "minItems", Kept::Maybe),
    ("UniqueItems", "uniqueItems", Kept::Flag),
    ("MultipleOf", "multipleOf", Kept::Maybe),
    ("Enum", "enum", Kept::Maybe),
    ("MaxProperties", "maxProperties", Kept::Maybe),
    ("MinProperties", "minProperties", Kept::Maybe),
    ("Required", "required", Kept::Maybe),
    ("Items", "items", Kept::Items),
    ("AllOf", "allOf", Kept::Schemas),
    ("OneOf", "oneOf", Kept::Schemas),
    ("AnyOf", "anyOf", Kept::Schemas),
    ("Not", "not", Kept::Schema),
    ("Properties", "properties", Kept::Named),
    ("AdditionalProperties", "additionalProperties", Kept::OrFlag),
    ("PatternProperties", "patternProperties", Kept::Named),
    ("Dependencies", "dependencies", Kept::Maybe),
    ("AdditionalItems", "additionalItems", Kept::OrFlag),
    ("Definitions", "definitions", Kept::Named),
    ("ExternalDocs", "externalDocs", Kept::Maybe),
    ("Example", "example", Kept::Maybe),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields", Kept::Maybe),
    ("XEmbeddedResource", "x-kubernetes-embedded-resource", Kept::Flag),
    ("XIntOrString", "x-kubernetes-int-or-string", Kept::Flag),
    ("XListMapKeys", "x-kubernetes-list-map-keys", Kept::Maybe),
    ("XListType", "x-kubernetes-list-type", Kept::Maybe),
    ("XMapType", "x-kubernetes-map-type", Kept::Maybe),
    ("XValidations", "x-kubernetes-validations", Kept::Maybe),
];

/// The words of a schema in that order: in Go, in JSON.
pub(super) fn words() -> impl Iterator<Item = (&'static str, &'static str)> {
    FIELDS.iter().map(|(go, json, _)| (*go, *json))
}

/// All versions.
pub(super) fn versions(all: &[Value]) -> String {
    let shown: Vec<String> = all.iter().map(|one| version(one, all)).collect();
    format!("[{}]", shown.join(","))
}

fn version(one: &Value, all: &[Value]) -> String {
    // What all versions say alike is held elsewhere.
    let own = |field: &str| if hoisted(all, field) { &Value::Null } else { one.at(field) };
    let held = match own("schema") {
        Value::Null => "null".to_owned(),
        held => format!("{{\"OpenAPIV3Schema\":{}}}", schema(held.at("openAPIV3Schema"))),
    };
    format!(
        "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{},\"Schema\":{held},\"Subresources\":{},\"AdditionalPrinterColumns\":{},\"SelectableFields\":{}}}",
        json(&Value::from(one.text("name"))),
        one.flag("served"),
        one.flag("storage"),
        one.flag("deprecated"),
        json(one.at("deprecationWarning")),
        subresources(own("subresources")),
        columns(own("additionalPrinterColumns")),
        selectable(own("selectableFields")),
    )
}

fn subresources(value: &Value) -> String {
    if value.is_null() {
        return "null".to_owned();
    }
    let status = if value.has("status") { "{}" } else { "null" };
    let scale = match value.at("scale") {
        Value::Null => "null".to_owned(),
        scale => format!(
            "{{\"SpecReplicasPath\":{},\"StatusReplicasPath\":{},\"LabelSelectorPath\":{}}}",
            json(&scale.text("specReplicasPath").into()),
            json(&scale.text("statusReplicasPath").into()),
            json(scale.at("labelSelectorPath")),
        ),
    };
    format!("{{\"Status\":{status},\"Scale\":{scale}}}")
}

fn columns(value: &Value) -> String {
    let Some(list) = value.as_array() else { return "null".to_owned() };
    let shown: Vec<String> = list
        .iter()
        .map(|column| {
            let text = |key: &str| json(&column.text(key).into());
            format!(
                "{{\"Name\":{},\"Type\":{},\"Format\":{},\"Description\":{},\"Priority\":{},\"JSONPath\":{}}}",
                text("name"),
                text("type"),
                text("format"),
                text("description"),
                column.int("priority").unwrap_or(0),
                text("jsonPath")
            )
        })
        .collect();
    format!("[{}]", shown.join(","))
}

fn selectable(value: &Value) -> String {
    let Some(list) = value.as_array() else { return "null".to_owned() };
    let shown: Vec<String> = list
        .iter()
        .map(|field| format!("{{\"JSONPath\":{}}}", json(&field.text("jsonPath").into())))
        .collect();
    format!("[{}]", shown.join(","))
}

/// A schema.
pub(super) fn schema(value: &Value) -> String {
    if !value.is_object() {
        return "null".to_owned();
    }
    let fields: Vec<String> = FIELDS
        .iter()
        .map(|(go, name, kept)| format!("\"{go}\":{}", field(value.at(name), name, *kept)))
        .collect();
    format!("{{{}}}", fields.join(","))
}

fn field(value: &Value, name: &str, kept: Kept) -> String {
    match (kept, value) {
        (Kept::Text, Value::Null) => "\"\"".to_owned(),
        (Kept::Flag, Value::Null) => "false".to_owned(),
        (_, Value::Null) => "null".to_owned(),
        (Kept::Schema, value) => schema(value),
        (Kept::Schemas, Value::Array(items)) => {
            format!("[{}]", items.iter().map(schema).collect::<Vec<_>>().join(","))
        }
        (Kept::Named, Value::Object(fields)) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{}:{}", json(&key.as_str().into()), schema(value)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        (Kept::Items, Value::Array(items)) => format!(
            "{{\"Schema\":null,\"JSONSchemas\":[{}]}}",
            items.iter().map(schema).collect::<Vec<_>>().join(",")
        ),
        (Kept::Items, value) => format!("{{\"Schema\":{},\"JSONSchemas\":null}}", schema(value)),
        (Kept::OrFlag, Value::Bool(allows)) => {
            format!("{{\"Allows\":{allows},\"Schema\":null}}")
        }
        (Kept::OrFlag, value) => format!("{{\"Allows\":true,\"Schema\":{}}}", schema(value)),
        (_, Value::Array(rules)) if name == "x-kubernetes-validations" => {
            format!("[{}]", rules.iter().map(rule).collect::<Vec<_>>().join(","))
        }
        (_, value) => json(value),
    }
}

/// A rule of validation.
pub(super) fn rule(rule: &Value) -> String {
    let text = |key: &str| json(&rule.text(key).into());
    format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
        text("rule"),
        text("message"),
        text("messageExpression"),
        json(rule.at("reason")),
        text("fieldPath"),
        json(rule.at("optionalOldSelf")),
    )
}

/// JSON the way Go writes it: `<`, `>` and `&` escaped.
fn json(value: &Value) -> String {
    crate::decode::node::Node::from(value).to_json()
}
