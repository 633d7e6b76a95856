//! What `kubectl get` prints: columns shared by kinds, ages and other cells (spec A100–A106).

use super::Column;
use super::json::Json;
use serde_json::Value;

/// The column every table begins with.
pub(crate) const NAME: Column = Column {
    name: "Name",
    r#type: "string",
    format: "name",
    priority: 0,
    description: "Name of the object, unique for its kind in its namespace.",
};

/// The column most tables end with.
pub(crate) const AGE: Column = column("Age", "string", "Time since the object was created.");

/// Wide columns of everything that has a pod template.
pub(crate) const CONTAINERS: Column =
    wide("Containers", "string", "Names of the template's containers.");
pub(crate) const IMAGES: Column = wide("Images", "string", "Images of the template's containers.");
pub(crate) const SELECTOR: Column = wide("Selector", "string", "Labels by which pods are counted.");

/// Name and age alone.
pub(crate) const PLAIN: &[Column] = &[NAME, AGE];

/// A column that is always shown.
pub(crate) const fn column(
    name: &'static str,
    r#type: &'static str,
    description: &'static str,
) -> Column {
    Column { name, r#type, format: "", priority: 0, description }
}

/// A column shown with `-o wide`.
pub(crate) const fn wide(
    name: &'static str,
    r#type: &'static str,
    description: &'static str,
) -> Column {
    Column { name, r#type, format: "", priority: 1, description }
}

/// Name and the raw moment of creation.
pub(crate) const CREATED: &[Column] =
    &[NAME, column("Created At", "date", "When the object was created.")];

/// Cells of [`CREATED`].
pub(crate) fn created_cells(object: &Value) -> Vec<Value> {
    vec![name(object), object.at("metadata").at("creationTimestamp").clone()]
}

/// Cells of [`PLAIN`].
pub(crate) fn plain_cells(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![name(object), age(object, now)]
}

/// The object's name.
pub(crate) fn name(object: &Value) -> Value {
    object.at("metadata").at("name").clone()
}

/// Time since the object was created.
pub(crate) fn age(object: &Value, now: jiff::Timestamp) -> Value {
    since(object.at("metadata").text("creationTimestamp"), now).into()
}

/// Time since a moment, as people read it; `<unknown>` for none.
pub(crate) fn since(moment: &str, now: jiff::Timestamp) -> String {
    match moment.parse::<jiff::Timestamp>() {
        Ok(moment) => human(now.as_second() - moment.as_second()),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// Seconds as people read them (spec A106).
pub(crate) fn human(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |big: i64, big_unit: char, small: i64, small_unit: char| {
        let (whole, rest) = (seconds / big, seconds % big / small);
        if rest == 0 {
            format!("{whole}{big_unit}")
        } else {
            format!("{whole}{big_unit}{rest}{small_unit}")
        }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => two(MINUTE, 'm', 1, 's'),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => two(HOUR, 'h', MINUTE, 'm'),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => two(DAY, 'd', HOUR, 'h'),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => two(YEAR, 'y', DAY, 'd'),
        s => format!("{}y", s / YEAR),
    }
}

/// `a,b` or the word for nothing.
pub(crate) fn joined(items: &[String], nothing: &str) -> Value {
    if items.is_empty() { nothing.into() } else { items.join(",").into() }
}

/// A text, or `<none>`.
pub(crate) fn or_none(text: &str) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

/// A label selector in one line: `a=b,c in (d,e),!f`; `<none>` when it asks for nothing.
pub(crate) fn selector(selector: &Value) -> Value {
    let mut parts: Vec<(String, String)> = selector
        .entries("matchLabels")
        .iter()
        .map(|(key, value)| {
            ((*key).to_owned(), format!("{key}={}", value.as_str().unwrap_or_default()))
        })
        .collect();
    for wanted in selector.list("matchExpressions") {
        let key = wanted.text("key");
        let mut values: Vec<&str> =
            wanted.list("values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match wanted.text("operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        parts.push((key.to_owned(), text));
    }
    // Of one key: as they were written, labels first.
    parts.sort_by(|(one, _), (other, _)| one.cmp(other));
    let texts: Vec<String> = parts.into_iter().map(|(_, text)| text).collect();
    joined(&texts, "<none>")
}

/// A map of labels in one line: `a=b,c=d`; `<none>` when there are none.
pub(crate) fn labels(map: &Value) -> Value {
    let all = map.as_object().into_iter().flatten();
    let all = all.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    joined(&all.collect::<Vec<_>>(), "<none>")
}
