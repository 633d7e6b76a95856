//! Protobuf bodies: client-go's typed clients send them where they are told to, as Kubernetes' own parts, its end-to-end
//! suite and some verbs of kubectl are. Answers are JSON, which these clients take as well.
//!
//! The wire: the four bytes `k8s\0`, then an envelope (1: {1: apiVersion, 2: kind}, 2: the object). Go writes
//! every field that is no pointer, set or not. What that leaves here, zeros and empty messages, is dropped
//! later, as it is from JSON; only empty texts and the zero time are dropped here. A number that no field has is passed
//! over, as upstream does with what older and newer clients send; where it may be that of a field whose number we do
//! not know, the body is refused rather than a field lost.

use super::node::Node;
use api::schema::{self, Type};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// How every protobuf body of Kubernetes begins.
const MAGIC: &[u8] = b"k8s\0";

/// Deepest nesting of messages: a pod's needs twelve, a schema within a definition some more for each level.
const DEPTH_MAX: usize = 64;

/// Reads a body; the error says why not.
pub fn read(body: &[u8]) -> Result<Node, String> {
    let body =
        body.strip_prefix(MAGIC).ok_or("provided data does not appear to be a protobuf message")?;
    let (mut version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for part in Parts(body) {
        match part? {
            (1, Part::Bytes(bytes)) => {
                for part in Parts(bytes) {
                    match part? {
                        (1, Part::Bytes(bytes)) => version = text(bytes)?,
                        (2, Part::Bytes(bytes)) => kind = text(bytes)?,
                        _ => {}
                    }
                }
            }
            (2, Part::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let found =
        shape(&version, &kind).ok_or_else(|| format!("{kind} is read as JSON or YAML only"))?;
    let mut object =
        vec![("kind".to_owned(), Node::Text(kind)), ("apiVersion".to_owned(), Node::Text(version))];
    message(raw, (found, 0), 0, &mut object)?;
    Ok(Node::Object(object))
}

/// The type of a kind. Where the version does not fit, the kind's own: what is wrong is said later, as for JSON.
fn shape(version: &str, kind: &str) -> Option<&'static Type> {
    let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
    let named = |found: &&Type| found.kinds.iter().any(|(_, _, name)| *name == kind);
    schema::by_kind(group, version, kind).or_else(|| schema::all().find(named))
}

enum Part<'a> {
    Number(u64),
    /// The bits of a `double`.
    Double(u64),
    /// Four bytes, which no field of Kubernetes has.
    Four,
    Bytes(&'a [u8]),
}

/// The fields of a message, one after another.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or("unexpected EOF")?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number is longer than 64 bits".to_owned())
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or("unexpected EOF")?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn part(&mut self) -> Result<(u64, Part<'a>), String> {
        let tag = self.varint()?;
        let part = match tag & 7 {
            0 => Part::Number(self.varint()?),
            1 => Part::Double(u64::from_le_bytes(self.fixed()?)),
            5 => self.fixed::<4>().map(|_| Part::Four)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|error| error.to_string())?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or("unexpected EOF")?;
                self.0 = rest;
                Part::Bytes(bytes)
            }
            other => return Err(format!("wire type {other} is not used")),
        };
        Ok((tag >> 3, part))
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<(u64, Part<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let part = self.part();
        if part.is_err() {
            self.0 = &[];
        }
        Some(part)
    }
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())
}

