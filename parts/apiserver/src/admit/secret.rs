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
        if object.text("type") != TLS {
            return Vec::new();
        }
        let data = object.at("data");
        pair_fault(&decoded(data.at("tls.crt")), &decoded(data.at("tls.key"))).into_iter().collect()
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

/// Why a certificate and a key are no pair, in the words of Go's TLS library, as far as their wrapping tells.
fn pair_fault(certificate: &[u8], key: &[u8]) -> Option<String> {
    let certificates = pem_types(certificate);
    if !certificates.iter().any(|kind| kind == "CERTIFICATE") {
        return Some(match certificates.as_slice() {
            [] => "tls: failed to find any PEM data in certificate input".to_owned(),
            [one] if one.ends_with("PRIVATE KEY") => "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".to_owned(),
            all => format!(
                "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [{}]",
                all.join(" ")
            ),
        });
    }
    let keys = pem_types(key);
    if keys.iter().any(|kind| kind == "PRIVATE KEY" || kind.ends_with(" PRIVATE KEY")) {
        return None;
    }
    Some(match keys.as_slice() {
        [] => "tls: failed to find any PEM data in key input".to_owned(),
        [one] if one == "CERTIFICATE" => {
            "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
        }
        all => format!(
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [{}]",
            all.join(" ")
        ),
    })
}

/// The types of the PEM blocks in a text, in order.
fn pem_types(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut open: Option<(String, String)> = None;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim_end) {
        if let Some(kind) = line.strip_prefix("-----BEGIN ").and_then(|l| l.strip_suffix("-----")) {
            open = Some((kind.to_owned(), String::new()));
        } else if let Some(kind) =
            line.strip_prefix("-----END ").and_then(|l| l.strip_suffix("-----"))
        {
            let closed = open.take().filter(|(begun, _)| begun == kind);
            let read = |body: &str| base64::engine::general_purpose::STANDARD.decode(body).is_ok();
            found.extend(closed.filter(|(_, body)| read(body)).map(|(kind, _)| kind));
        } else if let Some((_, body)) = &mut open {
            body.push_str(line);
        }
    }
    found
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
