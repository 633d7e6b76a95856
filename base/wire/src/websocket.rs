//! WebSocket (RFC 6455): messages inside one connection.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use sha1::{Digest, Sha1};

/// Longest message taken, bytes. kubectl sends at most 32 KiB at once.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Longest control message: the protocol's own.
const CONTROL_BYTES_MAX: usize = 125;

/// Codes of a close.
pub mod close {
    /// All is done.
    pub const NORMAL: u16 = 1000;
    /// The other end breaks the protocol.
    pub const PROTOCOL: u16 = 1002;
    /// A message is longer than [`super::MESSAGE_BYTES_MAX`].
    pub const TOO_BIG: u16 = 1009;
    /// Something is broken here.
    pub const INTERNAL: u16 = 1011;
}

/// What is wrong with a peer's bytes.
#[expect(clippy::error_impl_error, reason = "always named as websocket::Error")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The protocol was broken.
    #[error("the WebSocket protocol was broken: {0}")]
    Protocol(&'static str),
    /// A message is longer than [`MESSAGE_BYTES_MAX`].
    #[error("a message is longer than {MESSAGE_BYTES_MAX} bytes")]
    TooBig,
}

impl Error {
    /// The code to close with.
    pub fn code(self) -> u16 {
        match self {
            Self::Protocol(_) => close::PROTOCOL,
            Self::TooBig => close::TOO_BIG,
        }
    }
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 by the protocol; not checked here.
    Text(Bytes),
    /// Bytes.
    Binary(Bytes),
    /// Wants a [`Message::Pong`] with the same bytes.
    Ping(Bytes),
    /// Answers a ping.
    Pong(Bytes),
    /// The other end closes, with a code if it gave one.
    Close(Option<u16>),
}

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Masks what it sends.
    Client,
    /// Gets what is masked.
    Server,
}

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
pub fn accept(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.trim().as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

/// A message as bytes. `mask` is the client's, `None` from a server.
pub fn encode(message: &Message, mask: Option<[u8; 4]>) -> Vec<u8> {
    let code;
    let (kind, bytes): (u8, &[u8]) = match message {
        Message::Text(bytes) => (1, bytes),
        Message::Binary(bytes) => (2, bytes),
        Message::Ping(bytes) => (9, bytes),
        Message::Pong(bytes) => (10, bytes),
        Message::Close(Some(number)) => {
            code = number.to_be_bytes();
            (8, &code)
        }
        Message::Close(None) => (8, b""),
    };
    let mut out = Vec::with_capacity(bytes.len() + 14);
    out.push(0x80 | kind);
    let bit = if mask.is_some() { 0x80 } else { 0 };
    match (u8::try_from(bytes.len()), u16::try_from(bytes.len())) {
        (Ok(length @ ..=125), _) => out.push(bit | length),
        (_, Ok(length)) => {
            out.push(bit | 0x7e);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(bit | 0x7f);
            out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        }
    }
    match mask {
        None => out.extend_from_slice(bytes),
        Some(mask) => {
            out.extend_from_slice(&mask);
            out.extend(bytes.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        }
    }
    out
}

/// A message that comes in several frames.
#[derive(Debug)]
struct Begun {
    is_text: bool,
    bytes: BytesMut,
}

/// The head of a frame.
struct Head {
    fin: bool,
    kind: u8,
    mask: Option<[u8; 4]>,
    size: usize,
    length: usize,
}

/// Reads messages.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    buffer: BytesMut,
    begun: Option<Begun>,
    broken: Option<Error>,
}

impl Decoder {
    /// Reads what the other end of `role` sends.
    pub fn new(role: Role) -> Self {
        Self { role, buffer: BytesMut::new(), begun: None, broken: None }
    }

    /// Takes bytes from the peer. Call [`Decoder::next`] until it gives nothing before feeding more: then at most two
    /// messages of [`MESSAGE_BYTES_MAX`] and one read are held.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.broken.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next message; `None` when more bytes are needed.
    ///
    /// # Errors
    /// The peer broke the protocol or reached a limit; the same again at every later call.
    #[expect(clippy::should_implement_trait, reason = "an end here means: not yet")]
    pub fn next(&mut self) -> Result<Option<Message>, Error> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        loop {
            match self.frame() {
                Ok(None) => return Ok(None),
                Ok(Some((head, bytes))) => match self.message(&head, bytes) {
                    Ok(None) => {}
                    Ok(Some(message)) => return Ok(Some(message)),
                    Err(error) => return Err(self.fail(error)),
                },
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    fn fail(&mut self, error: Error) -> Error {
        self.broken = Some(error);
        self.buffer = BytesMut::new();
        self.begun = None;
        error
    }

    fn head(&self) -> Result<Option<Head>, Error> {
        let mut rest: &[u8] = &self.buffer;
        let whole = rest.len();
        let (Ok(first), Ok(second)) = (rest.try_get_u8(), rest.try_get_u8()) else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(Error::Protocol("an extension that was not agreed on"));
        }
        let is_masked = second & 0x80 != 0;
        if is_masked != (self.role == Role::Server) {
            return Err(Error::Protocol("clients mask and servers do not"));
        }
        let length = match second & 0x7f {
            0x7e => rest.try_get_u16().map(u64::from),
            0x7f => rest.try_get_u64(),
            short => Ok(u64::from(short)),
        };
        let Ok(length) = length else { return Ok(None) };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (fin, kind) = (first & 0x80 != 0, first & 0x0f);
        if kind >= 8 && (length > CONTROL_BYTES_MAX || !fin) {
            return Err(Error::Protocol("a control message that is long or in parts"));
        }
        let held = self.begun.as_ref().map_or(0, |begun| begun.bytes.len());
        if kind < 8 && length > MESSAGE_BYTES_MAX.saturating_sub(held) {
            return Err(Error::TooBig);
        }
        let mask = if is_masked {
            let Some((key, after)) = rest.split_first_chunk::<4>() else { return Ok(None) };
            rest = after;
            Some(*key)
        } else {
            None
        };
        Ok(Some(Head { fin, kind, mask, size: whole - rest.len(), length }))
    }

    fn frame(&mut self) -> Result<Option<(Head, BytesMut)>, Error> {
        let Some(head) = self.head()? else { return Ok(None) };
        if self.buffer.len() < head.size + head.length {
            return Ok(None);
        }
        self.buffer.advance(head.size);
        let mut bytes = self.buffer.split_to(head.length);
        if let Some(mask) = head.mask {
            for (byte, key) in bytes.iter_mut().zip(mask.iter().cycle()) {
                *byte ^= key;
            }
        }
        Ok(Some((head, bytes)))
    }

    fn message(&mut self, head: &Head, bytes: BytesMut) -> Result<Option<Message>, Error> {
        match (head.kind, self.begun.take()) {
            (0, None) => Err(Error::Protocol("goes on with what did not begin")),
            (0, Some(mut begun)) => {
                begun.bytes.extend_from_slice(&bytes);
                Ok(self.whole(begun, head.fin))
            }
            (1 | 2, Some(_)) => Err(Error::Protocol("begins before the last one ended")),
            (kind @ (1 | 2), None) => Ok(self.whole(Begun { is_text: kind == 1, bytes }, head.fin)),
            (kind @ 8..=10, begun) => {
                self.begun = begun;
                let bytes = bytes.freeze();
                Ok(Some(match kind {
                    9 => Message::Ping(bytes),
                    10 => Message::Pong(bytes),
                    _ => Message::Close((&bytes[..]).try_get_u16().ok()),
                }))
            }
            _ => Err(Error::Protocol("a kind of message that does not exist")),
        }
    }

    fn whole(&mut self, begun: Begun, fin: bool) -> Option<Message> {
        if !fin {
            self.begun = Some(begun);
            return None;
        }
        let bytes = begun.bytes.freeze();
        Some(if begun.is_text { Message::Text(bytes) } else { Message::Binary(bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_standard_is_accepted_as_it_says() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
