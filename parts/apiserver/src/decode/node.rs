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

    /// Fields in the order of their names, the last of equals only: what Go makes of YAML.
    fn sorted(self) -> Self {
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
        Media::Yaml => read_yaml(body),
        Media::Protobuf => super::proto::read(body)
            .map(|node| Read { node, faults: Vec::new() })
            .map_err(Unreadable::Protobuf),
    }
}

/// Aliases may expand a document to this many times its events; enough for any honest use, and small against
/// the 3 MiB a body may have.
const ALIAS_EVENTS_MAX: usize = 10_000;

fn yaml_options(duplicates: serde_saphyr::options::DuplicateKeyPolicy) -> serde_saphyr::Options {
    serde_saphyr::options! {
        duplicate_keys: duplicates,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: ALIAS_EVENTS_MAX,
        },
    }
}

fn read_yaml(body: &[u8]) -> Result<Read, Unreadable> {
    use serde_saphyr::options::DuplicateKeyPolicy::{Error, LastWins};
    let text = std::str::from_utf8(body)
        .map_err(|_| Unreadable::Yaml("invalid leading UTF-8 octet".to_owned()))?;
    let strict: Result<Node, _> = serde_saphyr::from_str_with_options(text, yaml_options(Error));
    let error = match strict {
        Ok(node) => return Ok(Read { node: node.sorted(), faults: Vec::new() }),
        Err(error) => error,
    };
    let lenient: Result<Node, _> =
        serde_saphyr::from_str_with_options(text, yaml_options(LastWins));
    match lenient {
        Ok(node) => Ok(Read { node: node.sorted(), faults: vec![duplicate(&error)] }),
        Err(error) => Err(Unreadable::Yaml(yaml_fault(&error))),
    }
}

fn duplicate(error: &serde_saphyr::Error) -> String {
    let line = error.location().map_or(0, |location| location.line());
    match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("line {line}: key {key:?} already set in map")
        }
        other => format!("line {line}: {other}"),
    }
}

fn yaml_fault(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    if text.contains("mapping values are not allowed") {
        return "mapping values are not allowed in this context".to_owned();
    }
    text.lines().next().unwrap_or_default().to_owned()
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

/// A key: YAML has keys that look like numbers or booleans, which Go turns into texts.
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
