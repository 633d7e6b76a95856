//! Running an expression.

use super::calls;
use super::parse::{Expr, Kind};
use super::types::field_name;
use super::value::Val;

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
}

pub(super) fn fault<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Fault(why.into()))
}

impl<'v> Env<'v> {
    pub(super) fn new(steps: u64) -> Self {
        Self { names: Vec::new(), steps }
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
            Kind::Text(text) => Val::Text(text.clone()),
            Kind::Bytes(bytes) => Val::Bytes(bytes.clone()),
            Kind::Name(name) => match self.names.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => value.clone(),
                None => return fault(format!("no such attribute(s): {name}")),
            },
            Kind::Field(of, name) => {
                let of = self.run(of)?;
                let name = field_name(name);
                match of.field(&name) {
                    Some(value) => value,
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
                self.step(weight(&of))?;
                return calls::method(&of, name, &arguments);
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
                self.step(arguments.iter().map(weight).sum())?;
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
        let Some(items) = self.run(of)?.items() else { return fault("no such overload") };
        let (mut found, mut count, mut stop) = (Vec::new(), 0_usize, None);
        for item in items {
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

/// What looking at all of a value costs: a step for ten bytes or one item.
fn weight(value: &Val<'_>) -> u64 {
    let size = match value {
        Val::Text(text) => text.len() / 10,
        Val::Bytes(bytes) => bytes.len() / 10,
        Val::List(items) => items.len(),
        Val::Map(entries) => entries.len(),
        Val::Held(serde_json::Value::Array(items), _) => items.len(),
        Val::Held(serde_json::Value::Object(fields), _) => fields.len(),
        _ => 0,
    };
    size as u64
}
