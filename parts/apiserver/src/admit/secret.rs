//! Secrets.

use super::configmap::{BYTES_MAX, KEPT, decoded, entries};
use super::faults::{Faults, IMMUTABLE, texts};
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, table, words};
use api::{FieldError, Path};
use base64::Engine as _;
use serde_json::Value;

const TOKEN: &str = "kubernetes.io/service-account-token";
const DOCKER: &str = "kubernetes.io/dockercfg";
const DOCKER_JSON: &str = "kubernetes.io/dockerconfigjson";
const BASIC: &str = "kubernetes.io/basic-auth";
const SSH: &str = "kubernetes.io/ssh-auth";
const TLS: &str = "kubernetes.io/tls";
const ACCOUNT: &str = "kubernetes.io/service-account.name";

/// The strategy.
#[derive(Debug)]
pub(crate) struct Secret;

impl Strategy for Secret {
    fn default(&self, object: &mut Value) {
        object.fill_text("type", "Opaque");
        let plain = object.at("stringData").clone();
        object.unset("stringData");
        for (key, value) in plain.as_object().into_iter().flatten() {
            let text = value.as_str().unwrap_or_default();
            let encoded = base64::engine::general_purpose::STANDARD.encode(text);
            object.object("data").set(key, encoded);
        }
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: &Context<'_>) {
        if object.text("type").is_empty() {
            object.restore("type", old);
        }
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        validate(object)
    }

    fn validate_update(&self, object: &Value, old: &Value, _context: &Context<'_>) -> Faults {
        let mut found = Faults::new();
        if object.text("type") != old.text("type") {
            let kind = object.text("type");
            found.push(FieldError::invalid(Path::new("type"), kind, IMMUTABLE));
        }
        if old.flag("immutable") {
            if !object.flag("immutable") {
                found.push(FieldError::forbidden(Path::new("immutable"), KEPT));
            }
            if entries(object, "data") != entries(old, "data") {
                found.push(FieldError::forbidden(Path::new("data"), KEPT));
            }
        }
        found.extend(validate(object));
        found
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let certificate = decoded(object.at("data").at("tls.crt"));
        let is_pem = String::from_utf8_lossy(&certificate).contains("-----BEGIN ");
        if object.text("type") == TLS && !certificate.is_empty() && !is_pem {
            return vec!["tls: failed to find any PEM data in certificate input".to_owned()];
        }
        Vec::new()
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("type", object.text("type").to_owned())]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["type"]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![
            table::name(object),
            object.at("type").clone(),
            object.entries("data").len().into(),
            table::age(object, now),
        ]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Type", "string", "What programs may expect in it."),
    table::column("Data", "string", "How many entries there are."),
    table::AGE,
];

fn validate(object: &Value) -> Faults {
    let mut found = Faults::new();
    let path = Path::new("data");
    let mut bytes = 0;
    for (key, value) in object.entries("data") {
        texts(&mut found, &path.key(key), key, words::config_key(key));
        bytes += decoded(value).len();
    }
    if bytes > BYTES_MAX {
        found.push(FieldError::too_long(path.clone(), BYTES_MAX));
    }
    let data = object.at("data");
    let mut need = |key: &str| {
        if !data.has(key) {
            found.push(FieldError::required(path.key(key), ""));
        }
    };
    match object.text("type") {
        TOKEN if object.at("metadata").at("annotations").text(ACCOUNT).is_empty() => {
            let at = Path::new("metadata").child("annotations").key(ACCOUNT);
            found.push(FieldError::required(at, ""));
        }
        DOCKER => validate_json(&mut found, data, ".dockercfg"),
        DOCKER_JSON => validate_json(&mut found, data, ".dockerconfigjson"),
        BASIC if !data.has("username") && !data.has("password") => {
            need("username");
            need("password");
        }
        SSH if decoded(data.at("ssh-privatekey")).is_empty() => {
            found.push(FieldError::required(path.key("ssh-privatekey"), ""));
        }
        TLS => {
            need("tls.crt");
            need("tls.key");
        }
        _ => {}
    }
    found
}

/// Entries that must be a JSON object.
fn validate_json(found: &mut Faults, data: &Value, key: &str) {
    let path = Path::new("data").key(key);
    if !data.has(key) {
        found.push(FieldError::required(path, ""));
        return;
    }
    if let Err(why) = go_json_object(&decoded(data.at(key))) {
        found.push(FieldError::invalid(path, "<secret contents redacted>", &why));
    }
}

/// Why bytes are no JSON object, as Go words the most frequent reasons.
fn go_json_object(bytes: &[u8]) -> Result<(), String> {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(Value::Object(_) | Value::Null) => Ok(()),
        Ok(other) => {
            let kind = match other {
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Bool(_) => "bool",
                _ => "number",
            };
            Err(format!(
                "json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
            ))
        }
        Err(error) if error.is_eof() => Err("unexpected end of JSON input".to_owned()),
        Err(error) => {
            let lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
            let line = lines.get(error.line().saturating_sub(1)).copied().unwrap_or_default();
            let found = line.get(error.column().saturating_sub(1)).copied().unwrap_or(b'?');
            let before = line[..error.column().saturating_sub(1).min(line.len())]
                .iter()
                .rev()
                .find(|b| !b.is_ascii_whitespace());
            let place = match before {
                Some(b'{') => "looking for beginning of object key string",
                Some(b'"') => "after object key",
                _ => "looking for beginning of value",
            };
            Err(format!("invalid character '{}' {place}", char::from(found)))
        }
    }
}
