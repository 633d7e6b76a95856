//! JSON bytes as Go's encoder writes them, since a revision's identity is the equality of its bytes
//! (spec B51).

use serde_json::Value;
use std::collections::BTreeMap;

/// Sorted keys, no spaces; `<`, `>`, `&`, U+2028 and U+2029 escaped. Members that are null are left out:
/// absent and null are the same to the API, and older servers wrote `creationTimestamp: null`.
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            // Sorted here rather than by the map, which keeps insertion order under some features.
            let sorted: BTreeMap<&String, &Value> =
                members.iter().filter(|(_, member)| !member.is_null()).collect();
            out.push('{');
            for (at, (key, member)) in sorted.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_string(key, out);
                out.push(':');
                write(member, out);
            }
            out.push('}');
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let code = u32::from(c);
                out.push_str("\\u");
                for shift in [12, 8, 4, 0] {
                    out.push(char::from_digit((code >> shift) & 0xf, 16).unwrap_or('0'));
                }
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// A map of strings; members that are not strings are left out.
pub fn strings(value: &Value) -> BTreeMap<String, String> {
    let members = value.as_object().into_iter().flatten();
    members.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bytes_are_those_of_gos_encoder() {
        let value = json!({
            "b": ["<a&b>", "\u{2028}\u{2029}\u{1}\n\t\"\\é"],
            "a": {"z": 1, "y": null, "x": true},
            "c": -5,
        });
        assert_eq!(
            canonical(&value),
            r#"{"a":{"x":true,"z":1},"b":["\u003ca\u0026b\u003e","\u2028\u2029\u0001\n\t\"\\é"],"c":-5}"#
        );
    }
}
