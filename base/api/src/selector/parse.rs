//! The grammar of label selectors in query strings, with upstream's refusals word for word.

use super::{LabelSelector, Operator, Requirement, SelectorError};
use crate::field::FieldError;
use crate::{Path, names};
use std::collections::BTreeSet;

/// What stands where an operator is missing.
const OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

/// Longest first.
const SIGNS: [&str; 9] = ["==", "!=", "=", "!", ",", "(", ")", ">", "<"];

/// One word or sign. `in` and `notin` are words like others but where an operator is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    End,
    Word(&'a str),
    Sign(&'static str),
}

impl Token<'_> {
    fn shown(&self) -> &str {
        match self {
            Token::End => "",
            Token::Word(word) => word,
            Token::Sign(sign) => sign,
        }
    }
}

fn unexpected(found: Token<'_>, expected: &str) -> String {
    format!("found '{}', expected: {expected}", found.shown())
}

/// Reads a selector; the empty text selects everything.
pub(super) fn selector(text: &str) -> Result<LabelSelector, SelectorError> {
    Parser { rest: text }.selector().map_err(SelectorError)
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> (Token<'a>, &'a str) {
        const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];
        let rest = self.rest.trim_start_matches(BLANKS);
        if rest.is_empty() || rest.starts_with('\0') {
            return (Token::End, rest);
        }
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            return (Token::Sign(sign), &rest[sign.len()..]);
        }
        let stop = |c: char| BLANKS.contains(&c) || "=!,()><\0".contains(c);
        let end = rest.find(stop).unwrap_or(rest.len());
        (Token::Word(&rest[..end]), &rest[end..])
    }

    fn next(&mut self) -> Token<'a> {
        let (token, rest) = self.peek();
        self.rest = rest;
        token
    }

    fn selector(mut self) -> Result<LabelSelector, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek().0 {
                Token::Word(_) | Token::Sign("!") => {}
                Token::End => return Ok(LabelSelector { requirements }),
                found @ Token::Sign(_) => {
                    return Err(unexpected(found, "!, identifier, or 'end of string'"));
                }
            }
            let requirement =
                self.requirement().map_err(|why| format!("unable to parse requirement: {why}"))?;
            requirements.push(requirement);
            match self.next() {
                Token::End => return Ok(LabelSelector { requirements }),
                Token::Sign(",") => match self.peek().0 {
                    Token::Word(_) | Token::Sign("!") => {}
                    found => return Err(unexpected(found, "identifier after ','")),
                },
                found => return Err(unexpected(found, "',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut token = self.next();
        let absent = token == Token::Sign("!");
        if absent {
            token = self.next();
        }
        let Token::Word(key) = token else { return Err(unexpected(token, "identifier")) };
        let faults = names::qualified_name(key);
        if !faults.is_empty() {
            return Err(format!("<nil>: Invalid value: {key:?}: {}", faults.join("; ")));
        }
        let key = key.to_owned();
        if absent {
            return Ok(Requirement { key, operator: Operator::DoesNotExist });
        }
        if matches!(self.peek().0, Token::End | Token::Sign(",")) {
            return Ok(Requirement { key, operator: Operator::Exists });
        }
        let operator = self.next();
        let values = match operator {
            Token::Word("in" | "notin") => self.list()?,
            Token::Sign("=" | "==" | "!=" | ">" | "<") => BTreeSet::from([self.value()?]),
            found => return Err(unexpected(found, OPERATORS)),
        };
        requirement(key, operator.shown(), values)
    }

    /// The word after a sign; none is the empty value.
    fn value(&mut self) -> Result<String, String> {
        if matches!(self.peek().0, Token::End | Token::Sign(",")) {
            return Ok(String::new());
        }
        match self.next() {
            Token::Word(word) => Ok(word.to_owned()),
            found => Err(unexpected(found, "identifier")),
        }
    }

    /// The values between brackets; a missing one is the empty value.
    fn list(&mut self) -> Result<BTreeSet<String>, String> {
        match self.next() {
            Token::Sign("(") => {}
            // Upstream has no comma here.
            found => return Err(format!("found '{}' expected: '('", found.shown())),
        }
        let mut values = BTreeSet::new();
        match self.peek().0 {
            Token::Word(_) | Token::Sign(",") => {}
            Token::Sign(")") => {
                self.next();
                return Ok(BTreeSet::from([String::new()]));
            }
            found => return Err(unexpected(found, "',', ')' or identifier")),
        }
        loop {
            match self.next() {
                Token::Word(word) => {
                    values.insert(word.to_owned());
                    match self.peek().0 {
                        Token::Sign(",") => {}
                        Token::Sign(")") => break,
                        found => return Err(unexpected(found, "',' or ')'")),
                    }
                }
                Token::Sign(",") => {
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    let after = self.peek().0;
                    if matches!(after, Token::Sign("," | ")")) {
                        values.insert(String::new());
                    }
                    if after == Token::Sign(")") {
                        break;
                    }
                    if after == Token::Sign(",") {
                        self.next();
                    }
                }
                found => return Err(unexpected(found, "',', or identifier")),
            }
        }
        self.next();
        Ok(values)
    }
}

/// Checks the values as upstream does, all faults at once.
fn requirement(
    key: String,
    operator: &str,
    values: BTreeSet<String>,
) -> Result<Requirement, String> {
    let path = Path::new("values");
    let mut faults: Vec<FieldError> = Vec::new();
    let compares = matches!(operator, ">" | "<");
    for (index, value) in values.iter().enumerate() {
        if compares && value.parse::<i64>().is_err() {
            let why = "for 'Gt', 'Lt' operators, the value must be an integer";
            faults.push(FieldError::invalid(path.clone().index(index), value.as_str(), why));
        }
    }
    for (index, value) in values.iter().enumerate() {
        let found = names::label_value(value);
        if !found.is_empty() {
            let path = path.clone().index(index).key(&key);
            faults.push(FieldError::invalid(path, value.as_str(), &found.join("; ")));
        }
    }
    let mut told: Vec<String> = Vec::new();
    for fault in faults.iter().map(ToString::to_string) {
        if !told.contains(&fault) {
            told.push(fault);
        }
    }
    match told.as_slice() {
        [] => {}
        [one] => return Err(one.clone()),
        several => return Err(format!("[{}]", several.join(", "))),
    }
    let number = || values.first().and_then(|value| value.parse().ok()).unwrap_or_default();
    let operator = match operator {
        ">" => Operator::GreaterThan(number()),
        "<" => Operator::LessThan(number()),
        "!=" | "notin" => Operator::NotIn(values.into_iter().collect()),
        _ => Operator::In(values.into_iter().collect()),
    };
    Ok(Requirement { key, operator })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        selector(text).expect_err(text).0
    }

    #[test]
    fn refusals_read_as_upstreams() {
        for (text, words) in [
            ("app in x", "unable to parse requirement: found 'x' expected: '('"),
            ("in in in", "unable to parse requirement: found 'in' expected: '('"),
            ("app in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
            (
                "app in (=)",
                "unable to parse requirement: found '=', expected: ',', ')' or identifier",
            ),
            ("app in (a b)", "unable to parse requirement: found 'b', expected: ',' or ')'"),
            (
                "app in (a,=)",
                "unable to parse requirement: found '=', expected: ',', or identifier",
            ),
            (",", "found ',', expected: !, identifier, or 'end of string'"),
            ("=a", "found '=', expected: !, identifier, or 'end of string'"),
            ("a,", "found '', expected: identifier after ','"),
            ("a=b,=c", "found '=', expected: identifier after ','"),
            ("app=x=y", "found '=', expected: ',' or 'end of string'"),
            ("app=bad value", "found 'value', expected: ',' or 'end of string'"),
            ("!app=x", "found '=', expected: ',' or 'end of string'"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            ("!!a", "unable to parse requirement: found '!', expected: identifier"),
            ("a===b", "unable to parse requirement: found '=', expected: identifier"),
            (
                "a gt 5",
                "unable to parse requirement: found 'gt', expected: in, notin, =, ==, !=, gt, lt",
            ),
            (
                "a>b",
                "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ] {
            assert_eq!(refusal(text), words, "{text}");
        }
        assert!(refusal("-bad=x").starts_with(
            "unable to parse requirement: <nil>: Invalid value: \"-bad\": name part must consist of"
        ));
        assert!(refusal("a=-b").starts_with(
            "unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label must be"
        ));
        assert!(refusal("a in (-b,-c)").starts_with(
            "unable to parse requirement: [values[0][a]: Invalid value: \"-b\": a valid label must be"
        ));
    }

    #[test]
    fn missing_values_are_empty_ones() {
        let values = |text: &str| match &selector(text).expect(text).requirements[0].operator {
            Operator::In(values) => values.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(values("a="), [""]);
        assert_eq!(values("a=,b"), [""]);
        assert_eq!(values("a in ()"), [""]);
        assert_eq!(values("a in (,b)"), ["", "b"]);
        assert_eq!(values("a in (b,)"), ["", "b"]);
        assert_eq!(values("a in (b,,c)"), ["", "b", "c"]);
        assert_eq!(values("in in (in)"), ["in"]);
    }
}
