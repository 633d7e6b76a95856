//! Lists that grow: ten times as many items may cost about ten times as much, never a hundred.
//!
//! Every list of every kind is found in the table of types and filled, so a rule that searches a list for each of its
//! items is found wherever it stands. CI looks at lists that have been found wanting before and at some of the others;
//! the long form (`PERNODE_NUMBERS=long`) at all. What is measured is the processor time of this thread; a list is only judged
//! when all of several tries agree, and when it costs something at all.

#[path = "verbs/harness.rs"]
#[expect(dead_code, reason = "shared with the tests of verbs, which use more of it")]
mod harness;

use api::Resource;
use api::schema::{self, ListKind, Node, Type};
use harness::World;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Items of the shorter and of the longer list.
const SIZES: [usize; 2] = [100, 1000];
/// A longer list that costs less is not judged, nanoseconds of processor time.
const COST_MIN: u64 = 150_000_000;
/// The bound on how many times as much the longer list may cost: linear ones cost 10 times, quadratic ones 100.
const FACTOR_MAX: u64 = 45;
/// And on how many times as long the answer to it may be, beyond a length.
const ANSWER_FACTOR_MAX: usize = 20;
const ANSWER_MIN: usize = 256 * 1024;
/// How often a list must be found wanting.
const TRIES: usize = 5;
/// Types within types that are looked at.
const DEPTH_MAX: usize = 9;

/// Fields whose lists are always looked at: rules once searched them item by item.
const SUSPECTS: [&str; 12] = [
    "containers",
    "initContainers",
    "ephemeralContainers",
    "topologySpreadConstraints",
    "tolerations",
    "claims",
    "resourceClaims",
    "ports",
    "limits",
    "conditions",
    "tokenRequests",
    "volumes",
];

/// How many of the other lists are looked at: `proof/numbers.json`.
fn number(suite: &str) -> usize {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proof/numbers.json");
    let text = std::fs::read_to_string(path).expect("proof/numbers.json is there");
    let all: Value = serde_json::from_str(&text).expect("it is JSON");
    let long = std::env::var_os("PERNODE_NUMBERS").is_some_and(|value| value == "long");
    let count = all[if long { "long" } else { "short" }][suite].as_u64();
    usize::try_from(count.expect("the suite has a number")).expect("it is small")
}

/// Nanoseconds that this thread was on a processor.
fn spent() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    text.split(' ').next().and_then(|first| first.parse().ok()).expect("a number")
}

/// A value of a type that is as small as may be; texts and numbers differ by `at`.
fn value(node: Node, name: &str, at: usize) -> Value {
    match node {
        Node::Text => match name {
            "ip" | "podIP" | "hostIP" => {
                json!(format!("10.{}.{}.{}", at >> 16, (at >> 8) & 255, at & 255))
            }
            "mountPath" | "devicePath" => json!(format!("/x{at}")),
            "protocol" => json!("TCP"),
            "operator" => json!("Exists"),
            "image" => json!("i"),
            _ => json!(format!("x{at}")),
        },
        Node::Bytes => json!("eA=="),
        Node::Bool => json!(false),
        Node::Int32 | Node::Int64 | Node::IntOrString => json!(at % 30_000 + 1),
        Node::Double => json!(1.5),
        Node::Time => json!("2026-01-01T00:00:00Z"),
        Node::MicroTime => json!("2026-01-01T00:00:00.000000Z"),
        Node::Quantity => json!("1"),
        Node::Struct(found) => small(found, at),
        Node::List(_) => json!([]),
        _ => json!({}),
    }
}

/// An object with the fields that make it one of many: names, keys, and what it must have.
fn small(found: &'static Type, at: usize) -> Value {
    const NAMING: [&str; 16] = [
        "name",
        "key",
        "type",
        "containerPort",
        "hostPort",
        "port",
        "mountPath",
        "devicePath",
        "ip",
        "topologyKey",
        "whenUnsatisfiable",
        "maxSkew",
        "operator",
        "image",
        "audience",
        "uid",
    ];
    let mut fields = Map::new();
    for field in found.fields {
        let plain = !matches!(field.node, Node::Struct(_) | Node::List(_) | Node::Map(_));
        if plain && (field.required || NAMING.contains(&field.name)) {
            fields.insert(field.name.to_owned(), value(field.node, field.name, at));
        }
    }
    Value::Object(fields)
}

