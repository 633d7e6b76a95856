//! What a rule may cost at most, before it has seen a value: upstream refuses rules that would be too dear. Costs are
//! those of `cel-go` and of the functions that Kubernetes adds; where nothing bounds a value, it may be as large as a
//! request.

mod sizes;

use super::parse::{Expr, Kind};
use super::types::{self, Type};
use serde_json::Value;
use sizes::Part;
use std::collections::BTreeMap;

/// To look at a name or a field.
const LOOK: u64 = 1;
/// To make a list.
const LIST: u64 = 10;
/// To make a map.
const MAP: u64 = 30;
/// To go along a text, for each letter.
const LETTER: f64 = 0.1;
/// To search with a regular expression, for each of its letters.
const PATTERN_LETTER: f64 = 0.25;

/// How large a value is.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Size {
    least: u64,
    most: u64,
}

impl Size {
    const UNKNOWN: Self = Self { least: 0, most: u64::MAX };
    const NONE: Self = Self { least: 0, most: 0 };
    const ONE: Self = Self { least: 1, most: 1 };

    fn just(size: usize) -> Self {
        Self { least: size as u64, most: size as u64 }
    }

    fn or(self, other: Self) -> Self {
        Self { least: self.least.min(other.least), most: self.most.max(other.most) }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            least: self.least.saturating_add(other.least),
            most: self.most.saturating_add(other.most),
        }
    }

    fn times(self, other: Self) -> Self {
        Self {
            least: self.least.saturating_mul(other.least),
            most: self.most.saturating_mul(other.most),
        }
    }
}

/// A part of a cost, rounded up.
fn part(size: u64, factor: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "upstream reckons in floats, and a cast to an integer keeps to its bounds"
    )]
    let part = (size as f64 * factor).ceil() as u64;
    part
}

/// Where a value comes from.
#[derive(Clone, Copy)]
enum Place<'s> {
    /// It was made by the rule.
    Made,
    /// Nothing is known there.
    Lost,
    /// A key of a map, whose length upstream takes for nothing.
    Key,
    At(Part<'s>),
}

/// What is known of an expression.
#[derive(Clone)]
struct Estimate<'s> {
    cost: u64,
    size: Option<Size>,
    place: Place<'s>,
    /// Sizes of keys and of values.
    entries: Option<(Size, Size)>,
}

impl Estimate<'_> {
    fn size(&self) -> Size {
        self.size.unwrap_or(Size::UNKNOWN)
    }
}

/// What a rule about a schema costs at most, for one value.
pub(super) fn most(
    expr: &Expr,
    schema: &Value,
    whole: bool,
    names: &BTreeMap<String, Type>,
) -> u64 {
    let root = Part { schema, whole };
    let mut coster = Coster { root, types: names.clone(), variables: BTreeMap::new() };
    coster.estimate(expr).cost
}

/// How often a rule may be run over one object where nothing bounds the lists and maps around its value.
pub(super) fn repeated(schema: &Value, whole: bool) -> u64 {
    sizes::fitting(Part { schema, whole }.least_bytes())
}

struct Coster<'s> {
    root: Part<'s>,
    types: BTreeMap<String, Type>,
    variables: BTreeMap<String, Estimate<'s>>,
}

impl<'s> Coster<'s> {
    fn type_of(&mut self, expr: &Expr) -> Type {
        types::check(expr, &mut self.types).unwrap_or(Type::Any)
    }

    /// The place one step further. From what was made upstream begins at the root again.
    fn step(&self, place: Place<'s>, step: impl Fn(Part<'s>) -> Option<Part<'s>>) -> Place<'s> {
        match place {
            Place::Made => Place::At(self.root),
            Place::Lost | Place::Key => Place::Lost,
            Place::At(part) => step(part).map_or(Place::Lost, Place::At),
        }
    }

    /// The size of what has none of its own: by its place, else by its type.
    fn known_size(&mut self, place: Place<'s>, expr: &Expr) -> Option<Size> {
        match place {
            Place::At(part) => Some(Size { least: 0, most: part.most() }),
            Place::Key => Some(Size::NONE),
            Place::Made | Place::Lost => self.type_of(expr).is_scalar().then_some(Size::ONE),
        }
    }

