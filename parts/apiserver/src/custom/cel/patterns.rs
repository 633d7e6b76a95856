//! Regular expressions of rules: those that stand in a rule are built once, with it.

use super::parse::{Expr, Fault, Kind};
use crate::custom::expression;
use regex::{Regex, RegexBuilder};
use std::collections::BTreeMap;

/// Largest program of a regular expression in a rule, bytes: it may be built for every item of a list.
const PATTERN_BYTES_MAX: usize = 64 * 1024;

/// The regular expressions that stand in a rule as they are.
#[derive(Debug, Default)]
pub(super) struct Patterns(BTreeMap<String, Regex>);

impl Patterns {
    /// Those of an expression; the fault is that of the first that is none.
    pub(super) fn of(expr: &Expr) -> Result<Self, Fault> {
        let mut found = Self::default();
        found.add(expr)?;
        Ok(found)
    }

    fn add(&mut self, expr: &Expr) -> Result<(), Fault> {
        if let Kind::Method(_, name, arguments) = &expr.kind
            && let ("matches" | "find" | "findAll", [Expr { kind: Kind::Text(text), at, .. }]) =
                (name.as_str(), arguments.as_slice())
            && !self.0.contains_key(text)
        {
            let built = build(text).map_err(|why| Fault { at: *at, why })?;
            self.0.insert(text.clone(), built);
        }
        expr.parts().into_iter().try_for_each(|part| self.add(part))
    }

    /// Bytes that they are counted as: each at its bound.
    pub(super) fn bytes(&self) -> usize {
        self.0.len() * PATTERN_BYTES_MAX
    }

    pub(super) fn get(&self, text: &str) -> Option<&Regex> {
        self.0.get(text)
    }
}

/// Builds one that is known only when it is wanted.
pub(super) fn build(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(&expression::from_go(text))
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX)
        .build();
    built.map_err(|error| match error {
        // Upstream says no more of one that it cannot read, and has no such bound.
        regex::Error::CompiledTooBig(_) => format!("invalid matches argument: {error}"),
        _ => "invalid matches argument".to_owned(),
    })
}
