//! A structural schema, read once: what a value may be, and what is done to it.

use super::cel::Rule;
use super::expression;
use crate::admit::json::Json;
use regex::{Regex, RegexBuilder};
use serde_json::Value;
use std::collections::BTreeMap;

/// Largest program of a regular expression, bytes: a bomb such as `((a{99}){99}){99}` is refused instead of built.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;
/// Bounds that are tried for the size of a program. It is counted as the first that it keeps, since how large it is
/// cannot be asked; a try that fails stops at its bound, so all of them cost a third more than the last.
const PATTERN_STEPS: [usize; 4] = [4 * 1024, 32 * 1024, 256 * 1024, PATTERN_BYTES_MAX];
/// Programs of all regular expressions of one schema, bytes: thousands of plain ones, sixteen of the largest.
pub(crate) const PATTERNS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A regular expression of a schema, as Go reads it, and the bytes that its program is counted as.
pub(crate) fn pattern(text: &str) -> Result<(Regex, usize), String> {
    if let Some(why) = expression::refusal(text) {
        return Err(why);
    }
    let text = &expression::from_go(text);
    let mut refused = String::new();
    for bytes in PATTERN_STEPS {
        // What it remembers while it searches, for each thread that does, is bounded with it.
        let cache = bytes.max(32 * 1024);
        match RegexBuilder::new(text).size_limit(bytes).dfa_size_limit(cache).build() {
            Ok(built) => return Ok((built, bytes)),
            Err(regex::Error::CompiledTooBig(limit)) => {
                refused = regex::Error::CompiledTooBig(limit).to_string();
            }
            Err(error) => {
                refused = error.to_string();
                break;
            }
        }
    }
    Err(refused.lines().last().unwrap_or_default().to_owned())
}

/// How fields are treated that `properties` does not name.
#[derive(Debug, Default)]
pub(crate) enum Others {
    /// They are dropped.
    #[default]
    Dropped,
    /// They are kept and not looked at.
    Kept,
    /// They are held against a schema.
    Of(Box<Schema>),
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    /// One value.
    #[default]
    Atomic,
    /// Every item once.
    Set,
    /// Items with keys.
    Map,
}

/// A schema, or one of the parts that only judge values.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of OpenAPI")]
pub(crate) struct Schema {
    /// `type`; empty where none is said.
    pub(crate) kind: String,
    pub(crate) nullable: bool,
    pub(crate) properties: BTreeMap<String, Schema>,
    pub(crate) others: Others,
    pub(crate) items: Option<Box<Schema>>,
    pub(crate) default: Option<Value>,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub(crate) open: bool,
    /// `x-kubernetes-embedded-resource`.
    pub(crate) embedded: bool,
    /// `x-kubernetes-int-or-string`.
    pub(crate) either: bool,
    pub(crate) list: ListType,
    pub(crate) keys: Vec<String>,
    /// `x-kubernetes-map-type: atomic`.
    pub(crate) atomic: bool,
    pub(crate) judge: Judge,
    pub(crate) rules: Vec<Rule>,
    /// Whether rules stand here or below.
    pub(crate) has_rules: bool,
    /// Whether defaults stand here or below.
    pub(crate) has_defaults: bool,
    /// Whether objects within the object stand here or below.
    pub(crate) has_embedded: bool,
    /// Bytes of the programs of all regular expressions here and below.
    pub(crate) patterns: usize,
}

/// What a schema says of values, beside their type.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    pub(crate) format: String,
    pub(crate) maximum: Option<f64>,
    pub(crate) above: bool,
    pub(crate) minimum: Option<f64>,
    pub(crate) below: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) length: (Option<u64>, Option<u64>),
    /// As it is written and as it is built, and the bytes that this is counted as.
    pub(crate) pattern: Option<(String, Regex, usize)>,
    pub(crate) items: (Option<u64>, Option<u64>),
    pub(crate) properties: (Option<u64>, Option<u64>),
    pub(crate) known: Option<Vec<Value>>,
    pub(crate) required: Vec<String>,
    pub(crate) all_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) not: Option<Box<Schema>>,
}

