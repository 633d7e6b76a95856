//! Tests of reading protobuf bodies.

use super::*;
use serde_json::json;

/// A field of any number and length.
fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for mut value in [number << 3 | 2, bytes.len() as u64] {
        while value > 0x7f {
            out.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
            value >>= 7;
        }
        out.push(u8::try_from(value).expect("seven bits"));
    }
    out.extend_from_slice(bytes);
    out
}

fn body(kind: &str, object: &[u8]) -> Vec<u8> {
    let about = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &about), field(2, object)].concat()
}

#[test]
fn a_config_map_is_read_and_what_go_writes_unasked_is_not() {
    let meta = [field(1, b"x"), field(2, b""), vec![7 << 3, 0], field(8, b"")].concat();
    let data = [field(1, b"k"), field(2, b"v")].concat();
    let more = [field(1, b"l"), field(2, b"w")].concat();
    let object = [field(1, &meta), field(2, &data), field(2, &more)].concat();
    assert_eq!(
        read(&body("ConfigMap", &object)).expect("read").into_value(),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "generation": 0}, "data": {"k": "v", "l": "w"}})
    );
}

#[test]
fn quantities_and_numbers_or_texts_are_read() {
    let hard = [field(1, b"pods"), field(2, &field(1, b"3"))].concat();
    let object = [field(1, &field(1, b"q")), field(2, &field(1, &hard))].concat();
    assert_eq!(
        read(&body("ResourceQuota", &object)).expect("read").into_value()["spec"],
        json!({"hard": {"pods": "3"}})
    );
    let percent = [vec![1 << 3, 1, 2 << 3, 0], field(3, b"10%")].concat();
    let number = [vec![1 << 3, 0, 2 << 3, 4], field(3, b"")].concat();
    let spec = [field(1, &percent), field(3, &number)].concat();
    assert_eq!(
        read(&body("PodDisruptionBudget", &field(2, &spec))).expect("read").into_value()["spec"],
        json!({"minAvailable": "10%", "maxUnavailable": 4})
    );
}

#[test]
fn what_is_cut_off_or_unknown_is_refused() {
    let whole = body("Namespace", &field(1, &field(1, b"x")));
    for end in 0..whole.len() {
        // Cut between two fields, what is left is a shorter message; it must not be taken for the whole.
        if let Ok(node) = read(&whole[..end]) {
            assert_ne!(node, read(&whole).expect("read"));
        }
    }
    read(&body("Nonsense", b"")).expect_err("no such kind");
    let newer = [field(1, &field(1, b"x")), field(9, b"x"), vec![10 << 3 | 5, 1, 2, 3, 4]];
    assert_eq!(read(&body("Namespace", &newer.concat())), read(&whole), "as upstream");
    read(&body("Pod", &field(2, &field(60, b"x")))).expect_err("it may be one we lack");
    read(b"{}").expect_err("no protobuf");
}

