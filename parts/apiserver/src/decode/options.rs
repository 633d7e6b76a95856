//! The options of a request: query parameters and, for deletes, the body. Wrong ones are refused in
//! Kubernetes' words before anything is looked at.

use crate::route::truth;
use api::field::Fault;
use api::{FieldError, Path, Status};
use serde_json::Value;
use std::time::Duration;

/// Longest `fieldManager`, bytes (upstream's limit).
pub const FIELD_MANAGER_BYTES_MAX: usize = 128;

/// Query parameters in the order given.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Of a request's query string.
    pub fn parse(query: &str) -> Self {
        Self(crate::route::query_pairs(query))
    }

    /// The pairs.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// First value of a parameter.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    fn text(&self, key: &str) -> String {
        self.get(key).unwrap_or_default().to_owned()
    }

    fn all(&self, key: &str) -> Vec<String> {
        self.0.iter().filter(|(k, _)| k == key).map(|(_, v)| v.clone()).collect()
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).map(truth)
    }

    /// A whole number; absent and empty are `None`.
    fn number(&self, key: &str) -> Result<Option<i64>, Status> {
        match self.get(key) {
            None | Some("") => Ok(None),
            Some(text) => parse_number(text).map(Some),
        }
    }
}

fn parse_number(text: &str) -> Result<i64, Status> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.parse().map_err(|error: std::num::ParseIntError| {
        let why = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        Status::bad_request(format!("strconv.ParseInt: parsing {}: {why}", quote(text)))
    })
}

/// A revision as Go reads one.
///
/// # Errors
/// Go's words for what is none.
pub(crate) fn unsigned(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let why = if is_number { "value out of range" } else { "invalid syntax" };
        format!("strconv.ParseUint: parsing {}: {why}", quote(text))
    })
}

/// Text in quotes as Go's `%q` prints it.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 || u32::from(c) == 0x7f => {
                out.extend([String::from("\\x"), format!("{:02x}", u32::from(c))]);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn not_supported(field: &str, shown: &str, supported: &[&str]) -> FieldError {
    let list: Vec<String> = supported.iter().map(|value| quote(value)).collect();
    FieldError {
        path: Path::new(field),
        fault: Fault::NotSupported,
        body: format!("Unsupported value: {shown}: supported values: {}", list.join(", ")),
    }
}

fn refuse(kind: &str, errors: &[FieldError]) -> Result<(), Status> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(api::field::invalid("meta.k8s.io", kind, "", errors))
    }
}

/// How old an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// Just that revision.
    Exact,
    /// That revision or a later one.
    NotOlderThan,
}

/// Options of list, watch and deletecollection.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Watch rather than list.
    pub watch: bool,
    /// Label selector as sent.
    pub label_selector: String,
    /// Field selector as sent.
    pub field_selector: String,
    /// `resourceVersion` as sent.
    pub resource_version: String,
    /// `resourceVersionMatch`.
    pub matching: Option<Match>,
    /// Items of a page; `None` means all.
    pub limit: Option<usize>,
    /// Token of the next page.
    pub continue_token: String,
    /// How long a watch lasts.
    pub timeout: Option<Duration>,
    /// Whether bookmarks are welcome.
    pub bookmarks: bool,
    /// Whether a watch begins with what is there.
    pub initial_events: Option<bool>,
}

impl ListOptions {
    /// Reads and checks; `watch` tells what the route made of it.
    pub fn read(query: &Query, watch: bool) -> Result<Self, Status> {
        let limit = query.number("limit")?;
        let timeout = query.number("timeoutSeconds")?;
        let matching = query.text("resourceVersionMatch");
        let options = Self {
            watch,
            label_selector: query.text("labelSelector"),
            field_selector: query.text("fieldSelector"),
            resource_version: query.text("resourceVersion"),
            matching: match matching.as_str() {
                "Exact" => Some(Match::Exact),
                "NotOlderThan" => Some(Match::NotOlderThan),
                _ => None,
            },
            limit: limit.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0),
            continue_token: query.text("continue"),
            timeout: timeout.and_then(|n| u64::try_from(n).ok()).map(Duration::from_secs),
            bookmarks: query.flag("allowWatchBookmarks").unwrap_or(false),
            initial_events: query.flag("sendInitialEvents"),
        };
        let errors =
            if watch { options.watch_errors(&matching) } else { options.list_errors(&matching) };
        refuse("ListOptions", &errors)?;
        Ok(options)
    }

    fn list_errors(&self, matching: &str) -> Vec<FieldError> {
        let path = || Path::new("resourceVersionMatch");
        let mut errors = Vec::new();
        if !matching.is_empty() {
            if self.resource_version.is_empty() {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                errors.push(FieldError::forbidden(path(), why));
            }
            if !self.continue_token.is_empty() {
                let why = "resourceVersionMatch is forbidden when continue is provided";
                errors.push(FieldError::forbidden(path(), why));
            }
            if self.matching.is_none() {
                let supported = ["Exact", "NotOlderThan", ""];
                errors.push(not_supported("resourceVersionMatch", &quote(matching), &supported));
            }
            if self.matching == Some(Match::Exact) && self.resource_version == "0" {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                errors.push(FieldError::forbidden(path(), why));
            }
        }
        if self.initial_events.is_some() {
            let why = "sendInitialEvents is forbidden for list";
            errors.push(FieldError::forbidden(Path::new("sendInitialEvents"), why));
        }
        errors
    }

    fn watch_errors(&self, matching: &str) -> Vec<FieldError> {
        let path = || Path::new("resourceVersionMatch");
        let newer = self.matching == Some(Match::NotOlderThan);
        let mut errors = Vec::new();
        if self.initial_events.is_some() && !newer {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(FieldError::forbidden(path(), why));
        }
        if !matching.is_empty() {
            if self.initial_events.is_none() {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                errors.push(FieldError::forbidden(path(), why));
            }
            if !newer {
                let shown = quote(matching);
                errors.push(not_supported("resourceVersionMatch", &shown, &["NotOlderThan"]));
            }
        }
        if !self.continue_token.is_empty() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(FieldError::forbidden(path(), why));
        }
        errors
    }
}

