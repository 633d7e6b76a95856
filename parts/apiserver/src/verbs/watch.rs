//! Watches: a cursor in the history turned into lines of JSON.

use super::list::{Selection, parse_version};
use super::{Call, shelf};
use crate::custom::Form;
use crate::decode::options::ListOptions;
use crate::encode::frame::{self, Change};
use crate::encode::negotiate::View;
use crate::encode::{self, Source};
use crate::metrics::Guard;
use crate::records::{Event, EventKind, Gone, Query, Record, Start, Watch, WatchRequest};
use crate::server::{Answer, Inner};
use api::Status;
use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use rand::Rng;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Shortest time a watch without `timeoutSeconds` lasts, seconds; the longest is twice that, so that watches
/// opened together do not come again together (upstream's `--min-request-timeout`).
const LASTS_SECONDS: u64 = 1800;
/// The longest watch, whatever is asked for: a year. Beyond the clock's own range a sum would be a panic.
const LASTS_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Answers a watch.
pub(crate) fn watch(call: &Call, options: &ListOptions) -> Result<Answer, Status> {
    let selection = Selection::read(call, options)?;
    let version =
        parse_version(&options.resource_version).map_err(|why| Status::failure(500, "", why))?;
    let with_initial = options.initial_events.unwrap_or(matches!(version, None | Some(0)));
    let mut feed = Feed::new(call, options);
    let opened = if with_initial {
        feed.open_with_initial(call, &selection, options.initial_events == Some(true))
    } else {
        let start = match version {
            None | Some(0) => Start::Now,
            Some(version) => Start::After(version),
        };
        feed.open(call, &selection, start)
    };
    if let Err(gone) = opened {
        call.server.metrics.gone(call.row.plural);
        feed.ended = Some(frame::error(&gone));
    }
    Ok(Answer::Stream(response(feed)))
}

fn response(feed: Feed) -> Response<Body> {
    let lines = stream::unfold(feed, |mut feed| async move {
        feed.next().await.map(|line| (Ok::<Bytes, Infallible>(line), feed))
    });
    let mut response = Response::new(Body::from_stream(lines));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let fresh = HeaderValue::from_static("no-cache, private");
    headers.insert(HeaderName::from_static("cache-control"), fresh);
    response
}

/// What is still to be sent, and when to stop.
struct Feed {
    server: Arc<Inner>,
    source: Source,
    watch: Option<Watch>,
    /// Of a custom kind: in which form it is served.
    form: Option<Form>,
    /// Once that is over: what happened until then is still told.
    last: Option<u64>,
    /// Objects that were there when the watch began.
    initial: VecDeque<Arc<Record>>,
    /// The revision they were seen at, when their end is to be told.
    initial_end: Option<u64>,
    bookmarks: bool,
    bookmark_at: Instant,
    until: Instant,
    /// Whether nothing was sent yet.
    first: bool,
    /// The last line.
    ended: Option<Bytes>,
    done: bool,
    _open: Guard,
}

impl Feed {
    fn new(call: &Call, options: &ListOptions) -> Self {
        let lasts = options.timeout.filter(|timeout| !timeout.is_zero()).unwrap_or_else(|| {
            let seconds =
                call.server.chance(|chance| chance.random_range(LASTS_SECONDS..=2 * LASTS_SECONDS));
            Duration::from_secs(seconds)
        });
        let now = Instant::now();
        Self {
            server: Arc::clone(&call.server),
            source: call.source(),
            watch: None,
            form: call.row.custom.map(|_| Form::of(call.row, &call.server.kinds)),
            last: None,
            initial: VecDeque::new(),
            initial_end: None,
            bookmarks: options.bookmarks,
            bookmark_at: now + call.server.config.bookmark_interval,
            until: now + lasts.min(LASTS_MAX),
            first: true,
            ended: None,
            done: false,
            _open: call.server.metrics.watching(call.row.plural),
        }
    }

