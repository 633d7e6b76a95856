//! GET of one object and of a collection: snapshots, pages and selectors.

use super::{Call, shelf};
use crate::custom::Kind;
use crate::decode::options::{ListOptions, Match, quote, unsigned};
use crate::encode::{ListMeta, Reply};
use crate::records::{Compacted, Filter, Key, Query, Record, Records, Snapshot};
use api::Status;
use api::selector::{FieldSelector, LabelSelector};
use api::status::{Cause, Details};
use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long a read waits for a revision that was not written yet; upstream's `blockTimeout`.
const FUTURE_WAIT: Duration = Duration::from_secs(3);

/// How tokens are written, and read as leniently as Go reads them.
const TOKENS: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Answers a GET of one object.
pub(crate) async fn get(call: &Call) -> Result<Reply, Status> {
    let asked = call.query.get("resourceVersion").unwrap_or_default();
    let version = parse_version(asked)
        .map_err(|why| Status::bad_request(format!("invalid resource version: {why}")))?;
    reach(call, version).await?;
    let record = shelf::find(&call.server.records, call.row, call.namespace(), call.name())
        .ok_or_else(|| call.not_found())?;
    call.source().object(200, &shelf::shown(call.row, &record))
}

/// Answers a GET of a collection.
pub(crate) async fn list(call: &Call, options: &ListOptions) -> Result<Reply, Status> {
    let selection = Selection::read(call, options)?;
    let (found, meta) = found(call, options, &selection, false).await?;
    let objects: Vec<Bytes> =
        found.records.iter().map(|record| shelf::shown(call.row, record)).collect();
    call.source().list(&meta, &objects)
}

/// What a list finds. `paged`: it is read in pages whether or not the caller asks for them.
pub(crate) async fn found(
    call: &Call,
    options: &ListOptions,
    selection: &Selection,
    paged: bool,
) -> Result<(Snapshot, ListMeta), Status> {
    let page = Page::read(call, options, selection, paged).await?;
    let query = Query {
        namespace: &selection.namespace,
        at: page.at,
        after: page.after.as_ref().map(|(namespace, name)| (namespace.as_str(), name.as_str())),
        limit: page.limit,
        ..Query::all(call.row.storage)
    };
    let found = selection.list(&call.server.records, query).map_err(|_| {
        call.server.metrics.gone(call.row.plural);
        match &page.start {
            None => Status::expired("The resourceVersion for the provided list is too old."),
            Some(start) => expired_token(start),
        }
    })?;
    let last = found.records.last().filter(|_| found.remaining > 0);
    let continue_token =
        last.map(|record| token(found.revision, &start_after(&selection.namespace, &record.key)));
    let meta = ListMeta {
        revision: found.revision,
        continue_token: continue_token.unwrap_or_default(),
        remaining: (selection.is_everything && found.remaining > 0).then_some(found.remaining),
    };
    Ok((found, meta))
}

/// Reads a resourceVersion; empty is `None`. The error is Kubernetes' wording.
pub(crate) fn parse_version(text: &str) -> Result<Option<u64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    unsigned(text)
        .map(Some)
        .map_err(|why| format!("resourceVersion: Invalid value: {}: {why}", quote(text)))
}

/// Waits until a revision is there; 504 when it does not come.
async fn reach(call: &Call, version: Option<u64>) -> Result<(), Status> {
    let Some(version) = version.filter(|version| *version > call.server.records.revision()) else {
        return Ok(());
    };
    let reached = call.server.records.reached(version);
    if tokio::time::timeout(FUTURE_WAIT, reached).await.is_ok() {
        return Ok(());
    }
    let now = call.server.records.revision();
    let message = format!("Timeout: Too large resource version: {version}, current: {now}");
    let cause = Cause {
        reason: "ResourceVersionTooLarge".to_owned(),
        message: "Too large resource version".to_owned(),
        field: String::new(),
    };
    let details = Details { causes: vec![cause], retry_after_seconds: 1, ..Details::default() };
    Err(Status::failure(504, "Timeout", message).with_details(details))
}

/// Which part of which snapshot.
#[derive(Debug, Default)]
struct Page {
    at: Option<u64>,
    after: Option<(String, String)>,
    /// The key that the token began with, as it is written there.
    start: Option<String>,
    limit: usize,
}

