//! Values while a rule runs. What comes from an object is looked at where it lies.

use super::types::Type;
use api::Quantity;
use base64::Engine;
use serde_json::Value;
use std::cmp::Ordering;

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Val<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// Nanoseconds.
    Duration(i128),
    Time(jiff::Timestamp),
    Quantity(Quantity),
    List(Vec<Val<'v>>),
    Map(Vec<(Val<'v>, Val<'v>)>),
    /// An object or a list of the object that is judged.
    Held(&'v Value, &'v Type),
}

impl<'v> Val<'v> {
    /// A value of an object, of the type that the schema gives it.
    pub(super) fn of(value: &'v Value, kind: &'v Type) -> Self {
        match (value, kind) {
            (Value::Null, _) => Self::Null,
            (Value::Bool(value), _) => Self::Bool(*value),
            (Value::Number(number), Type::Double) => Self::Double(number.as_f64().unwrap_or(0.0)),
            (Value::Number(number), _) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Self::Int(whole),
                (None, real) => Self::Double(real.unwrap_or(0.0)),
            },
            (Value::String(text), Type::Bytes) => {
                let read = base64::engine::general_purpose::STANDARD.decode(text);
                read.map_or_else(|_| Self::Text(text.clone()), Self::Bytes)
            }
            (Value::String(text), Type::Time) => {
                moment(text).map_or_else(|| Self::Text(text.clone()), Self::Time)
            }
            (Value::String(text), Type::Duration) => {
                duration(text).map_or_else(|| Self::Text(text.clone()), Self::Duration)
            }
            (Value::String(text), _) => Self::Text(text.clone()),
            (Value::Array(_) | Value::Object(_), _) => Self::Held(value, kind),
        }
    }

    /// The field of an object or the value of a key.
    pub(super) fn field(&self, name: &str) -> Option<Self> {
        match self {
            Self::Held(Value::Object(fields), kind) => {
                Some(Self::of(fields.get(name)?, part(kind, name)))
            }
            Self::Map(entries) => {
                let found =
                    entries.iter().find(|(key, _)| matches!(key, Self::Text(key) if key == name));
                found.map(|(_, value)| value.clone())
            }
            _ => None,
        }
    }

    /// The items of a list, or the keys of a map.
    pub(super) fn items(&self) -> Option<Vec<Self>> {
        match self {
            Self::List(items) => Some(items.clone()),
            Self::Map(entries) => Some(entries.iter().map(|(key, _)| key.clone()).collect()),
            Self::Held(Value::Array(items), kind) => {
                Some(items.iter().map(|item| Self::of(item, part(kind, ""))).collect())
            }
            Self::Held(Value::Object(fields), _) => {
                Some(fields.keys().map(|key| Self::Text(key.clone())).collect())
            }
            _ => None,
        }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::List(_) | Self::Held(Value::Array(_), _))
    }

    /// How messages call its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Time(_) => "google.protobuf.Timestamp",
            Self::Quantity(_) => "kubernetes.Quantity",
            _ if self.is_list() => "list",
            _ => "map",
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            #[expect(
                clippy::cast_precision_loss,
                reason = "CEL compares numbers of different types as reals"
            )]
            Self::Int(value) => Some(*value as f64),
            #[expect(
                clippy::cast_precision_loss,
                reason = "CEL compares numbers of different types as reals"
            )]
            Self::Uint(value) => Some(*value as f64),
            Self::Double(value) => Some(*value),
            _ => None,
        }
    }

    /// Which of two values comes first, where they have an order.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Uint(a), Self::Uint(b)) => Some(a.cmp(b)),
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Time(a), Self::Time(b)) => Some(a.cmp(b)),
            (Self::Quantity(a), Self::Quantity(b)) => Some(a.cmp(b)),
            (a, b) => a.number()?.partial_cmp(&b.number()?),
        }
    }

    /// Equality; values of different types are not equal.
    pub(super) fn equals(&self, other: &Self) -> bool {
        if let Some(order) = self.order(other) {
            return order == Ordering::Equal;
        }
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (a, b) if a.is_list() && b.is_list() => {
                let (a, b) = (a.items().unwrap_or_default(), b.items().unwrap_or_default());
                a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.equals(b))
            }
            (Self::Held(..) | Self::Map(_), Self::Held(..) | Self::Map(_)) => {
                if self.is_list() || other.is_list() {
                    return false;
                }
                let (keys, others) =
                    (self.items().unwrap_or_default(), other.items().unwrap_or_default());
                keys.len() == others.len()
                    && keys.iter().all(|key| match (self.value_of(key), other.value_of(key)) {
                        (Some(a), Some(b)) => a.equals(&b),
                        _ => false,
                    })
            }
            _ => false,
        }
    }

    /// The value of a key.
    pub(super) fn value_of(&self, key: &Self) -> Option<Self> {
        match (self, key) {
            (Self::Map(entries), key) => {
                entries.iter().find(|(known, _)| known.equals(key)).map(|(_, value)| value.clone())
            }
            (held, Self::Text(name)) => held.field(name),
            _ => None,
        }
    }
}

/// The type of a field, or of the items of a list.
fn part<'v>(kind: &'v Type, name: &str) -> &'v Type {
    match kind {
        Type::List(of) | Type::Map(of) => of,
        Type::Object(fields) => fields.get(name).unwrap_or(&Type::Any),
        _ => &Type::Any,
    }
}

/// A moment: RFC 3339, or a day.
pub(super) fn moment(text: &str) -> Option<jiff::Timestamp> {
    text.parse().ok().or_else(|| {
        let day: jiff::civil::Date = text.parse().ok()?;
        Some(day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })
}

/// A duration of Go (`1h30m`, `1.5s`), in nanoseconds.
pub(super) fn duration(text: &str) -> Option<i128> {
    const UNITS: [(&str, i128); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
        ("d", 86_400_000_000_000),
    ];
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0_i128;
    let mut any = false;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let (name, unit) = UNITS
            .iter()
            .filter(|(name, _)| tail.starts_with(name))
            .max_by_key(|(name, _)| name.len())?;
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let mut scale = *unit;
        total +=
            if whole.is_empty() { 0 } else { whole.parse::<i64>().ok().map(i128::from)? * unit };
        for digit in part.chars().take(18) {
            scale /= 10;
            total += i128::from(digit.to_digit(10)?) * scale;
        }
        any = true;
        rest = tail.get(name.len()..)?;
    }
    any.then_some(sign * total)
}
