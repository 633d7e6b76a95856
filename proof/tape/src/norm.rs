//! Takes out of an answer what differs from run to run, as `tape.py` does.

use crate::send::{at, at_mut};
use crate::tape::Exchange;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use regex::Regex;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("a regular expression")
}

/// Length of a generated name's prefix at the most.
const PREFIX_MAX: usize = 58;
/// Columns whose cells are ages.
const AGES: &[&str] = &["Age", "Last Seen", "First Seen", "Created At"];
/// Fields whose values are times.
const TIMES: &[&str] = &["creationTimestamp", "deletionTimestamp", "time", "lastTransitionTime"];

static UUID: LazyLock<Regex> =
    LazyLock::new(|| regex("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"));
static TIME: LazyLock<Regex> = LazyLock::new(|| regex(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"));
static MICRO: LazyLock<Regex> = LazyLock::new(|| regex(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$"));
static AGE: LazyLock<Regex> = LazyLock::new(|| regex(r"^(\d+[smhdy])+( ago)?$"));
static GENERATED: LazyLock<Regex> = LazyLock::new(|| regex("^[a-z0-9]{5}$"));
static MESSAGES: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let time = r#"((?:creationTimestamp|deletionTimestamp|time|lastTransitionTime)\\*":\s*\\*")\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"#;
    vec![
        (regex(time), "${1}<time>"),
        (regex(r#"(resourceVersion\\*":\s*\\*")\d+"#), "${1}<rv>"),
        (regex(r"(too old resource version: \d+ \()\d+\)"), "${1}<rv>)"),
        (regex(r"(Too large resource version: \d+, current: )\d+"), "${1}<rv>"),
        (regex(r"(ResourceVersion in (?:precondition|object meta): )\d+"), "${1}<rv>"),
        (regex(r"(does not match the ResourceVersion in record \()\d+\)"), "${1}<rv>)"),
        (regex(r"kube-api-access-[a-z0-9]{5}\b"), "kube-api-access-<gen>"),
    ]
});

/// Normalises the answers of one case, in order. Values that the server drew are told by what they were learnt
/// from, so that the same value at two places is the same on both sides.
#[derive(Clone, Debug, Default)]
pub struct Norm {
    /// Value drawn, and what stands for it; in the order of learning.
    drawn: Vec<(Value, String)>,
    columns: Vec<Value>,
}

impl Norm {
    fn keep(&mut self, value: &Value, placeholder: String) {
        if !self.drawn.iter().any(|(known, _)| known == value) {
            self.drawn.push((value.clone(), placeholder));
        }
    }

    /// Takes note of values drawn by the server.
    pub fn learn(&mut self, exchange: &Exchange, body: &Value) {
        if !body.is_object() && !body.is_array() {
            return;
        }
        self.learn_names(body);
        let asked = exchange.request.object().unwrap_or_default();
        let prefix = asked["metadata"]["generateName"].as_str().unwrap_or_default();
        let named = asked["metadata"]["name"].as_str().is_some_and(|name| !name.is_empty());
        if body["kind"] == "Status" && !prefix.is_empty() && !named {
            let name = body["details"]["name"].as_str().unwrap_or_default();
            if name.starts_with(prefix) {
                self.keep(&name.into(), format!("{prefix}<gen>"));
            }
        }
        for path in &exchange.options.random {
            if let Some(value) = at(body, path)
                && !value.is_null()
                && value != ""
                && value != "None"
            {
                self.keep(value, format!("<random {path}@{}>", exchange.step));
            }
        }
    }

    fn learn_names(&mut self, value: &Value) {
        match value {
            Value::Object(object) => {
                let meta = &value["metadata"];
                let prefix = meta["generateName"].as_str().unwrap_or_default();
                let prefix = prefix.get(..PREFIX_MAX).unwrap_or(prefix);
                if let Some(name) = meta["name"].as_str()
                    && !prefix.is_empty()
                    && name.strip_prefix(prefix).is_some_and(|rest| GENERATED.is_match(rest))
                {
                    self.keep(&name.into(), format!("{prefix}<gen>"));
                }
                for (key, value) in object {
                    if key == "object" || key == "items" {
                        self.learn_names(value);
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.learn_names(item)),
            _ => {}
        }
    }

    fn string(&self, text: &str, key: &str) -> String {
        if TIMES.contains(&key) {
            if TIME.is_match(text) {
                return "<time>".to_owned();
            }
            if MICRO.is_match(text) {
                return "<microtime>".to_owned();
            }
        }
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if key == "resourceVersion" && digits && text != "0" {
            return "<rv>".to_owned();
        }
        if key == "continue" && !text.is_empty() {
            return "<continue>".to_owned();
        }
        if let Some((_, placeholder)) = self.drawn.iter().find(|(known, _)| known == text) {
            return placeholder.clone();
        }
        let mut text = text.to_owned();
        for (known, placeholder) in &self.drawn {
            if let Some(known) = known.as_str().filter(|known| known.len() > 5) {
                text = text.replace(known, placeholder);
            }
        }
        text = UUID.replace_all(&text, "<uid>").into_owned();
        for (pattern, with) in MESSAGES.iter() {
            text = pattern.replace_all(&text, *with).into_owned();
        }
        text
    }

    fn walk(&mut self, value: &Value, key: &str) -> Value {
        match value {
            Value::Object(object) if value["kind"] == "Table" && object.contains_key("rows") => {
                self.table(object)
            }
            Value::Object(object) => self.object(object),
            Value::Array(items) => {
                let key = if key == "time" { key } else { "" };
                items.iter().map(|item| self.walk(item, key)).collect()
            }
            Value::String(text) => match token(text) {
                Some(shape) => self.walk(&shape, ""),
                None => self.string(text, key).into(),
            },
            Value::Number(number) if number.as_i64().is_some_and(|number| number > 1000) => {
                let known = self.drawn.iter().find(|(known, _)| known == value);
                known.map_or_else(|| value.clone(), |(_, placeholder)| placeholder.clone().into())
            }
            other => other.clone(),
        }
    }

    fn object(&mut self, object: &Map<String, Value>) -> Value {
        let mut done = Map::new();
        for (key, value) in object {
            done.insert(self.string(key, ""), self.walk(value, key));
        }
        if object.get("kind").is_some_and(|kind| kind == "TokenRequest")
            && let Some(expires) =
                done.get_mut("status").and_then(|s| s.get_mut("expirationTimestamp"))
            && expires.as_str().is_some_and(|text| TIME.is_match(text))
        {
            *expires = "<time>".into();
        }
        if let Some(Value::Array(entries)) = done.get_mut("managedFields") {
            entries.sort_by_key(|entry| {
                let sub = entry.get("subresource").cloned().unwrap_or_else(|| "".into());
                json!([entry["operation"], entry["manager"], sub, entry["apiVersion"]]).to_string()
            });
        }
        done.into()
    }

    fn table(&mut self, table: &Map<String, Value>) -> Value {
        if let Some(Value::Array(columns)) = table.get("columnDefinitions")
            && !columns.is_empty()
        {
            self.columns.clone_from(columns);
        }
        let columns = self.columns.clone();
        let mut done = Map::new();
        for (key, value) in table {
            let value = if key == "rows" { Value::Null } else { self.walk(value, key) };
            done.insert(key.clone(), value);
        }
        if let Some(Value::Array(columns)) = done.get_mut("columnDefinitions") {
            // Documentation: every server writes its own.
            for column in columns {
                column["description"] = "<description>".into();
            }
        }
        if let Some(Value::Array(rows)) = table.get("rows") {
            let rows: Vec<Value> = rows.iter().map(|row| self.row(row, &columns)).collect();
            done.insert("rows".to_owned(), rows.into());
        }
        done.into()
    }

    fn row(&mut self, row: &Value, columns: &[Value]) -> Value {
        let mut done = Map::new();
        for (key, value) in row.as_object().into_iter().flatten() {
            if key != "cells" {
                done.insert(key.clone(), self.walk(value, key));
            }
        }
        let cells = row["cells"].as_array().into_iter().flatten().enumerate();
        let cells: Vec<Value> = cells
            .map(|(index, cell)| {
                let name = columns.get(index).and_then(|column| column["name"].as_str());
                match cell.as_str().filter(|_| name.is_some_and(|name| AGES.contains(&name))) {
                    Some(text) if AGE.is_match(text) => "<age>".into(),
                    Some(text) if TIME.is_match(text) => "<time>".into(),
                    _ => self.walk(cell, ""),
                }
            })
            .collect();
        done.insert("cells".to_owned(), cells.into());
        done.into()
    }

    /// An answer as it is compared.
    pub fn response(&mut self, exchange: &Exchange, response: &Value) -> Value {
        let mut response = response.clone();
        let body = response["body"].take();
        self.learn(exchange, &body);
        self.columns.clear();
        let mut body = self.walk(&body, "");
        let path = exchange.request.path.split('?').next().unwrap_or_default();
        if path.trim_end_matches('/') == "/version"
            && let Some(fields) = body.as_object_mut()
        {
            for (key, value) in fields {
                if !key.ends_with("ajor") && !key.ends_with("inor") {
                    *value =
                        format!("<{}>", if value.is_string() { "str" } else { "other" }).into();
                }
            }
        }
        if !exchange.options.select.is_empty() {
            let chosen = exchange.options.select.iter().map(|path| {
                (path.clone(), at(&body, path).cloned().unwrap_or_else(|| "<absent>".into()))
            });
            body = chosen.collect::<Map<String, Value>>().into();
        }
        for path in &exchange.options.unordered {
            if let Some(Value::Array(items)) = at_mut(&mut body, path) {
                items.sort_by_key(Value::to_string);
            }
        }
        response["body"] = body;
        for (key, values) in [("headers", true), ("warnings", false)] {
            match response.get_mut(key) {
                Some(Value::Object(headers)) if values => {
                    for value in headers.values_mut() {
                        *value = self.string(value.as_str().unwrap_or_default(), "").into();
                    }
                }
                Some(Value::Array(warnings)) => {
                    for value in warnings {
                        *value = self.string(value.as_str().unwrap_or_default(), "").into();
                    }
                }
                _ => {}
            }
        }
        response
    }
}

/// A JWT's header and claims, with times as lifetimes.
fn token(text: &str) -> Option<Value> {
    if !text.starts_with("eyJ") || text.matches('.').count() != 2 {
        return None;
    }
    let mut parts = text.split('.');
    let mut read = || -> Option<Value> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts.next()?).ok()?).ok()
    };
    let (mut header, mut claims) = (read()?, read()?);
    if header["kid"].as_str().is_some_and(|kid| !kid.is_empty()) {
        header["kid"] = "<kid>".into();
    }
    let issued = claims["iat"].as_i64();
    for (name, lifetime) in [("exp", "exp-iat"), ("nbf", "nbf-iat")] {
        if let (Some(time), Some(issued)) = (claims[name].as_i64(), issued) {
            claims[lifetime] = (time - issued).into();
        }
    }
    for name in ["exp", "iat", "nbf"] {
        if claims.get(name).is_some() {
            claims[name] = "<num>".into();
        }
    }
    if let Some(after) = claims.get_mut("kubernetes.io").and_then(|c| c.get_mut("warnafter")) {
        *after = "<num>".into();
    }
    Some(json!({"<jwt>": {"header": header, "claims": claims}}))
}
