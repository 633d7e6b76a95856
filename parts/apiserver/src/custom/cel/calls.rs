//! Operators and functions.

use super::eval::{Run, Stop, fault};
use super::patterns::{self, Patterns};
use super::value::{Val, duration, moment};
use api::Quantity;
use std::borrow::Cow;
use std::cmp::Ordering;

const OVERFLOW: &str = "integer overflow";
const NO_OVERLOAD: &str = "no such overload";

/// An operator or a function.
pub(super) fn call<'v>(name: &str, arguments: &[Val<'v>]) -> Run<'v> {
    match (name, arguments) {
        ("!_", [Val::Bool(value)]) => Ok(Val::Bool(!value)),
        ("-_", [Val::Int(value)]) => value.checked_neg().map(Val::Int).ok_or_else(overflow),
        ("-_", [Val::Double(value)]) => Ok(Val::Double(-value)),
        ("_==_", [a, b]) => Ok(Val::Bool(a.equals(b))),
        ("_!=_", [a, b]) => Ok(Val::Bool(!a.equals(b))),
        ("_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) => match a.order(b) {
            Some(order) => Ok(Val::Bool(match name {
                "_<_" => order == Ordering::Less,
                "_<=_" => order != Ordering::Greater,
                "_>_" => order == Ordering::Greater,
                _ => order != Ordering::Less,
            })),
            None => fault(NO_OVERLOAD),
        },
        ("@in", [item, of]) => match of.items() {
            Some(items) => Ok(Val::Bool(items.iter().any(|found| found.equals(item)))),
            None => fault(NO_OVERLOAD),
        },
        ("_[_]", [of, at]) => index(of, at),
        ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [a, b]) => arithmetic(name, a, b),
        (_, [one]) => convert(name, one),
        _ => fault(NO_OVERLOAD),
    }
}

fn overflow() -> Stop {
    Stop::Fault(OVERFLOW.to_owned())
}

fn index<'v>(of: &Val<'v>, at: &Val<'v>) -> Run<'v> {
    if !of.is_list() {
        return of.value_of(at).map_or_else(|| fault("no such key"), Ok);
    }
    let Val::Int(place) = at else { return fault(NO_OVERLOAD) };
    let items = of.items().unwrap_or_default();
    let found = usize::try_from(*place).ok().and_then(|place| items.get(place));
    found.cloned().map_or_else(|| fault(format!("index out of bounds: {place}")), Ok)
}

fn arithmetic<'v>(name: &str, a: &Val<'v>, b: &Val<'v>) -> Run<'v> {
    match (a, b) {
        (Val::Int(a), Val::Int(b)) => {
            if *b == 0 && matches!(name, "_/_" | "_%_") {
                return fault(if name == "_/_" { "division by zero" } else { "modulus by zero" });
            }
            let done = match name {
                "_+_" => a.checked_add(*b),
                "_-_" => a.checked_sub(*b),
                "_*_" => a.checked_mul(*b),
                "_/_" => a.checked_div(*b),
                _ => a.checked_rem(*b),
            };
            done.map(Val::Int).ok_or_else(overflow)
        }
        (Val::Uint(a), Val::Uint(b)) => {
            let done = match name {
                "_+_" => a.checked_add(*b),
                "_-_" => a.checked_sub(*b),
                "_*_" => a.checked_mul(*b),
                "_/_" => a.checked_div(*b),
                _ => a.checked_rem(*b),
            };
            done.map(Val::Uint).ok_or_else(overflow)
        }
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(match name {
            "_+_" => a + b,
            "_-_" => a - b,
            "_*_" => a * b,
            "_/_" => a / b,
            _ => return fault(NO_OVERLOAD),
        })),
        (Val::Text(a), Val::Text(b)) if name == "_+_" => Ok(Val::Text(format!("{a}{b}"))),
        (Val::Bytes(a), Val::Bytes(b)) if name == "_+_" => {
            Ok(Val::Bytes(a.iter().chain(b).copied().collect()))
        }
        (a, b) if name == "_+_" && a.is_list() && b.is_list() => {
            let mut items = a.items().unwrap_or_default();
            items.extend(b.items().unwrap_or_default());
            Ok(Val::List(items))
        }
        _ => moments(name, a, b),
    }
}

