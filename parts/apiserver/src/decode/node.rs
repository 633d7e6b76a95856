//! A document as it was written: order and duplicates kept, since the messages about them need both.

use super::{Media, syntax};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// A value as written.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Fields in the order written, the same name perhaps twice.
    Object(Vec<(String, Node)>),
}

impl Node {
    /// What Go's messages call it.
    pub fn go_kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
            Self::List(_) => "array",
            Self::Object(_) => "object",
        }
    }

    /// As a plain value; of duplicates the last one counts.
    pub fn into_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Number(value) => Value::Number(value),
            Self::Text(value) => Value::String(value),
            Self::List(items) => Value::Array(items.into_iter().map(Self::into_value).collect()),
            Self::Object(fields) => {
                let fields = fields.into_iter().map(|(key, value)| (key, value.into_value()));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }

    /// As JSON, the way Go writes it: `<`, `>` and `&` escaped.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        let text = |text: &str, out: &mut String| {
            for c in Value::from(text).to_string().chars() {
                match c {
                    '<' => out.push_str("\\u003c"),
                    '>' => out.push_str("\\u003e"),
                    '&' => out.push_str("\\u0026"),
                    c => out.push(c),
                }
            }
        };
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(number) => out.push_str(&number.to_string()),
            Self::Text(value) => text(value, out),
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(fields) => {
                out.push('{');
                for (at, (key, value)) in fields.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    text(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// Fields in the order of their names, the last of equals only: what Go makes of YAML.
    pub(super) fn sorted(self) -> Self {
        match self {
            Self::List(items) => Self::List(items.into_iter().map(Self::sorted).collect()),
            Self::Object(fields) => {
                let fields: std::collections::BTreeMap<String, Node> =
                    fields.into_iter().map(|(key, value)| (key, value.sorted())).collect();
                Self::Object(fields.into_iter().collect())
            }
            other => other,
        }
    }
}

impl From<&Value> for Node {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(value) => Self::Number(value.clone()),
            Value::String(value) => Self::Text(value.clone()),
            Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Object(fields) => Self::Object(
                fields.iter().map(|(key, value)| (key.clone(), value.into())).collect(),
            ),
        }
    }
}

/// A document and what strict readers object to in its form.
#[derive(Clone, Debug)]
pub struct Read {
    /// The document.
    pub node: Node,
    /// Keys set twice in YAML, `line 7: key "a" already set in map`.
    pub faults: Vec<String>,
}

/// Why a body is no document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// No JSON, in Go's words.
    Json(String),
    /// No YAML.
    Yaml(String),
    /// No protobuf, or of a kind that is not read so.
    Protobuf(String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(why) | Self::Yaml(why) | Self::Protobuf(why) => f.write_str(why),
        }
    }
}

/// Reads a document.
pub fn read(body: &[u8], media: Media) -> Result<Read, Unreadable> {
    match media {
        Media::Json => {
            serde_json::from_slice(body).map(|node| Read { node, faults: Vec::new() }).map_err(
                |error| Unreadable::Json(syntax::fault(body).unwrap_or_else(|| error.to_string())),
            )
        }
        Media::Yaml => super::yaml::read(body).map_err(Unreadable::Yaml),
        Media::Protobuf => super::proto::read(body)
            .map(|node| Read { node, faults: Vec::new() })
            .map_err(Unreadable::Protobuf),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNode)
    }
}

struct AnyNode;

impl<'de> Visitor<'de> for AnyNode {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        Number::from_f64(value).map(Node::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some((key, value)) = entries.next_entry::<Key, Node>()? {
            fields.push((key.0, value));
        }
        Ok(Node::Object(fields))
    }
}

/// A key.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_duplicates_are_kept() {
        let read = read(br#"{"b":1,"a":2,"b":3}"#, Media::Json).expect("json");
        let Node::Object(fields) = read.node else { panic!("an object") };
        let keys: Vec<&str> = fields.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["b", "a", "b"]);
    }

    #[test]
    fn yaml_names_the_line_of_a_key_set_twice() {
        let text =
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: dupy\ndata:\n  a: x1\n  a: z1\n";
        let read = read(text.as_bytes(), Media::Yaml).expect("yaml");
        assert_eq!(read.faults, ["line 7: key \"a\" already set in map"]);
        assert_eq!(read.node.into_value()["data"]["a"], "z1");
    }

    #[test]
    fn broken_yaml_says_why() {
        let fault = read(b"a: b: c\n - d", Media::Yaml).expect_err("broken");
        assert_eq!(
            fault,
            Unreadable::Yaml("mapping values are not allowed in this context".to_owned())
        );
    }

    #[test]
    fn deep_nesting_is_an_error_not_a_crash() {
        let deep = "[".repeat(100_000);
        read(deep.as_bytes(), Media::Json).expect_err("too deep");
        read(deep.as_bytes(), Media::Yaml).expect_err("too deep");
    }
}