    fn estimate(&mut self, expr: &Expr) -> Estimate<'s> {
        let plain = |cost: u64, size: Option<Size>| Estimate {
            cost,
            size,
            place: Place::Made,
            entries: None,
        };
        match &expr.kind {
            Kind::Text(text) => plain(0, Some(Size::just(text.chars().count()))),
            Kind::Bytes(bytes) => plain(0, Some(Size::just(bytes.len()))),
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Uint(_) | Kind::Double(_) => {
                plain(0, Some(Size::ONE))
            }
            Kind::Name(name) => self.name(expr, name),
            Kind::Field(of, name) => {
                let inner = self.estimate(of);
                let place = self.step(inner.place, |part| part.field(name));
                let looks = matches!(self.type_of(of), Type::Map(_) | Type::Object(_));
                let cost = inner.cost.saturating_add(if looks { LOOK } else { 0 });
                Estimate { cost, size: self.known_size(place, expr), place, entries: None }
            }
            // Presence costs nothing but the way there.
            Kind::Has(of, _) => plain(self.estimate(of).cost, Some(Size::ONE)),
            Kind::List(all) => {
                let all: Vec<_> = all.iter().map(|one| self.estimate(one)).collect();
                let sizes = all.iter().map(Estimate::size).reduce(Size::or);
                Estimate {
                    cost: sum(&all).saturating_add(LIST),
                    size: Some(Size::just(all.len())),
                    place: Place::Made,
                    entries: Some((Size::ONE, sizes.unwrap_or(Size::NONE))),
                }
            }
            Kind::Map(all) => {
                let keys: Vec<_> = all.iter().map(|(key, _)| self.estimate(key)).collect();
                let values: Vec<_> = all.iter().map(|(_, value)| self.estimate(value)).collect();
                let of = |all: &[Estimate<'s>]| all.iter().map(Estimate::size).reduce(Size::or);
                Estimate {
                    cost: sum(&keys).saturating_add(sum(&values)).saturating_add(MAP),
                    size: Some(Size::just(all.len())),
                    place: Place::Made,
                    entries: Some((
                        of(&keys).unwrap_or(Size::NONE),
                        of(&values).unwrap_or(Size::NONE),
                    )),
                }
            }
            Kind::Call(name, arguments) => self.call(expr, name, arguments),
            Kind::Method(of, name, arguments) => self.method(expr, of, name, arguments),
            Kind::Over(name, of, variable, bodies) => self.over((name, variable), of, bodies),
        }
    }