fn moments<'v>(name: &str, a: &Val<'v>, b: &Val<'v>) -> Run<'v> {
    let shifted = |at: &jiff::Timestamp, by: i128| {
        jiff::Timestamp::from_nanosecond(at.as_nanosecond() + by)
            .map_or_else(|_| fault("timestamp overflow"), |at| Ok(Val::Time(at)))
    };
    match (name, a, b) {
        ("_+_", Val::Duration(a), Val::Duration(b)) => Ok(Val::Duration(a + b)),
        ("_-_", Val::Duration(a), Val::Duration(b)) => Ok(Val::Duration(a - b)),
        ("_+_", Val::Time(at), Val::Duration(by)) | ("_+_", Val::Duration(by), Val::Time(at)) => {
            shifted(at, *by)
        }
        ("_-_", Val::Time(at), Val::Duration(by)) => shifted(at, -by),
        ("_-_", Val::Time(a), Val::Time(b)) => {
            Ok(Val::Duration(a.as_nanosecond() - b.as_nanosecond()))
        }
        _ => fault(NO_OVERLOAD),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "what CEL's conversions do; the range is checked"
)]
fn convert<'v>(name: &str, value: &Val<'v>) -> Run<'v> {
    let bad = |what: &str| {
        fault(format!("type conversion error from '{}' to '{what}'", value.type_name()))
    };
    match (name, value) {
        ("dyn", value) => Ok(value.clone()),
        ("type", value) => Ok(Val::Text(value.type_name().to_owned())),
        ("size", value) => size(value),
        ("int", Val::Int(_)) | ("double", Val::Double(_)) | ("uint", Val::Uint(_)) => {
            Ok(value.clone())
        }
        ("string", Val::Text(_)) | ("bool", Val::Bool(_)) => Ok(value.clone()),
        ("int", Val::Uint(found)) => i64::try_from(*found).map(Val::Int).map_err(|_| overflow()),
        ("int", Val::Double(found)) if found.abs() < 9.2e18 => Ok(Val::Int(*found as i64)),
        ("int", Val::Text(text)) => {
            text.parse().map_or_else(|_| bad("int"), |found| Ok(Val::Int(found)))
        }
        ("int", Val::Time(at)) => Ok(Val::Int(at.as_second())),
        ("uint", Val::Int(found)) => u64::try_from(*found).map(Val::Uint).map_err(|_| overflow()),
        ("uint", Val::Text(text)) => {
            text.parse().map_or_else(|_| bad("uint"), |found| Ok(Val::Uint(found)))
        }
        ("double", Val::Int(found)) => Ok(Val::Double(*found as f64)),
        ("double", Val::Text(text)) => {
            text.parse().map_or_else(|_| bad("double"), |found| Ok(Val::Double(found)))
        }
        ("bool", Val::Text(text)) => {
            text.parse().map_or_else(|_| bad("bool"), |found| Ok(Val::Bool(found)))
        }
        ("string", Val::Int(found)) => Ok(Val::Text(found.to_string())),
        ("string", Val::Uint(found)) => Ok(Val::Text(found.to_string())),
        ("string", Val::Double(found)) => Ok(Val::Text(found.to_string())),
        ("string", Val::Bool(found)) => Ok(Val::Text(found.to_string())),
        ("string", Val::Time(at)) => Ok(Val::Text(at.to_string())),
        ("string", Val::Bytes(bytes)) => String::from_utf8(bytes.clone())
            .map_or_else(|_| bad("string"), |text| Ok(Val::Text(text))),
        ("duration", Val::Text(text)) => duration(text)
            .map_or_else(|| bad("google.protobuf.Duration"), |found| Ok(Val::Duration(found))),
        ("timestamp", Val::Text(text)) => moment(text)
            .map_or_else(|| bad("google.protobuf.Timestamp"), |found| Ok(Val::Time(found))),
        ("quantity", Val::Text(text)) => Quantity::parse(text)
            .map_or_else(|error| fault(error.to_string()), |found| Ok(Val::Quantity(found))),
        ("isQuantity", Val::Text(text)) => Ok(Val::Bool(Quantity::parse(text).is_ok())),
        ("isURL", Val::Text(text)) => Ok(Val::Bool(crate::custom::format::fits("uri", text))),
        ("isIP", Val::Text(text)) => Ok(Val::Bool(text.parse::<std::net::IpAddr>().is_ok())),
        ("isCIDR", Val::Text(text)) => Ok(Val::Bool(crate::custom::format::fits("cidr", text))),
        _ => fault(NO_OVERLOAD),
    }
}

