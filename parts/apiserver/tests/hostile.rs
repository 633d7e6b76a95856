//! Bodies that mean harm: whatever is sent, the server answers, in bounds, and goes on answering others.

#[path = "verbs/harness.rs"]
#[expect(dead_code, reason = "shared with the tests of verbs, which use more of it")]
mod harness;

use harness::{Answer, World, config_map, daemon_set, pod};
use http::{Method, Request};
use serde_json::{Value, json};
use std::fmt::Write as _;

const CONFIGS: &str = "/api/v1/namespaces/default/configmaps";
const DAEMONS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// Every way a body comes in, by its media type.
const MEDIA: [(&str, &str); 7] = [
    ("POST", "application/json"),
    ("POST", "application/yaml"),
    ("PUT", "application/json"),
    ("PATCH", "application/json-patch+json"),
    ("PATCH", "application/merge-patch+json"),
    ("PATCH", "application/strategic-merge-patch+json"),
    ("PATCH", "application/apply-patch+yaml"),
];

/// What an answer may be longer than its request: a refusal quotes the object once or twice, escaped.
const ANSWER_FACTOR: usize = 12;
/// And what it may hold beside that.
const ANSWER_BYTES: usize = 256 * 1024;

/// How often a suite runs: `proof/numbers.json`.
fn number(suite: &str) -> u64 {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proof/numbers.json");
    let text = std::fs::read_to_string(path).expect("proof/numbers.json is there");
    let all: Value = serde_json::from_str(&text).expect("it is JSON");
    let long = std::env::var_os("PERNODE_NUMBERS").is_some_and(|value| value == "long");
    all[if long { "long" } else { "short" }][suite].as_u64().expect("the suite has a number")
}

/// Small numbers drawn from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.draw() % bound.max(1) as u64).expect("it is below a usize")
    }

    fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }
}

async fn send(world: &World, method: &str, path: &str, media: &str, body: Vec<u8>) -> Answer {
    let (name, _) = path.rsplit_once('/').unwrap_or_default();
    let path = if method == "POST" { name } else { path };
    let query = if media.contains("apply") { "?fieldManager=m&force=true" } else { "" };
    let length = body.len();
    let request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).expect("a method"))
        .uri(format!("{path}{query}"))
        .header("user-agent", "test/1.0")
        .header("content-type", media)
        .body(axum::body::Body::from(body))
        .expect("a request");
    let answer = world.send(request).await;
    let bound = length * ANSWER_FACTOR + ANSWER_BYTES;
    assert!(answer.text.len() <= bound, "{length} bytes made {} bytes", answer.text.len());
    answer
}

/// Sends a body in every way; none of them may succeed.
async fn refused_everywhere(body: &[u8]) {
    let world = World::new().await;
    world.post(CONFIGS, &config_map("a")).await.ok(201);
    for (method, media) in MEDIA {
        let answer = send(&world, method, &format!("{CONFIGS}/a"), media, body.to_vec()).await;
        assert!(
            (400..=500).contains(&answer.code),
            "{method} {media}: {} {}",
            answer.code,
            &answer.text[..answer.text.len().min(200)]
        );
    }
    let left = world.get(&format!("{CONFIGS}/a")).await.ok(200);
    assert_eq!(left.body["data"], json!({"a": "1"}));
}

