//! Whether a merged document still fits its type, with the words of Go's converter from unstructured data.

use crate::decode::go_kind;
use api::schema::{self, Node, Type};
use serde_json::{Number, Value};

/// The first misfit, in the order in which Go declares the fields.
pub(crate) fn check(value: &Value, kind: &'static Type) -> Result<(), String> {
    fits(value, Node::Struct(kind), None)
}

/// `name`: Go's name of what the field holds, if it has one.
fn fits(value: &Value, node: Node, name: Option<&str>) -> Result<(), String> {
    match (value, node) {
        (Value::Null, _)
        | (_, Node::Any | Node::Deduced | Node::SchemaOr(_) | Node::Quantity)
        | (Value::String(_), Node::Text | Node::Time | Node::MicroTime | Node::IntOrString)
        | (Value::Bool(_), Node::Bool)
        | (Value::Number(_), Node::Double) => Ok(()),
        (Value::Object(fields), Node::Struct(kind)) => kind.declared().try_for_each(|field| {
            let Some(value) = fields.get(field.name) else { return Ok(()) };
            fits(value, field.node, schema::named(kind, field.name))
        }),
        (Value::Object(fields), Node::Map(map)) => {
            fields.values().try_for_each(|value| fits(value, map.values, None))
        }
        (Value::Array(items), Node::List(list)) => {
            items.iter().try_for_each(|item| fits(item, list.items, name))
        }
        (Value::String(text), Node::Bytes) => crate::decode::strict::bytes(text)
            .map(drop)
            .map_err(|why| format!("error decoding from json: {why}")),
        // these read themselves, from JSON
        (value, Node::Time | Node::MicroTime) => Err(read_itself(go_kind(value), "string")),
        (Value::Number(number), Node::IntOrString) if is_whole(number) => Ok(()),
        (Value::Number(number), Node::IntOrString) => {
            Err(read_itself(&format!("number {number}"), "int32"))
        }
        (value, Node::IntOrString) => Err(read_itself(go_kind(value), "int32")),
        (Value::Number(number), Node::Int32 | Node::Int64) if is_whole(number) => Ok(()),
        (Value::Number(_), Node::Int32 | Node::Int64) => {
            Err(format!("cannot convert float64 to {}", node.go_type()))
        }
        (Value::Number(number), Node::Text) if !number.is_f64() => {
            Err(format!("cannot convert int64 to {}", node.go_type_as(name)))
        }
        (value, Node::Struct(_)) => Err(format!("cannot restore struct from: {}", kind(value))),
        (value, Node::Map(_)) => Err(format!("cannot restore map from {}", kind(value))),
        (value, Node::List(_) | Node::Bytes) => {
            Err(format!("cannot restore slice from {}", kind(value)))
        }
        (_, scalar) => Err(format!("unrecognized type: {}", scalar.go_type())),
    }
}

/// Whole numbers. (Go also takes those that are written with a fraction of zero; our decoder, which comes next, does not.)
fn is_whole(number: &Number) -> bool {
    number.is_i64()
}

fn read_itself(found: &str, wanted: &str) -> String {
    format!("json: cannot unmarshal {found} into Go value of type {wanted}")
}

/// What Go's reflection calls it.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn misfits_are_told_in_the_words_of_gos_converter() {
        let pod = |spec: Value| ("io.k8s.api.core.v1.Pod", json!({"spec": spec}));
        let container = |own: Value| pod(json!({"containers": [own]}));
        let set = |spec: Value| ("io.k8s.api.apps.v1.DaemonSet", json!({"spec": spec}));
        let secret = |data: Value| ("io.k8s.api.core.v1.Secret", json!({"data": data}));
        for ((name, value), why) in [
            (container(json!({"image": 5})), "cannot convert int64 to string"),
            (container(json!({"imagePullPolicy": 5})), "cannot convert int64 to v1.PullPolicy"),
            (container(json!({"image": true})), "unrecognized type: string"),
            (container(json!({"image": 1.5})), "unrecognized type: string"),
            (set(json!({"minReadySeconds": 1.5})), "cannot convert float64 to int32"),
            (set(json!({"minReadySeconds": "1"})), "unrecognized type: int32"),
            (pod(json!({"hostPID": 1})), "unrecognized type: bool"),
            (pod(json!({"containers": {}})), "cannot restore slice from map"),
            (pod(json!([])), "cannot restore struct from: slice"),
            (
                set(json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": true}}})),
                "json: cannot unmarshal bool into Go value of type int32",
            ),
            (
                set(json!({"updateStrategy": {"rollingUpdate": {"maxSurge": 1.5}}})),
                "json: cannot unmarshal number 1.5 into Go value of type int32",
            ),
            (
                ("io.k8s.api.core.v1.Pod", json!({"metadata": {"creationTimestamp": 5}})),
                "json: cannot unmarshal number into Go value of type string",
            ),
            (
                secret(json!({"a": "!!"})),
                "error decoding from json: illegal base64 data at input byte 0",
            ),
            (secret(json!({"a": 5})), "cannot restore slice from int64"),
        ] {
            let kind = schema::by_name(name).expect("a type");
            assert_eq!(check(&value, kind), Err(why.to_owned()), "{value}");
        }
        let kind = schema::by_name("io.k8s.api.apps.v1.DaemonSet").expect("a type");
        let fine = json!({"metadata": {"labels": {"a": "b"}, "creationTimestamp": null}, "spec":
            {"minReadySeconds": 1, "updateStrategy": {"rollingUpdate": {"maxUnavailable": "10%", "maxSurge": 0}}}});
        assert_eq!(check(&fine, kind), Ok(()));
    }
}
