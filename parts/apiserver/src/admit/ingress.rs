//! Ingresses: how HTTP from outside finds services; IngressClasses: who sees to it. Nobody does here.

use super::faults::{
    Faults, IMMUTABLE, dns_label, dns_subdomain, needed, port, texts, unsupported,
};
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, address, metadata, table, words};
use api::{FieldError, Path, names};
use serde_json::{Value, json};

/// The older way to name the class.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// The kinds of paths, as upstream lists them.
const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];

/// What a path may not have in it, and what it may not end in.
const PATH_SEQUENCES: [&str; 6] = ["//", "/./", "/../", "%2f", "%2F", "%2e"];
const PATH_SUFFIXES: [&str; 2] = ["/..", "/."];

/// Longest name of a controller.
const CONTROLLER_BYTES_MAX: usize = 250;

/// The strategy of Ingresses.
#[derive(Debug)]
pub(crate) struct Ingress;

impl Strategy for Ingress {
    fn default(&self, object: &mut Value) {
        object.object("spec");
        object.object("status").object("loadBalancer");
    }

    fn first_status(&self) -> Option<Value> {
        Some(json!({"loadBalancer": {}}))
    }

    fn counted(&self) -> &'static [&'static str] {
        &["/spec"]
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        let (spec, mut found) = (object.at("spec"), validate(object.at("spec")));
        let annotations = object.at("metadata").at("annotations");
        let (old, new) = (annotations.at(CLASS_ANNOTATION), spec.at("ingressClassName"));
        if !old.is_null() && !new.is_null() && old != new {
            let path = Path::new("annotations").child(CLASS_ANNOTATION);
            let why = "must match `ingressClassName` when both are specified";
            found.push(FieldError::invalid(path, old.clone(), why));
        }
        found
    }

    fn validate_update(&self, object: &Value, _old: &Value, context: &Context<'_>) -> Faults {
        if context.subresource == "status" {
            return validate_status(object.at("status"));
        }
        validate(object.at("spec"))
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let annotated = object.at("metadata").at("annotations").has(CLASS_ANNOTATION);
        let named = object.at("spec").has("ingressClassName");
        if old.is_none() && annotated && !named {
            return vec![format!(
                "annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"
            )];
        }
        Vec::new()
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let spec = object.at("spec");
        let class = match (spec.at("ingressClassName"), object.at("metadata").at("annotations")) {
            (Value::String(name), _) => name.as_str(),
            (_, annotations) => annotations.text(CLASS_ANNOTATION),
        };
        let given = object.at("status").at("loadBalancer").list("ingress").iter();
        let given = given.map(|one| match one.text("ip") {
            "" => one.text("hostname").to_owned(),
            ip => ip.to_owned(),
        });
        let ports = if spec.list("tls").is_empty() { "80" } else { "80, 443" };
        vec![
            table::name(object),
            table::or_none(class),
            hosts(spec).into(),
            given.filter(|one| !one.is_empty()).collect::<Vec<_>>().join(",").into(),
            ports.into(),
            table::age(object, now),
        ]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Class", "string", "Who sees to it."),
    table::column("Hosts", "string", "Names that it is about."),
    table::column("Address", "string", "Where it is reached."),
    table::column("Ports", "string", "Ports it is reached at."),
    table::AGE,
];

/// The first three hosts and how many more there are; `*` for any.
fn hosts(spec: &Value) -> String {
    const SHOWN: usize = 3;
    let all: Vec<&str> =
        spec.list("rules").iter().map(|rule| rule.text("host")).filter(|h| !h.is_empty()).collect();
    match all.len() {
        0 => "*".to_owned(),
        count if count > SHOWN => format!("{} + {} more...", all[..SHOWN].join(","), count - SHOWN),
        _ => all.join(","),
    }
}

fn validate(spec: &Value) -> Faults {
    let path = Path::new("spec");
    let mut found = Faults::new();
    let (rules, backend) = (spec.list("rules"), spec.at("defaultBackend"));
    if rules.is_empty() && backend.is_null() {
        let why = "either `defaultBackend` or `rules` must be specified";
        found.push(FieldError::invalid(path.clone(), Value::Null, why));
    }
    if !backend.is_null() {
        validate_backend(&mut found, backend, &path.child("defaultBackend"));
    }
    for (i, rule) in rules.iter().enumerate() {
        validate_rule(&mut found, rule, &path.child("rules").index(i));
    }
    for (i, tls) in spec.list("tls").iter().enumerate() {
        let path = path.child("tls").index(i);
        for (j, host) in tls.list("hosts").iter().enumerate() {
            let host = host.as_str().unwrap_or_default();
            validate_host(&mut found, host, &path.child("hosts").index(j));
        }
        if !tls.text("secretName").is_empty() {
            dns_subdomain(&mut found, &path.child("secretName"), tls.text("secretName"));
        }
    }
    if spec.has("ingressClassName") {
        dns_subdomain(&mut found, &path.child("ingressClassName"), spec.text("ingressClassName"));
    }
    found
}