/// Where lists and maps are: names of fields from the top, `*` for the one item of a list on the way.
fn lists(found: &'static Type, path: &[&'static str], out: &mut BTreeMap<Vec<&'static str>, Node>) {
    if path.len() > DEPTH_MAX {
        return;
    }
    for field in found.fields.iter().filter(|field| field.name != "managedFields") {
        let mut path = path.to_vec();
        path.push(field.name);
        let within = match field.node {
            Node::Struct(inner) => Some((inner, path.clone())),
            Node::List(list) => {
                out.insert(path.clone(), field.node);
                path.push("*");
                match list.items {
                    Node::Struct(inner) => Some((inner, path)),
                    _ => None,
                }
            }
            Node::Map(_) => {
                out.insert(path, field.node);
                None
            }
            _ => None,
        };
        if let Some((inner, path)) = within {
            lists(inner, &path, out);
        }
    }
}

/// An object of a kind whose list at `path` has `count` items.
fn grown(row: &Resource, path: &[&'static str], node: Node, count: usize) -> Value {
    let many = match node {
        Node::List(list) => {
            let item = |at| match list.kind {
                ListKind::Map(keys) => {
                    let mut item = value(list.items, "", at);
                    for key in keys {
                        if item.get(*key).is_none() {
                            item[*key] = format!("x{at}").into();
                        }
                    }
                    item
                }
                _ => value(list.items, "", at),
            };
            (0..count).map(item).collect()
        }
        Node::Map(map) => Value::Object(
            (0..count).map(|at| (format!("x{at}"), value(map.values, "", at))).collect(),
        ),
        _ => Value::Null,
    };
    let whole = schema::by_name(row.schema).expect("every row has its type");
    let mut object = place(whole, path, many);
    object["apiVersion"] = row.api_version().into();
    object["kind"] = row.kind.into();
    object["metadata"]["name"] = "grown".into();
    object
}

fn place(of: &'static Type, path: &[&'static str], many: Value) -> Value {
    let mut object = small(of, 0);
    let (first, rest) = path.split_first().expect("a path has a beginning");
    let field = of.field(first).expect("it was found there");
    object[*first] = match (rest, field.node) {
        ([], _) => many,
        (rest, Node::Struct(inner)) => place(inner, rest, many),
        (["*", rest @ ..], Node::List(list)) => match list.items {
            Node::Struct(inner) => json!([place(inner, rest, many)]),
            _ => many,
        },
        _ => many,
    };
    object
}

/// What sending an object costs, new and applied: processor time, and bytes of the answer.
async fn cost(world: &World, row: &Resource, object: &Value) -> (u64, usize) {
    let prefix = if row.group.is_empty() { "/api" } else { "/apis" };
    let space = if row.namespaced { "namespaces/default/" } else { "" };
    let all = format!("{prefix}/{}/{space}{}", row.api_version(), row.plural);
    let before = spent();
    let answer = world.post(&format!("{all}?dryRun=All"), object).await;
    if row.allows("patch") {
        let query = "fieldManager=m&force=true&dryRun=All";
        world.patch(&format!("{all}/grown?{query}"), "apply", object).await;
    }
    (spent() - before, answer.text.len())
}

/// Every list of every kind that can be created.
fn every() -> Vec<(&'static Resource, Vec<&'static str>, Node)> {
    let mut all = Vec::new();
    for row in api::resource::ALL.iter().filter(|row| row.allows("create")) {
        let whole = schema::by_name(row.schema).expect("every row has its type");
        let mut found = BTreeMap::new();
        lists(whole, &[], &mut found);
        // The pod's template is the same in every kind that has one, and the pod has it too.
        found.retain(|path, _| !path.contains(&"template"));
        all.extend(found.into_iter().map(|(path, node)| (row, path, node)));
    }
    all
}

/// Whether the longer list costs too much, whatever else the machine does.
async fn wants(world: &World, row: &Resource, path: &[&'static str], node: Node) -> bool {
    let [few, many] = SIZES.map(|count| grown(row, path, node, count));
    for _ in 0..TRIES {
        let (dear, long) = cost(world, row, &many).await;
        let (cheap, short) = cost(world, row, &few).await;
        if long > ANSWER_MIN && long > ANSWER_FACTOR_MAX * short {
            return true;
        }
        if dear < COST_MIN || dear < FACTOR_MAX * cheap {
            return false;
        }
    }
    true
}

#[tokio::test(start_paused = true)]
async fn no_list_costs_the_square_of_its_length() {
    let world = World::new().await;
    let all = every();
    assert!(all.len() > 300, "only {} lists were found", all.len());
    let step = (all.len() / number("growing_lists")).max(1);
    let (mut judged, mut wanting) = (0, Vec::new());
    for (at, (row, path, node)) in all.into_iter().enumerate() {
        let suspect = path.last().is_some_and(|last| SUSPECTS.contains(last));
        let near = path.len() <= 3 && suspect;
        if near || at % step == 0 {
            judged += 1;
            if wants(&world, row, &path, node).await {
                wanting.push(format!("{} {}", row.kind, path.join(".")));
            }
        }
    }
    println!("{judged} lists were grown");
    assert!(wanting.is_empty(), "these cost the square of their length: {wanting:#?}");
}
