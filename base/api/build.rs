//! Makes `$OUT_DIR/types.rs` from `data/schema.json`: one static for each type that a served kind reaches.
//! Statics, so that nothing is parsed at start and unused types cost nothing.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Types that are asked for by name beside those of the served kinds.
const ROOTS: &[&str] = &[
    "io.k8s.api.authentication.v1.TokenRequest",
    "io.k8s.api.autoscaling.v1.Scale",
    "io.k8s.api.policy.v1.Eviction",
    "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
];

fn main() -> Outcome<()> {
    println!("cargo:rerun-if-changed=data/schema.json");
    println!("cargo:rerun-if-changed=data/order.json");
    println!("cargo:rerun-if-changed=data/numbers.json");
    println!("cargo:rerun-if-changed=src/resource/table.rs");
    let wire: Value = serde_json::from_str(&std::fs::read_to_string("data/numbers.json")?)?;
    let order: Value = serde_json::from_str(&std::fs::read_to_string("data/order.json")?)?;
    let document: Value = serde_json::from_str(&std::fs::read_to_string("data/schema.json")?)?;
    let types = document["types"].as_object().ok_or("schema.json has no types")?;
    let rows = std::fs::read_to_string("src/resource/table.rs")?;
    let mut waiting: Vec<String> = ROOTS.iter().map(|name| (*name).to_owned()).collect();
    for name in rows.split('"').filter(|text| text.starts_with("io.k8s.")) {
        waiting.push(name.to_owned());
        let list = format!("{name}List");
        if types.contains_key(&list) {
            waiting.push(list);
        }
    }
    let mut reached: BTreeSet<String> = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if reached.insert(name.clone()) {
            let found = types.get(&name).ok_or_else(|| format!("no type {name} in schema.json"))?;
            references(found, &mut waiting);
        }
    }
    let numbers: BTreeMap<&str, usize> =
        reached.iter().enumerate().map(|(number, name)| (name.as_str(), number)).collect();
    let mut out = String::new();
    for (name, number) in &numbers {
        let more = (&order["order"][*name], &wire["numbers"][*name]);
        write_type(&mut out, (*number, name), &types[*name], more, &numbers)?;
    }
    let all: Vec<String> = (0..numbers.len()).map(|number| format!("&T{number}")).collect();
    writeln!(
        out,
        "/// All types, by name.\npub(crate) static TYPES: &[&Type] = &[{}];",
        all.join(", ")
    )?;
    let target =
        std::path::Path::new(&std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?).join("types.rs");
    std::fs::write(target, out)?;
    Ok(())
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(name) if key == "ref" => found.push(name.clone()),
                    other => references(other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn write_type(
    out: &mut String,
    (number, name): (usize, &str),
    value: &Value,
    (order, wire): (&Value, &Value),
    numbers: &BTreeMap<&str, usize>,
) -> Outcome<()> {
    let none = serde_json::Map::new();
    let fields = value["fields"].as_object().unwrap_or(&none);
    let required: BTreeSet<&str> =
        value["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut lines = Vec::new();
    for (field, facts) in fields {
        let default = match facts.get("default") {
            None => "None".to_owned(),
            Some(value) => format!("Some({:?})", value.to_string()),
        };
        let strategy = facts["x-kubernetes-patch-strategy"].as_str().unwrap_or("");
        lines.push(format!(
            "Field {{ name: {field:?}, node: {}, required: {}, default: {default}, strategy: Strategy {{ merge: {}, replace: {}, retain_keys: {} }}, merge_key: {:?} }}",
            node(facts, numbers)?,
            required.contains(field.as_str()),
            strategy.split(',').any(|word| word == "merge"),
            strategy.split(',').any(|word| word == "replace"),
            strategy.split(',').any(|word| word == "retainKeys"),
            facts["x-kubernetes-patch-merge-key"].as_str().unwrap_or(""),
        ));
    }
    let kinds: Vec<String> = value["x-kubernetes-group-version-kind"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|kind| {
            let word = |key: &str| kind[key].as_str().unwrap_or("").to_owned();
            format!("({:?}, {:?}, {:?})", word("group"), word("version"), word("kind"))
        })
        .collect();
    let declared: Vec<String> = order
        .as_str()
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|field| fields.keys().position(|known| known == field))
        .map(|place| place.to_string())
        .collect();
    writeln!(
        out,
        "static T{number}: Type = Type {{ name: {name:?}, fields: &[{}], declared: &[{}], numbers: &[{}], atomic: {}, origin: Origin::Kubernetes, kinds: &[{}] }};",
        lines.join(", "),
        declared.join(", "),
        wire_numbers(wire, fields)?,
        value["x-kubernetes-map-type"] == "atomic",
        kinds.join(", "),
    )?;
    Ok(())
}

/// `(name of the message that JSON writes in place, or 0; number; place of the field)` for each; the name is the
/// message's number, and of one in another `256 * outer + number`.
fn wire_numbers(wire: &Value, fields: &serde_json::Map<String, Value>) -> Outcome<String> {
    let mut all = Vec::new();
    for pair in wire.as_str().unwrap_or_default().split_whitespace() {
        let (field, number) = pair.split_once('=').ok_or("name=number")?;
        let (outer, inner) = number.rsplit_once('.').unwrap_or(("0", number));
        let mut name = 0_u16;
        for one in outer.split('.') {
            name = name * 256 + u16::from(one.parse::<u8>()?);
        }
        let (outer, inner): (u16, u16) = (name, inner.parse()?);
        if let Some(place) = fields.keys().position(|known| known == field) {
            all.push((outer, inner, place));
        }
    }
    all.sort_unstable();
    Ok(all.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(", "))
}

fn node(facts: &Value, numbers: &BTreeMap<&str, usize>) -> Outcome<String> {
    if let Some(name) = facts["ref"].as_str() {
        return Ok(match name.rsplit('.').next().unwrap_or(name) {
            "Quantity" => "Node::Quantity".to_owned(),
            "IntOrString" => "Node::IntOrString".to_owned(),
            "Time" => "Node::Time".to_owned(),
            "MicroTime" => "Node::MicroTime".to_owned(),
            "FieldsV1" | "RawExtension" | "Patch" | "JSON" => "Node::Any".to_owned(),
            "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray" => {
                let plain = name.split("Or").next().unwrap_or(name);
                format!("Node::SchemaOr(&T{})", numbers.get(plain).ok_or("no JSONSchemaProps")?)
            }
            _ => format!(
                "Node::Struct(&T{})",
                numbers.get(name).ok_or_else(|| format!("{name} unknown"))?
            ),
        });
    }
    let plain = match (facts["type"].as_str(), facts["format"].as_str()) {
        (Some("string"), Some("byte")) => "Node::Bytes",
        (Some("string"), _) => "Node::Text",
        (Some("boolean"), _) => "Node::Bool",
        (Some("integer"), Some("int64")) => "Node::Int64",
        (Some("integer"), _) => "Node::Int32",
        (Some("number"), _) => "Node::Double",
        (Some("array"), _) => return list(facts, numbers),
        (Some("object"), _) if facts.get("values").is_some() => {
            let values = node(&facts["values"], numbers)?;
            let atomic = facts["x-kubernetes-map-type"] == "atomic";
            return Ok(format!("Node::Map(&Map {{ values: {values}, atomic: {atomic} }})"));
        }
        _ => "Node::Any",
    };
    Ok(plain.to_owned())
}

fn list(facts: &Value, numbers: &BTreeMap<&str, usize>) -> Outcome<String> {
    let items = node(&facts["items"], numbers)?;
    let kind = match facts["x-kubernetes-list-type"].as_str() {
        Some("set") => "ListKind::Set".to_owned(),
        Some("map") => {
            let keys: Vec<String> = facts["x-kubernetes-list-map-keys"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(|key| format!("{key:?}"))
                .collect();
            format!("ListKind::Map(&[{}])", keys.join(", "))
        }
        _ => "ListKind::Atomic".to_owned(),
    };
    Ok(format!("Node::List(&List {{ items: {items}, kind: {kind} }})"))
}
