//! Types of expressions, found before anything runs: a field that a schema does not have is a mistake in the rule.

use super::parse::{Expr, Fault, Kind};
use crate::admit::json::Json;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    /// Not known before it runs.
    Any,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Duration,
    Time,
    Quantity,
    /// A type itself: `string`, `type(x)`.
    Sort,
    List(Arc<Type>),
    Map(Arc<Type>),
    Object(Arc<BTreeMap<String, Type>>),
}

impl Type {
    /// The type of what a schema describes; `whole` adds what every object has.
    pub(super) fn of(schema: &Value, whole: bool) -> Self {
        if schema.flag("x-kubernetes-int-or-string") {
            return Self::Any;
        }
        match (schema.text("type"), schema.text("format")) {
            ("boolean", _) => Self::Bool,
            ("integer", _) => Self::Int,
            ("number", _) => Self::Double,
            ("string", "byte") => Self::Bytes,
            ("string", "duration") => Self::Duration,
            ("string", "date" | "date-time" | "datetime") => Self::Time,
            ("string", _) => Self::Text,
            ("array", _) => Self::List(Arc::new(Self::of(schema.at("items"), false))),
            ("object", _) if schema.at("additionalProperties").is_object() => {
                Self::Map(Arc::new(Self::of(schema.at("additionalProperties"), false)))
            }
            ("object", _) => {
                let whole = whole || schema.flag("x-kubernetes-embedded-resource");
                let mut fields: BTreeMap<String, Self> = schema
                    .entries("properties")
                    .into_iter()
                    .map(|(name, part)| (name.to_owned(), Self::of(part, false)))
                    .collect();
                if whole {
                    let names = json!({"type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}}});
                    fields.insert("metadata".to_owned(), Self::of(&names, false));
                    fields.insert("apiVersion".to_owned(), Self::Text);
                    fields.insert("kind".to_owned(), Self::Text);
                }
                Self::Object(Arc::new(fields))
            }
            _ => Self::Any,
        }
    }

    /// As messages call it.
    fn shown(&self) -> String {
        match self {
            Self::Any => "dyn".to_owned(),
            Self::Null => "null".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::Int => "int".to_owned(),
            Self::Uint => "uint".to_owned(),
            Self::Double => "double".to_owned(),
            Self::Text => "string".to_owned(),
            Self::Bytes => "bytes".to_owned(),
            Self::Duration => "google.protobuf.Duration".to_owned(),
            Self::Time => "google.protobuf.Timestamp".to_owned(),
            Self::Quantity => "kubernetes.Quantity".to_owned(),
            Self::Sort => "type".to_owned(),
            Self::List(of) => format!("list({})", of.shown()),
            Self::Map(of) => format!("map(string, {})", of.shown()),
            Self::Object(_) => "selfType".to_owned(),
        }
    }

    /// Whether a value of one type may stand where the other is wanted.
    fn fits(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b)) | (Self::Map(a), Self::Map(b)) => a.fits(b),
            // A literal map may be compared with an object, and null with whatever may be absent.
            (Self::Any, _)
            | (_, Self::Any)
            | (Self::Map(_), Self::Object(_))
            | (Self::Object(_), Self::Map(_))
            | (
                Self::Null,
                Self::Object(_) | Self::Map(_) | Self::List(_) | Self::Time | Self::Duration,
            )
            | (
                Self::Object(_) | Self::Map(_) | Self::List(_) | Self::Time | Self::Duration,
                Self::Null,
            ) => true,
            (a, b) => a == b,
        }
    }

    /// Whether a value of it has one size, whatever it is.
    pub(super) fn is_scalar(&self) -> bool {
        matches!(
            self,
            Self::Bool | Self::Double | Self::Duration | Self::Int | Self::Time | Self::Uint
        )
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double)
    }
}

/// The field a name in a rule stands for: names that CEL could not read are written with escapes.
pub(super) fn field_name(name: &str) -> String {
    const WORDS: [&str; 19] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "void",
    ];
    if let Some(word) = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"))
        && WORDS.contains(&word)
    {
        return word.to_owned();
    }
    name.replace("__dot__", ".")
        .replace("__dash__", "-")
        .replace("__slash__", "/")
        .replace("__underscores__", "__")
}

/// What is known on the way: the types of names, and what was wrong so far.
struct Scope<'n> {
    names: &'n mut BTreeMap<String, Type>,
    faults: Vec<Fault>,
}

