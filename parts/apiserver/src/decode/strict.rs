//! A document held against its type: unknown and duplicate fields are told and dropped, wrong types refused in
//! the words of Go's decoder, scalars brought to the one form Kubernetes writes.

use super::node::Node;
use api::quantity::Quantity;
use api::schema::{self, Node as Shape, Type};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};
use std::fmt::Write as _;

/// Most faults that are told: more would not fit the 64 KiB that clients take as headers.
const FAULTS_MAX: usize = 100;

/// A document of its type.
#[derive(Clone, Debug, Default)]
pub struct Typed {
    /// The object.
    pub object: Value,
    /// `unknown field "spec.x"`, `duplicate field "data.a"`, in the order of the document.
    pub faults: Vec<String>,
}

/// Holds a document against the type of that name. Types that are not known take anything.
pub fn object(node: &Node, type_name: &str) -> Result<Typed, String> {
    let shape = schema::by_name(type_name).map_or(Shape::Any, Shape::Struct);
    let mut walk = Walk::default();
    let object = walk.value(node, shape)?;
    if let Some(why) = walk.misfit {
        return Err(why);
    }
    let object = if object.is_null() { Value::Object(Map::new()) } else { object };
    Ok(Typed { object, faults: walk.faults })
}

/// One step on the way; put into words only where there is something to tell.
#[derive(Clone, Copy)]
enum Step<'n> {
    Key(&'n str),
    Item(usize),
}

#[derive(Default)]
struct Walk<'n> {
    faults: Vec<String>,
    /// Where we are, with indices and keys.
    path: Vec<Step<'n>>,
    /// Where we are as Go's decoder counts: fields of structs only.
    fields: Vec<&'static str>,
    /// The struct we are in.
    inside: &'static str,
    /// Go's name of what the field holds, if it is not just `string`.
    name: Option<&'static str>,
    /// The first value of a wrong kind. Go's decoder goes on behind it, and tells it only if nothing that reads itself
    /// (quantities, moments) fails later.
    misfit: Option<String>,
}

impl<'n> Walk<'n> {
    fn value(&mut self, node: &'n Node, shape: Shape) -> Result<Value, String> {
        match (shape, node) {
            (_, Node::Null) => Ok(Value::Null),
            (Shape::SchemaOr(found), Node::Object(fields)) => self.structure(fields, found),
            (Shape::Any | Shape::Deduced | Shape::SchemaOr(_), node) => Ok(self.any(node)),
            (Shape::Struct(found), node) if found.fields.is_empty() => Ok(self.any(node)),
            (Shape::Struct(found), Node::Object(fields)) => self.structure(fields, found),
            (Shape::Map(map), Node::Object(fields)) => self.map(fields, map.values),
            (Shape::List(list), Node::List(items)) => self.list(items, list.items),
            (Shape::Text | Shape::IntOrString, Node::Text(text)) => Ok(Value::String(text.clone())),
            (Shape::Bool, Node::Bool(value)) => Ok(Value::Bool(*value)),
            (Shape::Int32 | Shape::Int64, Node::Number(number)) => {
                let read = self.whole(number, shape);
                Ok(self.passed(read))
            }
            (Shape::Double, Node::Number(number)) => Ok(Value::Number(number.clone())),
            (Shape::IntOrString, Node::Number(number)) => self.whole(number, Shape::Int32),
            (Shape::Quantity, Node::Text(text)) => quantity(text.trim()),
            (Shape::Quantity, Node::Number(number)) => quantity(&number.to_string()),
            (Shape::Quantity, _) => Err(QUANTITY.to_owned()),
            (Shape::Time, Node::Text(text)) => moment(text, false),
            (Shape::MicroTime, Node::Text(text)) => moment(text, true),
            (Shape::Bytes, Node::Text(text)) => {
                let read = bytes(text);
                Ok(self.passed(read))
            }
            (Shape::Time | Shape::MicroTime | Shape::IntOrString, node) => {
                Err(self.mismatch(node.go_kind(), &shape.go_type()))
            }
            (shape, node) => {
                let why = self.mismatch(node.go_kind(), &shape.go_type_as(self.name));
                Ok(self.passed(Err(why)))
            }
        }
    }

