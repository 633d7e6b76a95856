//! Other names for every object, namespace and label value of a tape: an answer must not depend on them.
//!
//! A new name is the old one behind [`PREFIX`], which keeps the order of names; in answers the prefix is taken
//! out again, wherever it stands, and what is left must be what the tape holds.

use crate::tape::{Case, Exchange};
use indexmap::IndexMap;
use regex::{Captures, Regex};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// In front of every new name; it stands nowhere in the tapes.
pub const PREFIX: &str = "zq";

/// Longest name that is renamed: a longer one is a test of the limit itself.
const NAME_MAX: usize = 40;

/// Words that are names of some objects and mean something elsewhere: built-in objects, users, parts of paths.
const KEPT: &[&str] = &[
    "admin",
    "alice",
    "bob",
    "carol",
    "cluster-admin",
    "default",
    "edge-1",
    "edit",
    "kube-node-lease",
    "kube-public",
    "kube-system",
    "policy",
    "ns",
    "pods",
    "scale",
    "status",
    "tape",
    "v1",
    "view",
];

/// Maps whose values are label values.
const LABELS: &[&str] = &["labels", "matchLabels", "nodeSelector"];

static NAME: LazyLock<Regex> = LazyLock::new(|| regex("^[a-z][a-z0-9-]*$"));
static LABEL: LazyLock<Regex> =
    LazyLock::new(|| regex("^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$"));
static IN_TEXT: LazyLock<Regex> = LazyLock::new(|| {
    regex(r#"(?m)(\b(?:name|namespace|generateName)"?\s*:\s*"?)([a-z0-9-]+)(["\s,}]|$)"#)
});
static EQUALS: LazyLock<Regex> = LazyLock::new(|| regex(r"(!=|==|=)(\s*)([A-Za-z0-9_.-]+)"));
static SETS: LazyLock<Regex> = LazyLock::new(|| regex(r"(?:\bin|\bnotin)\s*\(([^)]*)\)"));
static MEMBER: LazyLock<Regex> = LazyLock::new(|| regex("[A-Za-z0-9_.-]+"));

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("a regular expression")
}

fn prefixed(text: &str) -> String {
    format!("{PREFIX}{text}")
}

/// A renaming of all names in a tape.
#[derive(Debug, Default)]
pub struct Renaming {
    names: BTreeSet<String>,
}

impl Renaming {
    /// The names that the requests of `cases` give.
    pub fn of(cases: &[Case]) -> Self {
        let mut names = BTreeSet::new();
        let mut note = |name: &str| {
            let plain = NAME.is_match(name) && !name.starts_with("system-");
            if plain && name.len() <= NAME_MAX && !KEPT.contains(&name) {
                names.insert(name.to_owned());
            }
        };
        for exchange in cases.iter().flatten() {
            let Some(body) = &exchange.request.body else { continue };
            let body: Value = serde_json::from_str(body.get()).unwrap_or_default();
            for field in ["name", "namespace", "generateName"] {
                note(body["metadata"][field].as_str().unwrap_or_default());
            }
            for found in IN_TEXT.captures_iter(body.as_str().unwrap_or_default()) {
                note(&found[2]);
            }
        }
        Self { names }
    }

    /// Renames in a request.
    pub fn apply(&self, exchange: &mut Exchange) -> anyhow::Result<()> {
        exchange.request.path = self.path(&exchange.request.path);
        if let Some(body) = exchange.request.body.take() {
            let text = match serde_json::from_str::<Value>(body.get()) {
                Ok(Value::String(text)) => Value::from(self.text(&text)).to_string(),
                _ => self.json(body.get(), "")?,
            };
            exchange.request.body = Some(RawValue::from_string(text)?);
        }
        Ok(())
    }

    /// Takes the prefix out of an answer.
    pub fn undo(&self, answer: &mut Value) {
        let text = answer.to_string();
        if text.contains(PREFIX)
            && let Ok(plain) = serde_json::from_str(&text.replace(PREFIX, ""))
        {
            *answer = plain;
        }
    }

