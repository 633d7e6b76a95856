//! Which form of an answer the caller asked for.

use api::Status;

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `application/json`.
    #[default]
    Json,
    /// `application/yaml`.
    Yaml,
}

impl Format {
    /// The `Content-Type` of it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
        }
    }
}

/// What an answer is turned into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// The object or list itself.
    #[default]
    Whole,
    /// A Table of `meta.k8s.io` in this version.
    Table(&'static str),
    /// Metadata only, of one object.
    Metadata(&'static str),
    /// Metadata only, of a list.
    MetadataList(&'static str),
}

/// What was agreed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// How it is written.
    pub format: Format,
    /// What it is turned into.
    pub view: View,
    /// Whether people will read it.
    pub pretty: bool,
}

/// Longest `Accept` header that is looked at, bytes; the longest of kubectl is below 300.
pub const ACCEPT_BYTES_MAX: usize = 4096;

const OFFERED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
const OFFERED_STREAMS: &str =
    ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

#[derive(Debug)]
struct Clause<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    weight: f32,
}

fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = accept
        .split(',')
        .map(|clause| {
            let mut words = clause.split(';').map(str::trim);
            let media_type = words.next().unwrap_or_default();
            let pairs = words.filter_map(|word| word.split_once('='));
            let parameters: Vec<_> =
                pairs.map(|(k, v)| (k.trim(), v.trim().trim_matches('"'))).collect();
            let weight =
                parameters.iter().find(|(k, _)| *k == "q").map(|(_, v)| v.parse().unwrap_or(0.0));
            Clause { media_type, parameters, weight: weight.unwrap_or(1.0) }
        })
        .filter(|clause| !clause.media_type.is_empty())
        .collect();
    clauses.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    clauses
}

/// The media types of an `Accept` header, the most wanted first.
pub(crate) fn media_types(accept: &str) -> Vec<&str> {
    let accept = accept.get(..ACCEPT_BYTES_MAX).unwrap_or(accept);
    clauses(accept).into_iter().map(|clause| clause.media_type).collect()
}

/// Agrees on a form. Protobuf is not spoken: clients that ask for it name JSON as their second choice.
/// `streams` says whether the path could also be watched, which changes the words of a refusal.
pub fn negotiate(accept: Option<&str>, streams: bool) -> Result<Form, Status> {
    let accept = accept.unwrap_or_default().trim();
    if accept.is_empty() {
        return Ok(Form::default());
    }
    let clauses = clauses(accept.get(..ACCEPT_BYTES_MAX).unwrap_or(accept));
    let known = |media_type: &str| {
        matches!(
            media_type,
            "*/*" | "application/json" | "application/yaml" | "application/vnd.kubernetes.protobuf"
        )
    };
    if !clauses.iter().any(|clause| known(clause.media_type)) {
        let more = if streams { OFFERED_STREAMS } else { "" };
        let message = format!("406: Not Acceptable\n\nAvailable representations: {OFFERED}{more}");
        return Err(Status::failure(406, "NotAcceptable", message)
            .with_details(api::status::Details::default()));
    }
    clauses.iter().find_map(form).ok_or_else(nothing_fits)
}

/// 406: none of the forms asked for can be had here.
pub fn nothing_fits() -> Status {
    let message = format!("only the following media types are accepted: {OFFERED}");
    Status::failure(406, "NotAcceptable", message)
}

/// The form that one clause asks for, if it can be had.
fn form(clause: &Clause<'_>) -> Option<Form> {
    let format = match clause.media_type {
        "*/*" | "application/json" => Format::Json,
        "application/yaml" => Format::Yaml,
        _ => return None,
    };
    let find = |key: &str| clause.parameters.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
    let pretty = matches!(find("pretty"), Some("1" | "true"));
    let Some(wanted) = find("as") else { return Some(Form { format, view: View::Whole, pretty }) };
    let version = match (find("g"), find("v")) {
        (Some("meta.k8s.io"), Some("v1")) => "v1",
        (Some("meta.k8s.io"), Some("v1beta1")) => "v1beta1",
        _ => return None,
    };
    let view = match wanted {
        "Table" => View::Table(version),
        "PartialObjectMetadata" => View::Metadata(version),
        "PartialObjectMetadataList" => View::MetadataList(version),
        _ => return None,
    };
    Some(Form { format, view, pretty })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(accept: &str) -> Result<Form, String> {
        negotiate(Some(accept), false).map_err(|status| status.message)
    }

    #[test]
    fn kubectl_gets_a_table() {
        let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(asked(accept).expect("a form").view, View::Table("v1"));
    }

    #[test]
    fn protobuf_with_a_second_choice_gets_json() {
        let form = asked("application/vnd.kubernetes.protobuf,application/json").expect("a form");
        assert_eq!(form, Form::default());
        asked("application/vnd.kubernetes.protobuf").expect_err("not spoken");
    }

    #[test]
    fn weights_decide() {
        let form = asked("application/json;q=0.1, application/yaml").expect("a form");
        assert_eq!(form.format, Format::Yaml);
        assert_eq!(
            asked("text/html, application/json;q=0.5").expect("a form").format,
            Format::Json
        );
    }

    #[test]
    fn refusals_have_two_wordings() {
        assert_eq!(
            asked("application/*").expect_err("unknown"),
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        );
        assert_eq!(
            asked("application/json;as=Banana;g=meta.k8s.io;v=v1").expect_err("unknown"),
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        );
    }
}
