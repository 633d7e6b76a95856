//! The `components.schemas` of a document: every type that its resources reach.

use super::custom::LIST_META;
use super::descriptions::Descriptions;
use api::Resource;
use api::schema::{self, Field, ListKind, Node, Type};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

/// What stands where a definition's schema has a schema or something else: the field, its type, and what that says of
/// itself. Types without any form: kubectl wants them to be named.
const ALTERNATIVES: [(&str, &str, &str); 4] = [
    ("additionalItems", OR_BOOL, "A schema, or whether anything may stand there."),
    ("additionalProperties", OR_BOOL, "A schema, or whether anything may stand there."),
    ("dependencies", OR_TEXTS, "A schema, or names of fields."),
    ("items", OR_LIST, "A schema, or several."),
];
const OR_BOOL: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool";
const OR_LIST: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray";
const OR_TEXTS: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray";
const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// Schemas by name.
pub(super) fn of(rows: &[&'static Resource], said: &Descriptions) -> Map<String, Value> {
    let mut reached: BTreeMap<&str, &'static Type> = BTreeMap::new();
    for row in rows {
        let list = format!("{}List", row.schema);
        for name in
            [row.schema, &list, DELETE_OPTIONS, STATUS, LIST_META, crate::admit::OBJECT_META]
        {
            if let Some(found) = schema::by_name(name) {
                reach(found, &mut reached);
            }
        }
        for (group, version) in row.subresources.iter().filter_map(|below| below.group_version) {
            let kinds = row.subresources.iter().map(|below| below.kind);
            let found = kinds.filter_map(|kind| schema::by_kind(group, version, kind));
            found.for_each(|found| reach(found, &mut reached));
        }
    }
    let mut schemas: Map<String, Value> =
        reached.into_iter().map(|(name, found)| (name.to_owned(), describe(found, said))).collect();
    if schemas.contains_key(SCHEMA) {
        for (_, name, text) in ALTERNATIVES {
            schemas.insert(name.to_owned(), json!({"description": text}));
        }
    }
    let date = json!({"type": "string", "format": "date-time"});
    schemas.insert(TIME.to_owned(), date.clone());
    schemas.insert(MICRO_TIME.to_owned(), date);
    schemas.insert(QUANTITY.to_owned(), json!({"oneOf": [{"type": "string"}, {"type": "number"}]}));
    let either =
        json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]});
    schemas.insert(INT_OR_STRING.to_owned(), either);
    for name in [TIME, MICRO_TIME, QUANTITY, INT_OR_STRING] {
        if let (Some(schema), Some(text)) = (schemas.get_mut(name), said.of(name, "")) {
            schema["description"] = text.into();
        }
    }
    schemas
}

fn reach(found: &'static Type, reached: &mut BTreeMap<&'static str, &'static Type>) {
    if reached.insert(found.name, found).is_some() {
        return;
    }
    for field in found.fields {
        reach_node(field.node, reached);
    }
}

fn reach_node(node: Node, reached: &mut BTreeMap<&'static str, &'static Type>) {
    match node {
        Node::Struct(found) | Node::SchemaOr(found) => reach(found, reached),
        Node::List(list) => reach_node(list.items, reached),
        Node::Map(map) => reach_node(map.values, reached),
        _ => {}
    }
}