    /// What is kept, and told at the end.
    fn passed(&mut self, read: Result<Value, String>) -> Value {
        read.unwrap_or_else(|why| {
            self.misfit.get_or_insert(why);
            Value::Null
        })
    }

    fn fault(&mut self, what: &str, key: &str) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(format!("{what} field \"{}{key}\"", self.here()));
        }
    }

    /// The path with a dot behind it, ready for a key.
    fn here(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                // writing to a String cannot fail
                Step::Item(at) => drop(write!(text, "[{at}]")),
                Step::Key(key) => {
                    if !key.starts_with('[') && !text.is_empty() {
                        text.push('.');
                    }
                    text.push_str(key);
                }
            }
        }
        if !text.is_empty() {
            text.push('.');
        }
        text
    }

    fn mismatch(&self, found: &str, wanted: &str) -> String {
        if self.inside.is_empty() {
            return format!("json: cannot unmarshal {found} into Go value of type {wanted}");
        }
        let path = self.fields.join(".");
        format!(
            "json: cannot unmarshal {found} into Go struct field {}.{path} of type {wanted}",
            self.inside
        )
    }

    fn structure(
        &mut self,
        fields: &'n [(String, Node)],
        found: &'static Type,
    ) -> Result<Value, String> {
        let mut out = Map::new();
        let mut seen: Vec<&str> = Vec::new();
        let outside = std::mem::replace(&mut self.inside, found.go_name());
        for (key, node) in fields {
            let Some(field) = found.field(key) else {
                // A document says what it is, whether or not its type has fields for that.
                if !self.path.is_empty() || !matches!(key.as_str(), "kind" | "apiVersion") {
                    self.fault("unknown", key);
                }
                continue;
            };
            if seen.contains(&key.as_str()) {
                self.fault("duplicate", key);
            }
            seen.push(key);
            self.path.push(Step::Key(key));
            self.fields.push(field.name);
            self.name = schema::named(found, field.name);
            let value = self.value(node, field.node)?;
            self.path.pop();
            self.fields.pop();
            if value.is_null() {
                out.remove(key);
            } else {
                out.insert(key.clone(), value);
            }
        }
        self.inside = outside;
        always_written(&mut out, found);
        Ok(Value::Object(out))
    }

    fn map(&mut self, fields: &'n [(String, Node)], values: Shape) -> Result<Value, String> {
        let mut out = Map::new();
        for (key, node) in fields {
            if out.contains_key(key) {
                self.fault("duplicate", key);
            }
            self.path.push(Step::Key(key));
            self.name = None;
            let value = self.value(node, values)?;
            self.path.pop();
            let value = if value.is_null() { zero(values) } else { value };
            out.insert(key.clone(), value);
        }
        Ok(Value::Object(out))
    }

    fn list(&mut self, items: &'n [Node], shape: Shape) -> Result<Value, String> {
        let mut out = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            self.path.push(Step::Item(at));
            let value = self.value(item, shape)?;
            self.path.pop();
            out.push(if value.is_null() { zero(shape) } else { value });
        }
        Ok(Value::Array(out))
    }

    fn whole(&self, number: &Number, shape: Shape) -> Result<Value, String> {
        let fits = number
            .as_i64()
            .filter(|value| matches!(shape, Shape::Int64) || i32::try_from(*value).is_ok());
        fits.map(Value::from)
            .ok_or_else(|| self.mismatch(&format!("number {number}"), &shape.go_type()))
    }

    fn any(&mut self, node: &'n Node) -> Value {
        match node {
            Node::Object(fields) => {
                let mut out = Map::new();
                for (key, node) in fields {
                    if out.contains_key(key) {
                        self.fault("duplicate", key);
                    }
                    self.path.push(Step::Key(key));
                    out.insert(key.clone(), self.any(node));
                    self.path.pop();
                }
                Value::Object(out)
            }
            Node::List(items) => {
                let mut out = Vec::with_capacity(items.len());
                for (at, item) in items.iter().enumerate() {
                    self.path.push(Step::Item(at));
                    out.push(self.any(item));
                    self.path.pop();
                }
                Value::Array(out)
            }
            plain => plain.clone().into_value(),
        }
    }
}