#[test]
fn what_json_writes_in_place_raw_json_and_lists_in_maps_are_read() {
    let directory = field(2, &[field(1, b"/x"), field(2, b"Directory")].concat());
    let volume = [field(1, b"v"), field(2, &field(1, &directory[2..]))].concat();
    let limits = [field(1, b"cpu"), field(2, &field(1, b"250m"))].concat();
    let container =
        [field(1, b"c"), field(4, b""), field(8, &field(1, &limits)), field(3, b"")].concat();
    let spec = [field(1, &volume), field(2, &container), vec![4 << 3, 30, 11 << 3, 0]].concat();
    assert_eq!(
        read(&body("Pod", &field(2, &spec))).expect("read").into_value()["spec"],
        json!({
            "volumes": [{"name": "v", "hostPath": {"path": "/x", "type": "Directory"}}],
            "containers": [{"name": "c", "args": [""], "resources": {"limits": {"cpu": "250m"}}, "command": [""]}],
            "terminationGracePeriodSeconds": 30, "hostNetwork": false,
        })
    );
    let object = [field(2, &field(1, br#"{"spec":[1]}"#)), vec![3 << 3, 7]].concat();
    let revision = read(&body("ControllerRevision", &object)).expect("read").into_value();
    assert_eq!((&revision["data"], &revision["revision"]), (&json!({"spec": [1]}), &json!(7)));
    let extra = [field(1, b"scopes"), field(2, &[field(1, b"a"), field(1, b"b")].concat())];
    let asked = field(2, &field(5, &extra.concat()));
    assert_eq!(
        read(&body("SubjectAccessReview", &asked)).expect("read").into_value()["spec"],
        json!({"extra": {"scopes": ["a", "b"]}})
    );
    let renewed = field(4, &[vec![1 << 3, 1, 2 << 3], vec![0xc0, 0x84, 0x3d]].concat());
    assert_eq!(
        read(&body("Lease", &field(2, &renewed))).expect("read").into_value()["spec"],
        json!({"renewTime": "1970-01-01T00:00:01.001000Z"})
    );
}

#[test]
fn schemas_of_custom_resources_are_read_with_their_doubles_and_flags() {
    let mut least = vec![11 << 3 | 1];
    least.extend(1.5_f64.to_le_bytes());
    let mut most = vec![9 << 3 | 1];
    most.extend(4_f64.to_le_bytes());
    let number = [field(5, b"number"), least, most].concat();
    let anything = field(30, &[1 << 3, 1]);
    let open = [field(5, b"object"), anything].concat();
    let items = field(24, &field(1, &number));
    let list = [field(5, b"array"), items].concat();
    let named = |name: &[u8], held: &[u8]| field(29, &[field(1, name), field(2, held)].concat());
    let schema = [named(b"open", &open), named(b"list", &list)].concat();
    let version =
        [field(1, b"v1"), field(4, &field(1, &schema)), field(5, &field(1, b""))].concat();
    let spec = [field(1, b"x.io"), field(7, &version)].concat();
    let read = read(&body("CustomResourceDefinition", &field(2, &spec))).expect("read");
    assert_eq!(
        read.into_value()["spec"]["versions"][0],
        json!({"name": "v1", "subresources": {"status": {}}, "schema": {"openAPIV3Schema": {"properties": {
            "open": {"type": "object", "additionalProperties": true},
            "list": {"type": "array", "items": {"type": "number", "minimum": 1.5, "maximum": 4}},
        }}}})
    );
}

#[test]
fn bodies_of_subresources_and_deletes_are_read() {
    let scale = read(&body("Scale", &field(2, &[1 << 3, 3]))).expect("read").into_value();
    assert_eq!(scale["spec"], json!({"replicas": 3}));
    let target = field(2, &[field(1, b"Node"), field(3, b"n1")].concat());
    let binding = read(&body("Binding", &target)).expect("read").into_value();
    assert_eq!(binding["target"], json!({"kind": "Node", "name": "n1"}));
    let options = [vec![1 << 3, 0], field(4, b"Foreground")].concat();
    let sent = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Foreground"});
    let eviction = read(&body("Eviction", &field(2, &options))).expect("read").into_value();
    assert_eq!(eviction["deleteOptions"], sent);
    let delete = read(&body("DeleteOptions", &options)).expect("read").into_value();
    assert_eq!(delete["propagationPolicy"], sent["propagationPolicy"]);
    let asked = field(2, &[field(1, b"a"), vec![4 << 3, 120]].concat());
    let token = read(&body("TokenRequest", &asked)).expect("read").into_value();
    assert_eq!(token["spec"], json!({"audiences": ["a"], "expirationSeconds": 120}));
}

#[test]
fn a_claim_that_wants_no_class_says_so() {
    let spec = field(2, &field(5, b""));
    assert_eq!(
        read(&body("PersistentVolumeClaim", &spec)).expect("read").into_value()["spec"],
        json!({"storageClassName": ""})
    );
}

#[test]
fn hostile_bytes_are_refused_or_read_and_never_a_panic() {
    // schemas within schemas, deeper than anything that is served
    let mut deep = field(5, b"object");
    for _ in 0..2_000 {
        deep = field(28, &deep);
    }
    let version = field(4, &field(1, &deep));
    let spec = field(2, &field(7, &version));
    read(&body("CustomResourceDefinition", &spec)).expect_err("nested too deep");
    // a length that lies, by much
    let lying = [MAGIC, &[1 << 3 | 2], &[0xff; 9], &[1]].concat();
    read(&lying).expect_err("shorter than it says");
    read(&body("Namespace", &field(1, &field(1, b"\xff\xfe")))).expect_err("no text");

    let meta = [field(1, b"x"), field(11, &[field(1, b"k"), field(2, b"v")].concat())].concat();
    let port = [field(1, b"p"), vec![3 << 3, 80]].concat();
    let container = [field(1, b"c"), field(6, &port), field(8, &field(1, b"\x0a\x00"))].concat();
    let pod = [field(1, &meta), field(2, &field(2, &container))].concat();
    let whole = body("Pod", &pod);
    read(&whole).expect("read");
    // every byte replaced, lost and doubled
    for at in 0..whole.len() {
        for byte in [0, 1, 2, 0x7f, 0x80, 0xff, whole[at] ^ 1, whole[at] ^ 8, whole[at] ^ 0x40] {
            let mut changed = whole.clone();
            changed[at] = byte;
            drop(read(&changed));
            changed.remove(at);
            drop(read(&changed));
            changed.insert(at, byte);
            changed.insert(at, whole[at]);
            drop(read(&changed));
        }
    }
}
