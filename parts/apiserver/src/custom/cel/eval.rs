//! Running an expression.

use super::calls;
use super::parse::{Expr, Kind};
use super::patterns::Patterns;
use super::types::field_name;
use super::value::Val;
use serde_json::Value;

/// Why a rule came to no end.
#[derive(Debug)]
pub(super) enum Stop {
    /// Something in it went wrong.
    Fault(String),
    /// It took too many steps.
    Steps,
}

pub(super) type Run<'v> = Result<Val<'v>, Stop>;

/// Names and what they stand for, and the steps that are left.
pub(super) struct Env<'v> {
    names: Vec<(&'v str, Val<'v>)>,
    steps: u64,
    patterns: &'v Patterns,
}

pub(super) fn fault<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Fault(why.into()))
}

impl<'v> Env<'v> {
    pub(super) fn new(steps: u64, patterns: &'v Patterns) -> Self {
        Self { names: Vec::new(), steps, patterns }
    }

    /// The steps that are left.
    pub(super) fn left(&self) -> u64 {
        self.steps
    }

    pub(super) fn bind(&mut self, name: &'v str, value: Val<'v>) {
        self.names.push((name, value));
    }

    fn step(&mut self, count: u64) -> Result<(), Stop> {
        self.steps = self.steps.checked_sub(count).ok_or(Stop::Steps)?;
        Ok(())
    }

    pub(super) fn run(&mut self, expr: &'v Expr) -> Run<'v> {
        self.step(1)?;
        Ok(match &expr.kind {
            Kind::Null => Val::Null,
            Kind::Bool(value) => Val::Bool(*value),
            Kind::Int(value) => Val::Int(*value),
            Kind::Uint(value) => Val::Uint(*value),
            Kind::Double(value) => Val::Double(*value),
            Kind::Text(text) => {
                self.step(bytes(text.len()))?;
                Val::Text(text.clone())
            }
            Kind::Bytes(bytes) => Val::Bytes(bytes.clone()),
            Kind::Name(name) => match self.names.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => {
                    let value = value.clone();
                    self.step(copied(&value))?;
                    value
                }
                None if super::types::SORTS.contains(&name.as_str()) => Val::Text(name.clone()),
                None => return fault(format!("no such attribute(s): {name}")),
            },
            Kind::Field(of, name) => {
                let of = self.run(of)?;
                let name = field_name(name);
                match of.field(&name) {
                    Some(value) => {
                        self.step(copied(&value))?;
                        value
                    }
                    None => return fault(format!("no such key: {name}")),
                }
            }
            Kind::Has(of, name) => {
                let of = self.run(of)?;
                Val::Bool(
                    of.field(&field_name(name)).is_some_and(|value| !matches!(value, Val::Null)),
                )
            }
            Kind::List(all) => Val::List(self.all(all)?),
            Kind::Map(all) => {
                let mut entries = Vec::with_capacity(all.len());
                for (key, value) in all {
                    entries.push((self.run(key)?, self.run(value)?));
                }
                Val::Map(entries)
            }
            Kind::Call(name, arguments) => return self.call(name, arguments),
            Kind::Method(of, name, arguments) => {
                let of = self.run(of)?;
                let arguments = self.all(arguments)?;
                self.step(weight(&of).saturating_add(arguments.iter().map(weight).sum()))?;
                self.step(made(&of, name, &arguments))?;
                self.step(built(name, &arguments, self.patterns))?;
                return calls::method(&of, name, &arguments, self.patterns);
            }
            Kind::Over(name, of, variable, bodies) => return self.over(name, of, variable, bodies),
        })
    }