/// Times that Go keeps by value and therefore writes as `null` while they are not set. All others are pointers
/// and left out.
const TIMES_BY_VALUE: [(&str, &[&str]); 6] = [
    ("Condition", &["lastTransitionTime", "lastProbeTime", "lastHeartbeatTime", "lastUpdateTime"]),
    ("ContainerStateRunning", &["startedAt"]),
    ("ContainerStateTerminated", &["startedAt", "finishedAt"]),
    ("Event", &["firstTimestamp", "lastTimestamp", "eventTime"]),
    ("Event", &["deprecatedFirstTimestamp", "deprecatedLastTimestamp"]),
    ("EventSeries", &["lastObservedTime"]),
];

/// Adds what Go writes although nobody set it: structs and times that are kept by value.
fn always_written(out: &mut Map<String, Value>, found: &'static Type) {
    for field in found.fields {
        if out.contains_key(field.name) {
            continue;
        }
        match field.node {
            Shape::Struct(inner) if field.default == Some("{}") && !inner.fields.is_empty() => {
                let mut empty = Map::new();
                always_written(&mut empty, inner);
                out.insert(field.name.to_owned(), Value::Object(empty));
            }
            Shape::Time | Shape::MicroTime => {
                let by_value = TIMES_BY_VALUE.iter().any(|(name, fields)| {
                    found.go_name().ends_with(name) && fields.contains(&field.name)
                });
                if by_value {
                    out.insert(field.name.to_owned(), Value::Null);
                }
            }
            _ => {}
        }
    }
}

const QUANTITY: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// What Go has where JSON says null inside a list or map.
fn zero(shape: Shape) -> Value {
    match shape {
        Shape::Text | Shape::Bytes => "".into(),
        Shape::Bool => false.into(),
        Shape::Int32 | Shape::Int64 | Shape::Double | Shape::IntOrString => 0.into(),
        Shape::Quantity => "0".into(),
        Shape::Struct(_) | Shape::Map(_) => Value::Object(Map::new()),
        Shape::Time
        | Shape::MicroTime
        | Shape::List(_)
        | Shape::Any
        | Shape::Deduced
        | Shape::SchemaOr(_) => Value::Null,
    }
}

fn quantity(text: &str) -> Result<Value, String> {
    Quantity::parse(text)
        .map(|quantity| quantity.to_string().into())
        .map_err(|error| error.to_string())
}