#[tokio::test(start_paused = true)]
async fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for depth in [1_000, 200_000] {
            let body = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            refused_everywhere(body.as_bytes()).await;
            refused_everywhere(open.repeat(depth).as_bytes()).await;
        }
    }
    let inside = format!("{{\"data\":{}{}}}", "{\"a\":".repeat(5_000), "}".repeat(5_000));
    refused_everywhere(inside.as_bytes()).await;
    refused_everywhere("- ".repeat(50_000).as_bytes()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_text_is_refused() {
    for body in [
        &b"\xff\xfe\xfd"[..],
        b"{\"data\":{\"a\":\"\xc3\x28\"},\"spec\":1,\xff}",
        b"\0\0\0\0",
        b"{\"data\":{\"a\":\"\\ud800\"",
        b"",
        b"\x1f\x8b\x08\x00\x00",
    ] {
        let world = World::new().await;
        world.post(CONFIGS, &config_map("a")).await.ok(201);
        for (method, media) in MEDIA {
            let answer = send(&world, method, &format!("{CONFIGS}/a"), media, body.to_vec()).await;
            assert!((200..=500).contains(&answer.code), "{method} {media}: {}", answer.code);
        }
        world.get(CONFIGS).await.ok(200);
    }
}

#[tokio::test(start_paused = true)]
async fn huge_numbers_are_refused_or_kept_as_they_are() {
    let world = World::new().await;
    world.post(DAEMONS, &daemon_set("d")).await.ok(201);
    for number in [
        "1e999999999",
        "-1e999999999",
        "99999999999999999999999999999999999999999",
        "1e308",
        &"9".repeat(100_000),
        &format!("0.{}1", "0".repeat(100_000)),
    ] {
        for (path, field) in [("spec", "minReadySeconds"), ("metadata", "generation")] {
            let body = format!("{{\"{path}\":{{\"{field}\":{number}}}}}");
            for (method, media) in MEDIA {
                let path = format!("{DAEMONS}/d");
                let answer = send(&world, method, &path, media, body.clone().into_bytes()).await;
                assert!((200..=500).contains(&answer.code), "{method} {media}: {}", answer.code);
            }
        }
        let quantity = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "main", "resources": {"limits": {"cpu": number, "memory": format!("{number}Ei")}}},
        ]}}}});
        let media = "application/strategic-merge-patch+json";
        let body = quantity.to_string().into_bytes();
        let answer = send(&world, "PATCH", &format!("{DAEMONS}/d"), media, body).await;
        assert!((200..=500).contains(&answer.code), "{}", answer.code);
    }
    world.get(DAEMONS).await.ok(200);
}

#[tokio::test(start_paused = true)]
async fn bodies_have_a_size() {
    let world = World::new().await;
    world.post(CONFIGS, &config_map("a")).await.ok(201);
    let mut labels = String::from("{\"metadata\":{\"labels\":{");
    for at in 0..400_000 {
        let _infallible = write!(labels, "\"l{at}\":\"\",");
    }
    labels.push_str("\"l\":\"\"}}}");
    for (method, media) in MEDIA {
        let path = format!("{CONFIGS}/a");
        let answer = send(&world, method, &path, media, labels.clone().into_bytes()).await;
        assert_eq!(answer.code, 413, "{method} {media}");
    }
    let mut many = String::from("{\"metadata\":{\"labels\":{");
    for at in 0..100_000 {
        let _infallible = write!(many, "\"l{at}\":\"\",");
    }
    many.push_str("\"l\":\"\"}}}");
    let media = "application/merge-patch+json";
    let answer = send(&world, "PATCH", &format!("{CONFIGS}/a"), media, many.into_bytes()).await;
    assert!((200..=500).contains(&answer.code), "{}", answer.code);
    world.get(CONFIGS).await.ok(200);
}

#[tokio::test(start_paused = true)]
async fn aliases_and_copies_do_not_grow_a_document() {
    let world = World::new().await;
    world.post(CONFIGS, &config_map("a")).await.ok(201);
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let below = [format!("*a{}", level - 1).as_str(); 10].join(",");
        let _infallible = writeln!(bomb, "a{level}: &a{level} [{below}]");
    }
    for (method, media) in [MEDIA[1], MEDIA[6]] {
        let path = format!("{CONFIGS}/a");
        let answer = send(&world, method, &path, media, bomb.clone().into_bytes()).await;
        assert_eq!(answer.code, 400, "{media}");
    }
    let copies: Vec<Value> = (0..60)
        .map(|at| json!({"op": "copy", "from": "/data", "path": format!("/data/c{at}")}))
        .collect();
    let body = Value::from(copies).to_string().into_bytes();
    let answer = send(&world, "PATCH", &format!("{CONFIGS}/a"), MEDIA[3].1, body).await;
    assert_eq!(answer.code, 422);
}