    fn all(&mut self, all: &'v [Expr]) -> Result<Vec<Val<'v>>, Stop> {
        all.iter().map(|one| self.run(one)).collect()
    }

    fn call(&mut self, name: &str, arguments: &'v [Expr]) -> Run<'v> {
        match (name, arguments) {
            ("_&&_", [left, right]) => self.either(left, right, false),
            ("_||_", [left, right]) => self.either(left, right, true),
            ("_?_:_", [condition, yes, no]) => match self.run(condition)? {
                Val::Bool(true) => self.run(yes),
                Val::Bool(false) => self.run(no),
                _ => fault("no such overload"),
            },
            _ => {
                let arguments = self.all(arguments)?;
                let all = if matches!(name, "_==_" | "_!=_" | "@in") { deep } else { weight };
                self.step(arguments.iter().map(all).sum())?;
                calls::call(name, &arguments)
            }
        }
    }

    /// Both of `&&` and `||`: one side that decides makes the other one's faults of no matter.
    fn either(&mut self, left: &'v Expr, right: &'v Expr, decides: bool) -> Run<'v> {
        let left = self.run(left);
        match left {
            Ok(Val::Bool(found)) if found == decides => return left,
            Err(Stop::Steps) => return left,
            _ => {}
        }
        let right = self.run(right);
        match (left, right) {
            (_, Ok(Val::Bool(found))) if found == decides => Ok(Val::Bool(found)),
            (Err(stop), _) | (_, Err(stop)) => Err(stop),
            (Ok(Val::Bool(_)), Ok(Val::Bool(found))) => Ok(Val::Bool(found)),
            _ => fault("no such overload"),
        }
    }

    fn over(&mut self, name: &str, of: &'v Expr, variable: &'v str, bodies: &'v [Expr]) -> Run<'v> {
        let of = self.run(of)?;
        self.step(weight(&of))?;
        let Some(items) = of.items() else { return fault("no such overload") };
        let (mut found, mut count, mut stop) = (Vec::new(), 0_usize, None);
        for item in items {
            self.step(copied(&item))?;
            self.names.push((variable, item.clone()));
            let outcome = self.one(name, bodies, &item, &mut found, &mut count);
            self.names.pop();
            match outcome {
                Ok(Some(decided)) => return Ok(Val::Bool(decided)),
                Ok(None) => {}
                Err(Stop::Fault(why)) if matches!(name, "all" | "exists") => {
                    stop = stop.or(Some(Stop::Fault(why)));
                }
                Err(other) => return Err(other),
            }
        }
        match (stop, name) {
            (Some(stop), _) => Err(stop),
            (None, "all") => Ok(Val::Bool(true)),
            (None, "exists") => Ok(Val::Bool(false)),
            (None, "exists_one") => Ok(Val::Bool(count == 1)),
            _ => Ok(Val::List(found)),
        }
    }

    /// One round of a macro; an answer where that decides it.
    fn one(
        &mut self,
        name: &str,
        bodies: &'v [Expr],
        item: &Val<'v>,
        found: &mut Vec<Val<'v>>,
        count: &mut usize,
    ) -> Result<Option<bool>, Stop> {
        let judged = match (name, bodies) {
            ("map", [value]) => {
                found.push(self.run(value)?);
                return Ok(None);
            }
            (_, [judge, ..]) => match self.run(judge)? {
                Val::Bool(judged) => judged,
                _ => return fault("no such overload"),
            },
            _ => return fault("no such overload"),
        };
        match (name, bodies) {
            ("all", _) if !judged => return Ok(Some(false)),
            ("exists", _) if judged => return Ok(Some(true)),
            ("filter", _) if judged => found.push(item.clone()),
            ("map", [_, value]) if judged => found.push(self.run(value)?),
            ("exists_one", _) => *count += usize::from(judged),
            _ => {}
        }
        Ok(None)
    }
}

/// A step for ten bytes.
fn bytes(length: usize) -> u64 {
    length as u64 / 10
}

/// What a copy of a value costs: what lies in the object is not copied.
fn copied(value: &Val<'_>) -> u64 {
    match value {
        Val::Text(text) => bytes(text.len()),
        Val::Bytes(all) => bytes(all.len()),
        Val::List(items) => items.iter().map(|item| 1 + copied(item)).sum(),
        Val::Map(entries) => {
            entries.iter().map(|(key, value)| 1 + copied(key) + copied(value)).sum()
        }
        _ => 0,
    }
}

/// What looking at all of a value costs: a step for ten bytes or one item, with the texts that are items.
fn weight(value: &Val<'_>) -> u64 {
    let text = |value: &Value| value.as_str().map_or(0, |text| bytes(text.len()));
    match value {
        Val::Held(Value::Array(items), _) => items.iter().map(|item| 1 + text(item)).sum(),
        Val::Held(Value::Object(fields), _) => fields.keys().map(|key| 1 + bytes(key.len())).sum(),
        other => copied(other),
    }
}

/// What comparing a value costs: all that is in it.
fn deep(value: &Val<'_>) -> u64 {
    fn held(value: &Value) -> u64 {
        match value {
            Value::String(text) => bytes(text.len()),
            Value::Array(items) => items.iter().map(|item| 1 + held(item)).sum(),
            Value::Object(fields) => {
                fields.iter().map(|(key, value)| 1 + bytes(key.len()) + held(value)).sum()
            }
            _ => 0,
        }
    }
    match value {
        Val::Held(value, _) => held(value),
        Val::List(items) => items.iter().map(|item| 1 + deep(item)).sum(),
        Val::Map(entries) => entries.iter().map(|(key, value)| 1 + deep(key) + deep(value)).sum(),
        other => copied(other),
    }
}

/// Steps of a regular expression that is built when it is run, whatever it is matched with: its program has up to 64 KiB.
const BUILD_STEPS: u64 = 1_000;

/// What it costs to build a function's regular expression, if it does not stand in the rule itself.
fn built(name: &str, arguments: &[Val<'_>], patterns: &Patterns) -> u64 {
    match (name, arguments) {
        ("matches" | "find" | "findAll", [Val::Text(pattern)])
            if patterns.get(pattern).is_none() =>
        {
            BUILD_STEPS
        }
        _ => 0,
    }
}

/// What the answer of a function costs, where it may be much larger than what it was given.
fn made(of: &Val<'_>, name: &str, arguments: &[Val<'_>]) -> u64 {
    let many = |count: usize, each: usize| bytes(count.saturating_mul(each));
    match (name, of, arguments) {
        ("replace", Val::Text(of), [Val::Text(from), Val::Text(to)]) => {
            many(of.matches(from.as_str()).count(), to.len())
        }
        // Each part is a value of its own.
        ("split" | "findAll", Val::Text(of), _) => of.len() as u64,
        ("matches" | "find", Val::Text(of), [Val::Text(pattern)]) => {
            many(of.len(), 1 + pattern.len() / 4)
        }
        ("join", of, [Val::Text(between)]) => {
            let count = match of {
                Val::List(items) => items.len(),
                Val::Held(Value::Array(items), _) => items.len(),
                _ => 0,
            };
            many(count, between.len())
        }
        _ => 0,
    }
}