/// A name; the first part may stand for any.
fn validate_host(found: &mut Faults, host: &str, path: &Path) {
    if host.contains('*') {
        texts(found, path, host, wildcard(host));
    } else {
        dns_subdomain(found, path, host);
    }
}

/// Why a name with a star is none.
fn wildcard(host: &str) -> Vec<String> {
    const MESSAGE: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    match host.strip_prefix("*.") {
        Some(rest) if names::dns_subdomain(rest).is_empty() => Vec::new(),
        _ => vec![MESSAGE.to_owned()],
    }
}

fn validate_rule(found: &mut Faults, rule: &Value, path: &Path) {
    let (host, at) = (rule.text("host"), path.child("host"));
    if !host.is_empty() {
        if address::read(host).is_some() {
            let why = "must be a DNS name, not an IP address";
            found.push(FieldError::invalid(at.clone(), host, why));
        }
        validate_host(found, host, &at);
    }
    if !rule.has("http") {
        return;
    }
    let path = path.child("http").child("paths");
    let paths = rule.at("http").list("paths");
    if paths.is_empty() {
        found.push(FieldError::required(path.clone(), ""));
    }
    for (i, one) in paths.iter().enumerate() {
        validate_path(found, one, &path.index(i));
    }
}

fn validate_path(found: &mut Faults, one: &Value, path: &Path) {
    let (text, at) = (one.text("path"), path.child("path"));
    let absolute = "must be an absolute path";
    match one.at("pathType").as_str() {
        None => {
            let why = "pathType must be specified";
            return found.push(FieldError::required(path.child("pathType"), why));
        }
        Some("Exact" | "Prefix") => {
            if !text.starts_with('/') {
                found.push(FieldError::invalid(at.clone(), text, absolute));
            }
            for bad in PATH_SEQUENCES.iter().filter(|bad| text.contains(**bad)) {
                let why = format!("must not contain '{bad}'");
                found.push(FieldError::invalid(at.clone(), text, &why));
            }
            for bad in PATH_SUFFIXES.iter().filter(|bad| text.ends_with(**bad)) {
                let why = format!("cannot end with '{bad}'");
                found.push(FieldError::invalid(at.clone(), text, &why));
            }
        }
        Some("ImplementationSpecific") => {
            if !text.is_empty() && !text.starts_with('/') {
                found.push(FieldError::invalid(at, text, absolute));
            }
        }
        Some(other) => found.push(unsupported(path.child("pathType"), other, &PATH_TYPES)),
    }
    validate_backend(found, one.at("backend"), &path.child("backend"));
}

fn validate_backend(found: &mut Faults, backend: &Value, path: &Path) {
    let wrong = |why: &str| FieldError::invalid(path.clone(), "", why);
    match (backend.has("resource"), backend.has("service")) {
        (true, true) => found.push(wrong("cannot set both resource and service backends")),
        (true, false) => validate_reference(found, backend.at("resource"), &path.child("resource")),
        (false, true) => {
            let (service, at) = (backend.at("service"), path.child("service"));
            let name = service.text("name");
            if needed(found, at.child("name"), name) {
                dns_label(found, &at.child("name"), name);
            }
            let (name, number) =
                (service.at("port").text("name"), service.at("port").int("number"));
            let at = at.child("port");
            match (name, number.filter(|number| *number != 0)) {
                ("", None) => {
                    let why = "port name or number is required";
                    found.push(FieldError::required(path.clone(), why));
                }
                ("", Some(number)) => port(found, at.child("number"), number),
                (name, None) => texts(found, &at.child("name"), name, words::port_name(name)),
                (_, Some(_)) => found.push(wrong("cannot set both port name & port number")),
            }
        }
        (false, false) => found.push(wrong("resource or service backend is required")),
    }
}

/// A reference by group, kind and name.
fn validate_reference(found: &mut Faults, to: &Value, path: &Path) {
    if to.has("apiGroup") {
        dns_subdomain(found, &path.child("apiGroup"), to.text("apiGroup"));
    }
    for key in ["kind", "name"] {
        let (text, at) = (to.text(key), path.child(key));
        if needed(found, at.clone(), text) {
            texts(found, &at, text, metadata::name_is_path_segment(text, false));
        }
    }
}

