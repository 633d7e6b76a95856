//! The letters that Go's encoder never writes as they are.
//!
//! Clients compare bytes of what they hold as raw JSON (the data of a ControllerRevision) with what their own encoder
//! writes, so they have to be the same bytes.

/// Replaces `<`, `>`, `&`, U+2028 and U+2029 in JSON from `from` on by escapes. They only occur within strings there.
pub(super) fn as_go(json: &mut Vec<u8>, from: usize) {
    let Some(written) = json.get(from..) else { return };
    let Some(first) = first(written) else { return };
    let mut out = Vec::with_capacity(written.len() - first + 16);
    let mut rest = written.get(first..).unwrap_or_default();
    while let Some(at) = self::first(rest) {
        let (plain, found) = rest.split_at(at);
        out.extend_from_slice(plain);
        let (escape, length): (&[u8], usize) = match found {
            [b'<', ..] => (b"\\u003c", 1),
            [b'>', ..] => (b"\\u003e", 1),
            [b'&', ..] => (b"\\u0026", 1),
            [_, _, 0xa8, ..] => (b"\\u2028", 3),
            _ => (b"\\u2029", 3),
        };
        out.extend_from_slice(escape);
        rest = found.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    json.truncate(from + first);
    json.append(&mut out);
}

/// Where the first of them is.
fn first(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let rest = bytes.get(from..)?;
        let at = from + rest.iter().position(|byte| matches!(byte, b'<' | b'>' | b'&' | 0xe2))?;
        match bytes.get(at..).unwrap_or_default() {
            [0xe2, 0x80, 0xa8 | 0xa9, ..] => return Some(at),
            [0xe2, ..] => from = at + 1,
            _ => return Some(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn escaped(value: &Value) -> String {
        let mut out = b"<kept".to_vec();
        let from = out.len();
        out.extend(value.to_string().into_bytes());
        as_go(&mut out, from);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn five_letters_are_escaped_and_everything_else_is_left() {
        let value = json!({"a<b": ["x>y&z", "\u{2028}\u{2029}", "\u{2027}\u{202a}é€", "plain"]});
        let text = escaped(&value);
        assert_eq!(
            text,
            "<kept{\"a\\u003cb\":[\"x\\u003ey\\u0026z\",\"\\u2028\\u2029\",\"\u{2027}\u{202a}é€\",\"plain\"]}"
        );
        assert_eq!(serde_json::from_str::<Value>(&text["<kept".len()..]).unwrap(), value);
        assert_eq!(escaped(&json!({"a": 1})), "<kept{\"a\":1}");
    }
}