fn count<'v>(found: usize) -> Val<'v> {
    Val::Int(i64::try_from(found).unwrap_or(i64::MAX))
}

fn size<'v>(value: &Val<'v>) -> Run<'v> {
    match value {
        Val::Text(text) => Ok(count(text.chars().count())),
        Val::Bytes(bytes) => Ok(count(bytes.len())),
        other => other.items().map_or_else(|| fault(NO_OVERLOAD), |items| Ok(count(items.len()))),
    }
}

/// A function of a value.
pub(super) fn method<'v>(
    of: &Val<'v>,
    name: &str,
    arguments: &[Val<'v>],
    patterns: &Patterns,
) -> Run<'v> {
    match (of, name, arguments) {
        (of, "size", []) => size(of),
        (Val::Text(of), name, arguments) => text(of, name, arguments, patterns),
        (Val::Quantity(a), "isGreaterThan", [Val::Quantity(b)]) => Ok(Val::Bool(a > b)),
        (Val::Quantity(a), "isLessThan", [Val::Quantity(b)]) => Ok(Val::Bool(a < b)),
        (Val::Quantity(a), "compareTo", [Val::Quantity(b)]) => Ok(Val::Int(a.cmp(b) as i64)),
        (Val::Quantity(a), "sign", []) => {
            let zero = Quantity::parse("0").map_err(|error| Stop::Fault(error.to_string()))?;
            Ok(Val::Int(a.cmp(&zero) as i64))
        }
        (Val::Duration(nanos), name, []) => {
            let unit: i128 = match name {
                "getHours" => 3_600_000_000_000,
                "getMinutes" => 60_000_000_000,
                "getSeconds" => 1_000_000_000,
                _ => 1_000_000,
            };
            Ok(Val::Int(i64::try_from(nanos / unit).unwrap_or(i64::MAX)))
        }
        (Val::Time(at), name, []) => {
            let at = at.to_zoned(jiff::tz::TimeZone::UTC);
            Ok(Val::Int(match name {
                "getFullYear" => i64::from(at.year()),
                "getMonth" => i64::from(at.month()) - 1,
                "getDate" => i64::from(at.day()),
                "getDayOfMonth" => i64::from(at.day()) - 1,
                "getDayOfWeek" => i64::from(at.weekday().to_sunday_zero_offset()),
                "getDayOfYear" => i64::from(at.day_of_year()) - 1,
                "getHours" => i64::from(at.hour()),
                "getMinutes" => i64::from(at.minute()),
                "getSeconds" => i64::from(at.second()),
                _ => i64::from(at.millisecond()),
            }))
        }
        (of, name, arguments) if of.is_list() => {
            list(&of.items().unwrap_or_default(), name, arguments)
        }
        _ => fault(NO_OVERLOAD),
    }
}

