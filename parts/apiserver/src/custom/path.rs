//! Paths into objects: `.spec.replicas`, and for columns also `.status.conditions[?(@.type=="Ready")].status`.

use serde_json::Value;

/// The value at a path of plain fields.
pub(crate) fn plain<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    path.trim_start_matches('.').split('.').try_fold(object, |value, key| value.get(key))
}

/// Sets the value at a path of plain fields; objects on the way are made.
pub(crate) fn set(object: &mut Value, path: &str, value: Value) {
    let mut at = object;
    for key in path.trim_start_matches('.').split('.') {
        if !at.is_object() {
            *at = Value::Object(serde_json::Map::new());
        }
        at = &mut at[key];
    }
    *at = value;
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    /// Items whose field stands in a relation to a value.
    Where(Vec<String>, String, Value),
    /// Items that have a field.
    With(Vec<String>),
}

/// A path of a column.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

impl JsonPath {
    /// Reads a path; what cannot be read leads nowhere.
    pub(crate) fn read(text: &str) -> Self {
        Self(steps(text).unwrap_or_else(|| vec![Step::Index(i64::MAX)]))
    }

    /// The first value it leads to.
    pub(crate) fn first<'v>(&self, object: &'v Value) -> Option<&'v Value> {
        let mut found = vec![object];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| walk(value, step)).collect();
        }
        found.into_iter().next()
    }
}

fn walk<'v>(value: &'v Value, step: &Step) -> Vec<&'v Value> {
    let items = || value.as_array().into_iter().flatten();
    match step {
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Index(at) => {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let place = if *at < 0 {
                items.len().checked_sub(usize::try_from(-at).unwrap_or(usize::MAX))
            } else {
                usize::try_from(*at).ok()
            };
            place.and_then(|place| items.get(place)).into_iter().collect()
        }
        Step::All => match value {
            Value::Object(fields) => fields.values().collect(),
            _ => items().collect(),
        },
        Step::With(keys) => items().filter(|item| dig(item, keys).is_some()).collect(),
        Step::Where(keys, sign, wanted) => items()
            .filter(|item| dig(item, keys).is_some_and(|found| stands(found, sign, wanted)))
            .collect(),
    }
}

fn dig<'v>(value: &'v Value, keys: &[String]) -> Option<&'v Value> {
    keys.iter().try_fold(value, |value, key| value.get(key))
}

fn stands(found: &Value, sign: &str, wanted: &Value) -> bool {
    let order = match (found, wanted) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (a, b) => a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b)),
    };
    match (sign, order) {
        ("==", order) => order.is_some_and(std::cmp::Ordering::is_eq),
        ("!=", order) => order.is_none_or(std::cmp::Ordering::is_ne),
        ("<=", Some(order)) => order.is_le(),
        (">=", Some(order)) => order.is_ge(),
        ("<", Some(order)) => order.is_lt(),
        (">", Some(order)) => order.is_gt(),
        _ => false,
    }
}

fn steps(text: &str) -> Option<Vec<Step>> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = closing(inner)?;
            found.push(bracket(inner.get(..end)?.trim())?);
            rest = inner.get(end + 1..)?;
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let (name, tail) = name(rest);
            if name == "*" {
                found.push(Step::All);
            } else if !name.is_empty() {
                found.push(Step::Field(name));
            }
            if tail.len() == rest.len() && !tail.starts_with('[') && !tail.is_empty() {
                return None;
            }
            rest = tail;
        }
    }
    Some(found)
}

/// A name up to the next dot or bracket; a backslash keeps what follows.
fn name(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '.' | '[' => return (out, text.get(at..).unwrap_or_default()),
            '\\' => out.extend(chars.next().map(|(_, c)| c)),
            c => out.push(c),
        }
    }
    (out, "")
}

/// The place of the bracket that closes, outside of quotes.
fn closing(text: &str) -> Option<usize> {
    let (mut quote, mut depth) = (None, 0_usize);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn bracket(inner: &str) -> Option<Step> {
    if inner == "*" {
        return Some(Step::All);
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return filter_step(filter.trim());
    }
    if let Some(name) = unquoted(inner) {
        return Some(Step::Field(name.to_owned()));
    }
    inner.parse().ok().map(Step::Index)
}

fn filter_step(filter: &str) -> Option<Step> {
    let keys = |text: &str| -> Option<Vec<String>> {
        let plain = steps(text.trim().strip_prefix('@')?)?;
        plain
            .into_iter()
            .map(|step| if let Step::Field(name) = step { Some(name) } else { None })
            .collect()
    };
    for sign in ["==", "!=", "<=", ">=", "<", ">"] {
        let Some((left, right)) = filter.split_once(sign) else { continue };
        let right = right.trim();
        let value = match unquoted(right) {
            Some(text) => Value::from(text),
            None => serde_json::from_str(right).ok()?,
        };
        return Some(Step::Where(keys(left)?, sign.to_owned(), value));
    }
    keys(filter).map(Step::With)
}

fn unquoted(text: &str) -> Option<&str> {
    ['\'', '"'].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_find_what_they_name() {
        let object = json!({"spec": {"n": 3, "a.b": {"c": 1}, "list": [1, 2, 3]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]}});
        let find = |path: &str| JsonPath::read(path).first(&object).cloned();
        assert_eq!(find(".spec.n"), Some(json!(3)));
        assert_eq!(find(".spec.a\\.b.c"), Some(json!(1)));
        assert_eq!(find(".spec['a.b'].c"), Some(json!(1)));
        assert_eq!(find(".spec.list[0]"), Some(json!(1)));
        assert_eq!(find(".spec.list[-1]"), Some(json!(3)));
        assert_eq!(find(".spec.list[*]"), Some(json!(1)));
        assert_eq!(find(".status.conditions[?(@.type==\"Ready\")].status"), Some(json!("True")));
        assert_eq!(find(".status.conditions[?(@.type=='Other')].status"), Some(json!("False")));
        assert_eq!(find(".status.conditions[?(@.type=='None')].status"), None);
        for broken in [".spec[", ".spec[x]", ".spec[?(", "[[[["] {
            assert_eq!(find(broken), None, "{broken}");
        }
    }
}
