//! Probes and lifecycle hooks (spec A78).

use crate::admit::faults::{self, Faults, needed, not_negative, unsupported};
use crate::admit::json::Json;
use crate::admit::words;
use api::{FieldError, Path};
use serde_json::Value;

/// Faults of the three probes and the hooks of a container that may have them.
pub(crate) fn validate(found: &mut Faults, container: &Value, grace: Option<i64>, path: &Path) {
    for hook in ["postStart", "preStop"] {
        let lifecycle = container.at("lifecycle");
        if lifecycle.has(hook) {
            let path = path.child("lifecycle").child(hook);
            handler(found, lifecycle.at(hook), &HOOK_HANDLERS, grace, &path);
        }
    }
    for which in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if !container.has(which) {
            continue;
        }
        let (probe, path) = (container.at(which), path.child(which));
        one(found, probe, &path);
        if which == "readinessProbe" {
            if let Some(seconds) = probe.int("terminationGracePeriodSeconds") {
                let why = "must not be set for readinessProbes";
                let path = path.child("terminationGracePeriodSeconds");
                found.push(FieldError::invalid(path, seconds, why));
            }
        } else {
            let successes = probe.int("successThreshold").unwrap_or(0);
            if successes != 1 {
                let path = path.child("successThreshold");
                found.push(FieldError::invalid(path, successes, "must be 1"));
            }
        }
    }
}

const PROBE_HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
const HOOK_HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "sleep"];

fn one(found: &mut Faults, probe: &Value, path: &Path) {
    handler(found, probe, &PROBE_HANDLERS, None, path);
    for key in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        not_negative(found, path.child(key), probe.at(key));
    }
    if let Some(seconds) = probe.int("terminationGracePeriodSeconds")
        && seconds <= 0
    {
        let path = path.child("terminationGracePeriodSeconds");
        found.push(FieldError::invalid(path, seconds, "must be greater than 0"));
    }
}

fn handler(found: &mut Faults, of: &Value, kinds: &[&str], grace: Option<i64>, path: &Path) {
    let mut count = 0;
    for kind in kinds.iter().filter(|kind| of.has(kind)) {
        let (action, at) = (of.at(kind), path.child(kind));
        count += 1;
        if count > 1 {
            found.push(FieldError::forbidden(at, "may not specify more than 1 handler type"));
            continue;
        }
        match *kind {
            "exec" => {
                if action.list("command").is_empty() {
                    found.push(FieldError::required(at.child("command"), ""));
                }
            }
            "httpGet" => http_get(found, action, &at),
            "sleep" => sleep(found, action, grace, &at),
            _ => port(found, action, &at.child("port")),
        }
    }
    if count == 0 {
        found.push(FieldError::required(path.clone(), "must specify a handler type"));
    }
}

fn sleep(found: &mut Faults, action: &Value, grace: Option<i64>, path: &Path) {
    let seconds = action.int("seconds").unwrap_or(0);
    if let Some(grace) = grace
        && !(0..=grace).contains(&seconds)
    {
        let why =
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        found.push(FieldError::invalid(path.clone(), seconds, &why));
    }
}

fn http_get(found: &mut Faults, action: &Value, path: &Path) {
    needed(found, path.child("path"), action.text("path"));
    port(found, action, &path.child("port"));
    let scheme = action.text("scheme");
    if !["HTTP", "HTTPS"].contains(&scheme) {
        found.push(unsupported(path.child("scheme"), scheme, &["HTTP", "HTTPS"]));
    }
    for header in action.list("httpHeaders") {
        let name = header.text("name");
        faults::texts(found, &path.child("httpHeaders"), name, words::http_header(name));
    }
}

/// A port by number or by name.
fn port(found: &mut Faults, action: &Value, path: &Path) {
    match action.at("port") {
        Value::String(name) => faults::texts(found, path, name, words::port_name(name)),
        number => faults::port(found, path.clone(), number.as_i64().unwrap_or(0)),
    }
}
