//! Quantities as they stand in objects; what cannot be read (decoding refused it before) counts as 0.

use api::quantity::Quantity;
use serde_json::Value;
use std::cmp::Ordering;

fn parse(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

/// The canonical form; empty for what is no quantity.
pub(crate) fn canonical(value: &Value) -> String {
    parse(value).map(|amount| amount.to_string()).unwrap_or_default()
}

/// The canonical form with nothing finer than a thousandth, rounded up (spec A14).
pub(crate) fn canonical_milli(value: &Value) -> String {
    parse(value).map(|amount| amount.rounded_to_milli().to_string()).unwrap_or_default()
}

/// Below zero.
pub(crate) fn is_negative(value: &Value) -> bool {
    parse(value).is_some_and(|amount| amount.is_negative())
}

/// Above zero.
pub(crate) fn is_positive(value: &Value) -> bool {
    parse(value).is_some_and(|amount| !amount.is_negative() && !amount.is_zero())
}

/// Without a fraction.
pub(crate) fn is_whole(value: &Value) -> bool {
    parse(value).is_none_or(|amount| amount.is_whole())
}

/// Whether `value` is a multiple of `unit`.
pub(crate) fn divides(unit: &Value, value: &Value) -> bool {
    match (parse(unit), parse(value)) {
        (Some(unit), Some(value)) if unit.units() > 0 => value.units() % unit.units() == 0,
        _ => false,
    }
}

/// Which is more; absent is 0.
pub(crate) fn compare(a: &Value, b: &Value) -> Ordering {
    let amount = |value| parse(value).unwrap_or_else(|| Quantity::from_units(0));
    amount(a).cmp(&amount(b))
}

/// As a number for ratios, upstream's way: in thousandths where they fit, in whole units else.
pub(crate) fn as_number(value: &Value) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a ratio, shown with six digits")]
    parse(value).map_or(0.0, |amount| match amount.units() {
        units if units < i64::MAX / 1000 => amount.milli() as f64 / 1000.0,
        units => units as f64,
    })
}