/// What to do about unknown and duplicate fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and say so in a header.
    #[default]
    Warn,
    /// Refuse.
    Strict,
}

/// Options of create, update and patch.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Nothing is stored.
    pub dry_run: bool,
    /// Owner of the fields that are set, as sent.
    pub field_manager: String,
    /// What to do about unknown fields.
    pub validation: FieldValidation,
    /// Take fields over from other managers (apply only).
    pub force: bool,
}

impl WriteOptions {
    /// Reads and checks the options of a create or update; `kind` is `CreateOptions` or `UpdateOptions`.
    pub fn read(query: &Query, kind: &str) -> Result<Self, Status> {
        let mut errors = Vec::new();
        let options = Self::parse(query, &mut errors);
        refuse(kind, &errors)?;
        Ok(options)
    }

    /// Reads and checks the options of a patch.
    pub fn patch(query: &Query, apply: bool) -> Result<Self, Status> {
        let mut errors = Vec::new();
        if apply && query.get("fieldManager").unwrap_or_default().is_empty() {
            errors.push(FieldError::required(
                Path::new("fieldManager"),
                "is required for apply patch",
            ));
        }
        if !apply && query.get("force").is_some() {
            let why = "may not be specified for non-apply patch";
            errors.push(FieldError::forbidden(Path::new("force"), why));
        }
        let options = Self::parse(query, &mut errors);
        refuse("PatchOptions", &errors)?;
        Ok(options)
    }

    fn parse(query: &Query, errors: &mut Vec<FieldError>) -> Self {
        let field_manager = query.text("fieldManager");
        check_manager(&field_manager, &Path::new("fieldManager"), errors);
        let dry_run = read_dry_run(&query.all("dryRun"), errors);
        let asked = query.text("fieldValidation");
        let validation = match asked.as_str() {
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            "" | "Warn" => FieldValidation::Warn,
            other => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                errors.push(not_supported("fieldValidation", &quote(other), &supported));
                FieldValidation::Warn
            }
        };
        let force = query.flag("force").unwrap_or(false);
        Self { dry_run, field_manager, validation, force }
    }
}

/// What is wrong with the name of one who writes fields.
pub(crate) fn check_manager(manager: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let path = || path.clone();
    if manager.len() > FIELD_MANAGER_BYTES_MAX {
        errors.push(FieldError::too_long(path(), FIELD_MANAGER_BYTES_MAX));
    }
    for (at, c) in manager.char_indices() {
        if c.is_control() {
            let why = format!("invalid character U+{:04X} (at position {at})", u32::from(c));
            let body = format!("Invalid value: {}: {why}", quote(manager));
            errors.push(FieldError { path: path(), fault: Fault::Invalid, body });
        }
    }
}

fn read_dry_run(asked: &[String], errors: &mut Vec<FieldError>) -> bool {
    if asked.iter().any(|value| value != "All") {
        let shown: Vec<String> = asked.iter().map(|value| quote(value)).collect();
        errors.push(not_supported("dryRun", &format!("[{}]", shown.join(",")), &["All"]));
    }
    !asked.is_empty()
}

/// What becomes of dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Deleted later by the garbage collector.
    Background,
    /// Deleted before the owner.
    Foreground,
    /// Kept.
    Orphan,
}

/// Options of a delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds of grace asked for.
    pub grace_seconds: Option<i64>,
    /// What becomes of dependents; `None` leaves it to the kind.
    pub propagation: Option<Propagation>,
    /// The uid that must be found.
    pub uid: Option<String>,
    /// The resourceVersion that must be found.
    pub resource_version: Option<String>,
    /// Nothing is stored.
    pub dry_run: bool,
    /// Whether the old `orphanDependents` was used: such callers are told 202 when the object stays.
    pub orphan_said: bool,
}

impl DeleteOptions {
    /// Reads and checks. A body, where there is one, is all that counts, as upstream has it.
    pub fn read(query: &Query, body: Option<&Value>) -> Result<Self, Status> {
        match body {
            Some(body) => Self::from_body(body),
            None => Self::from_query(query),
        }
    }