/// Bodies to begin with: sound ones of several kinds, and patches of every type.
fn corpus() -> Vec<(&'static str, String)> {
    let daemon = daemon_set("m");
    let apply = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "m", "labels": {"a": "b"}},
        "spec": daemon["spec"],
    });
    vec![
        (CONFIGS, config_map("m").to_string()),
        (DAEMONS, daemon.to_string()),
        (PODS, pod("m", "").to_string()),
        (DAEMONS, apply.to_string()),
        (DAEMONS, json!([
            {"op": "test", "path": "/spec/selector/matchLabels", "value": {}},
            {"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "x", "image": "y"}},
            {"op": "move", "from": "/metadata/labels", "path": "/metadata/annotations"},
            {"op": "copy", "from": "/spec/template", "path": "/spec/template/spec/containers/0"},
        ]).to_string()),
        (DAEMONS, json!({"spec": {"template": {"spec": {
            "$setElementOrder/containers": [{"name": "main"}, {"name": "b"}],
            "containers": [{"name": "b", "image": "i", "$patch": "replace"}, {"name": "main", "$patch": "delete"}],
            "$retainKeys": ["containers"],
            "$deleteFromPrimitiveList/finalizers": ["x"],
        }}}}).to_string()),
        (CONFIGS, json!({"metadata": {"managedFields": [{}], "finalizers": ["a.b/c"]}, "data": null}).to_string()),
        (CONFIGS, "apiVersion: v1\nkind: ConfigMap\nmetadata: &m\n  name: m\ndata:\n  <<: {a: on}\n  b: |\n    x\n  c: 0x1F\n".to_owned()),
    ]
}

/// Pieces that documents are spoiled with.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "true",
    "-1",
    "1e99",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "&a",
    "*a",
    "<<",
    "---\n",
    "!!binary ",
    "\t",
    "\n  - ",
    "$patch",
    "\"$patch\":\"replace\",",
    "\"kind\":\"Secret\",",
    "\"metadata\":null,",
    "\"spec\":[],",
    "\"name\":{},",
    "\"containers\":[null],",
    "/-1",
    "/~2",
    "9223372036854775808",
    "\"\"",
    "[[[[[[[[",
    "{\"a\":{\"a\":{\"a\":",
    "999999999Ei",
    "2006-01-02",
];

fn spoiled(dice: &mut Dice, text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len() + 1);
        let end = (at + dice.below(24)).min(bytes.len());
        match dice.below(7) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] = u8::try_from(dice.below(256)).expect("a byte"),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            4 => {
                let other = corpus();
                let other = dice.pick(&other).1.as_bytes().to_vec();
                let from = dice.below(other.len());
                bytes.splice(at..end, other[from..].iter().copied());
            }
            _ => {
                let piece = dice.pick(PIECES).as_bytes().to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

#[tokio::test(start_paused = true)]
async fn spoiled_bodies_are_answered_and_leave_the_server_sound() {
    let world = World::new().await;
    for (path, object) in
        [(CONFIGS, config_map("m")), (DAEMONS, daemon_set("m")), (PODS, pod("m", ""))]
    {
        world.post(path, &object).await.ok(201);
    }
    let corpus = corpus();
    for seed in 0..number("hostile_bodies") {
        let mut dice = Dice(seed);
        let (collection, text) = dice.pick(&corpus).clone();
        let body = spoiled(&mut dice, &text);
        let (method, media) = *dice.pick(&MEDIA);
        let shown = String::from_utf8_lossy(&body).into_owned();
        let answer = send(&world, method, &format!("{collection}/m"), media, body).await;
        assert!(
            (200..=500).contains(&answer.code) && answer.code != 404,
            "seed {seed}: {method} {media} {} for {shown}",
            answer.code
        );
        if answer.code == 500 {
            // Upstream's own 500s say why; a fault of ours would be an internal error.
            assert_ne!(answer.at("/reason"), "InternalError", "seed {seed}: {}", answer.text);
        }
    }
    for path in [CONFIGS, DAEMONS, PODS] {
        let list = world.get(path).await.ok(200);
        for name in list.names() {
            let one = world.get(&format!("{path}/{name}")).await.ok(200);
            assert_eq!(one.at("/metadata/name"), name);
        }
    }
}
