//! A connection inside the binary messages of a WebSocket.

use super::pump::{self, Queue, READ_BYTES, WAITING_MAX};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::mpsc;
use wire::websocket::{self, Decoder, Message, Role, close};

/// How long a client may take to take its last bytes and to close.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// Carries until one end closes.
pub(super) async fn run<N, F>(near: N, far: F)
where
    N: AsyncRead + AsyncWrite,
    F: AsyncRead + AsyncWrite,
{
    let (near_read, near_write) = tokio::io::split(near);
    let (mut far_read, far_write) = tokio::io::split(far);
    let (to_near, near_waiting) = mpsc::channel(WAITING_MAX);
    let (to_far, far_waiting) = mpsc::channel(WAITING_MAX);
    let unwrap = unwrap(near_read, to_far, to_near.clone());
    let wrap = async move {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = far_read.read(&mut buffer).await.unwrap_or_default();
            let bytes = buffer.get(..count).unwrap_or_default().to_vec();
            let message = match count {
                0 => Message::Close(Some(close::NORMAL)),
                _ => Message::Binary(bytes.into()),
            };
            if to_near.send(websocket::encode(&message, None)).await.is_err() || count == 0 {
                return;
            }
        }
    };
    let far_writer = async {
        let _ended = pump::write(far_write, far_waiting).await;
        std::future::pending::<()>().await;
    };
    let carried = async {
        tokio::select! {
            () = wrap => {}
            () = unwrap => {}
            () = far_writer => {}
        }
        // all senders are gone now: what waits is written, then the writer ends
        tokio::time::sleep(CLOSE_MAX).await;
    };
    tokio::select! {
        _written = pump::write(near_write, near_waiting) => {}
        () = carried => {}
    }
}

/// From the client's messages to the bytes inside, until the client closes.
async fn unwrap<N: AsyncRead + Unpin>(mut near_read: N, to_far: Queue, answers: Queue) {
    let mut decoder = Decoder::new(Role::Server);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = near_read.read(&mut buffer).await.unwrap_or_default();
        if count == 0 {
            return;
        }
        decoder.feed(buffer.get(..count).unwrap_or_default());
        loop {
            let bytes = match decoder.next() {
                Ok(None) => break,
                Ok(Some(Message::Binary(bytes) | Message::Text(bytes))) => bytes,
                Ok(Some(Message::Pong(_))) => continue,
                Ok(Some(Message::Ping(bytes))) => {
                    let pong = websocket::encode(&Message::Pong(bytes), None);
                    if answers.send(pong).await.is_err() {
                        return;
                    }
                    continue;
                }
                Ok(Some(Message::Close(_))) => return,
                Err(error) => {
                    let end = websocket::encode(&Message::Close(Some(error.code())), None);
                    let _ = answers.send(end).await;
                    return;
                }
            };
            if to_far.send(bytes.to_vec()).await.is_err() {
                return;
            }
        }
    }
}