fn describe(found: &'static Type, said: &Descriptions) -> Value {
    let mut schema = json!({"type": "object"});
    let Some(out) = schema.as_object_mut() else { return schema };
    if let Some(text) = said.of(found.name, "") {
        out.insert("description".into(), text.into());
    }
    let fields: Map<String, Value> = found
        .fields
        .iter()
        .map(|field| (field.name.to_owned(), property(field, said.of(found.name, field.name))))
        .collect();
    if !fields.is_empty() {
        out.insert("properties".into(), fields.into());
    }
    let required: Vec<&str> =
        found.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    if !required.is_empty() {
        out.insert("required".into(), required.into());
    }
    if found.atomic {
        out.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
    if !found.kinds.is_empty() {
        let kinds: Vec<Value> = found
            .kinds
            .iter()
            .map(|(group, version, kind)| json!({"group": group, "version": version, "kind": kind}))
            .collect();
        out.insert("x-kubernetes-group-version-kind".into(), kinds.into());
    }
    schema
}

fn property(field: &'static Field, text: Option<&str>) -> Value {
    let default: Option<Value> = field.default.and_then(|text| serde_json::from_str(text).ok());
    let mut schema = node(field.node, default);
    if let Some((_, name, _)) = ALTERNATIVES.iter().find(|(known, _, _)| *known == field.name) {
        let named = json!({"$ref": format!("#/components/schemas/{name}")});
        match field.node {
            Node::SchemaOr(_) => schema = named,
            Node::Map(map) if matches!(map.values, Node::SchemaOr(_)) => {
                schema["additionalProperties"] = named;
            }
            _ => {}
        }
    }
    if text.is_some() && schema.get("$ref").is_some() {
        schema = json!({"allOf": [schema]});
    }
    let Some(out) = schema.as_object_mut() else { return schema };
    if let Some(text) = text {
        out.insert("description".into(), text.into());
    }
    if !field.merge_key.is_empty() {
        out.insert("x-kubernetes-patch-merge-key".into(), field.merge_key.into());
    }
    let words = [
        (field.strategy.merge, "merge"),
        (field.strategy.replace, "replace"),
        (field.strategy.retain_keys, "retainKeys"),
    ];
    let words: Vec<&str> = words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
    if !words.is_empty() {
        out.insert("x-kubernetes-patch-strategy".into(), words.join(",").into());
    }
    schema
}

/// A schema of a node. A reference with anything beside it stands in `allOf`, since OpenAPI ignores what stands
/// beside `$ref`.
fn node(node: Node, default: Option<Value>) -> Value {
    let refer = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let mut schema = match node {
        Node::Text => json!({"type": "string"}),
        Node::Bytes => json!({"type": "string", "format": "byte"}),
        Node::Bool => json!({"type": "boolean"}),
        Node::Int32 => json!({"type": "integer", "format": "int32"}),
        Node::Int64 => json!({"type": "integer", "format": "int64"}),
        Node::Double => json!({"type": "number", "format": "double"}),
        Node::Any | Node::Deduced => json!({"type": "object"}),
        // As upstream describes them: not at all.
        Node::SchemaOr(_) => json!({}),
        Node::Time => refer(TIME),
        Node::MicroTime => refer(MICRO_TIME),
        Node::Quantity => refer(QUANTITY),
        Node::IntOrString => refer(INT_OR_STRING),
        Node::Struct(found) => refer(found.name),
        Node::List(list) => {
            let mut schema = json!({"type": "array", "items": self::node(list.items, None)});
            let (kind, keys) = match list.kind {
                ListKind::Atomic => ("atomic", None),
                ListKind::Set => ("set", None),
                ListKind::Map(keys) => ("map", Some(keys)),
            };
            if let Some(out) = schema.as_object_mut() {
                out.insert("x-kubernetes-list-type".into(), kind.into());
                if let Some(keys) = keys {
                    out.insert("x-kubernetes-list-map-keys".into(), keys.into());
                }
            }
            schema
        }
        Node::Map(map) => {
            let values = self::node(map.values, None);
            let mut schema = json!({"type": "object", "additionalProperties": values});
            if let (true, Some(out)) = (map.atomic, schema.as_object_mut()) {
                out.insert("x-kubernetes-map-type".into(), "atomic".into());
            }
            schema
        }
    };
    if let Some(default) = default {
        if schema.get("$ref").is_some() {
            schema = json!({"allOf": [schema]});
        }
        if let Some(out) = schema.as_object_mut() {
            out.insert("default".into(), default);
        }
    }
    schema
}
