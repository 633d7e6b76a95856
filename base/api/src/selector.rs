//! Label selectors and field selectors: read from query strings and from objects, and matched.

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
        Parser { rest: text }.selector()
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

fn fault(found: &Token<'_>, expected: &str) -> SelectorError {
    let found = match found {
        Token::End => "",
        Token::Word(word) => word,
        Token::Sign(sign) => sign,
    };
    SelectorError(format!("unable to parse requirement: found '{found}', expected: {expected}"))
}

struct Parser<'a> {
    rest: &'a str,
}

#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    End,
    Word(&'a str),
    Sign(&'static str),
}

const SIGNS: [&str; 9] = ["==", "!=", "=", "!", ",", "(", ")", ">", "<"];

impl<'a> Parser<'a> {
    fn peek(&self) -> (Token<'a>, &'a str) {
        let rest = self.rest.trim_start();
        if rest.is_empty() {
            return (Token::End, rest);
        }
        if let Some(sign) = SIGNS.iter().find(|s| rest.starts_with(**s)) {
            return (Token::Sign(sign), &rest[sign.len()..]);
        }
        let stop = |c: char| c.is_whitespace() || "=!,()><".contains(c);
        let end = rest.find(stop).unwrap_or(rest.len());
        (Token::Word(&rest[..end]), &rest[end..])
    }

    fn next(&mut self) -> Token<'a> {
        let (token, rest) = self.peek();
        self.rest = rest;
        token
    }

    fn selector(mut self) -> Result<LabelSelector, SelectorError> {
        let mut requirements = Vec::new();
        if self.peek().0 == Token::End {
            return Ok(LabelSelector::default());
        }
        loop {
            requirements.push(self.requirement()?);
            match self.next() {
                Token::End => return Ok(LabelSelector { requirements }),
                Token::Sign(",") => match self.peek().0 {
                    Token::Word(_) | Token::Sign("!") => {}
                    found => return Err(fault(&found, "identifier after ','")),
                },
                found => return Err(fault(&found, "',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let mut absent = false;
        if self.peek().0 == Token::Sign("!") {
            self.next();
            absent = true;
        }
        let key = match self.next() {
            Token::Word(word) => word.to_owned(),
            found => return Err(fault(&found, "identifier")),
        };
        check_key(&key)?;
        if absent {
            return Ok(Requirement { key, operator: Operator::DoesNotExist });
        }
        let operator = match self.peek().0 {
            Token::End | Token::Sign(",") => Operator::Exists,
            Token::Sign("=" | "==") => {
                self.next();
                Operator::In(vec![self.value()?])
            }
            Token::Sign("!=") => {
                self.next();
                Operator::NotIn(vec![self.value()?])
            }
            Token::Sign(">") => {
                self.next();
                Operator::GreaterThan(self.number()?)
            }
            Token::Sign("<") => {
                self.next();
                Operator::LessThan(self.number()?)
            }
            Token::Word("in") => {
                self.next();
                Operator::In(self.list()?)
            }
            Token::Word("notin") => {
                self.next();
                Operator::NotIn(self.list()?)
            }
            found => return Err(fault(&found, "in, notin, =, ==, !=, gt, lt")),
        };
        Ok(Requirement { key, operator })
    }

    /// The word after a sign; none is the empty value.
    fn value(&mut self) -> Result<String, SelectorError> {
        match self.peek().0 {
            Token::Word(word) => {
                self.next();
                check_value(word)?;
                Ok(word.to_owned())
            }
            Token::End | Token::Sign(",") => Ok(String::new()),
            found @ Token::Sign(_) => Err(fault(&found, "identifier")),
        }
    }

    fn number(&mut self) -> Result<i64, SelectorError> {
        let word = self.value()?;
        word.parse().map_err(|_| {
            SelectorError(format!(
                "for 'Gt', 'Lt' operators, the value must be an integer: {word:?}"
            ))
        })
    }

    fn list(&mut self) -> Result<Vec<String>, SelectorError> {
        match self.next() {
            Token::Sign("(") => {}
            found => return Err(fault(&found, "'('")),
        }
        let mut values = Vec::new();
        loop {
            match self.next() {
                Token::Word(word) => {
                    check_value(word)?;
                    values.push(word.to_owned());
                    match self.next() {
                        Token::Sign(",") => {}
                        Token::Sign(")") => return Ok(values),
                        found => return Err(fault(&found, "',' or ')'")),
                    }
                }
                Token::Sign(",") => values.push(String::new()),
                Token::Sign(")") => {
                    values.push(String::new());
                    return Ok(values);
                }
                found => return Err(fault(&found, "',', ')' or identifier")),
            }
        }
    }
}

fn check_key(key: &str) -> Result<(), SelectorError> {
    let faults = crate::names::qualified_name(key);
    if faults.is_empty() {
        return Ok(());
    }
    Err(SelectorError(format!("key: Invalid value: {key:?}: {}", faults.join("; "))))
}

fn check_value(value: &str) -> Result<(), SelectorError> {
    let faults = crate::names::label_value(value);
    if faults.is_empty() {
        return Ok(());
    }
    Err(SelectorError(format!("values[0][]: Invalid value: {value:?}: {}", faults.join("; "))))
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
            let found = part.find(['=', '!']).and_then(|at| {
                let rest = &part[at..];
                let (sign, equal) = if rest.starts_with("!=") {
                    (2, false)
                } else if rest.starts_with("==") {
                    (2, true)
                } else if rest.starts_with('=') {
                    (1, true)
                } else {
                    return None;
                };
                Some((part[..at].to_owned(), unescape(&rest[sign..])?, equal))
            });
            let Some(term) = found else {
                return Err(SelectorError(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                )));
            };
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

/// Takes escapes away; `None` for a stray one or an unescaped sign.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().filter(|c| matches!(c, '\\' | ',' | '='))?),
            ',' | '=' => return None,
            c => out.push(c),
        }
    }
    Some(out)
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