/// Reads the fields of a message: the type's own, or those of one that JSON writes in place.
fn message(
    bytes: &[u8],
    (found, outer): (&'static Type, u16),
    depth: usize,
    out: &mut Vec<(String, Node)>,
) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err("messages are nested too deep".to_owned());
    }
    for part in Parts(bytes) {
        let (number, part) = part?;
        let Some(number) = u16::try_from(number).ok().filter(|number| *number != 0) else {
            continue;
        };
        if let Some(inner) = found.in_place(outer, number) {
            let Part::Bytes(bytes) = part else { return Err(WRONG_TYPE.to_owned()) };
            message(bytes, (found, inner), depth + 1, out)?;
            continue;
        }
        let Some(field) = found.numbered(outer, number) else {
            if found.is_numbered() {
                continue;
            }
            return Err(format!(
                "field {number} of {} is read as JSON or YAML only",
                found.go_name()
            ));
        };
        let value = match value(part, &field.node, depth)? {
            None if says_something(found, field) => Node::Text(String::new()),
            None => continue,
            Some(value) => value,
        };
        let there = out.iter_mut().find(|(key, _)| key == field.name).map(|(_, value)| value);
        match (there, value) {
            (Some(Node::List(items)), Node::List(more)) => items.extend(more),
            (Some(Node::Object(entries)), Node::Object(more)) => entries.extend(more),
            (Some(place), value) => *place = value,
            (None, value) => out.push((field.name.to_owned(), value)),
        }
    }
    Ok(())
}

/// Whether an empty text is one: where Go writes it always, and where it is a pointer whose emptiness says something.
fn says_something(found: &Type, field: &schema::Field) -> bool {
    let is_default = field.default.is_none_or(|default| default == "\"\"");
    matches!(field.node, schema::Node::Text)
        && (field.required && is_default
            || matches!(
                (found.go_name(), field.name),
                ("PersistentVolumeClaimSpec", "storageClassName" | "volumeAttributesClassName")
                    | ("TypedLocalObjectReference" | "TypedObjectReference", "apiGroup")
            ))
}

const WRONG_TYPE: &str = "a field is of a wrong wire type";

/// One occurrence of a field; `None` when it says nothing.
fn value(part: Part<'_>, holds: &schema::Node, depth: usize) -> Result<Option<Node>, String> {
    use schema::Node as Holds;
    let bytes = match (holds, part) {
        (Holds::Bool, Part::Number(number)) => return Ok(Some(Node::Bool(number != 0))),
        (Holds::Int32 | Holds::Int64, Part::Number(number)) => {
            return Ok(Some(Node::Number(number.cast_signed().into())));
        }
        (Holds::Double, Part::Double(bits)) => return double(f64::from_bits(bits)).map(Some),
        (Holds::List(list), part) => {
            let item = value_of_list(part, &list.items, depth)?;
            return Ok(Some(Node::List(vec![item])));
        }
        (_, Part::Bytes(bytes)) => bytes,
        _ => return Err(WRONG_TYPE.to_owned()),
    };
    Ok(match holds {
        Holds::Text => Some(text(bytes)?).filter(|text| !text.is_empty()).map(Node::Text),
        Holds::Bytes => Some(Node::Text(STANDARD.encode(bytes))),
        Holds::Time => moment(bytes, false)?,
        Holds::MicroTime => moment(bytes, true)?,
        Holds::Quantity => {
            Some(Node::Text(text(first(bytes)?)?)).filter(|text| text != &Node::Text(String::new()))
        }
        Holds::IntOrString => Some(either(bytes)?),
        Holds::Any | Holds::Deduced => raw(first(bytes)?)?,
        Holds::Struct(found) => {
            let mut fields = Vec::new();
            message(bytes, (found, 0), depth + 1, &mut fields)?;
            Some(Node::Object(fields))
        }
        Holds::SchemaOr(found) => schema_or(bytes, found, depth)?,
        Holds::Map(map) => Some(Node::Object(vec![entry(bytes, &map.values, depth)?])),
        Holds::Bool | Holds::Int32 | Holds::Int64 | Holds::Double | Holds::List(_) => {
            return Err(WRONG_TYPE.to_owned());
        }
    })
}

/// A number as Go writes it in JSON: whole ones without a point.
fn double(number: f64) -> Result<Node, String> {
    let number = serde_json::Number::from_f64(number).ok_or("a number is none")?;
    let text = number.to_string();
    let whole = text.strip_suffix(".0").and_then(|whole| whole.parse::<i64>().ok());
    Ok(Node::Number(whole.map_or(number, Into::into)))
}