    fn from_query(query: &Query) -> Result<Self, Status> {
        let grace_seconds = query.number("gracePeriodSeconds")?;
        let policy = query.get("propagationPolicy").map(str::to_owned);
        let orphan = query.flag("orphanDependents");
        let options = Self { grace_seconds, ..Self::default() };
        options.finish(policy, orphan, &query.all("dryRun"))
    }

    /// From an object, be it a request's body or the `deleteOptions` of an eviction.
    pub fn from_body(body: &Value) -> Result<Self, Status> {
        let preconditions = body.get("preconditions").unwrap_or(&Value::Null);
        let text =
            |from: &Value, key: &str| typed(from, key, "string", |v| v.as_str().map(str::to_owned));
        let dry_run = match body.get("dryRun") {
            Some(Value::Array(items)) => {
                items.iter().map(|item| item.as_str().unwrap_or_default().to_owned()).collect()
            }
            _ => Vec::new(),
        };
        let options = Self {
            grace_seconds: typed(body, "gracePeriodSeconds", "int64", Value::as_i64)?,
            uid: text(preconditions, "uid")?,
            resource_version: text(preconditions, "resourceVersion")?,
            ..Self::default()
        };
        let policy = text(body, "propagationPolicy")?;
        options.finish(policy, typed(body, "orphanDependents", "bool", Value::as_bool)?, &dry_run)
    }

    fn finish(
        mut self,
        policy: Option<String>,
        orphan: Option<bool>,
        dry_run: &[String],
    ) -> Result<Self, Status> {
        let mut errors = Vec::new();
        let path = || Path::new("propagationPolicy");
        if let (Some(policy), Some(_)) = (&policy, orphan) {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid(path(), policy.as_str(), why));
        }
        self.propagation = match policy.as_deref() {
            None => orphan.map(|o| if o { Propagation::Orphan } else { Propagation::Background }),
            Some("Foreground") => Some(Propagation::Foreground),
            Some("Background") => Some(Propagation::Background),
            Some("Orphan") => Some(Propagation::Orphan),
            Some(other) => {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                errors.push(not_supported("propagationPolicy", &quote(other), &supported));
                None
            }
        };
        self.orphan_said = orphan.is_some();
        self.dry_run = read_dry_run(dry_run, &mut errors);
        refuse("DeleteOptions", &errors)?;
        Ok(self)
    }
}

fn typed<T>(
    from: &Value,
    key: &str,
    go_type: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Option<T>, Status> {
    match from.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some).ok_or_else(|| {
            Status::bad_request(format!(
                "json: cannot unmarshal {} into Go struct field DeleteOptions.{key} of type {go_type}",
                super::go_kind(value)
            ))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn list(query: &str, watch: bool) -> Result<ListOptions, Status> {
        ListOptions::read(&Query::parse(query), watch)
    }

    #[test]
    fn numbers_are_refused_as_go_refuses_them() {
        let refused = list("limit=abc", false).expect_err("no number");
        assert_eq!(refused.message, "strconv.ParseInt: parsing \"abc\": invalid syntax");
        assert_eq!(list("limit=-1", false).expect("fine").limit, None);
    }

    #[test]
    fn resource_version_match_is_checked() {
        let refused =
            list("resourceVersionMatch=Whatever&resourceVersion=1", false).expect_err("wrong");
        assert_eq!(
            refused.message,
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Unsupported value: \
             \"Whatever\": supported values: \"Exact\", \"NotOlderThan\", \"\""
        );
        list("watch=1&sendInitialEvents=true", true).expect_err("needs NotOlderThan");
        list("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", true).expect("fine");
    }

    #[test]
    fn managers_with_control_characters_are_refused() {
        let refused =
            WriteOptions::read(&Query::parse("fieldManager=bad%01manager"), "CreateOptions")
                .expect_err("control character");
        assert_eq!(
            refused.message,
            "CreateOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \
             \"bad\\x01manager\": invalid character U+0001 (at position 3)"
        );
    }

    #[test]
    fn dry_run_knows_only_all() {
        let refused =
            WriteOptions::read(&Query::parse("dryRun=some"), "CreateOptions").expect_err("unknown");
        assert!(
            refused.message.ends_with("Unsupported value: [\"some\"]: supported values: \"All\"")
        );
        assert!(
            WriteOptions::read(&Query::parse("dryRun=All"), "CreateOptions").expect("fine").dry_run
        );
    }

    #[test]
    fn a_delete_body_wins_over_the_query() {
        let query = Query::parse("gracePeriodSeconds=30");
        let body = json!({"gracePeriodSeconds": 3, "propagationPolicy": "Orphan"});
        let options = DeleteOptions::read(&query, Some(&body)).expect("fine");
        assert_eq!(
            (options.grace_seconds, options.propagation),
            (Some(3), Some(Propagation::Orphan))
        );
        let body = json!({"gracePeriodSeconds": "x"});
        let refused = DeleteOptions::read(&query, Some(&body)).expect_err("no number");
        assert_eq!(
            refused.message,
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64"
        );
    }
}
