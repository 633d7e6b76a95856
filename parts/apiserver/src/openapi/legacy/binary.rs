//! v2 as protobuf: message and field numbers are those of gnostic's `openapi.v2.Document`.

use super::{METHODS, fields};
use bytes::Bytes;
use serde_json::Value;

/// The document in its second form.
pub(crate) fn binary(document: &Value) -> Bytes {
    let info = Message::default()
        .text(1, &document["info"]["title"])
        .text(2, &document["info"]["version"]);
    let paths = named(2, &document["paths"], path_item);
    let definitions = named(1, &document["definitions"], schema);
    let whole = Message::default()
        .text(1, &document["swagger"])
        .message(2, &info)
        .message(8, &paths)
        .message(9, &definitions);
    Bytes::from(whole.0)
}

/// A message as it grows. What is absent is left out.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap_or_default());
    }

    fn bytes(mut self, field: u8, content: &[u8]) -> Self {
        self.number(u64::from(field) << 3 | 2);
        self.number(content.len() as u64);
        self.0.extend_from_slice(content);
        self
    }

    fn message(self, field: u8, content: &Self) -> Self {
        self.bytes(field, &content.0)
    }

    fn text(self, field: u8, value: &Value) -> Self {
        match value.as_str() {
            Some(text) => self.bytes(field, text.as_bytes()),
            None => self,
        }
    }

    fn texts(self, field: u8, values: &Value) -> Self {
        values.as_array().into_iter().flatten().fold(self, |out, value| out.text(field, value))
    }

    fn flag(self, field: u8, value: &Value) -> Self {
        if value.as_bool() == Some(true) { self.varint(field, 1) } else { self }
    }

    fn varint(mut self, field: u8, value: u64) -> Self {
        self.number(u64::from(field) << 3);
        self.number(value);
        self
    }

    fn count(self, field: u8, value: &Value) -> Self {
        match value.as_u64() {
            Some(value) => self.varint(field, value),
            None => self,
        }
    }

    fn double(mut self, field: u8, value: &Value) -> Self {
        let Some(value) = value.as_f64() else { return self };
        self.number(u64::from(field) << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Words that begin with `x-`, as YAML, which JSON is too.
    fn extensions(self, field: u8, of: &Value) -> Self {
        let words = fields(of).filter(|(key, _)| key.starts_with("x-"));
        words.fold(self, |out, (key, value)| {
            let named = Self::default().bytes(1, key.as_bytes()).message(2, &any(value));
            out.message(field, &named)
        })
    }

    fn each(self, field: u8, items: &Value, make: fn(&Value) -> Self) -> Self {
        items
            .as_array()
            .into_iter()
            .flatten()
            .fold(self, |out, item| out.message(field, &make(item)))
    }

    /// A message where there is something to say.
    fn some(self, field: u8, value: &Value, make: fn(&Value) -> Self) -> Self {
        if value.is_null() { self } else { self.message(field, &make(value)) }
    }
}

fn any(value: &Value) -> Message {
    Message::default().bytes(2, value.to_string().as_bytes())
}

/// A map as a list of pairs.
fn named(field: u8, map: &Value, make: fn(&Value) -> Message) -> Message {
    fields(map).fold(Message::default(), |out, (name, value)| {
        let pair = Message::default().bytes(1, name.as_bytes()).message(2, &make(value));
        out.message(field, &pair)
    })
}

fn path_item(item: &Value) -> Message {
    // get, put, post, delete, patch
    let numbers = [2, 3, 4, 5, 8];
    let methods = METHODS.iter().zip(numbers);
    let out = methods.fold(Message::default(), |out, (method, number)| {
        out.some(number, &item[*method], operation)
    });
    out.each(9, &item["parameters"], parameter)
}

fn operation(value: &Value) -> Message {
    let response = |value: &Value| {
        let of = |value: &Value| Message::default().message(1, &schema(value));
        let said = Message::default().text(1, &value["description"]).some(2, &value["schema"], of);
        Message::default().message(1, &said)
    };
    Message::default()
        .text(3, &value["description"])
        .texts(6, &value["produces"])
        .texts(7, &value["consumes"])
        .each(8, &value["parameters"], parameter)
        .message(9, &named(1, &value["responses"], response))
        .extensions(13, value)
}

fn parameter(value: &Value) -> Message {
    let of = if value["in"] == "body" {
        let body = Message::default()
            .text(2, &value["name"])
            .text(3, &value["in"])
            .flag(4, &value["required"])
            .some(5, &value["schema"], schema);
        Message::default().message(1, &body)
    } else {
        let in_path = value["in"] == "path";
        let plain = Message::default()
            .flag(1, &value["required"])
            .text(2, &value["in"])
            .text(3, &value["description"])
            .text(4, &value["name"])
            .text(if in_path { 5 } else { 6 }, &value["type"])
            .flag(if in_path { 19 } else { 20 }, &value["uniqueItems"]);
        let plain = Message::default().message(if in_path { 4 } else { 3 }, &plain);
        Message::default().message(2, &plain)
    };
    Message::default().message(1, &of)
}

fn schema(value: &Value) -> Message {
    let others = |value: &Value| match value.as_bool() {
        Some(flag) => Message::default().varint(2, u64::from(flag)),
        None => Message::default().message(1, &schema(value)),
    };
    let kinds = |value: &Value| Message::default().text(1, value).texts(1, value);
    let items = |value: &Value| Message::default().message(1, &schema(value));
    Message::default()
        .text(1, &value["$ref"])
        .text(2, &value["format"])
        .text(3, &value["title"])
        .text(4, &value["description"])
        .double(6, &value["multipleOf"])
        .double(7, &value["maximum"])
        .flag(8, &value["exclusiveMaximum"])
        .double(9, &value["minimum"])
        .flag(10, &value["exclusiveMinimum"])
        .count(11, &value["maxLength"])
        .count(12, &value["minLength"])
        .text(13, &value["pattern"])
        .count(14, &value["maxItems"])
        .count(15, &value["minItems"])
        .flag(16, &value["uniqueItems"])
        .count(17, &value["maxProperties"])
        .count(18, &value["minProperties"])
        .texts(19, &value["required"])
        .each(20, &value["enum"], any)
        .some(21, &value["additionalProperties"], others)
        .some(22, &value["type"], kinds)
        .some(23, &value["items"], items)
        .some(25, &value["properties"], |value| named(1, value, schema))
        .extensions(31, value)
}