impl Page {
    async fn read(
        call: &Call,
        options: &ListOptions,
        selection: &Selection,
        paged: bool,
    ) -> Result<Self, Status> {
        let limit = options.limit.unwrap_or(0);
        if !options.continue_token.is_empty() {
            if !matches!(options.resource_version.as_str(), "" | "0") {
                let why = "specifying resource version is not allowed when using continue";
                return Err(Status::bad_request(why));
            }
            let read = read_token(&options.continue_token, &selection.namespace)
                .map_err(|why| Status::bad_request(format!("invalid continue token: {why}")))?;
            return Ok(Self {
                at: read.at,
                after: Some(read.after),
                start: Some(read.start),
                limit,
            });
        }
        let version = parse_version(&options.resource_version)
            .map_err(|why| Status::bad_request(format!("invalid resource version: {why}")))?;
        reach(call, version).await?;
        let exact = options.matching == Some(Match::Exact)
            || (options.matching.is_none()
                && (paged || limit > 0)
                && version.is_some_and(|version| version > 0));
        Ok(match version {
            // What is in memory is at hand whole, so a page would save nothing: upstream's habit for 0.
            Some(0) => Self::default(),
            Some(version) if exact => Self { at: Some(version), limit, ..Self::default() },
            _ => Self { limit, ..Self::default() },
        })
    }
}

/// What an old token is answered with: the same place in a token that shows it as it is now.
fn expired_token(start: &str) -> Status {
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    status.metadata.continue_token = token(AS_IT_IS_NOW, start);
    status
}

/// The revision in tokens of lists that go on from another moment than they began.
const AS_IT_IS_NOW: i64 = -1;

/// A continue token in upstream's form: revision, and where the next page begins.
fn token(revision: impl Into<Value>, start: &str) -> String {
    let revision: Value = revision.into();
    TOKENS.encode(json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start}).to_string())
}

/// What comes right after a key in a token.
fn start_after(namespace: &str, key: &Key) -> String {
    if namespace.is_empty() && !key.namespace.is_empty() {
        format!("{}/{}\0", key.namespace, key.name)
    } else {
        format!("/{}\0", key.name)
    }
}

/// A token that was read.
#[derive(Debug, PartialEq, Eq)]
struct Token {
    /// The moment that is shown; `None` for now.
    at: Option<u64>,
    /// Namespace and name after which the page begins.
    after: (String, String),
    /// The same as it was written.
    start: String,
}

fn read_token(token: &str, namespace: &str) -> Result<Token, String> {
    let bad = |why: &str| format!("continue key is not valid: {why}");
    let bytes = TOKENS.decode(token).map_err(|_| bad("illegal base64 data at input byte 0"))?;
    let read: Value = serde_json::from_slice(&bytes).map_err(|error| {
        bad(&crate::decode::syntax::fault(&bytes).unwrap_or_else(|| error.to_string()))
    })?;
    if read.get("v").and_then(Value::as_str) != Some("meta.k8s.io/v1") {
        let version = read.get("v").and_then(Value::as_str).unwrap_or_default();
        return Err(bad(&format!(
            "server does not recognize this encoded version {}",
            quote(version)
        )));
    }
    let revision = read.get("rv").and_then(Value::as_i64).filter(|revision| *revision != 0);
    let revision = revision
        .ok_or_else(|| bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"))?;
    let written = read.get("start").and_then(Value::as_str).unwrap_or_default();
    let start = written.strip_suffix('\0').unwrap_or(written);
    let (space, name) = start
        .split_once('/')
        .ok_or_else(|| bad("encoded start key empty (version meta.k8s.io/v1)"))?;
    let space = if space.is_empty() { namespace } else { space };
    Ok(Token {
        at: u64::try_from(revision).ok(),
        after: (space.to_owned(), name.to_owned()),
        start: written.to_owned(),
    })
}

/// Which objects of a collection are meant.
#[derive(Clone)]
pub(crate) struct Selection {
    pub(crate) namespace: String,
    /// The one name that is meant.
    pub(crate) name: Option<String>,
    /// One field that must have one value, the one that records may have an index for.
    pub(crate) field: Option<(String, String)>,
    /// Everything else.
    pub(crate) filter: Option<Filter>,
    /// Whether nothing but the namespace selects.
    pub(crate) is_everything: bool,
}

impl Selection {
    pub(crate) fn read(call: &Call, options: &ListOptions) -> Result<Self, Status> {
        let labels = LabelSelector::parse(&options.label_selector)
            .map_err(|error| Status::bad_request(error.to_string()))?;
        let mut fields = FieldSelector::parse(&options.field_selector)
            .map_err(|error| Status::bad_request(error.to_string()))?;
        check_fields(call, &mut fields)?;
        let named_in_path = Some(call.name()).filter(|name| !name.is_empty());
        let name = named_in_path.or_else(|| fields.exact("metadata.name")).map(str::to_owned);
        let custom = call.row.custom.is_some();
        // Nothing is extracted from custom objects: which fields count may change after they were written.
        let field = fields
            .terms
            .iter()
            .find(|(field, _, equal)| *equal && !field.starts_with("metadata.") && !custom);
        let field = field.map(|(field, value, _)| (field.clone(), value.clone()));
        let is_everything = labels.is_everything() && fields.terms.is_empty() && name.is_none();
        let only_name = name.clone();
        let filter: Option<Filter> = (!is_everything).then(|| {
            let filter: Filter = Arc::new(move |record: &Record| {
                only_name.as_ref().is_none_or(|name| **name == *record.key.name)
                    && labels.matches(&record.facts.labels)
                    && if custom {
                        custom_matches(record, &fields)
                    } else {
                        fields.matches(|field| field_of(record, field))
                    }
            });
            filter
        });
        Ok(Self { namespace: call.namespace().to_owned(), name, field, filter, is_everything })
    }

    /// Lists what is meant.
    pub(crate) fn list(&self, records: &Records, query: Query<'_>) -> Result<Snapshot, Compacted> {
        let filter = self.filter.as_ref().map(|filter| filter.as_ref() as &dyn Fn(&Record) -> bool);
        let field = self.field.as_ref().map(|(field, value)| (field.as_str(), value.as_str()));
        records.list(&Query { field, filter, ..query })
    }
}

fn field_of<'r>(record: &'r Record, field: &str) -> &'r str {
    match field {
        "metadata.name" => &record.key.name,
        "metadata.namespace" => &record.key.namespace,
        field => record.facts.fields.get(field).map_or("", String::as_str),
    }
}

