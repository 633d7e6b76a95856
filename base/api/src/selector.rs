//! Label selectors and field selectors: read from query strings and from objects, and matched.

mod parse;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as TypedSelector;
use std::collections::BTreeMap;
use std::fmt;

/// What one requirement asks of the value under its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Is one of these.
    In(Vec<String>),
    /// Is none of these, or the key is absent.
    NotIn(Vec<String>),
    /// The key is there.
    Exists,
    /// The key is not there.
    DoesNotExist,
    /// Is an integer greater than this.
    GreaterThan(i64),
    /// Is an integer less than this.
    LessThan(i64),
}

/// One requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Label key.
    pub key: String,
    /// What is asked.
    pub operator: Operator,
}

/// All requirements must hold; none means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// The requirements.
    pub requirements: Vec<Requirement>,
}

/// A selector that cannot be read; the text says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

impl Requirement {
    /// Whether labels satisfy it.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match &self.operator {
            Operator::In(list) => value.is_some_and(|v| list.contains(v)),
            Operator::NotIn(list) => value.is_none_or(|v| !list.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan(than) => number().is_some_and(|n| n > *than),
            Operator::LessThan(than) => number().is_some_and(|n| n < *than),
        }
    }
}

impl LabelSelector {
    /// Whether labels satisfy all requirements.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|r| r.matches(labels))
    }

    /// Selects everything.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Reads a query string: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::selector(text)
    }

    /// From an object's `selector` field. An absent selector is the caller's to judge; an empty one selects all.
    pub fn from_typed(selector: &TypedSelector) -> Result<Self, SelectorError> {
        let equal = selector.match_labels.iter().flatten().map(|(key, value)| {
            Ok(Requirement { key: key.clone(), operator: Operator::In(vec![value.clone()]) })
        });
        let listed = selector.match_expressions.iter().flatten().map(|e| {
            let values = || e.values.clone().unwrap_or_default();
            let operator = match e.operator.as_str() {
                "In" => Operator::In(values()),
                "NotIn" => Operator::NotIn(values()),
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError(format!(
                        "{other:?} is not a valid label selector operator"
                    )));
                }
            };
            if matches!(&operator, Operator::In(list) | Operator::NotIn(list) if list.is_empty()) {
                return Err(SelectorError(
                    "for 'in', 'notin' operators, values set can't be empty".into(),
                ));
            }
            Ok(Requirement { key: e.key.clone(), operator })
        });
        Ok(Self { requirements: equal.chain(listed).collect::<Result<_, _>>()? })
    }

    /// From JSON of the form of an object's `selector` field.
    pub fn from_json(selector: &serde_json::Value) -> Result<Self, SelectorError> {
        let typed: TypedSelector =
            serde_json::from_value(selector.clone()).map_err(|e| SelectorError(e.to_string()))?;
        Self::from_typed(&typed)
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.requirements.iter().map(ToString::to_string).collect();
        parts.sort();
        f.write_str(&parts.join(","))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.operator {
            Operator::In(list) if list.len() == 1 => write!(f, "{key}={}", list.concat()),
            Operator::In(list) => write!(f, "{key} in ({})", sorted(list)),
            Operator::NotIn(list) if list.len() == 1 => write!(f, "{key}!={}", list.concat()),
            Operator::NotIn(list) => write!(f, "{key} notin ({})", sorted(list)),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan(n) => write!(f, "{key}>{n}"),
            Operator::LessThan(n) => write!(f, "{key}<{n}"),
        }
    }
}

fn sorted(list: &[String]) -> String {
    let mut list = list.to_vec();
    list.sort();
    list.join(",")
}

/// A field selector: `spec.nodeName=a,status.phase!=Running`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// Field, value, and whether they must be equal.
    pub terms: Vec<(String, String, bool)>,
}

impl FieldSelector {
    /// Reads a query string. `\` escapes a comma, an equal sign or itself in values.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        for part in split_unescaped(text) {
            if part.is_empty() {
                continue;
            }
            let sign = part.char_indices().find_map(|(at, _)| {
                let signs = [("!=", false), ("==", true), ("=", true)];
                let found = signs.iter().find(|(sign, _)| part[at..].starts_with(sign))?;
                Some((at, found.0.len(), found.1))
            });
            let Some((at, length, equal)) = sign else {
                return Err(SelectorError(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                )));
            };
            let term = (part[..at].to_owned(), unescape(&part[at + length..])?, equal);
            terms.push(term);
        }
        Ok(Self { terms })
    }

    /// Whether the fields, as `value` answers them, satisfy all terms. An absent field is the empty text.
    pub fn matches<'v>(&self, value: impl Fn(&str) -> &'v str) -> bool {
        self.terms.iter().all(|(field, wanted, equal)| (value(field) == wanted) == *equal)
    }

    /// The value that a field must equal, if the selector says so.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|(f, _, equal)| f == field && *equal).map(|(_, v, _)| v.as_str())
    }
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Takes escapes away; a stray one and an unescaped sign are refused.
fn unescape(text: &str) -> Result<String, SelectorError> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                next => {
                    let next = next.map(String::from).unwrap_or_default();
                    let why = format!("invalid field selector: invalid escape sequence: \\{next}");
                    return Err(SelectorError(why));
                }
            },
            // Go prints the number of the character here.
            ',' | '=' => {
                let number = u32::from(c);
                let why = format!("invalid field selector: unescaped character in value: {number}");
                return Err(SelectorError(why));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn every_operator_matches_as_documented() {
        let seen = labels(&[("app", "web"), ("tier", "2"), ("empty", "")]);
        for (text, wanted) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app!=web", false),
            ("other!=web", true),
            ("app in (db, web)", true),
            ("app in (db)", false),
            ("app notin (db)", true),
            ("other notin (db)", true),
            ("app", true),
            ("other", false),
            ("!other", true),
            ("!app", false),
            ("tier>1", true),
            ("tier>2", false),
            ("tier<3", true),
            ("app>1", false),
            ("empty=", true),
            ("app=web,tier>1,!other", true),
            ("app=web,tier>5", false),
        ] {
            let selector = LabelSelector::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(selector.matches(&seen), wanted, "{text}");
            let again = LabelSelector::parse(&selector.to_string()).unwrap();
            assert_eq!(again.matches(&seen), wanted, "{text} written again");
        }
    }

    #[test]
    fn broken_selectors_are_refused() {
        for text in
            ["a=b=c", "a in b", "a in (b", ",a", "a,", "=b", "a>x", "-a=b", "a=b c", "a in (b) c"]
        {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn field_selectors_know_equality_and_escapes() {
        let value = |field: &str| if field == "spec.nodeName" { "n1" } else { "" };
        for (text, wanted) in [
            ("spec.nodeName=n1", true),
            ("spec.nodeName==n1", true),
            ("spec.nodeName!=n1", false),
            ("spec.nodeName=n1,status.phase!=Running", true),
            ("spec.nodeName=", false),
            ("", true),
        ] {
            assert_eq!(FieldSelector::parse(text).unwrap().matches(value), wanted, "{text}");
        }
        let escaped = FieldSelector::parse(r"metadata.name=a\,b").unwrap();
        assert_eq!(escaped.exact("metadata.name"), Some("a,b"));
        assert!(FieldSelector::parse("nonsense").is_err());
    }
}
