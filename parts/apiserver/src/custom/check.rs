//! Values held against their schema, in the words of the validator that upstream uses.

use super::format;
use super::lists::Before;
use super::nowhere;
use super::schema::{Judge, Others, Schema};
use crate::admit::faults::{Faults, invalid_shown, unsupported_shown};
use api::field::{Fault, shown};
use api::{FieldError, Path};
use serde_json::{Map, Value};

/// Every fault of a value. What is as it was in `old` is not judged again: objects may be older than their schema.
/// `place` is where the value lies, where that is not the root of an object.
pub(crate) fn check(
    value: &Value,
    old: Option<&Value>,
    schema: &Schema,
    place: Option<&Path>,
) -> Faults {
    let mut walk = Walk { faults: Faults::new(), place };
    walk.value(value, old, schema, "");
    walk.faults
}

struct Walk<'a> {
    faults: Faults,
    place: Option<&'a Path>,
}

/// The type of a value, as the validator calls it.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_whole(value: &Value) -> bool {
    value.as_i64().is_some() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

impl Walk<'_> {
    fn path(&self, name: &str) -> Path {
        match (self.place, name) {
            (Some(place), "") => place.clone(),
            (Some(place), name) => place.child(name),
            (None, "") => nowhere(),
            (None, name) => Path::new(name),
        }
    }

    fn invalid(&mut self, name: &str, value: &Value, why: &str) {
        let why = format!("{name} in body {why}");
        self.faults.push(invalid_shown(self.path(name), &shown(value), &why));
    }

    /// A fault that has no place of its own.
    fn said(&mut self, why: &str) {
        let path = self.place.cloned().unwrap_or_else(nowhere);
        self.faults.push(FieldError::invalid(path, "", why));
    }

    fn mistyped(&mut self, name: &str, wanted: &str, found: &str) {
        self.faults.push(FieldError {
            path: self.path(name),
            fault: Fault::TypeInvalid,
            body: format!(
                "Invalid value: {found:?}: {name} in body must be of type {wanted}: {found:?}"
            ),
        });
    }

    fn value(&mut self, value: &Value, old: Option<&Value>, schema: &Schema, name: &str) {
        if old == Some(value) {
            return;
        }
        self.type_and_format(value, schema, name);
        self.combined(value, schema, name);
        self.number(value, schema, name);
        self.known(value, schema, name);
        match value {
            Value::String(text) => self.text(text, &schema.judge, name),
            Value::Array(items) => self.items(items, old, schema, name),
            Value::Object(fields) => self.fields(fields, old, schema, name),
            _ => {}
        }
    }

    fn type_and_format(&mut self, value: &Value, schema: &Schema, name: &str) {
        let wanted = if schema.either { "integer,string" } else { schema.kind.as_str() };
        let found = type_of(value);
        if wanted.is_empty() {
            return;
        }
        if value.is_null() {
            if !schema.nullable {
                self.mistyped(name, wanted, "null");
            }
            return;
        }
        let fits = wanted.split(',').any(|wanted| {
            wanted == found
                || (wanted == "number" && found == "integer")
                || (wanted == "integer" && value.is_number() && is_whole(value))
        });
        let format = schema.judge.format.as_str();
        if !fits {
            let named = !format.is_empty() && !value.is_string() && !value.is_array();
            let exact = match found {
                "integer" => "int64",
                "number" => "double",
                _ => "",
            };
            let known = named && ["object", "boolean"].iter().all(|kind| *kind != found);
            if known {
                self.mistyped(name, format, exact);
            } else {
                self.mistyped(name, wanted, found);
            }
        } else if let Value::String(text) = value
            && !format.is_empty()
            && !format::fits(format, text)
        {
            self.faults.push(FieldError {
                path: self.path(name),
                fault: Fault::TypeInvalid,
                body: format!(
                    "Invalid value: {text:?}: {name} in body must be of type {format}: {text:?}"
                ),
            });
        }
    }

    /// Faults of a value against a part, on their own.
    fn apart(&self, value: &Value, part: &Schema, name: &str) -> Faults {
        let mut walk = Walk { faults: Faults::new(), place: self.place };
        walk.value(value, None, part, name);
        walk.faults
    }

    fn combined(&mut self, value: &Value, schema: &Schema, name: &str) {
        let judge = &schema.judge;
        let fewest = |all: Vec<Faults>| all.into_iter().min_by_key(Vec::len).unwrap_or_default();
        if !judge.any_of.is_empty() {
            let all: Vec<Faults> =
                judge.any_of.iter().map(|part| self.apart(value, part, name)).collect();
            if all.iter().all(|faults| !faults.is_empty()) {
                self.said(&format!("{name:?} must validate at least one schema (anyOf)"));
                self.faults.extend(fewest(all));
            }
        }
        if !judge.one_of.is_empty() {
            let all: Vec<Faults> =
                judge.one_of.iter().map(|part| self.apart(value, part, name)).collect();
            let well = all.iter().filter(|faults| faults.is_empty()).count();
            let about = format!("{name:?} must validate one and only one schema (oneOf).");
            if well == 0 {
                self.said(&format!("{about} Found none valid"));
                self.faults.extend(fewest(all));
            } else if well > 1 {
                self.said(&format!("{about} Found {well} valid alternatives"));
            }
        }
        if !judge.all_of.is_empty() {
            let all: Vec<Faults> =
                judge.all_of.iter().map(|part| self.apart(value, part, name)).collect();
            let none =
                if all.iter().all(|faults| !faults.is_empty()) { ". None validated" } else { "" };
            if all.iter().any(|faults| !faults.is_empty()) {
                self.said(&format!("{name:?} must validate all the schemas (allOf){none}"));
            }
            self.faults.extend(all.into_iter().flatten());
        }
        if let Some(part) = &judge.not
            && self.apart(value, part, name).is_empty()
        {
            self.said(&format!("{name:?} must not validate the schema (not)"));
        }
    }

    fn number(&mut self, value: &Value, schema: &Schema, name: &str) {
        let (judge, Some(number)) = (&schema.judge, value.as_f64()) else { return };
        let format = judge.format.as_str();
        let fits = match (schema.kind.as_str(), format) {
            ("integer", "int32") => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            ("integer", _) => is_whole(value),
            _ => true,
        };
        if !fits {
            let with = if format.is_empty() {
                "(default format)".to_owned()
            } else {
                format!("with format {format}")
            };
            self.said(&format!("Checked value must be of type integer {with} in {name}"));
        }
        if let Some(unit) = judge.multiple_of.filter(|unit| *unit > 0.0) {
            let times = number / unit;
            if (times - times.round()).abs() > 1e-9 {
                self.invalid(name, value, &format!("should be a multiple of {unit}"));
            }
        }
        if let Some(most) = judge.maximum {
            if judge.above && number >= most {
                self.invalid(name, value, &format!("should be less than {most}"));
            } else if number > most {
                self.invalid(name, value, &format!("should be less than or equal to {most}"));
            }
        }
        if let Some(least) = judge.minimum {
            if judge.below && number <= least {
                self.invalid(name, value, &format!("should be greater than {least}"));
            } else if number < least {
                self.invalid(name, value, &format!("should be greater than or equal to {least}"));
            }
        }
    }

    fn known(&mut self, value: &Value, schema: &Schema, name: &str) {
        let Some(known) = &schema.judge.known else { return };
        if known.contains(value)
            || (value.is_null() && schema.nullable && known.contains(&Value::Null))
        {
            return;
        }
        let texts: Vec<String> = known
            .iter()
            .map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.faults.push(unsupported_shown(self.path(name), &shown(value), &texts));
    }

    fn text(&mut self, text: &str, judge: &Judge, name: &str) {
        let length = text.chars().count() as u64;
        if let Some(most) = judge.length.1.filter(|most| length > *most) {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            self.faults.push(FieldError::too_long(self.path(name), most));
        } else if let Some(least) = judge.length.0.filter(|least| length < *least) {
            let why = format!("should be at least {least} chars long");
            self.invalid(name, &text.into(), &why);
        } else if let Some((shown, pattern, _)) = &judge.pattern
            && !pattern.is_match(text)
        {
            self.invalid(name, &text.into(), &format!("should match '{shown}'"));
        }
    }

    fn items(&mut self, items: &[Value], old: Option<&Value>, schema: &Schema, name: &str) {
        if let Some(part) = &schema.items {
            let old = Before::of(old, schema);
            for (at, item) in items.iter().enumerate() {
                let before = old.item(item, schema);
                self.value(item, before, part, &format!("{name}[{at}]"));
            }
        }
        let count = items.len() as u64;
        if let Some(least) = schema.judge.items.0.filter(|least| count < *least) {
            self.invalid(name, &count.into(), &format!("should have at least {least} items"));
        }
        if let Some(most) = schema.judge.items.1.filter(|most| count > *most) {
            self.too_many(name, items.len(), most);
        }
    }

    fn too_many(&mut self, name: &str, found: usize, most: u64) {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        self.faults.push(FieldError::too_many(self.path(name), found, most));
    }

    fn fields(
        &mut self,
        fields: &Map<String, Value>,
        old: Option<&Value>,
        schema: &Schema,
        name: &str,
    ) {
        let judge = &schema.judge;
        let count = fields.len() as u64;
        if let Some(least) = judge.properties.0.filter(|least| count < *least) {
            let why = format!("should have at least {least} properties");
            self.invalid(name, &count.into(), &why);
        }
        if let Some(most) = judge.properties.1.filter(|most| count > *most) {
            self.too_many(name, fields.len(), most);
        }
        let below =
            |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
        if let Others::Of(part) = &schema.others {
            for (key, value) in
                fields.iter().filter(|(key, _)| !schema.properties.contains_key(*key))
            {
                self.value(value, old.and_then(|old| old.get(key)), part, &below(key));
            }
        }
        for (key, part) in &schema.properties {
            if let Some(value) = fields.get(key) {
                self.value(value, old.and_then(|old| old.get(key)), part, &below(key));
            }
        }
        for key in judge.required.iter().filter(|key| !fields.contains_key(*key)) {
            self.faults.push(FieldError::required(self.path(&below(key)), ""));
        }
    }
}