/// Whether a custom object passes; its fields are read where it lies.
fn custom_matches(record: &Record, selector: &FieldSelector) -> bool {
    let is_metadata = |field: &str| matches!(field, "metadata.name" | "metadata.namespace");
    if selector.terms.iter().all(|(field, _, _)| is_metadata(field)) {
        return selector.matches(|field| field_of(record, field));
    }
    let Ok(object) = crate::encode::parse(&record.bytes) else { return false };
    selector.terms.iter().all(|(field, wanted, equal)| {
        let found = if is_metadata(field) {
            field_of(record, field).to_owned()
        } else {
            Kind::selected(&object, field)
        };
        (found == *wanted) == *equal
    })
}

/// Refuses fields that a kind does not select by, and gives shared storage its own field names.
fn check_fields(call: &Call, selector: &mut FieldSelector) -> Result<(), Status> {
    let known = call.strategy.field_names();
    let stored = crate::admit::strategy_for(shelf::stored_row(call.row)).field_names();
    for (field, _, _) in &mut selector.terms {
        if matches!(field.as_str(), "metadata.name" | "metadata.namespace") {
            continue;
        }
        if !known.contains(&field.as_str()) {
            let plain = known.is_empty() && call.row.custom.is_none();
            return Err(Status::bad_request(if plain {
                format!(
                    "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                    quote(field)
                )
            } else {
                format!("field label not supported: {field}")
            }));
        }
        if !stored.contains(&field.as_str()) {
            *field = stored_field(field);
        }
    }
    Ok(())
}

/// The name a field of `events.k8s.io` has in core events.
fn stored_field(field: &str) -> String {
    match field.strip_prefix("regarding.") {
        Some(rest) => format!("involvedObject.{rest}"),
        None if field == "reportingController" => "reportingComponent".to_owned(),
        None => field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_place() {
        let key = Key::new("/pods", "a", "x");
        for (revision, at) in [(7, Some(7)), (AS_IT_IS_NOW, None)] {
            for namespace in ["a", ""] {
                let start = start_after(namespace, &key);
                let read = read_token(&token(revision, &start), namespace);
                let after = ("a".to_owned(), "x".to_owned());
                assert_eq!(read, Ok(Token { at, after, start }));
            }
        }
    }

    #[test]
    fn garbage_is_no_token() {
        let why = read_token("garbage", "").expect_err("no token");
        assert_eq!(
            why,
            "continue key is not valid: invalid character '\\x81' looking for beginning of value"
        );
    }
}
