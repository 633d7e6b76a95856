//! From the channels of Kubernetes' WebSocket protocols to the streams of SPDY, and back.
//!
//! What belongs to what is a [`Plan`]; carrying is the same for exec, attach and port-forward.

mod plan;

pub(super) use plan::{Plan, Protocol};

use super::pump::{self, Queue, READ_BYTES, WAITING_MAX};
use plan::Outward;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::mpsc;
use wire::spdy::{self, Frame};
use wire::websocket::{self, Decoder, Message, Role, close};

/// How long a client may take to take its last bytes and to close.
const CLOSE_MAX: Duration = Duration::from_secs(10);
/// Most bytes of the runtime's last word; it is a Status of a few hundred.
const STATUS_BYTES_MAX: usize = 64 * 1024;
/// Status of a stream that is not wanted here (SPDY's REFUSED_STREAM).
const REFUSED: u32 = 3;

/// Carries until the runtime has said its last word, or the client goes.
pub(super) async fn run<N, F>(near: N, far: Result<F, String>, protocol: Protocol, plan: Plan)
where
    N: AsyncRead + AsyncWrite,
    F: AsyncRead + AsyncWrite,
{
    let (mut near_read, near_write) = tokio::io::split(near);
    let (to_near, waiting) = mpsc::channel(WAITING_MAX);
    let carried = async {
        match far {
            Ok(far) => {
                let carrier = Carrier { to_near: to_near.clone(), protocol, plan };
                carrier.carry(&mut near_read, far).await;
            }
            Err(problem) => {
                let status = plan::internal_error(&problem);
                for message in protocol.last_words(&status, plan.error_channel()) {
                    let _ = to_near.send(message).await;
                }
                let _ = to_near.send(farewell(close::NORMAL)).await;
            }
        }
        drop(to_near);
        // what the client still sends is taken, so that closing does not cut off what it has not read yet
        let drained = async {
            let mut buffer = vec![0; READ_BYTES];
            while near_read.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
        };
        let _ = tokio::time::timeout(CLOSE_MAX, drained).await;
    };
    let written = async {
        if pump::write(near_write, waiting).await.is_ok() {
            // the client closes when it has read everything
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = written => {}
        () = carried => {}
    }
}

fn farewell(code: u16) -> Vec<u8> {
    websocket::encode(&Message::Close(Some(code)), None)
}

/// What a frame of the runtime's means here.
enum Heard {
    /// The stream goes on.
    More,
    /// This stream ended.
    Ended(u32),
    /// The client is gone.
    Alone,
}

/// Everything about one session but its connections.
struct Carrier {
    to_near: Queue,
    protocol: Protocol,
    plan: Plan,
}

impl Carrier {
    async fn carry<N, F>(self, near: &mut N, far: F)
    where
        N: AsyncRead + Unpin,
        F: AsyncRead + AsyncWrite,
    {
        let (far_read, far_write) = tokio::io::split(far);
        let (to_far, waiting) = mpsc::channel(WAITING_MAX);
        let replies = to_far.clone();
        // the queue is empty still: this fits
        let _ = to_far.send(self.plan.opening().to_vec()).await;
        let writer = async {
            // a runtime that takes no more input may still have a last word
            let _ended = pump::write(far_write, waiting).await;
            std::future::pending::<()>().await;
        };
        let greeted = async {
            for (channel, bytes) in self.plan.greetings() {
                let _ = self.to_near.send(self.protocol.encode(channel, &bytes)).await;
            }
            self.outward(far_read, replies).await;
        };
        tokio::select! {
            biased;
            () = greeted => {}
            () = self.inward(near, to_far) => {}
            () = writer => {}
        }
    }

    /// From the runtime to the client, to the runtime's last word.
    async fn outward<F: AsyncRead + Unpin>(&self, mut far: F, replies: Queue) {
        let mut decoder = spdy::Decoder::default();
        let mut buffer = vec![0; READ_BYTES];
        let mut status = Vec::new();
        let mut open: BTreeSet<u32> = self.plan.awaited().collect();
        'reading: loop {
            let count = far.read(&mut buffer).await.unwrap_or_default();
            if count == 0 {
                break;
            }
            decoder.feed(buffer.get(..count).unwrap_or_default());
            loop {
                let frame = match decoder.next() {
                    Ok(None) => break,
                    Ok(Some(frame)) => frame,
                    Err(error) => {
                        tracing::warn!(
                            "the runtime's streaming server breaks its protocol: {error}"
                        );
                        break 'reading;
                    }
                };
                match self.frame(frame, &replies, &mut status).await {
                    Heard::Alone => return,
                    Heard::Ended(stream) if open.remove(&stream) && open.is_empty() => {
                        break 'reading;
                    }
                    Heard::Ended(_) | Heard::More => {}
                }
            }
        }
        if self.plan.has_status() {
            if status.is_empty() {
                status = plan::internal_error("the runtime ended the stream without a word");
            }
            for message in self.protocol.last_words(&status, self.plan.error_channel()) {
                let _ = self.to_near.send(message).await;
            }
        }
        let _ = self.to_near.send(farewell(close::NORMAL)).await;
    }

    async fn frame(&self, frame: Frame, replies: &Queue, status: &mut Vec<u8>) -> Heard {
        match frame {
            Frame::Data { stream, fin, bytes } => {
                if !self.data(stream, &bytes, status).await {
                    return Heard::Alone;
                }
                if fin { Heard::Ended(stream) } else { Heard::More }
            }
            Frame::SynReply { stream, fin: true, .. }
            | Frame::Headers { stream, fin: true, .. }
            | Frame::Reset { stream, .. } => Heard::Ended(stream),
            // a full queue means that the runtime reads nothing: it does not wait for these answers either
            Frame::Ping(id) => {
                let _ = replies.try_send(spdy::ping(id));
                Heard::More
            }
            Frame::SynStream { stream, .. } => {
                let _ = replies.try_send(spdy::reset(stream, REFUSED));
                Heard::More
            }
            _ => Heard::More,
        }
    }

    /// False when the client is gone.
    async fn data(&self, stream: u32, bytes: &[u8], status: &mut Vec<u8>) -> bool {
        match self.plan.outward(stream) {
            Some(Outward::Status) => {
                let room = STATUS_BYTES_MAX.saturating_sub(status.len());
                status.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
                true
            }
            Some(Outward::Channel(channel)) if !bytes.is_empty() => {
                self.to_near.send(self.protocol.encode(channel, bytes)).await.is_ok()
            }
            _ => true,
        }
    }

    /// From the client to the runtime, until the client goes.
    async fn inward<N: AsyncRead + Unpin>(&self, near: &mut N, to_far: Queue) {
        let mut decoder = Decoder::new(Role::Server);
        let mut buffer = vec![0; READ_BYTES];
        let mut ended: BTreeSet<u32> = BTreeSet::new();
        loop {
            let count = near.read(&mut buffer).await.unwrap_or_default();
            if count == 0 {
                return;
            }
            decoder.feed(buffer.get(..count).unwrap_or_default());
            loop {
                let answer = match decoder.next() {
                    Ok(None) => break,
                    Ok(Some(Message::Binary(bytes) | Message::Text(bytes))) => {
                        match self.message(&bytes, &mut ended, &to_far).await {
                            Some(code) => Err(code),
                            None => continue,
                        }
                    }
                    Ok(Some(Message::Pong(_))) => continue,
                    Ok(Some(Message::Ping(bytes))) => Ok(Message::Pong(bytes)),
                    Ok(Some(Message::Close(_))) => Err(close::NORMAL),
                    Err(error) => Err(error.code()),
                };
                let (bytes, is_end) = match answer {
                    Ok(message) => (websocket::encode(&message, None), false),
                    Err(code) => (farewell(code), true),
                };
                if self.to_near.send(bytes).await.is_err() || is_end {
                    return;
                }
            }
        }
    }

    /// Passes one message on; the code to close with if it is none of the protocol's.
    async fn message(
        &self,
        payload: &[u8],
        ended: &mut BTreeSet<u32>,
        to_far: &Queue,
    ) -> Option<u16> {
        let Some((channel, bytes)) = self.protocol.decode(payload) else {
            return Some(close::PROTOCOL);
        };
        let (stream, fin, bytes) = self.plan.inward(self.protocol, channel, &bytes)?;
        let is_new = if fin { ended.insert(stream) } else { !ended.contains(&stream) };
        if is_new {
            // refused only when the runtime takes no more input; its last word is still awaited
            let _ = to_far.send(spdy::data(stream, fin, bytes)).await;
        }
        None
    }
}
