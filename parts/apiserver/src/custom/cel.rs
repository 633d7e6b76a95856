//! Rules in CEL (`x-kubernetes-validations`): read and typed when a definition is written, run when an object is.
//!
//! The part of the language that is known is the core with its macros and the text, list and time functions listed in
//! `types`. A rule that needs more is refused with the definition: a rule that is kept is a rule that is checked.

mod calls;
mod cost;
mod eval;
mod parse;
mod patterns;
mod types;
mod value;

use super::lists::Before;
use super::nowhere;
use super::schema::{Others, Schema};
use crate::admit::Faults;
use crate::admit::json::Json;
use api::field::Fault;
use api::{FieldError, Path};
use eval::{Env, Stop};
use parse::Expr;
use patterns::Patterns;
use serde_json::Value;
use std::collections::BTreeMap;
use types::Type;
use value::Val;

/// Steps that one rule may take over one value; then it is refused. Upstream counts its own cost: its bound of a
/// million units for a call is of this size.
const STEPS_MAX: u64 = 1_000_000;

/// Steps that all rules together may take over one object, however many values they are asked about: a quarter of a second
/// at worst. Upstream's bound is ten million units.
const OBJECT_STEPS_MAX: u64 = 2_000_000;

/// A rule that can be run.
#[derive(Debug)]
pub(crate) struct Program {
    expr: Expr,
    itself: Type,
    /// Whether it compares with what was there before.
    changes: bool,
    /// What one run costs at most, by upstream's reckoning.
    cost: u64,
    patterns: Patterns,
}

/// How often a rule about a schema may be run over one object where nothing bounds the lists and maps around it.
pub(crate) fn repeated(schema: &Value, whole: bool) -> u64 {
    cost::repeated(schema, whole)
}

impl Program {
    /// Bytes that the regular expressions which stand in it are counted as.
    pub(crate) fn patterns(&self) -> usize {
        self.patterns.bytes()
    }

    /// What one run costs at most, by upstream's reckoning.
    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    /// Whether it compares with what was there before.
    pub(crate) fn compares(&self) -> bool {
        self.changes
    }
}

/// What an expression is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// It says whether a value is well.
    Rule,
    /// It words a message.
    Message,
}

/// Reads an expression about `self`, which `schema` describes; `whole` says that it is an object with metadata. The
/// error is what is said of the field.
pub(crate) fn compile(
    text: &str,
    schema: &Value,
    whole: bool,
    aim: Aim,
) -> Result<Program, String> {
    let all_failed = |faults: &[parse::Fault]| {
        let about = if aim == Aim::Rule { "" } else { "messageExpression " };
        let shown: Vec<String> = faults.iter().map(|fault| fault.shown(text)).collect();
        format!("{about}compilation failed: {}", shown.join("\n"))
    };
    let failed = |fault: parse::Fault| all_failed(&[fault]);
    let expr = parse::read(text).map_err(|faults| all_failed(&faults))?;
    let itself = Type::of(schema, whole);
    let mut known = BTreeMap::new();
    known.insert("self".to_owned(), itself.clone());
    known.insert("oldSelf".to_owned(), itself.clone());
    match (aim, types::check(&expr, &mut known).map_err(|faults| all_failed(&faults))?) {
        (Aim::Rule, Type::Bool) | (Aim::Message, Type::Text) => {}
        (Aim::Rule, _) => return Err("cel expression must evaluate to a bool".to_owned()),
        (Aim::Message, _) => {
            return Err("messageExpression must evaluate to a string".to_owned());
        }
    }
    let changes = expr.names("oldSelf");
    let patterns = Patterns::of(&expr).map_err(failed)?;
    let cost = cost::most(&expr, schema, whole, &known);
    Ok(Program { expr, itself, changes, cost, patterns })
}

/// Letters that are kept of what is wrong with a rule: there may be many rules, and each is told in full when its
/// definition is judged.
const KEPT_CHARS_MAX: usize = 1_024;

/// A rule of a schema.
#[derive(Debug)]
pub(crate) struct Rule {
    text: String,
    /// A rule that cannot be read lets nothing pass: the error says why.
    program: Result<Program, String>,
    message: String,
    speaking: Option<Program>,
    reason: String,
    field: String,
}

impl Rule {
    /// Bytes that its regular expressions are counted as.
    pub(crate) fn patterns(&self) -> usize {
        let programs = self.program.as_ref().ok().into_iter().chain(&self.speaking);
        programs.map(Program::patterns).sum()
    }

    /// Reads one of the rules of a schema; `whole` says that it describes an object with metadata. Validation of the
    /// definition refuses rules that cannot be read, but a stored one may be older than that.
    pub(crate) fn read(rule: &Value, schema: &Value, whole: bool) -> Self {
        let speaking = rule.text("messageExpression");
        let brief = |why: String| match why.char_indices().nth(KEPT_CHARS_MAX) {
            Some((end, _)) => why.get(..end).unwrap_or_default().to_owned(),
            None => why,
        };
        Self {
            text: rule.text("rule").trim().to_owned(),
            program: compile(rule.text("rule"), schema, whole, Aim::Rule).map_err(brief),
            message: rule.text("message").trim().to_owned(),
            speaking: compile(speaking, schema, whole, Aim::Message).ok(),
            reason: rule.text("reason").to_owned(),
            field: rule.text("fieldPath").to_owned(),
        }
    }