    fn open(&mut self, call: &Call, selection: &Selection, start: Start) -> Result<(), Status> {
        let since = call.row.custom.map_or(0, |_| call.server.kinds.now().since(call.row));
        if let Start::After(revision) = start
            && revision < since
        {
            let why = format!("too old resource version: {revision} ({since})");
            return Err(Status::expired(why));
        }
        let request = WatchRequest {
            namespace: Arc::from(selection.namespace.as_str()),
            name: Arc::from(selection.name.clone().unwrap_or_default()),
            field: selection.field.clone(),
            filter: selection.filter.clone(),
            ..WatchRequest::all(call.row.storage, start)
        };
        let opened = call.server.records.watch(request);
        self.watch = Some(opened.map_err(|compacted| Status::expired(compacted.to_string()))?);
        Ok(())
    }

    /// A list and a watch from where it was true.
    fn open_with_initial(
        &mut self,
        call: &Call,
        selection: &Selection,
        tell_end: bool,
    ) -> Result<(), Status> {
        let query = Query { namespace: &selection.namespace, ..Query::all(call.row.storage) };
        let found = selection.list(&call.server.records, query);
        let found = found.map_err(|compacted| Status::expired(compacted.to_string()))?;
        self.initial = found.records.into();
        self.initial_end = tell_end.then_some(found.revision);
        self.open(call, selection, Start::After(found.revision))
    }

    /// The next line; `None` when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        if let Some(last) = self.ended.take() {
            self.done = true;
            return Some(last);
        }
        if let Some(record) = self.initial.pop_front() {
            let bytes = shelf::shown(self.source.row, &record);
            return Some(self.line(Change::Added, &bytes));
        }
        if let Some(revision) = self.initial_end.take() {
            self.first = false;
            return Some(frame::bookmark(&self.source, revision, true));
        }
        let next = match self.last {
            Some(_) => None,
            None => self.wait().await?,
        };
        // What happened before the kind was served otherwise, its end among it, is told first.
        let next = match next {
            Some(next) => next,
            None => self.rest()?,
        };
        Some(match next {
            Next::Event(event) => self.event(&event),
            Next::Bookmark(revision) => frame::bookmark(&self.source, revision, false),
            Next::Gone(gone) => {
                self.done = true;
                self.server.metrics.gone(self.source.row.plural);
                frame::error(&Status::expired(gone.to_string()))
            }
        })
    }

    /// What comes next; `Some(None)` when the kind is served no longer as it was, `None` at the end.
    async fn wait(&mut self) -> Option<Option<Next>> {
        let watch = self.watch.as_mut()?;
        let bookmark_at = self.bookmark_at;
        let server = &self.server;
        let form = &mut self.form;
        let over = async move {
            match form {
                Some(form) => form.over(&server.kinds).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = server.stop.cancelled() => None,
            () = over => {
                self.last = Some(server.records.revision());
                Some(None)
            }
            next = watch.next() => {
                Some(Some(next.map_or_else(Next::Gone, |event| Next::Event(Box::new(event)))))
            }
            () = tokio::time::sleep_until(self.until) => None,
            () = tokio::time::sleep_until(bookmark_at), if self.bookmarks => {
                self.bookmark_at = Instant::now() + server.config.bookmark_interval;
                Some(Some(Next::Bookmark(watch.bookmark())))
            }
        }
    }

    /// What happened up to the end of the kind's form, one by one.
    fn rest(&mut self) -> Option<Next> {
        let last = self.last?;
        match self.watch.as_mut()?.try_next() {
            Ok(Some(event)) if event.revision() <= last => Some(Next::Event(Box::new(event))),
            Ok(_) => None,
            Err(gone) => Some(Next::Gone(gone)),
        }
    }

    fn event(&mut self, event: &Event) -> Bytes {
        let plain =
            self.source.form.view == View::Whole && encode::convert::is_plain(self.source.row);
        if plain {
            self.first = false;
            return event.frame.clone();
        }
        let change = match event.kind {
            EventKind::Added => Change::Added,
            EventKind::Modified => Change::Modified,
            EventKind::Deleted => Change::Deleted,
        };
        let bytes = shelf::shown(self.source.row, &event.record);
        self.line(change, &bytes)
    }

    fn line(&mut self, change: Change, bytes: &Bytes) -> Bytes {
        let first = std::mem::replace(&mut self.first, false);
        self.source.now = self.server.now();
        frame::event(&self.source, change, bytes, first).unwrap_or_else(|status| {
            self.done = true;
            frame::error(&status)
        })
    }
}

enum Next {
    Event(Box<Event>),
    Bookmark(u64),
    Gone(Gone),
}