impl Schema {
    /// Reads the schema of an object with metadata. What validation of the definition refuses reads as if it were not
    /// there, but for rules: one that cannot be read refuses every value.
    pub(crate) fn whole(value: &Value) -> Self {
        Self::of(value, true)
    }

    /// Reads the schema of a part.
    pub(crate) fn read(value: &Value) -> Self {
        Self::of(value, false)
    }

    fn of(value: &Value, whole: bool) -> Self {
        let properties: BTreeMap<String, Self> = value
            .entries("properties")
            .into_iter()
            .map(|(key, part)| (key.to_owned(), Self::read(part)))
            .collect();
        let others = match value.at("additionalProperties") {
            part @ Value::Object(_) => Others::Of(Box::new(Self::read(part))),
            Value::Bool(true) => Others::Kept,
            _ => Others::Dropped,
        };
        let items = value.at("items");
        let items = items.is_object().then(|| Box::new(Self::read(items)));
        let rules: Vec<Rule> = value
            .list("x-kubernetes-validations")
            .iter()
            .map(|rule| Rule::read(rule, value, whole))
            .collect();
        let default = value.get("default").filter(|value| !value.is_null()).cloned();
        let inner = match &others {
            Others::Of(part) => Some(part.as_ref()),
            _ => None,
        };
        let parts = || properties.values().chain(items.as_deref()).chain(inner);
        let judge = Judge::read(value);
        let below = parts().chain(judge.parts()).map(|part| part.patterns);
        let own = judge.pattern.as_ref().map_or(0, |pattern| pattern.2);
        Self {
            has_rules: !rules.is_empty() || parts().any(|part| part.has_rules),
            has_defaults: default.is_some() || parts().any(|part| part.has_defaults),
            has_embedded: value.flag("x-kubernetes-embedded-resource")
                || parts().any(|part| part.has_embedded),
            kind: value.text("type").to_owned(),
            nullable: value.flag("nullable"),
            open: value.flag("x-kubernetes-preserve-unknown-fields"),
            embedded: value.flag("x-kubernetes-embedded-resource"),
            either: value.flag("x-kubernetes-int-or-string"),
            list: match value.text("x-kubernetes-list-type") {
                "set" => ListType::Set,
                "map" => ListType::Map,
                _ => ListType::Atomic,
            },
            keys: texts(value, "x-kubernetes-list-map-keys"),
            atomic: value.text("x-kubernetes-map-type") == "atomic",
            patterns: below.sum::<usize>() + own + rules.iter().map(Rule::patterns).sum::<usize>(),
            judge,
            default,
            properties,
            others,
            items,
            rules,
        }
    }

    /// The schema of a field, whether named or one of the others.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(match &self.others {
            Others::Of(part) => Some(part),
            _ => None,
        })
    }
}

impl Judge {
    /// The schemas that it is made of.
    fn parts(&self) -> impl Iterator<Item = &Schema> {
        let lists = [&self.all_of, &self.any_of, &self.one_of];
        lists.into_iter().flatten().chain(self.not.as_deref())
    }

    fn read(value: &Value) -> Self {
        let count = |key: &str| value.at(key).as_u64();
        let parts = |key: &str| value.list(key).iter().map(Schema::read).collect::<Vec<_>>();
        let text = value.text("pattern");
        let not = value.at("not");
        Self {
            format: value.text("format").to_owned(),
            maximum: value.at("maximum").as_f64(),
            above: value.flag("exclusiveMaximum"),
            minimum: value.at("minimum").as_f64(),
            below: value.flag("exclusiveMinimum"),
            multiple_of: value.at("multipleOf").as_f64(),
            length: (count("minLength"), count("maxLength")),
            pattern: Some(text).filter(|text| !text.is_empty()).and_then(|text| {
                let (built, bytes) = pattern(text).ok()?;
                Some((text.to_owned(), built, bytes))
            }),
            items: (count("minItems"), count("maxItems")),
            properties: (count("minProperties"), count("maxProperties")),
            known: value.at("enum").as_array().filter(|known| !known.is_empty()).cloned(),
            required: texts(value, "required"),
            all_of: parts("allOf"),
            any_of: parts("anyOf"),
            one_of: parts("oneOf"),
            not: not.is_object().then(|| Box::new(Schema::read(not))),
        }
    }
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    value.list(key).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