    fn run(
        &self,
        (value, old): (&Value, Option<&Value>),
        path: &Path,
        left: &mut u64,
    ) -> Option<FieldError> {
        let program = match &self.program {
            Ok(program) => program,
            Err(why) => return Some(refused(path.clone(), &format!("rule compile error: {why}"))),
        };
        if program.changes && old.is_none() {
            return None;
        }
        match program.run(value, old, left) {
            Ok(Val::Bool(true)) => None,
            // An object that was wrong before may stay as it is.
            _ if !program.changes && old == Some(value) => None,
            Ok(_) => Some(self.broken((value, old), path, left)),
            Err(Stop::Fault(why)) => {
                let about = if self.message.is_empty() { &self.text } else { &self.message };
                Some(refused(path.clone(), &format!("{why} evaluating rule: {about}")))
            }
            Err(Stop::Steps) if *left == 0 => Some(refused(path.clone(), NO_STEPS_LEFT)),
            Err(Stop::Steps) => {
                *left = 0;
                let about = if self.message.is_empty() { &self.text } else { &self.message };
                Some(refused(path.clone(), &format!("{ONE_TOO_LONG} for rule: {about}")))
            }
        }
    }

    fn broken(
        &self,
        (value, old): (&Value, Option<&Value>),
        path: &Path,
        left: &mut u64,
    ) -> FieldError {
        let spoken =
            self.speaking.as_ref().and_then(|program| match program.run(value, old, left) {
                Ok(Val::Text(text)) if !text.trim().is_empty() && !text.contains('\n') => {
                    Some(text.trim().to_owned())
                }
                _ => None,
            });
        let message = match (spoken, self.message.as_str()) {
            (Some(spoken), _) => spoken,
            (None, "") => format!("failed rule: {}", self.text),
            (None, message) => message.to_owned(),
        };
        let mut path = path.clone();
        for key in self.field.split('.').filter(|key| !key.is_empty()) {
            path = if path == nowhere() { Path::new(key) } else { path.child(key) };
        }
        match self.reason.as_str() {
            "FieldValueForbidden" => FieldError::forbidden(path, &message),
            "FieldValueRequired" => FieldError::required(path, &message),
            "FieldValueDuplicate" => FieldError {
                path,
                fault: Fault::Duplicate,
                body: format!("Duplicate value: {message}"),
            },
            _ => refused(path, &message),
        }
    }
}

const NO_STEPS_LEFT: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

const ONE_TOO_LONG: &str = "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit";

/// `Invalid value` without the value, which upstream leaves out here.
fn refused(path: Path, why: &str) -> FieldError {
    FieldError { path, fault: Fault::Invalid, body: format!("Invalid value: {why}") }
}

impl Program {
    /// Runs it; `left` is what may still be spent on the object.
    fn run<'v>(
        &'v self,
        value: &'v Value,
        old: Option<&'v Value>,
        left: &mut u64,
    ) -> Result<Val<'v>, Stop> {
        let most = STEPS_MAX.min(*left);
        let mut env = Env::new(most, &self.patterns);
        env.bind("self", Val::of(value, &self.itself));
        if let Some(old) = old {
            env.bind("oldSelf", Val::of(old, &self.itself));
        }
        let found = env.run(&self.expr);
        *left -= if matches!(found, Err(Stop::Steps)) { most } else { most - env.left() };
        found
    }
}

/// What the rules of a schema say of a value and all that is in it.
pub(crate) fn check(value: &Value, old: Option<&Value>, schema: &Schema, path: &Path) -> Faults {
    let mut faults = Faults::new();
    let mut left = OBJECT_STEPS_MAX;
    walk(&mut faults, (value, old), schema, path, &mut left);
    faults
}

fn walk(
    faults: &mut Faults,
    (value, old): (&Value, Option<&Value>),
    schema: &Schema,
    path: &Path,
    left: &mut u64,
) {
    if !schema.has_rules || value.is_null() {
        return;
    }
    for rule in &schema.rules {
        if *left == 0 {
            return;
        }
        faults.extend(rule.run((value, old), path, left));
    }
    let below = |key: &str| if *path == nowhere() { Path::new(key) } else { path.child(key) };
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let (part, path) = match (schema.properties.get(key), &schema.others) {
                    (Some(part), _) => (part, below(key)),
                    (None, Others::Of(part)) => (&**part, path.key(key)),
                    _ => continue,
                };
                walk(faults, (value, old.and_then(|old| old.get(key))), part, &path, left);
            }
        }
        Value::Array(items) => {
            let Some(part) = schema.items.as_deref().filter(|part| part.has_rules) else { return };
            let before = Before::of(old, schema);
            for (at, item) in items.iter().enumerate() {
                walk(faults, (item, before.item(item, schema)), part, &path.index(at), left);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