/// A schema, or a flag, or schemas: one in field 1 or, after a flag, in field 2; else several in field 2.
fn schema_or(bytes: &[u8], found: &'static Type, depth: usize) -> Result<Option<Node>, String> {
    let schema = |bytes| {
        let mut fields = Vec::new();
        message(bytes, (found, 0), depth + 1, &mut fields).map(|()| Node::Object(fields))
    };
    let (mut allows, mut one, mut more) = (None, None, Vec::new());
    for part in Parts(bytes) {
        match part? {
            (1, Part::Number(number)) => allows = Some(Node::Bool(number != 0)),
            (1, Part::Bytes(bytes)) => one = Some(schema(bytes)?),
            (2, Part::Bytes(bytes)) => more.push(schema(bytes)?),
            _ => {}
        }
    }
    Ok(match allows {
        Some(allows) => Some(more.pop().unwrap_or(allows)),
        None if more.is_empty() => one,
        None => Some(Node::List(more)),
    })
}

/// One item of a list: an empty text is one too.
fn value_of_list(part: Part<'_>, holds: &schema::Node, depth: usize) -> Result<Node, String> {
    Ok(value(part, holds, depth)?.unwrap_or_else(|| match holds {
        schema::Node::Text => Node::Text(String::new()),
        _ => Node::Null,
    }))
}

fn entry(bytes: &[u8], holds: &schema::Node, depth: usize) -> Result<(String, Node), String> {
    let (mut key, mut held) = (String::new(), Part::Bytes(&[]));
    for part in Parts(bytes) {
        match part? {
            (1, Part::Bytes(bytes)) => key = text(bytes)?,
            (2, part) => held = part,
            _ => {}
        }
    }
    let schema::Node::List(list) = holds else {
        return Ok((key, value_of_list(held, holds, depth)?));
    };
    // a list in a map is a message of its own, with the items in its first field
    let Part::Bytes(bytes) = held else { return Err(WRONG_TYPE.to_owned()) };
    let items = Parts(bytes).map(|part| value_of_list(part?.1, &list.items, depth));
    Ok((key, Node::List(items.collect::<Result<_, _>>()?)))
}

/// The bytes in a message's first field, which is all that quantities and raw JSON have.
fn first(bytes: &[u8]) -> Result<&[u8], String> {
    for part in Parts(bytes) {
        if let (1, Part::Bytes(bytes)) = part? {
            return Ok(bytes);
        }
    }
    Ok(&[])
}

fn raw(bytes: &[u8]) -> Result<Option<Node>, String> {
    if bytes.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(bytes).map(Some).map_err(|error| error.to_string())
}

/// A number or a text: which of the two, then both.
fn either(bytes: &[u8]) -> Result<Node, String> {
    let (mut is_text, mut number, mut held) = (false, 0, String::new());
    for part in Parts(bytes) {
        match part? {
            (1, Part::Number(kind)) => is_text = kind == 1,
            (2, Part::Number(value)) => number = value.cast_signed(),
            (3, Part::Bytes(bytes)) => held = text(bytes)?,
            _ => {}
        }
    }
    Ok(if is_text { Node::Text(held) } else { Node::Number(number.into()) })
}

/// A moment, to the second or with six digits; nothing for the zero one.
fn moment(bytes: &[u8], is_fine: bool) -> Result<Option<Node>, String> {
    let (mut seconds, mut nanoseconds) = (0, 0);
    for part in Parts(bytes) {
        match part? {
            (1, Part::Number(number)) => seconds = number.cast_signed(),
            (2, Part::Number(number)) => nanoseconds = number.cast_signed(),
            _ => {}
        }
    }
    if seconds == 0 {
        return Ok(None);
    }
    let nanoseconds = i32::try_from(nanoseconds).map_err(|error| error.to_string())?;
    let at = jiff::Timestamp::new(seconds, nanoseconds).map_err(|error| error.to_string())?;
    let form = if is_fine { "%Y-%m-%dT%H:%M:%S%.6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(Some(Node::Text(at.strftime(form).to_string())))
}

#[cfg(test)]
mod tests;
