//! Where two normalised answers differ, in words.

use serde_json::{Map, Value};

/// Longest value quoted in a difference, characters.
const QUOTE_MAX: usize = 600;

/// What differs, one line each; empty when nothing does.
pub fn differences(want: &Value, got: &Value) -> Vec<String> {
    let mut out = Vec::new();
    walk(want, got, "$", &mut out);
    out
}

fn walk(want: &Value, got: &Value, path: &str, out: &mut Vec<String>) {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => objects(want, got, path, out),
        (Value::Array(want), Value::Array(got)) => {
            for index in 0..want.len().max(got.len()) {
                member(want.get(index), got.get(index), &format!("{path}[{index}]"), out);
            }
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => {}
        _ if want != got => out.push(format!("{path}: want {} got {}", short(want), short(got))),
        _ => {}
    }
}

fn objects(want: &Map<String, Value>, got: &Map<String, Value>, path: &str, out: &mut Vec<String>) {
    let mut keys: Vec<&String> = want.keys().chain(got.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        member(want.get(key), got.get(key), &format!("{path}.{key}"), out);
    }
}

fn member(want: Option<&Value>, got: Option<&Value>, path: &str, out: &mut Vec<String>) {
    match (want, got) {
        (Some(want), Some(got)) => walk(want, got, path, out),
        (Some(want), None) => out.push(format!("{path}: missing, want {}", short(want))),
        (None, Some(got)) => out.push(format!("{path}: unexpected {}", short(got))),
        (None, None) => {}
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(QUOTE_MAX) {
        Some((end, _)) => format!("{}...({})", &text[..end], text.len()),
        None => text,
    }
}
