//! The type that a schema describes, for patches, apply and the ownership of fields.

use super::schema::{ListType, Others, Schema};
use api::schema::{Field, List, ListKind, Map, Node, Origin, Strategy, Type};
use serde_json::{Value, json};

/// The type of a kind's objects.
pub(super) fn of_object(name: &'static str, schema: &Schema, halves: bool) -> &'static Type {
    let mut fields = fields(schema);
    whole(&mut fields);
    let open = schema.open || matches!(schema.others, Others::Kept);
    Box::leak(Box::new(Type::custom(name, fields, false, Origin::Custom { open, halves })))
}

/// What every object has.
fn whole(fields: &mut Vec<Field>) {
    let metadata = api::schema::by_name(crate::admit::OBJECT_META).map_or(Node::Any, Node::Struct);
    for (name, node) in [("apiVersion", Node::Text), ("kind", Node::Text), ("metadata", metadata)] {
        fields.retain(|field| field.name != name);
        fields.push(field(name, node, None));
    }
}

fn field(name: &'static str, node: Node, default: Option<&'static str>) -> Field {
    Field { name, node, required: false, default, strategy: Strategy::default(), merge_key: "" }
}

fn leaked(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

fn fields(schema: &Schema) -> Vec<Field> {
    schema
        .properties
        .iter()
        .map(|(name, part)| {
            let default = part.default.as_ref().map(|default| leaked(&default.to_string()));
            field(leaked(name), node(part), default)
        })
        .collect()
}

fn node(schema: &Schema) -> Node {
    if schema.either {
        return Node::IntOrString;
    }
    match schema.kind.as_str() {
        "string" => Node::Text,
        "integer" => Node::Int64,
        "number" => Node::Double,
        "boolean" => Node::Bool,
        "array" => {
            let items = schema.items.as_deref().map_or(Node::Deduced, node);
            let kind = match schema.list {
                ListType::Atomic => ListKind::Atomic,
                ListType::Set => ListKind::Set,
                ListType::Map => {
                    let keys: Vec<&'static str> =
                        schema.keys.iter().map(|key| leaked(key)).collect();
                    ListKind::Map(Vec::leak(keys))
                }
            };
            Node::List(Box::leak(Box::new(List { items, kind })))
        }
        "object" => object(schema),
        _ => Node::Deduced,
    }
}

fn object(schema: &Schema) -> Node {
    let open = schema.open || matches!(schema.others, Others::Kept);
    if let Others::Of(part) = &schema.others {
        return Node::Map(Box::leak(Box::new(Map { values: node(part), atomic: schema.atomic })));
    }
    if schema.properties.is_empty() && !schema.embedded && open {
        return if schema.atomic { Node::Any } else { Node::Deduced };
    }
    let mut fields = fields(schema);
    if schema.embedded {
        whole(&mut fields);
    }
    let origin = Origin::Custom { open, halves: false };
    Node::Struct(Box::leak(Box::new(Type::custom("", fields, schema.atomic, origin))))
}

/// A document that describes a kind for OpenAPI: its schema, with what every object has. `said` tells what a field
/// that all kinds have says of itself.
pub(crate) fn document<'t>(
    schema: &Value,
    (group, version, kind): (&str, &str, &str),
    said: impl Fn(&str) -> Option<&'t str>,
) -> Value {
    let mut out = schema.clone();
    if !out.is_object() {
        out = json!({"type": "object"});
    }
    let about = |mut property: Value, name: &str| {
        if let Some(text) = said(name) {
            property["description"] = text.into();
        }
        property
    };
    let text = json!({"type": "string"});
    let metadata = format!("#/components/schemas/{}", crate::admit::OBJECT_META);
    let metadata = json!({"allOf": [{"$ref": metadata}]});
    if let Some(words) = out.as_object_mut() {
        let properties = words.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert("apiVersion".into(), about(text.clone(), "apiVersion"));
            properties.insert("kind".into(), about(text, "kind"));
            properties.insert("metadata".into(), about(metadata, "metadata"));
        }
        words.insert(
            "x-kubernetes-group-version-kind".into(),
            json!([{"group": group, "version": version, "kind": kind}]),
        );
    }
    out
}
