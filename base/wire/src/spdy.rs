//! SPDY/3.1 as Kubernetes speaks it: the frames of streams inside one connection.

mod headers;

pub use headers::{Headers, UNPACKED_BYTES_MAX};

use bytes::{Buf, Bytes, BytesMut};
use headers::{Packer, Unpacker};

/// Longest control frame, bytes. Header blocks of Kubernetes are below 200; the limit is generous for proxies'.
pub const CONTROL_BYTES_MAX: usize = 64 * 1024;
/// Largest stream id: 31 bits.
pub const STREAM_MAX: u32 = 0x7fff_ffff;
/// Most bytes of one data frame that the encoder writes.
pub const DATA_BYTES_MAX: usize = 0x00ff_ffff;

const VERSION: u16 = 3;
const HEAD_BYTES: usize = 8;
const FIN: u8 = 1;
const UNIDIRECTIONAL: u8 = 2;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// What is wrong with a peer's bytes.
#[expect(clippy::error_impl_error, reason = "always named as spdy::Error")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not version 3.
    #[error("SPDY version {0} is not spoken here")]
    Version(u16),
    /// A control frame is longer than [`CONTROL_BYTES_MAX`].
    #[error("a control frame of {0} bytes is too long")]
    TooLong(usize),
    /// A control frame is shorter than its kind needs.
    #[error("a control frame of kind {0} is too short")]
    TooShort(u16),
    /// A header block cannot be unpacked, or is too large when unpacked.
    #[error("a header block is damaged: {0}")]
    Headers(&'static str),
    /// Stream 0 is nobody's.
    #[error("a frame for stream 0")]
    NoStream,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A stream begins.
    SynStream {
        /// Its id: odd from clients, even from servers.
        stream: u32,
        /// The sender sends nothing on it.
        fin: bool,
        /// The receiver may send nothing on it.
        unidirectional: bool,
        /// What it is for.
        headers: Headers,
    },
    /// A stream is taken.
    SynReply {
        /// Which.
        stream: u32,
        /// The sender sends nothing on it.
        fin: bool,
        /// About it.
        headers: Headers,
    },
    /// More about a stream.
    Headers {
        /// Which.
        stream: u32,
        /// The sender sends nothing more on it.
        fin: bool,
        /// About it.
        headers: Headers,
    },
    /// A stream is broken off.
    Reset {
        /// Which.
        stream: u32,
        /// Why.
        status: u32,
    },
    /// Asks for the same frame back, or is it.
    Ping(u32),
    /// No more streams are taken.
    GoAway {
        /// The last one that was.
        last: u32,
        /// Why.
        status: u32,
    },
    /// Bytes of a stream.
    Data {
        /// Which.
        stream: u32,
        /// The sender sends nothing more on it.
        fin: bool,
        /// The bytes; a long frame comes in several of these.
        bytes: Bytes,
    },
    /// A frame of a kind that says nothing here: settings, windows, kinds of later versions.
    Ignored,
}

/// Writes frames that have header blocks; the others need no state and are functions.
#[derive(Debug)]
pub struct Encoder {
    packer: Packer,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { packer: Packer::new() }
    }
}

fn control(kind: u16, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + body.len());
    out.extend_from_slice(&(0x8000 | VERSION).to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    // longer than 24 bits cannot be: header blocks are bounded
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX) & 0x00ff_ffff;
    out.extend_from_slice(&(u32::from(flags) << 24 | length).to_be_bytes());
    out.extend_from_slice(body);
    out
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

impl Encoder {
    /// A stream begins.
    ///
    /// # Errors
    /// The headers are larger than [`UNPACKED_BYTES_MAX`].
    pub fn syn_stream(
        &mut self,
        stream: u32,
        fin: bool,
        headers: &Headers,
    ) -> Result<Vec<u8>, Error> {
        let mut body = words(&[stream & STREAM_MAX, 0]);
        // priority and credential slot
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(&self.packer.pack(headers)?);
        Ok(control(SYN_STREAM, u8::from(fin), &body))
    }

    /// A stream is taken.
    ///
    /// # Errors
    /// The headers are larger than [`UNPACKED_BYTES_MAX`].
    pub fn syn_reply(
        &mut self,
        stream: u32,
        fin: bool,
        headers: &Headers,
    ) -> Result<Vec<u8>, Error> {
        let mut body = words(&[stream & STREAM_MAX]);
        body.extend_from_slice(&self.packer.pack(headers)?);
        Ok(control(SYN_REPLY, u8::from(fin), &body))
    }

    /// More about a stream.
    ///
    /// # Errors
    /// The headers are larger than [`UNPACKED_BYTES_MAX`].
    pub fn headers(&mut self, stream: u32, fin: bool, headers: &Headers) -> Result<Vec<u8>, Error> {
        let mut body = words(&[stream & STREAM_MAX]);
        body.extend_from_slice(&self.packer.pack(headers)?);
        Ok(control(HEADERS, u8::from(fin), &body))
    }
}

/// Bytes of a stream, in as many frames as they need.
pub fn data(stream: u32, fin: bool, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + bytes.len());
    let mut pieces = bytes.chunks(DATA_BYTES_MAX).peekable();
    if pieces.peek().is_none() {
        head_of_data(&mut out, stream, fin, 0);
    }
    while let Some(piece) = pieces.next() {
        head_of_data(&mut out, stream, fin && pieces.peek().is_none(), piece.len());
        out.extend_from_slice(piece);
    }
    out
}