    fn name(&mut self, expr: &Expr, name: &str) -> Estimate<'s> {
        let Some(variable) = self.variables.get(name).cloned() else {
            let place = Place::At(self.root);
            return Estimate {
                cost: LOOK,
                size: self.known_size(place, expr),
                place,
                entries: None,
            };
        };
        let size = self.known_size(variable.place, expr).or(variable.size);
        Estimate { cost: LOOK, size, ..variable }
    }

    fn call(&mut self, expr: &Expr, name: &str, arguments: &[Expr]) -> Estimate<'s> {
        let all: Vec<Estimate<'s>> = arguments.iter().map(|one| self.estimate(one)).collect();
        let spent = sum(&all);
        let size = |at: usize| all.get(at).map_or(Size::UNKNOWN, Estimate::size);
        let mut found = Estimate {
            cost: spent.saturating_add(1),
            size: None,
            place: Place::Made,
            entries: None,
        };
        match name {
            "_&&_" | "_||_" => found.cost = spent,
            "_?_:_" => {
                let costs: Vec<u64> = all.iter().map(|one| one.cost).collect();
                let (first, others) = costs.split_first().unwrap_or((&0, &[]));
                found.cost = first.saturating_add(others.iter().copied().max().unwrap_or(0));
                found.size = Some(size(1).or(size(2)));
                found.entries = either(all.get(1), all.get(2));
            }
            "_+_" => {
                let kind = self.type_of(expr);
                if matches!(kind, Type::Text | Type::Bytes | Type::List(_) | Type::Any) {
                    let total = size(0).plus(size(1));
                    if !matches!(kind, Type::List(_)) {
                        found.cost = spent.saturating_add(part(total.most, LETTER).max(1));
                    }
                    found.size = Some(total);
                    found.entries = either(all.first(), all.get(1));
                }
            }
            "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => {
                let kinds = [0, 1].map(|at| {
                    arguments.get(at).map_or(Type::Any, |argument| self.type_of(argument))
                });
                let by_letters = matches!(kinds, [Type::Text | Type::Bytes | Type::Any, _]);
                let is_quantity = kinds[0] == Type::Quantity;
                if by_letters || (matches!(name, "_==_" | "_!=_") && !is_quantity) {
                    let least = size(0).most.min(size(1).most);
                    found.cost = spent.saturating_add(part(least, LETTER));
                }
            }
            "@in" => {
                let of = arguments.get(1).map_or(Type::Any, |argument| self.type_of(argument));
                if matches!(of, Type::List(_) | Type::Any) {
                    found.cost = spent.saturating_add(size(1).most);
                }
            }
            "_[_]" => {
                let of = all.first();
                let place = of.map_or(Place::Lost, |of| of.place);
                found.place = self.step(place, Part::items);
                found.size = of.and_then(|of| of.entries).map(|(_, values)| values);
            }
            "dyn" => (found.size, found.entries) = all.first().map_or((None, None), kept),
            "string" | "bytes" => {
                let of = arguments.first().map_or(Type::Any, |argument| self.type_of(argument));
                if matches!((name, of), ("string", Type::Bytes) | ("bytes", Type::Text)) {
                    found.cost = spent.saturating_add(part(size(0).most, LETTER));
                    found.size = Some(size(0).times(Size { least: 0, most: 4 }));
                }
            }
            "url" => {
                found.cost = spent.saturating_add(part(size(0).most, LETTER));
                found.size = Some(size(0));
            }
            _ => {}
        }
        found.size = found.size.or_else(|| self.known_size(found.place, expr));
        found
    }

    fn method(&mut self, expr: &Expr, of: &Expr, name: &str, arguments: &[Expr]) -> Estimate<'s> {
        let target = self.estimate(of);
        let all: Vec<Estimate<'s>> = arguments.iter().map(|one| self.estimate(one)).collect();
        let first = all.first().map_or(Size::UNKNOWN, Estimate::size);
        let long = target.size();
        let along = |factor: f64| part(long.most, factor);
        let (own, size) = match name {
            "startsWith" | "endsWith" => (part(first.most, LETTER), None),
            "contains" => (along(LETTER).saturating_mul(part(first.most, LETTER)), None),
            "matches" | "find" | "findAll" => {
                let text = part(long.most.saturating_add(1), LETTER);
                let cost = text.saturating_mul(part(first.most, PATTERN_LETTER));
                (cost, (name != "matches").then_some(Size { least: 0, ..long }))
            }
            "lowerAscii" | "upperAscii" | "substring" | "trim" => (along(LETTER), Some(long)),
            "replace" => {
                let with = all.get(1).map_or(Size::UNKNOWN, Estimate::size);
                (along(2.0 * LETTER), Some(replaced(long, first, with)))
            }
            "split" => {
                let most = match arguments.get(1).map(|one| &one.kind) {
                    Some(Kind::Int(most)) => u64::try_from(*most).unwrap_or(u64::MAX),
                    _ => long.most,
                };
                (along(2.0 * LETTER), Some(Size { least: 0, most }))
            }
            "join" => {
                let mut joined = long.times(self.item_size(target.place));
                if !all.is_empty() {
                    let gaps = Size {
                        least: long.least.saturating_sub(1),
                        most: long.most.saturating_sub(1),
                    };
                    joined = joined.plus(first.times(gaps));
                }
                (part(joined.most, LETTER), Some(joined))
            }
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
                let cost = match self.type_of(of) {
                    Type::List(item) => {
                        let letters = matches!(*item, Type::Text | Type::Bytes);
                        let each = if letters {
                            part(self.item_size(target.place).most, LETTER)
                        } else {
                            0
                        };
                        long.most.saturating_mul(each.saturating_add(1))
                    }
                    _ => along(LETTER),
                };
                (cost, None)
            }
            _ => (1, None),
        };
        let cost = target.cost.saturating_add(sum(&all)).saturating_add(own);
        let size = size.or_else(|| self.known_size(Place::Made, expr));
        Estimate { cost, size, place: Place::Made, entries: None }
    }

    /// How large the items of a list are by the schema; what a rule made has no bound to upstream.
    fn item_size(&self, list: Place<'s>) -> Size {
        match list {
            Place::Made => Size::UNKNOWN,
            place => match self.step(place, Part::items) {
                Place::At(part) => Size { least: 0, most: part.most() },
                _ => Size::UNKNOWN,
            },
        }
    }

    /// A macro: the cost of each round is that of its hidden comparisons, sums and conditions, and its body's.
    fn over(&mut self, (name, variable): (&str, &str), of: &Expr, bodies: &[Expr]) -> Estimate<'s> {
        let range = self.estimate(of);
        let kind = self.type_of(of);
        let is_list = !matches!(kind, Type::Map(_) | Type::Object(_));
        let place = match range.place {
            Place::At(_) if !is_list => Place::Key,
            place => self.step(place, Part::items),
        };
        let item = match &kind {
            Type::List(item) => item.as_ref().clone(),
            Type::Map(_) | Type::Object(_) => Type::Text,
            _ => Type::Any,
        };
        let size = range.entries.map(|(keys, values)| if is_list { values } else { keys });
        let own = Estimate { cost: LOOK, size, place, entries: None };
        let hidden = self.variables.insert(variable.to_owned(), own);
        let hidden_type = self.types.insert(variable.to_owned(), item);
        let bodies: Vec<Estimate<'s>> = bodies.iter().map(|one| self.estimate(one)).collect();
        let each = self.variables.remove(variable);
        if let Some(hidden) = hidden {
            self.variables.insert(variable.to_owned(), hidden);
        }
        match hidden_type {
            Some(hidden) => drop(self.types.insert(variable.to_owned(), hidden)),
            None => drop(self.types.remove(variable)),
        }
        let body = sum(&bodies);
        let makes = bodies.last().map_or(Size::UNKNOWN, Estimate::size);
        let (start, round, end, made) = match name {
            "all" => (0, body.saturating_add(3), 1, None),
            "exists" => (0, body.saturating_add(4), 1, None),
            "exists_one" => (0, body.saturating_add(2), 2, None),
            "filter" => {
                let item = each.map_or(Size::UNKNOWN, |each| match each.place {
                    Place::At(part) => Size { least: 0, most: part.most() },
                    _ => each.size(),
                });
                (LIST, body.saturating_add(13), 1, Some(item))
            }
            _ => (LIST, body.saturating_add(12), 1, Some(makes)),
        };
        let cost = range
            .cost
            .saturating_add(start + end)
            .saturating_add(range.size().most.saturating_mul(round));
        match made {
            None => Estimate { cost, size: Some(Size::ONE), place: Place::Made, entries: None },
            Some(item) => Estimate {
                cost,
                size: Some(range.size()),
                place: Place::Made,
                entries: Some((Size::ONE, item.or(Size::NONE))),
            },
        }
    }
}

