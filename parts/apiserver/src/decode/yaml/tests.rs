//! Readings and refusals by example.

use super::*;
use serde_json::{Value, json};

fn value(text: &str) -> Value {
    read(text.as_bytes()).unwrap_or_else(|why| panic!("{text}: {why}")).node.into_value()
}

fn refusal(text: &str) -> String {
    read(text.as_bytes()).expect_err(text)
}

#[test]
fn scalars_are_read_as_yaml_1_1_has_them() {
    for (text, wanted) in [
        ("y", json!(true)),
        ("Off", json!(false)),
        ("yEs", json!("yEs")),
        ("'yes'", json!("yes")),
        ("!!str yes", json!("yes")),
        ("~", json!(null)),
        ("0644", json!(420)),
        ("0o644", json!(420)),
        ("-0x1F", json!(-31)),
        ("0b101", json!(5)),
        ("1_000", json!(1000)),
        ("08", json!(8)),
        ("+12", json!(12)),
        ("1e3", json!(1000)),
        ("1.50", json!(1.5)),
        (".5", json!(0.5)),
        ("1.", json!(1)),
        ("1e", json!("1e")),
        ("12:30:45", json!("12:30:45")),
        ("2001-12-14", json!("2001-12-14")),
        ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
        ("0x", json!("0x")),
        ("-", json!([null])),
        ("1.2.3", json!("1.2.3")),
        ("100m", json!("100m")),
    ] {
        assert_eq!(value(text), wanted, "{text}");
    }
}

#[test]
fn keys_become_texts() {
    assert_eq!(
        value("{y: 1, 010: 2, 1.5: 3, 'n': 4}"),
        json!({"true": 1, "8": 2, "1.5": 3, "n": 4})
    );
    assert_eq!(refusal("[a]: b"), "unsupported map key of type: array");
}

#[test]
fn anchors_and_merges_are_followed_within_reason() {
    assert_eq!(
        value("a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}\nc: *x\n"),
        json!({"a": {"k": 1, "l": 2}, "b": {"k": 3, "l": 2}, "c": {"k": 1, "l": 2}})
    );
    assert_eq!(value("a: [&x 1, *x]"), json!({"a": [1, 1]}));
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..9 {
        let below = [format!("*a{}", level - 1).as_str(); 9].join(",");
        bomb.extend([format!("a{level}: &a{level} [{below}]\n")]);
    }
    assert_eq!(refusal(&bomb), "document contains excessive aliasing");
    assert_eq!(refusal("a: &x [*x]"), "anchor contains itself");
    assert_eq!(refusal("a: *nobody"), "unknown anchor 'nobody' referenced");
}

/// Nested anchors around `inner`, sixty deep.
fn nest(first: usize, inner: &str) -> String {
    let open = (first..first + 60).map(|n| format!("&a{n} [")).collect::<Vec<_>>().concat();
    format!("- {open}{inner}{}\n", "]".repeat(60))
}

#[test]
fn nested_anchors_do_not_copy_a_document_over_and_over() {
    let list = |length: usize| vec!["0"; length].join(",");
    let large = nest(0, &list(20_000));
    let mut reader = reader(&large);
    reader.document().expect("large, but nothing repeats it");
    assert_eq!(reader.anchored, 0, "what no alias may repeat is not kept");
    assert_eq!(refusal(&format!("{large}- *a59\n")), "document contains excessive aliasing");
    let many = (0..20).map(|n| nest(n * 60, &list(1000))).collect::<Vec<_>>().concat();
    assert_eq!(refusal(&many), "document contains excessive aliasing");
    let few = (0..20).map(|n| nest(n * 60, "0")).collect::<Vec<_>>().concat();
    assert!(value(&few).is_array());
}

#[test]
fn long_texts_are_not_repeated_without_end() {
    let text = "x".repeat(100_000);
    let aliases = |count: usize| vec!["*t"; count].join(",");
    let body = |count| format!("a: &t {text}\nb: [{}]\n", aliases(count));
    assert_eq!(value(&body(2))["b"][1], json!(text));
    assert_eq!(refusal(&body(1000)), "document contains excessive aliasing");
    let keys = |count: usize| format!("a: &t {{{text}: 1}}\nb: [{}]\n", aliases(count));
    assert!(read(keys(1000).as_bytes()).is_err());
}

/// A search among all keys for each key would take minutes.
#[test]
#[expect(clippy::disallowed_methods, reason = "the real time is what is judged")]
fn many_keys_are_read_in_time() {
    let began = std::time::Instant::now();
    let keys = (0..200_000).map(|n| format!("k{n}: 0\n")).collect::<Vec<_>>().concat();
    assert_eq!(value(&keys).as_object().map(serde_json::Map::len), Some(200_000));
    let merged = (0..200_000).map(|n| format!("k{n}: 0, ")).collect::<Vec<_>>().concat();
    let merged = value(&format!("{{<<: {{{merged}}}, a: 1}}"));
    assert_eq!(merged.as_object().map(serde_json::Map::len), Some(200_001));
    assert!(began.elapsed() < std::time::Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn only_the_first_document_counts() {
    assert_eq!(value("--- {a: 1}\n--- {b: 2}\n"), json!({"a": 1}));
    assert_eq!(value(""), json!(null));
    assert_eq!(value("# nothing\n"), json!(null));
}

#[test]
fn refusals_name_lines_as_go_does() {
    for (text, words) in [
        ("not: [valid", "line 1: did not find expected ',' or ']'"),
        ("{a: b", "line 1: did not find expected ',' or '}'"),
        ("a: {b: [c}", "did not find expected ',' or ']'"),
        ("a: b: c\n - d", "mapping values are not allowed in this context"),
        ("a: b\n c: d", "line 2: mapping values are not allowed in this context"),
        ("a:\n\t- b", "line 2: found character that cannot start any token"),
        ("a: @b", "found character that cannot start any token"),
        ("a: \"abc", "found unexpected end of stream"),
        ("a: 1\nb: 'abc", "line 2: found unexpected end of stream"),
        ("a: b\nc\n", "line 3: could not find expected ':'"),
        ("- a\nb: c", "line 1: did not find expected '-' indicator"),
        ("a: b\n- c", "line 1: did not find expected key"),
        ("a:\n  b: c\n d: e", "line 2: did not find expected key"),
        ("a: \"\\q\"", "found unknown escape character"),
        ("x: - y", "block sequence entries are not allowed in this context"),
        ("a: \u{1}", "control characters are not allowed"),
    ] {
        assert_eq!(refusal(text), words, "{text:?}");
    }
    assert_eq!(read(&[b'a', 0xff]).expect_err("bytes"), "invalid leading UTF-8 octet");
}

#[test]
fn every_key_set_twice_is_told_with_its_line() {
    let read = read(b"a: 1\nb:\n  c: 1\n  c: 2\na: 3\n").expect("yaml");
    assert_eq!(
        read.faults,
        ["line 4: key \"c\" already set in map", "line 5: key \"a\" already set in map"]
    );
    assert_eq!(read.node.into_value(), json!({"a": 3, "b": {"c": 2}}));
}