fn list<'v>(items: &[Val<'v>], name: &str, arguments: &[Val<'v>]) -> Run<'v> {
    match (name, arguments) {
        ("isSorted", []) => Ok(Val::Bool(
            items.is_sorted_by(|a, b| a.order(b).is_some_and(|order| order != Ordering::Greater)),
        )),
        ("min" | "max", []) => {
            let wanted = if name == "min" { Ordering::Less } else { Ordering::Greater };
            let best = items.iter().fold(None::<&Val<'v>>, |best, item| match best {
                Some(best) if item.order(best) != Some(wanted) => Some(best),
                _ => Some(item),
            });
            best.cloned().map_or_else(|| fault(format!("{name} called on empty list")), Ok)
        }
        ("sum", []) => {
            let mut items = items.iter();
            let first = items.next().cloned().unwrap_or(Val::Int(0));
            items.try_fold(first, |sum, item| arithmetic("_+_", &sum, item))
        }
        ("indexOf", [wanted]) => Ok(place(items.iter().position(|item| item.equals(wanted)))),
        ("lastIndexOf", [wanted]) => Ok(place(items.iter().rposition(|item| item.equals(wanted)))),
        ("join", rest) => {
            let between = match rest {
                [Val::Text(between)] => between.as_str(),
                _ => "",
            };
            let texts: Option<Vec<&str>> = items
                .iter()
                .map(|item| if let Val::Text(text) = item { Some(text.as_str()) } else { None })
                .collect();
            texts.map_or_else(|| fault(NO_OVERLOAD), |texts| Ok(Val::Text(texts.join(between))))
        }
        _ => fault(NO_OVERLOAD),
    }
}

fn place<'v>(found: Option<usize>) -> Val<'v> {
    found.map_or(Val::Int(-1), count)
}

fn text<'v>(of: &str, name: &str, arguments: &[Val<'v>], patterns: &Patterns) -> Run<'v> {
    let chars: Vec<char> = of.chars().collect();
    let cut = |from: i64, to: i64| {
        let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
        let part = range.and_then(|(from, to)| chars.get(from..to));
        part.map_or_else(
            || fault(format!("index out of range: {from}")),
            |part| Ok(Val::Text(part.iter().collect())),
        )
    };
    let end = i64::try_from(chars.len()).unwrap_or(i64::MAX);
    let at = |byte: Option<usize>| {
        place(byte.map(|byte| of.get(..byte).unwrap_or_default().chars().count()))
    };
    let pattern = |text: &str| match patterns.get(text) {
        Some(built) => Ok(Cow::Borrowed(built)),
        None => patterns::build(text).map(Cow::Owned).map_err(Stop::Fault),
    };
    match (name, arguments) {
        ("startsWith", [Val::Text(part)]) => Ok(Val::Bool(of.starts_with(part.as_str()))),
        ("endsWith", [Val::Text(part)]) => Ok(Val::Bool(of.ends_with(part.as_str()))),
        ("contains", [Val::Text(part)]) => Ok(Val::Bool(of.contains(part.as_str()))),
        ("matches", [Val::Text(part)]) => Ok(Val::Bool(pattern(part)?.is_match(of))),
        ("find", [Val::Text(part)]) => {
            Ok(Val::Text(pattern(part)?.find(of).map_or("", |found| found.as_str()).to_owned()))
        }
        ("findAll", [Val::Text(part)]) => Ok(Val::List(
            pattern(part)?
                .find_iter(of)
                .map(|found| Val::Text(found.as_str().to_owned()))
                .collect(),
        )),
        ("indexOf", [Val::Text(part)]) => Ok(at(of.find(part.as_str()))),
        ("lastIndexOf", [Val::Text(part)]) => Ok(at(of.rfind(part.as_str()))),
        ("charAt", [Val::Int(place)]) if *place == end => Ok(Val::Text(String::new())),
        ("charAt", [Val::Int(place)]) => cut(*place, place.saturating_add(1)),
        ("substring", [Val::Int(from)]) => cut(*from, end),
        ("substring", [Val::Int(from), Val::Int(to)]) => cut(*from, *to),
        ("lowerAscii", []) => Ok(Val::Text(of.to_ascii_lowercase())),
        ("upperAscii", []) => Ok(Val::Text(of.to_ascii_uppercase())),
        ("trim", []) => Ok(Val::Text(of.trim().to_owned())),
        ("replace", [Val::Text(from), Val::Text(to)]) => {
            Ok(Val::Text(of.replace(from.as_str(), to)))
        }
        ("split", [Val::Text(between)]) => Ok(Val::List(
            of.split(between.as_str()).map(|part| Val::Text(part.to_owned())).collect(),
        )),
        _ => fault(NO_OVERLOAD),
    }
}