fn sum(all: &[Estimate<'_>]) -> u64 {
    all.iter().fold(0, |sum, one| sum.saturating_add(one.cost))
}

/// What stays of a value that is passed on.
fn kept(of: &Estimate<'_>) -> (Option<Size>, Option<(Size, Size)>) {
    (of.size, of.entries)
}

/// Entries of one or the other, where they are known of both.
fn either(one: Option<&Estimate<'_>>, other: Option<&Estimate<'_>>) -> Option<(Size, Size)> {
    let (one, other) = (one?.entries?, other?.entries?);
    Some((one.0.or(other.0), one.1.or(other.1)))
}

/// How long a text may be once something in it is replaced.
fn replaced(text: Size, old: Size, new: Size) -> Size {
    let rounds = |text: u64, old: u64| text.div_ceil(old.max(1));
    let most = if old.least == 0 {
        text.most.saturating_add(1).saturating_mul(new.most).saturating_add(text.most)
    } else if new.most <= old.least {
        text.most
    } else {
        rounds(text.most, old.least).saturating_mul(new.most)
    };
    let least = if old.most == 0 {
        text.least.saturating_add(1).saturating_mul(new.least).saturating_add(text.least)
    } else if old.most <= new.least {
        text.least
    } else {
        rounds(text.least, old.most).saturating_mul(new.least)
    };
    Size { least, most }
}
