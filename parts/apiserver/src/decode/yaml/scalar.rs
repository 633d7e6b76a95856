//! What a scalar means in YAML 1.1, as Go's parser has it: no base 60, no dates.

use crate::decode::node::Node;
use crate::decode::options::quote;
use serde_json::Number;

/// What a scalar stands for. A `plain` one is judged by its looks, any other is a text.
pub(super) fn value(text: &str, plain: bool) -> Result<Node, String> {
    if !plain {
        return Ok(Node::Text(text.to_owned()));
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Node::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Node::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Node::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" => return Err("json: unsupported value: NaN".to_owned()),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Err("json: unsupported value: +Inf".to_owned());
        }
        "-.inf" | "-.Inf" | "-.INF" => return Err("json: unsupported value: -Inf".to_owned()),
        text => number(text).map_or_else(|| Node::Text(text.to_owned()), Node::Number),
    })
}

fn number(text: &str) -> Option<Number> {
    let first = text.bytes().next()?;
    if first == b'.' {
        return float(text);
    }
    if !first.is_ascii_digit() && !matches!(first, b'+' | b'-') {
        return None;
    }
    let plain = text.replace('_', "");
    whole(&plain).or_else(|| float(&plain))
}

/// An integer with Go's prefixes: `0x`, `0o`, `0b`, and `0` alone for octal.
fn whole(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| char::from(byte).is_digit(radix)) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        return 0i64.checked_sub_unsigned(value).map(Number::from);
    }
    (!text.starts_with('+') || i64::try_from(value).is_ok()).then(|| value.into())
}

/// A decimal fraction. A whole one is written without a point, as Go writes it in JSON.
fn float(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let sound = (digits(before) && (after.is_empty() || digits(after)))
        || (before.is_empty() && digits(after));
    let exponent =
        exponent.is_none_or(|text| digits(text.strip_prefix(['+', '-']).unwrap_or(text)));
    if !sound || !exponent {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "compared with what it was")]
    let rounded = value as i64;
    #[expect(clippy::cast_precision_loss, reason = "compared with what it was")]
    let same = (rounded as f64).total_cmp(&value).is_eq() && rounded != i64::MAX;
    if same { Some(rounded.into()) } else { Number::from_f64(value) }
}

/// A key as JSON has it.
pub(super) fn key(node: Node) -> Result<String, String> {
    match node {
        Node::Text(text) => Ok(text),
        Node::Bool(value) => Ok(value.to_string()),
        Node::Number(number) => Ok(number.to_string()),
        other => Err(format!("unsupported map key of type: {}", other.go_kind())),
    }
}

/// A key as Go prints it in a message.
pub(super) fn shown(node: &Node) -> String {
    match node {
        Node::Text(text) => quote(text),
        Node::Bool(value) => value.to_string(),
        Node::Number(number) => number.to_string(),
        other => other.go_kind().to_owned(),
    }
}