fn head_of_data(out: &mut Vec<u8>, stream: u32, fin: bool, length: usize) {
    out.extend_from_slice(&(stream & STREAM_MAX).to_be_bytes());
    let length = u32::try_from(length).unwrap_or(0) & 0x00ff_ffff;
    out.extend_from_slice(&(u32::from(fin) << 24 | length).to_be_bytes());
}

/// Asks for this frame back, or gives it back.
pub fn ping(id: u32) -> Vec<u8> {
    control(PING, 0, &words(&[id]))
}

/// Breaks a stream off.
pub fn reset(stream: u32, status: u32) -> Vec<u8> {
    control(RST_STREAM, 0, &words(&[stream & STREAM_MAX, status]))
}

/// Takes no more streams.
pub fn go_away(last: u32, status: u32) -> Vec<u8> {
    control(GOAWAY, 0, &words(&[last & STREAM_MAX, status]))
}

/// A data frame of which a part has come.
#[derive(Clone, Copy, Debug)]
struct Begun {
    stream: u32,
    fin: bool,
    left: usize,
}

/// Reads frames.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    begun: Option<Begun>,
    unpacker: Unpacker,
    broken: Option<Error>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), begun: None, unpacker: Unpacker::new(), broken: None }
    }
}

impl Decoder {
    /// Takes bytes from the peer. Call [`Decoder::next`] until it gives nothing before feeding more: then at most
    /// [`CONTROL_BYTES_MAX`] and one read are held.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.broken.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next frame; `None` when more bytes are needed.
    ///
    /// # Errors
    /// The peer does not speak SPDY/3.1, or reached a limit; the same again at every later call.
    #[expect(clippy::should_implement_trait, reason = "an end here means: not yet")]
    pub fn next(&mut self) -> Result<Option<Frame>, Error> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let found = self.try_next();
        if let Err(error) = &found {
            self.broken = Some(error.clone());
            self.buffer = BytesMut::new();
        }
        found
    }

    fn try_next(&mut self) -> Result<Option<Frame>, Error> {
        if let Some(begun) = &mut self.begun {
            if self.buffer.is_empty() && begun.left > 0 {
                return Ok(None);
            }
            let bytes = self.buffer.split_to(begun.left.min(self.buffer.len())).freeze();
            begun.left -= bytes.len();
            let done = begun.left == 0;
            let (stream, fin) = (begun.stream, begun.fin && done);
            if done {
                self.begun = None;
            }
            return Ok(Some(Frame::Data { stream, fin, bytes }));
        }
        let Some(mut head) = self.buffer.get(..HEAD_BYTES) else { return Ok(None) };
        let (first, second) = (head.get_u32(), head.get_u32());
        let length = (second & 0x00ff_ffff) as usize;
        let flags = u8::try_from(second >> 24).unwrap_or_default();
        if first & 0x8000_0000 == 0 {
            self.buffer.advance(HEAD_BYTES);
            if first == 0 {
                return Err(Error::NoStream);
            }
            self.begun = Some(Begun { stream: first, fin: flags & FIN != 0, left: length });
            return if length == 0 || !self.buffer.is_empty() { self.try_next() } else { Ok(None) };
        }
        let version = u16::try_from(first >> 16 & 0x7fff).unwrap_or_default();
        let kind = u16::try_from(first & 0xffff).unwrap_or_default();
        if version != VERSION {
            return Err(Error::Version(version));
        }
        if length > CONTROL_BYTES_MAX {
            return Err(Error::TooLong(length));
        }
        if self.buffer.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(HEAD_BYTES);
        let body = self.buffer.split_to(length).freeze();
        self.control(kind, flags, body).map(Some)
    }

    fn control(&mut self, kind: u16, flags: u8, mut body: Bytes) -> Result<Frame, Error> {
        let needs = match kind {
            SYN_STREAM => 10,
            SYN_REPLY | HEADERS | PING => 4,
            RST_STREAM | GOAWAY => 8,
            // settings, windows, and kinds of later versions: skipped, as the protocol says
            _ => return Ok(Frame::Ignored),
        };
        if body.len() < needs {
            return Err(Error::TooShort(kind));
        }
        let fin = flags & FIN != 0;
        let id = body.get_u32();
        let stream = id & STREAM_MAX;
        if stream == 0 && matches!(kind, SYN_STREAM | SYN_REPLY | HEADERS | RST_STREAM) {
            return Err(Error::NoStream);
        }
        Ok(match kind {
            SYN_STREAM => {
                body.advance(6);
                let unidirectional = flags & UNIDIRECTIONAL != 0;
                let headers = self.unpacker.unpack(&body)?;
                Frame::SynStream { stream, fin, unidirectional, headers }
            }
            SYN_REPLY => Frame::SynReply { stream, fin, headers: self.unpacker.unpack(&body)? },
            HEADERS => Frame::Headers { stream, fin, headers: self.unpacker.unpack(&body)? },
            RST_STREAM => Frame::Reset { stream, status: body.get_u32() },
            GOAWAY => Frame::GoAway { last: stream, status: body.get_u32() },
            _ => Frame::Ping(id),
        })
    }
}