/// Names of types, which are values themselves; by them `type(x)` is compared.
pub(super) const SORTS: &[&str] =
    &["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// The type of what an expression comes to, or everything that is wrong with it in order.
pub(super) fn check(expr: &Expr, names: &mut BTreeMap<String, Type>) -> Result<Type, Vec<Fault>> {
    let mut scope = Scope { names, faults: Vec::new() };
    let found = type_of(expr, &mut scope);
    if scope.faults.is_empty() {
        return Ok(found);
    }
    scope.faults.sort_by_key(|fault| fault.at);
    Err(scope.faults)
}

fn overload(expr: &Expr, name: &str, types: &[Type], of: Option<&Type>) -> Fault {
    let shown: Vec<String> = types.iter().map(Type::shown).collect();
    let applied = match of {
        Some(of) => format!("{}.({})", of.shown(), shown.join(", ")),
        None => format!("({})", shown.join(", ")),
    };
    Fault {
        at: expr.at,
        why: format!("found no matching overload for '{name}' applied to '{applied}'"),
    }
}

fn all_of(all: &[Expr], scope: &mut Scope<'_>) -> Vec<Type> {
    all.iter().map(|one| type_of(one, scope)).collect()
}

/// One type for several values.
fn joined(types: Vec<Type>) -> Type {
    let mut types = types.into_iter();
    let first = types.next().unwrap_or(Type::Any);
    if types.all(|other| other == first) { first } else { Type::Any }
}

/// A part that is wrong may be anything to what is around it.
fn type_of(expr: &Expr, scope: &mut Scope<'_>) -> Type {
    judged(expr, scope).unwrap_or_else(|fault| {
        super::parse::note(&mut scope.faults, fault);
        Type::Any
    })
}

fn judged(expr: &Expr, scope: &mut Scope<'_>) -> Result<Type, Fault> {
    Ok(match &expr.kind {
        Kind::Null => Type::Null,
        Kind::Bool(_) => Type::Bool,
        Kind::Int(_) => Type::Int,
        Kind::Uint(_) => Type::Uint,
        Kind::Double(_) => Type::Double,
        Kind::Text(_) => Type::Text,
        Kind::Bytes(_) => Type::Bytes,
        Kind::Name(name) => match scope.names.get(name) {
            Some(found) => found.clone(),
            None if SORTS.contains(&name.as_str()) => Type::Sort,
            None => return Err(undeclared(expr, name)),
        },
        Kind::Field(of, name) => field(expr, &type_of(of, scope), name)?,
        Kind::Has(of, name) => {
            field(expr, &type_of(of, scope), name)?;
            Type::Bool
        }
        Kind::List(all) => Type::List(Arc::new(joined(all_of(all, scope)))),
        Kind::Map(all) => {
            let mut values = Vec::new();
            for (key, value) in all {
                type_of(key, scope);
                values.push(type_of(value, scope));
            }
            Type::Map(Arc::new(joined(values)))
        }
        Kind::Call(name, arguments) => {
            let types = all_of(arguments, scope);
            call(expr, name, &types)?
        }
        Kind::Method(of, name, arguments) => {
            let of = type_of(of, scope);
            let types = all_of(arguments, scope);
            method(expr, &of, name, &types)?
        }
        Kind::Over(name, of, variable, bodies) => over(expr, (name, variable), of, bodies, scope)?,
    })
}

fn undeclared(expr: &Expr, name: &str) -> Fault {
    let why = format!("undeclared reference to '{name}' (in container '')");
    Fault { at: expr.at, why }
}

fn field(expr: &Expr, of: &Type, name: &str) -> Result<Type, Fault> {
    match of {
        Type::Object(fields) => fields
            .get(&field_name(name))
            .cloned()
            .ok_or_else(|| Fault { at: expr.at, why: format!("undefined field '{name}'") }),
        Type::Map(of) => Ok(of.as_ref().clone()),
        Type::Any => Ok(Type::Any),
        other => Err(Fault {
            at: expr.at,
            why: format!("type '{}' does not support field selection", other.shown()),
        }),
    }
}

fn over(
    expr: &Expr,
    (name, variable): (&str, &str),
    of: &Expr,
    bodies: &[Expr],
    scope: &mut Scope<'_>,
) -> Result<Type, Fault> {
    let item = match type_of(of, scope) {
        Type::List(of) => of.as_ref().clone(),
        Type::Map(_) | Type::Object(_) => Type::Text,
        Type::Any => Type::Any,
        other => {
            let why = format!(
                "expression of type '{}' cannot be range of a comprehension (must be list, map, or dynamic)",
                other.shown()
            );
            return Err(Fault { at: of.at, why });
        }
    };
    let hidden = scope.names.insert(variable.to_owned(), item.clone());
    let types = all_of(bodies, scope);
    match hidden {
        Some(hidden) => scope.names.insert(variable.to_owned(), hidden),
        None => scope.names.remove(variable),
    };
    let made = match name {
        "map" => Type::List(Arc::new(types.last().cloned().unwrap_or(Type::Any))),
        "filter" => Type::List(Arc::new(item)),
        _ => Type::Bool,
    };
    let judged =
        if name == "map" { types.split_last().map_or(&[][..], |(_, rest)| rest) } else { &types };
    if let Some(wrong) = judged.iter().find(|found| !found.fits(&Type::Bool)) {
        // What the macro stands for: a conjunction, or a condition on what is gathered.
        return Err(match name {
            "all" => overload(expr, "_&&_", &[Type::Bool, wrong.clone()], None),
            "exists" => overload(expr, "_||_", &[Type::Bool, wrong.clone()], None),
            "exists_one" => overload(expr, "_?_:_", &[wrong.clone(), Type::Int, Type::Int], None),
            _ => overload(expr, "_?_:_", &[wrong.clone(), made.clone(), made], None),
        });
    }
    Ok(made)
}

fn call(expr: &Expr, name: &str, types: &[Type]) -> Result<Type, Fault> {
    let no = || Err(overload(expr, name, types, None));
    let known = |wanted: &Type, at: usize| types.get(at).is_some_and(|found| found.fits(wanted));
    let both = |wanted: &Type| types.iter().all(|found| found.fits(wanted));
    let (first, second) = (types.first().unwrap_or(&Type::Any), types.get(1).unwrap_or(&Type::Any));
    match name {
        "_&&_" | "_||_" | "!_" => {
            if both(&Type::Bool) {
                Ok(Type::Bool)
            } else {
                no()
            }
        }
        "_?_:_" if known(&Type::Bool, 0) => {
            let third = types.get(2).unwrap_or(&Type::Any);
            if second.fits(third) { Ok(joined(vec![second.clone(), third.clone()])) } else { no() }
        }
        "_==_" | "_!=_" => {
            if first.fits(second) {
                Ok(Type::Bool)
            } else {
                no()
            }
        }
        "_<_" | "_<=_" | "_>_" | "_>=_" => {
            let ordered = |found: &Type| {
                !matches!(found, Type::List(_) | Type::Map(_) | Type::Object(_) | Type::Null)
            };
            let same = first.fits(second) || (first.is_number() && second.is_number());
            if same && ordered(first) && ordered(second) { Ok(Type::Bool) } else { no() }
        }
        "@in" => match second {
            Type::List(of) if of.fits(first) => Ok(Type::Bool),
            Type::Map(_) | Type::Object(_) | Type::Any => Ok(Type::Bool),
            _ => no(),
        },
        "_[_]" => match first {
            Type::List(of) if second.fits(&Type::Int) => Ok(of.as_ref().clone()),
            Type::Map(of) => Ok(of.as_ref().clone()),
            Type::Any => Ok(Type::Any),
            _ => no(),
        },
        "_+_" | "_-_" | "_*_" | "_/_" | "_%_" | "-_" => arithmetic(expr, name, types),
        "size" if types.len() == 1 && has_size(first) => Ok(Type::Int),
        "int" if types.len() == 1 => Ok(Type::Int),
        "uint" if types.len() == 1 => Ok(Type::Uint),
        "double" if types.len() == 1 => Ok(Type::Double),
        "string" if types.len() == 1 => Ok(Type::Text),
        "type" if types.len() == 1 => Ok(Type::Sort),
        "bool" if types.len() == 1 => Ok(Type::Bool),
        "dyn" if types.len() == 1 => Ok(Type::Any),
        "duration" if types.len() == 1 && known(&Type::Text, 0) => Ok(Type::Duration),
        "timestamp" if types.len() == 1 && known(&Type::Text, 0) => Ok(Type::Time),
        "quantity" if types.len() == 1 && known(&Type::Text, 0) => Ok(Type::Quantity),
        "isQuantity" | "isURL" | "isIP" | "isCIDR" if types.len() == 1 && known(&Type::Text, 0) => {
            Ok(Type::Bool)
        }
        "size" | "int" | "uint" | "double" | "string" | "bool" | "dyn" | "duration"
        | "timestamp" | "_?_:_" => no(),
        _ => Err(undeclared(expr, name)),
    }
}

fn has_size(of: &Type) -> bool {
    matches!(
        of,
        Type::Any | Type::Text | Type::Bytes | Type::List(_) | Type::Map(_) | Type::Object(_)
    )
}

fn arithmetic(expr: &Expr, name: &str, types: &[Type]) -> Result<Type, Fault> {
    use Type::{Any, Bytes, Double, Duration, Int, List, Text, Time, Uint};
    let no = || Err(overload(expr, name, types, None));
    match (name, types) {
        ("-_", [Any]) => Ok(Any),
        ("_+_", [Time, Duration] | [Duration, Time]) | ("_-_", [Time, Duration]) => Ok(Time),
        ("_-_", [Time, Time]) | ("_+_" | "_-_", [Duration, Duration]) => Ok(Duration),
        ("_+_", [Text, Text]) => Ok(Text),
        ("_+_", [Bytes, Bytes]) => Ok(Bytes),
        ("_+_", [List(a), List(b)]) if a.fits(b) => Ok(types.first().cloned().unwrap_or(Any)),
        ("-_", [Int]) | (_, [Int, Int]) => Ok(Int),
        (_, [Uint, Uint]) => Ok(Uint),
        ("-_", [Double]) | ("_+_" | "_-_" | "_*_" | "_/_", [Double, Double]) => Ok(Double),
        (_, [Any, other] | [other, Any]) => Ok(other.clone()),
        _ => no(),
    }
}

fn method(expr: &Expr, of: &Type, name: &str, types: &[Type]) -> Result<Type, Fault> {
    use Type::{Any, Bool, Duration, Int, List, Quantity, Text, Time};
    let texts = |found: &[Type]| found.iter().all(|one| one.fits(&Text));
    let of_text = of.fits(&Text);
    let of_list = matches!(of, List(_) | Any);
    match (name, types) {
        ("size", []) if has_size(of) => Ok(Int),
        ("startsWith" | "endsWith" | "contains" | "matches", [_]) if of_text && texts(types) => {
            Ok(Bool)
        }
        ("indexOf" | "lastIndexOf", [_]) if matches!(of, List(_)) => Ok(Int),
        ("indexOf" | "lastIndexOf", [_]) if of_text && texts(types) => Ok(Int),
        ("charAt", [index]) if of_text && index.fits(&Int) => Ok(Text),
        ("lowerAscii" | "upperAscii" | "trim", []) if of_text => Ok(Text),
        ("replace", [_, _]) | ("find", [_]) if of_text && texts(types) => Ok(Text),
        ("split" | "findAll", [_]) if of_text && texts(types) => Ok(List(Arc::new(Text))),
        ("substring", [_] | [_, _]) if of_text && types.iter().all(|one| one.fits(&Int)) => {
            Ok(Text)
        }
        ("join", [] | [_]) if of_list && texts(types) => Ok(Text),
        ("isSorted", []) if of_list => Ok(Bool),
        ("sum" | "min" | "max", []) if of_list => match of {
            List(of) => Ok(of.as_ref().clone()),
            _ => Ok(Any),
        },
        ("getSeconds" | "getMinutes" | "getHours" | "getMilliseconds", [])
            if of.fits(&Duration) || of.fits(&Time) =>
        {
            Ok(Int)
        }
        (
            "getFullYear" | "getMonth" | "getDate" | "getDayOfMonth" | "getDayOfWeek"
            | "getDayOfYear",
            [],
        ) if of.fits(&Time) => Ok(Int),
        ("isGreaterThan" | "isLessThan", [other])
            if of.fits(&Quantity) && other.fits(&Quantity) =>
        {
            Ok(Bool)
        }
        ("compareTo", [other]) if of.fits(&Quantity) && other.fits(&Quantity) => Ok(Int),
        ("sign", []) if of.fits(&Quantity) => Ok(Int),
        _ if METHODS.contains(&name) => Err(overload(expr, name, types, Some(of))),
        _ => Err(undeclared(expr, name)),
    }
}

const METHODS: &[&str] = &[
    "size",
    "startsWith",
    "endsWith",
    "contains",
    "matches",
    "indexOf",
    "lastIndexOf",
    "charAt",
    "lowerAscii",
    "upperAscii",
    "trim",
    "replace",
    "find",
    "split",
    "findAll",
    "substring",
    "join",
    "isSorted",
    "sum",
    "min",
    "max",
    "getSeconds",
    "getMinutes",
    "getHours",
    "getFullYear",
    "getMonth",
    "isGreaterThan",
    "isLessThan",
    "compareTo",
    "sign",
];