    fn path(&self, path: &str) -> String {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path: Vec<String> = path.split('/').map(|segment| self.word(segment)).collect();
        let query: Vec<String> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some(("labelSelector", selector)) => {
                    format!("labelSelector={}", requirements(selector))
                }
                Some(("fieldSelector", selector)) => {
                    let terms = selector.split(',').map(|term| match term.split_once('=') {
                        Some((field, value)) => format!("{field}={}", self.word(value)),
                        None => term.to_owned(),
                    });
                    format!("fieldSelector={}", terms.collect::<Vec<_>>().join(","))
                }
                _ => pair.to_owned(),
            })
            .collect();
        if query == [""] {
            path.join("/")
        } else {
            format!("{}?{}", path.join("/"), query.join("&"))
        }
    }

    fn word(&self, word: &str) -> String {
        if self.names.contains(word) { prefixed(word) } else { word.to_owned() }
    }

    /// In a body that is not JSON on the tape (YAML, or JSON with faults).
    fn text(&self, text: &str) -> String {
        let renamed = IN_TEXT.replace_all(text, |found: &Captures<'_>| {
            format!("{}{}{}", &found[1], self.word(&found[2]), &found[3])
        });
        renamed.into_owned()
    }

    /// In JSON, `key` being the key that it stands under; the order of fields is kept.
    fn json(&self, text: &str, key: &str) -> anyhow::Result<String> {
        let text = text.trim();
        if text.starts_with('{') {
            let fields: IndexMap<String, Box<RawValue>> = serde_json::from_str(text)?;
            let pointer = fields.get("path").map_or("", |path| path.get()).trim_matches('"');
            let mut done = Vec::new();
            for (name, value) in &fields {
                let value = match value.get() {
                    value if key == "stringData" => value.to_owned(),
                    value if LABELS.contains(&key) && !name.contains(['/', '$']) => label(value),
                    value if name == "value" && pointer.contains("/labels/") => label(value),
                    value if name == "value" => self.json(value, last(pointer))?,
                    value if name == "values" && fields.contains_key("operator") => labels(value)?,
                    value => self.json(value, name)?,
                };
                done.push(format!("{}:{value}", Value::from(name.as_str())));
            }
            return Ok(format!("{{{}}}", done.join(",")));
        }
        if text.starts_with('[') {
            let items: Vec<Box<RawValue>> = serde_json::from_str(text)?;
            let items: anyhow::Result<Vec<String>> =
                items.iter().map(|item| self.json(item.get(), key)).collect();
            return Ok(format!("[{}]", items?.join(",")));
        }
        match serde_json::from_str::<Value>(text)? {
            Value::String(word) if key == "path" && word.starts_with('/') => Ok(text.to_owned()),
            // Users named after a service account: system:serviceaccount:NAMESPACE:NAME.
            Value::String(user) if user.starts_with("system:serviceaccount") => {
                let parts: Vec<String> = user.split(':').map(|part| self.word(part)).collect();
                Ok(Value::from(parts.join(":")).to_string())
            }
            Value::String(word) if self.names.contains(&word) => {
                Ok(Value::from(prefixed(&word)).to_string())
            }
            _ => Ok(text.to_owned()),
        }
    }
}

fn last(pointer: &str) -> &str {
    pointer.rsplit('/').next().unwrap_or_default()
}

/// A label value, where it is one.
fn label(json: &str) -> String {
    match serde_json::from_str::<Value>(json) {
        Ok(Value::String(text)) if LABEL.is_match(&text) && text.len() <= NAME_MAX => {
            Value::from(prefixed(&text)).to_string()
        }
        _ => json.to_owned(),
    }
}

fn labels(json: &str) -> anyhow::Result<String> {
    let items: Vec<Box<RawValue>> = serde_json::from_str(json)?;
    let items: Vec<String> = items.iter().map(|item| label(item.get())).collect();
    Ok(format!("[{}]", items.join(",")))
}

/// The values in a label selector of a query.
fn requirements(selector: &str) -> String {
    let spaced = selector.replace("%20", " ");
    let equal = EQUALS.replace_all(&spaced, |found: &Captures<'_>| {
        format!("{}{}{PREFIX}{}", &found[1], &found[2], &found[3])
    });
    let sets = SETS.replace_all(&equal, |found: &Captures<'_>| {
        let members = MEMBER.replace_all(&found[1], |word: &Captures<'_>| prefixed(&word[0]));
        found[0].replace(&found[1], &members)
    });
    sets.replace(' ', "%20")
}