fn moment(text: &str, micro: bool) -> Result<Value, String> {
    let layout = if micro { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    super::time::read(text, micro).map(|at| at.strftime(layout).to_string().into())
}

pub(crate) fn bytes(text: &str) -> Result<Value, String> {
    let plain: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    STANDARD.decode(&plain).map(|bytes| STANDARD.encode(bytes).into()).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _)
            | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            base64::DecodeError::InvalidLength(at) => at / 4 * 4,
            base64::DecodeError::InvalidPadding => plain.len(),
        };
        format!("illegal base64 data at input byte {at}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Media, node};

    const DAEMON: &str = "io.k8s.api.apps.v1.DaemonSet";
    const CONFIG: &str = "io.k8s.api.core.v1.ConfigMap";

    fn typed(text: &str, type_name: &str) -> Result<Typed, String> {
        object(&node::read(text.as_bytes(), Media::Json).expect("json").node, type_name)
    }

    #[test]
    fn unknown_and_duplicate_fields_are_told_in_the_order_of_the_document() {
        let text = r#"{"metadata":{"name":"a","extra":1,"name":"b"},"spec":{"template":{"spec":{"containers":[{"imag":"x"}]}},"bogus":1}}"#;
        let typed = typed(text, DAEMON).expect("typed");
        assert_eq!(
            typed.faults,
            [
                "unknown field \"metadata.extra\"",
                "duplicate field \"metadata.name\"",
                "unknown field \"spec.template.spec.containers[0].imag\"",
                "unknown field \"spec.bogus\"",
            ]
        );
        assert_eq!(typed.object["metadata"], serde_json::json!({"name": "b"}));
    }

    #[test]
    fn names_have_a_case() {
        assert_eq!(
            typed(r#"{"Data":{}}"#, CONFIG).expect("typed").faults,
            ["unknown field \"Data\""]
        );
    }

    #[test]
    fn wrong_types_read_as_go_words_them() {
        for (text, type_name, message) in [
            (
                r#"{"data":["a"]}"#,
                CONFIG,
                "json: cannot unmarshal array into Go struct field ConfigMap.data of type map[string]string",
            ),
            (
                r#"{"data":{"a":5}}"#,
                CONFIG,
                "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
            ),
            (
                r#"{"metadata":{"name":12}}"#,
                CONFIG,
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string",
            ),
            (
                r#"{"spec":{"minReadySeconds":"3"}}"#,
                DAEMON,
                "json: cannot unmarshal string into Go struct field DaemonSetSpec.spec.minReadySeconds of type int32",
            ),
            (
                r#"{"spec":{"minReadySeconds":99999999999}}"#,
                DAEMON,
                "json: cannot unmarshal number 99999999999 into Go struct field DaemonSetSpec.spec.minReadySeconds of type int32",
            ),
            (
                r#"{"spec":{"template":{"spec":{"containers":{"name":"a"}}}}}"#,
                DAEMON,
                "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
            ),
            (
                r#"{"spec":{"template":{"spec":{"restartPolicy":5}}}}"#,
                DAEMON,
                "json: cannot unmarshal number into Go struct field PodSpec.spec.template.spec.restartPolicy of type v1.RestartPolicy",
            ),
            (
                r#"{"spec":{"template":{"spec":{"containers":[{"resources":{"limits":["x"]}}]}}}}"#,
                DAEMON,
                "json: cannot unmarshal array into Go struct field ResourceRequirements.spec.template.spec.containers.resources.limits of type v1.ResourceList",
            ),
            (
                r#"{"spec":{"template":{"spec":{"containers":[{"securityContext":{"capabilities":{"add":[1]}}}]}}}}"#,
                DAEMON,
                "json: cannot unmarshal number into Go struct field Capabilities.spec.template.spec.containers.securityContext.capabilities.add of type v1.Capability",
            ),
            (
                r#"{"metadata":{"creationTimestamp":5}}"#,
                CONFIG,
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string",
            ),
            (
                r#"{"spec":{"updateStrategy":{"rollingUpdate":{"maxUnavailable":true}}}}"#,
                DAEMON,
                "json: cannot unmarshal bool into Go struct field RollingUpdateDaemonSet.spec.updateStrategy.rollingUpdate.maxUnavailable of type int32",
            ),
            // the first misfit is told, unless something that reads itself fails later
            (
                r#"{"metadata":{"name":1},"data":5}"#,
                CONFIG,
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string",
            ),
            (
                r#"{"spec":{"minReadySeconds":"3","template":{"spec":{"overhead":{"cpu":"abc"}}}}}"#,
                DAEMON,
                QUANTITY,
            ),
        ] {
            assert_eq!(typed(text, type_name).expect_err("refused"), message);
        }
    }

    #[test]
    fn nulls_are_nothing() {
        let typed =
            typed(r#"{"metadata":{"name":"a","creationTimestamp":null},"data":null}"#, CONFIG);
        assert_eq!(typed.expect("typed").object, serde_json::json!({"metadata": {"name": "a"}}));
    }

    #[test]
    fn broken_base64_is_refused() {
        let refused = typed(r#"{"data":{"x":"not base64!"}}"#, "io.k8s.api.core.v1.Secret")
            .expect_err("refused");
        assert_eq!(refused, "illegal base64 data at input byte 3");
    }
}
