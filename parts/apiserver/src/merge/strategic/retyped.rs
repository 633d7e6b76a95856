//! A merged document held against its type, with the words of Go's converter from unstructured data.

use crate::decode::go_kind;
use api::schema::{self, Node, Type};
use serde_json::{Number, Value};

/// Makes the document fit: whole numbers written with a fraction of zero become integers where integers stand, and those
/// that 32 bits cannot hold lose their upper bits, as in Go's conversion.
///
/// # Errors
/// The first misfit, in the order in which Go declares the fields.
pub(crate) fn settle(value: &mut Value, kind: &'static Type) -> Result<(), String> {
    let mut converts = false;
    fits(value, Node::Struct(kind), None, &mut converts)?;
    if converts {
        convert(value, Node::Struct(kind));
    }
    Ok(())
}

/// `name`: Go's name of what the field holds, if it has one. `converts` says that some number is not yet as it will be.
fn fits(value: &Value, node: Node, name: Option<&str>, converts: &mut bool) -> Result<(), String> {
    if let (Value::Number(number), Some(_)) = (value, converted(value, node)) {
        *converts |= converted(value, node).is_some_and(|one| one != *number);
        return Ok(());
    }
    match (value, node) {
        (Value::Null, _)
        | (_, Node::Any | Node::Deduced | Node::SchemaOr(_) | Node::Quantity)
        | (Value::String(_), Node::Text | Node::Time | Node::MicroTime | Node::IntOrString)
        | (Value::Bool(_), Node::Bool)
        | (Value::Number(_), Node::Double) => Ok(()),
        (Value::Object(fields), Node::Struct(kind)) => kind.declared().try_for_each(|field| {
            let Some(value) = fields.get(field.name) else { return Ok(()) };
            fits(value, field.node, schema::named(kind, field.name), converts)
        }),
        (Value::Object(fields), Node::Map(map)) => {
            fields.values().try_for_each(|value| fits(value, map.values, None, converts))
        }
        (Value::Array(items), Node::List(list)) => {
            items.iter().try_for_each(|item| fits(item, list.items, name, converts))
        }
        (Value::String(text), Node::Bytes) => crate::decode::strict::bytes(text)
            .map(drop)
            .map_err(|why| format!("error decoding from json: {why}")),
        // these read themselves, from JSON
        (value, Node::Time | Node::MicroTime) => Err(read_itself(go_kind(value), "string")),
        (Value::Number(number), Node::IntOrString) => {
            Err(read_itself(&format!("number {number}"), "int32"))
        }
        (value, Node::IntOrString) => Err(read_itself(go_kind(value), "int32")),
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

/// What becomes of a number where an integer or something that reads itself stands; nothing if it does not fit.
fn converted(value: &Value, node: Node) -> Option<Number> {
    let Value::Number(number) = value else { return None };
    let whole = || number.as_i64().or_else(|| whole(number.as_f64()?));
    match node {
        #[expect(clippy::cast_possible_truncation, reason = "Go's conversion cuts bits off, too")]
        Node::Int32 => whole().map(|number| Number::from(number as i32)),
        Node::Int64 | Node::Quantity => whole().map(Number::from),
        Node::IntOrString => {
            whole().filter(|number| i32::try_from(*number).is_ok()).map(Number::from)
        }
        _ => None,
    }
}

/// A float as an integer, where it is one.
fn whole(float: f64) -> Option<i64> {
    /// 2 to the 63rd, the first float beyond 64 bits with sign.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and within bounds")]
    let integer = || float as i64;
    (float.fract().abs() < f64::MIN_POSITIVE && (-BEYOND..BEYOND).contains(&float)).then(integer)
}

fn convert(value: &mut Value, node: Node) {
    if let Some(number) = converted(value, node) {
        *value = Value::Number(number);
        return;
    }
    match (value, node) {
        (Value::Object(fields), Node::Struct(kind)) => {
            for (name, value) in fields.iter_mut() {
                if let Some(field) = kind.field(name) {
                    convert(value, field.node);
                }
            }
        }
        (Value::Object(fields), Node::Map(map)) => {
            fields.iter_mut().for_each(|(_, value)| convert(value, map.values));
        }
        (Value::Array(items), Node::List(list)) => {
            for item in items {
                convert(item, list.items);
            }
        }
        _ => {}
    }
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
            assert_eq!(settle(&mut value.clone(), kind), Err(why.to_owned()), "{value}");
        }
        let kind = schema::by_name("io.k8s.api.apps.v1.DaemonSet").expect("a type");
        let mut fine = json!({"metadata": {"labels": {"a": "b"}, "creationTimestamp": null}, "spec":
            {"minReadySeconds": 1, "updateStrategy": {"rollingUpdate": {"maxUnavailable": "10%", "maxSurge": 0}}}});
        let before = fine.clone();
        assert_eq!(settle(&mut fine, kind), Ok(()));
        assert_eq!(fine, before);
    }

    #[test]
    fn whole_floats_become_integers_and_long_ones_lose_their_upper_bits() {
        let kind = schema::by_name("io.k8s.api.apps.v1.DaemonSet").expect("a type");
        let mut set = json!({"metadata": {"generation": 3.0, "labels": {"a": "b"}},
            "spec": {"minReadySeconds": 5.0, "revisionHistoryLimit": 4_294_967_297_i64,
                "updateStrategy": {"rollingUpdate": {"maxUnavailable": 2.0}},
                "template": {"spec": {"containers": [
                    {"ports": [{"containerPort": 80.0}], "resources": {"limits": {"cpu": 2.0, "memory": 1.5}}}]}}}});
        assert_eq!(settle(&mut set, kind), Ok(()));
        let wanted = json!({"metadata": {"generation": 3, "labels": {"a": "b"}},
            "spec": {"minReadySeconds": 5, "revisionHistoryLimit": 1,
                "updateStrategy": {"rollingUpdate": {"maxUnavailable": 2}},
                "template": {"spec": {"containers": [
                    {"ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": 2, "memory": 1.5}}}]}}}});
        assert_eq!(set, wanted);
    }
}