fn validate_status(status: &Value) -> Faults {
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let mut found = Faults::new();
    for (i, one) in status.at("loadBalancer").list("ingress").iter().enumerate() {
        let (path, ip, host) = (path.index(i), one.text("ip"), one.text("hostname"));
        if !ip.is_empty() {
            address::validate(&mut found, &path.child("ip"), ip);
        }
        if !host.is_empty() {
            dns_subdomain(&mut found, &path.child("hostname"), host);
            if address::read(host).is_some() {
                let why = "must be a DNS name, not an IP address";
                found.push(FieldError::invalid(path.child("hostname"), host, why));
            }
        }
    }
    found
}

/// The strategy of IngressClasses.
#[derive(Debug)]
pub(crate) struct IngressClass;

impl Strategy for IngressClass {
    fn default(&self, object: &mut Value) {
        if let Some(parameters) = object.object("spec").present("parameters") {
            parameters.fill("scope", "Cluster");
        }
    }

    fn counted(&self) -> &'static [&'static str] {
        &["/spec"]
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        let (spec, path) = (object.at("spec"), Path::new("spec"));
        let mut found = Faults::new();
        let (controller, at) = (spec.text("controller"), path.child("controller"));
        if needed(&mut found, at.clone(), controller) {
            if controller.len() > CONTROLLER_BYTES_MAX {
                found.push(FieldError::too_long(at.clone(), CONTROLLER_BYTES_MAX));
            }
            prefixed_path(&mut found, controller, &at);
        }
        if spec.has("parameters") {
            validate_parameters(&mut found, spec.at("parameters"), &path.child("parameters"));
        }
        found
    }

    fn validate_update(&self, object: &Value, old: &Value, context: &Context<'_>) -> Faults {
        let (new, before) = (object.at("spec").at("controller"), old.at("spec").at("controller"));
        let mut found = Faults::new();
        if new != before {
            let path = Path::new("spec").child("controller");
            found.push(FieldError::invalid(path, new.clone(), IMMUTABLE));
        }
        found.extend(self.validate_create(object, context));
        found
    }

    fn columns(&self) -> &'static [Column] {
        CLASS_COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let (spec, to) = (object.at("spec"), object.at("spec").at("parameters"));
        let parameters = match (to.is_null(), to.text("apiGroup")) {
            (true, _) => "<none>".to_owned(),
            (false, "") => format!("{}/{}", to.text("kind"), to.text("name")),
            (false, group) => format!("{}.{group}/{}", to.text("kind"), to.text("name")),
        };
        vec![
            table::name(object),
            spec.text("controller").into(),
            parameters.into(),
            table::age(object, now),
        ]
    }
}

const CLASS_COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Controller", "string", "Who sees to ingresses of this class."),
    table::column("Parameters", "string", "What more the controller wants to know."),
    table::AGE,
];

/// `domain/path`, as controllers are named.
fn prefixed_path(found: &mut Faults, text: &str, path: &Path) {
    let mut wrong = |why: &str| found.push(FieldError::invalid(path.clone(), text, why));
    let Some((domain, rest)) = text.split_once('/').filter(|(a, b)| !a.is_empty() && !b.is_empty())
    else {
        return wrong("must be a domain-prefixed path (such as \"acme.io/foo\")");
    };
    for why in names::dns_subdomain(domain) {
        let why = why.as_str();
        wrong(&format!("prefix part {why}"));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:/@%".contains(c);
    if !rest.chars().all(fits) {
        wrong("Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')");
    }
}

fn validate_parameters(found: &mut Faults, to: &Value, path: &Path) {
    validate_reference(found, to, path);
    let (scope, at) = (to.text("scope"), path.child("scope"));
    let (scopes, space) = (["Cluster", "Namespace"], path.child("namespace"));
    match (scope, to.at("namespace").as_str()) {
        ("Namespace", None) => {
            let why = "`parameters.scope` is set to 'Namespace'";
            found.push(FieldError::required(space, why));
        }
        ("Namespace", Some(name)) => dns_label(found, &space, name),
        ("Cluster", Some(_)) => {
            let why = "`parameters.scope` is set to 'Cluster'";
            found.push(FieldError::forbidden(space, why));
        }
        ("Cluster", None) => {}
        (other, _) => found.push(unsupported(at, other, &scopes)),
    }
}
