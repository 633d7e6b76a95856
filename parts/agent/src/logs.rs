//! Logs of containers, read from the files that the runtime writes (CRI's format), those that were rotated away
//! included.
//!
//! Which container is meant is [`choose`]'s, what a line holds is [`line`]'s, where to begin and what comes next is
//! [`read`]'s. A reader that does not read holds up its own task alone.

mod choose;
mod line;
mod options;
mod read;

use crate::cri::v1;
use crate::serve::{Body, Port, text};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use options::Options;
use read::{Next, Reader};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Pieces that wait for a client; each is at most [`read::PIECE_BYTES`], so a slow client costs 256 KiB.
const PIECES_MAX: usize = 4;
/// Shortest and longest wait for more, where a log is followed.
const LOOK: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));
/// A log that brought nothing for so long may have ended: the runtime is asked.
const QUIET: Duration = Duration::from_millis(500);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) pod: &'a str,
    pub(crate) container: &'a str,
}

/// `GET /containerLogs/{namespace}/{pod}/{container}`.
pub(crate) async fn answer(port: &Arc<Port>, wanted: Wanted<'_>, query: &str) -> Response<Body> {
    let options = match Options::read(query, port.context.setup.clock.now()) {
        Ok(options) => options,
        Err(problem) => return text(StatusCode::UNPROCESSABLE_ENTITY, problem),
    };
    let Some(pod) = port.pods.find(wanted.namespace, wanted.pod) else {
        let message = format!("pod {:?} does not exist\n", wanted.pod);
        return text(StatusCode::NOT_FOUND, message);
    };
    if !choose::has(&pod, wanted.container) {
        let message =
            format!("container {:?} not found in pod {:?}\n", wanted.container, wanted.pod);
        return text(StatusCode::NOT_FOUND, message);
    }
    let id = match choose::container(&pod, wanted.container, options.previous) {
        Ok(id) => id,
        Err(problem) => return text(StatusCode::BAD_REQUEST, problem),
    };
    let status = match port.context.runtime.container(&id).await {
        Ok(status) => status,
        Err(failure) => {
            tracing::debug!("log of {id}: {failure}");
            let runtime = &port.context.runtime_name;
            let message = format!("unable to retrieve container logs for {runtime}://{id}");
            return text(StatusCode::BAD_REQUEST, message);
        }
    };
    let path = PathBuf::from(&status.log_path);
    let follow = options.follow;
    let reader = match blocking(move || Reader::open(path, &options)).await {
        Ok(reader) => reader,
        Err(problem) => return text(StatusCode::BAD_REQUEST, problem.to_string()),
    };
    let (pieces, waiting) = mpsc::channel(PIECES_MAX);
    let source = Source { port: Arc::clone(port), id, follow };
    port.context.setup.tasks.spawn("log", source.run(reader, pieces));
    let stream = tokio_stream::wrappers::ReceiverStream::new(waiting);
    let body = StreamBody::new(stream.map(|piece: std::io::Result<Bytes>| piece.map(Frame::data)));
    let mut answer = Response::new(body.boxed_unsync());
    let kind = HeaderValue::from_static("text/plain");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

struct Source {
    port: Arc<Port>,
    id: String,
    follow: bool,
}

impl Source {
    /// Sends the log to the client, to its end or for as long as the container runs.
    async fn run(self, mut reader: Reader, pieces: mpsc::Sender<std::io::Result<Bytes>>) {
        let mut wait = LOOK.0;
        let mut quiet = Duration::ZERO;
        let mut is_over = !self.follow;
        loop {
            let step = blocking(move || {
                let next = reader.step()?;
                Ok((reader, next))
            });
            let next = match step.await {
                Ok((back, next)) => {
                    reader = back;
                    next
                }
                Err(error) => {
                    // the client sees a broken body, not a log that seems whole
                    let _ = pieces.send(Err(error)).await;
                    return;
                }
            };
            match next {
                Next::Piece(piece) => {
                    (wait, quiet) = (LOOK.0, Duration::ZERO);
                    if pieces.send(Ok(piece)).await.is_err() {
                        return;
                    }
                }
                Next::Full => return,
                Next::End if is_over => return,
                Next::End => {
                    tokio::select! {
                        () = pieces.closed() => return,
                        () = tokio::time::sleep(wait) => {}
                    }
                    quiet += wait;
                    wait = (wait * 2).min(LOOK.1);
                    if quiet >= QUIET {
                        quiet = Duration::ZERO;
                        // one more look at the file follows: what was written at the end is not lost
                        is_over = !self.is_running().await;
                    }
                }
            }
        }
    }

    async fn is_running(&self) -> bool {
        match self.port.context.runtime.container(&self.id).await {
            Ok(status) => matches!(
                status.state(),
                v1::ContainerState::ContainerCreated | v1::ContainerState::ContainerRunning
            ),
            // a runtime that is away says nothing about the container
            Err(failure) => !failure.is_absent,
        }
    }
}
