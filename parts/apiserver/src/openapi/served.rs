//! Answers to requests for documents, with what caches need: tags, and for addresses that name a hash, for good.

use super::{Document, Documents};
use crate::encode::Reply;
use crate::encode::negotiate::media_types;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, EXPIRES, LOCATION, VARY};

/// The second form of v2: gnostic's message.
const BINARY: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// The name under which clients know it.
const BINARY_OF_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const JSON: &str = "application/json";

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// Path without a slash at its end.
    pub(crate) path: &'a str,
    /// `Accept`.
    pub(crate) accept: Option<&'a str>,
    /// `If-None-Match`.
    pub(crate) known: Option<&'a str>,
    /// `hash` of the query.
    pub(crate) hash: Option<&'a str>,
    /// Now.
    pub(crate) now: jiff::Timestamp,
}

/// The answer below `/openapi`; `None` where nothing is.
pub(crate) fn answer(documents: &Documents, asked: &Asked<'_>) -> Option<Reply> {
    match asked.path.strip_prefix("/openapi/")? {
        "v2" => Some(legacy(documents, asked)),
        "v3" => Some(reply(documents.index(), JSON, asked)),
        below => documents.version(below.strip_prefix("v3/")?).map(|found| version(found, asked)),
    }
}

fn legacy(documents: &Documents, asked: &Asked<'_>) -> Reply {
    let answer = match chosen(asked.accept, &[JSON, BINARY_OF_OLD, BINARY]) {
        None => Reply::nothing(406),
        Some(JSON) => reply(documents.legacy(), JSON, asked),
        Some(_) => reply(documents.legacy_binary(), BINARY, asked),
    };
    answer.with_header(VARY, HeaderValue::from_static("Accept"))
}

fn version(found: &Document, asked: &Asked<'_>) -> Reply {
    let varies = HeaderValue::from_static("Accept");
    if chosen(asked.accept, &[JSON]).is_none() {
        return Reply::nothing(406).with_header(VARY, varies);
    }
    let hash = asked.hash.filter(|hash| !hash.is_empty());
    if hash.is_some_and(|hash| hash != found.etag) {
        // It has changed since: this is where it is now.
        let there = format!("{}?hash={}", asked.path, found.etag);
        let Ok(location) = HeaderValue::from_str(&there) else { return Reply::nothing(406) };
        let page = format!("<a href=\"{there}\">Moved Permanently</a>.\n\n");
        let moved = Reply { content_type: "text/html; charset=utf-8", ..Reply::json(301, page) };
        return moved.with_header(LOCATION, location).with_header(VARY, varies);
    }
    let answer = reply(found, JSON, asked).with_header(VARY, varies);
    match hash {
        None => answer,
        Some(_) => answer
            .with_header(CACHE_CONTROL, HeaderValue::from_static("public, immutable"))
            .with_header(EXPIRES, in_a_year(asked.now)),
    }
}

fn in_a_year(now: jiff::Timestamp) -> HeaderValue {
    let year = jiff::SignedDuration::from_hours(365 * 24);
    let then = now.checked_add(year).unwrap_or(now);
    let text = then.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string();
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0"))
}

fn reply(found: &Document, content_type: &'static str, asked: &Asked<'_>) -> Reply {
    let packed = Reply { content_type, packed: true, ..Reply::json(200, found.packed.clone()) };
    packed.tagged(&found.etag, asked.known)
}

/// The first of the media types asked for that is offered.
fn chosen(accept: Option<&str>, offered: &[&'static str]) -> Option<&'static str> {
    let fits = |range: &str, media: &str| {
        range == "*/*"
            || range == media
            || (range == "application/*" && media.starts_with("application/"))
    };
    let ranges = media_types(accept.filter(|text| !text.trim().is_empty()).unwrap_or("*/*"));
    ranges.iter().find_map(|range| offered.iter().copied().find(|media| fits(range, media)))
}
