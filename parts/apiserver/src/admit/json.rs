//! Reading and filling JSON objects whose types were checked when they were decoded: a field that is absent
//! reads as its empty value, as it does in upstream's structs.

use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// Reading.
pub(crate) trait Json {
    /// The field, or null.
    fn at(&self, key: &str) -> &Value;
    /// The field below several others, or null.
    fn dig(&self, keys: &[&str]) -> &Value;
    /// The string, or "".
    fn text(&self, key: &str) -> &str;
    /// The list, or an empty one.
    fn list(&self, key: &str) -> &[Value];
    /// The integer.
    fn int(&self, key: &str) -> Option<i64>;
    /// The boolean, or false.
    fn flag(&self, key: &str) -> bool;
    /// Whether the field is there and not null.
    fn has(&self, key: &str) -> bool;
    /// Fields of a map in order.
    fn entries(&self, key: &str) -> Vec<(&str, &Value)>;
}

impl Json for Value {
    fn at(&self, key: &str) -> &Value {
        self.get(key).unwrap_or(&NULL)
    }

    fn dig(&self, keys: &[&str]) -> &Value {
        keys.iter().fold(self, |value, key| value.at(key))
    }

    fn text(&self, key: &str) -> &str {
        self.at(key).as_str().unwrap_or_default()
    }

    fn list(&self, key: &str) -> &[Value] {
        self.at(key).as_array().map(Vec::as_slice).unwrap_or_default()
    }

    fn int(&self, key: &str) -> Option<i64> {
        self.at(key).as_i64()
    }

    fn flag(&self, key: &str) -> bool {
        self.at(key).as_bool().unwrap_or_default()
    }

    fn has(&self, key: &str) -> bool {
        !self.at(key).is_null()
    }

    fn entries(&self, key: &str) -> Vec<(&str, &Value)> {
        self.at(key)
            .as_object()
            .map(|map| map.iter().map(|(k, v)| (k.as_str(), v)).collect())
            .unwrap_or_default()
    }
}

/// Filling.
pub(crate) trait JsonMut {
    /// Sets the field when it is absent or null.
    fn fill(&mut self, key: &str, value: impl Into<Value>);
    /// Sets the field when it is absent, null or an empty string.
    fn fill_text(&mut self, key: &str, value: &str);
    /// Sets the field.
    fn set(&mut self, key: &str, value: impl Into<Value>);
    /// Takes the field away.
    fn unset(&mut self, key: &str);
    /// The object in the field, made when absent.
    fn object(&mut self, key: &str) -> &mut Value;
    /// The items of the list in the field.
    fn items(&mut self, key: &str) -> &mut [Value];
    /// The field when it is there and not null.
    fn present(&mut self, key: &str) -> Option<&mut Value>;
    /// Makes the field as it is in `old`, also when it is absent there.
    fn restore(&mut self, key: &str, old: &Value);
}

impl JsonMut for Value {
    fn fill(&mut self, key: &str, value: impl Into<Value>) {
        if !self.has(key) {
            self.set(key, value);
        }
    }

    fn fill_text(&mut self, key: &str, value: &str) {
        if self.text(key).is_empty() {
            self.set(key, value);
        }
    }

    fn set(&mut self, key: &str, value: impl Into<Value>) {
        if let Value::Object(map) = self {
            map.insert(key.to_owned(), value.into());
        }
    }

    fn unset(&mut self, key: &str) {
        if let Value::Object(map) = self {
            map.remove(key);
        }
    }

    fn object(&mut self, key: &str) -> &mut Value {
        if !self.is_object() {
            *self = Value::Object(Map::new());
        }
        if !self.at(key).is_object() {
            self.set(key, Value::Object(Map::new()));
        }
        &mut self[key]
    }

    fn items(&mut self, key: &str) -> &mut [Value] {
        self.get_mut(key).and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default()
    }

    fn present(&mut self, key: &str) -> Option<&mut Value> {
        self.get_mut(key).filter(|value| !value.is_null())
    }

    fn restore(&mut self, key: &str, old: &Value) {
        if old.has(key) {
            self.set(key, old.at(key).clone());
        } else {
            self.unset(key);
        }
    }
}
