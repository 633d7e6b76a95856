//! Which channel is which stream. Pure.

use super::super::options::Options;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;
use std::collections::BTreeMap;
use wire::spdy;
use wire::websocket::{self, Message};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Version 5: the next byte names a channel that ends.
const CLOSE: u8 = 255;

/// How channels are written into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Protocol {
    /// 1 to 3 are alike; 4 tells how a command ended as a Status, 5 can end stdin.
    version: u8,
    is_base64: bool,
}

/// Names of the protocols for exec and attach.
const EXEC: &[(&str, u8, bool)] = &[
    ("v5.channel.k8s.io", 5, false),
    ("v4.channel.k8s.io", 4, false),
    ("v4.base64.channel.k8s.io", 4, true),
    ("channel.k8s.io", 1, false),
    ("base64.channel.k8s.io", 1, true),
];
/// Names of the protocols for port-forward.
const PORTS: &[(&str, u8, bool)] =
    &[("v4.channel.k8s.io", 4, false), ("v4.base64.channel.k8s.io", 4, true)];

impl Protocol {
    /// The first that the client offers and that is spoken here, with its name; where none is offered, the oldest. Or
    /// what is spoken.
    pub(in super::super) fn choose(
        offered: &[String],
        is_ports: bool,
    ) -> Result<(String, Self), Vec<&'static str>> {
        let spoken = if is_ports { PORTS } else { EXEC };
        if offered.is_empty() {
            let version = if is_ports { 4 } else { 1 };
            return Ok((String::new(), Self { version, is_base64: false }));
        }
        let found =
            offered.iter().find_map(|wanted| spoken.iter().find(|(name, ..)| name == wanted));
        match found {
            Some((name, version, is_base64)) => {
                Ok(((*name).to_owned(), Self { version: *version, is_base64: *is_base64 }))
            }
            None => Err(spoken.iter().map(|(name, ..)| *name).collect()),
        }
    }

    /// A message for the client.
    pub(super) fn encode(self, channel: u8, bytes: &[u8]) -> Vec<u8> {
        if self.is_base64 {
            let mut text = String::from(char::from(b'0' + channel));
            STANDARD.encode_string(bytes, &mut text);
            return websocket::encode(&Message::Text(text.into_bytes().into()), None);
        }
        let mut all = Vec::with_capacity(bytes.len() + 1);
        all.push(channel);
        all.extend_from_slice(bytes);
        websocket::encode(&Message::Binary(all.into()), None)
    }

    /// Channel and bytes of a client's message; `None` when it is none of this protocol.
    pub(super) fn decode(self, payload: &[u8]) -> Option<(u8, Cow<'_, [u8]>)> {
        let (first, rest) = payload.split_first()?;
        if !self.is_base64 {
            return Some((*first, Cow::Borrowed(rest)));
        }
        let bytes = STANDARD.decode(rest).ok()?;
        Some((first.checked_sub(b'0')?, Cow::Owned(bytes)))
    }

    /// What the client is told at the end: the runtime's Status, or before version 4 only a failure's text.
    pub(super) fn last_words(self, status: &[u8], channel: u8) -> Vec<Vec<u8>> {
        if self.version >= 4 {
            return vec![self.encode(channel, status)];
        }
        let parsed: serde_json::Value = serde_json::from_slice(status).unwrap_or_default();
        if parsed["status"] == "Success" {
            return Vec::new();
        }
        let text = parsed["message"].as_str().map_or(status, str::as_bytes);
        vec![self.encode(channel, text)]
    }
}

/// A Status of a failure on this side, as upstream words it.
pub(super) fn internal_error(problem: &str) -> Vec<u8> {
    let status = serde_json::json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("Internal error occurred: {problem}"),
        "reason": "InternalError",
        "details": {"causes": [{"message": problem}]},
        "code": 500,
    });
    status.to_string().into_bytes()
}

/// Where bytes of a stream go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outward {
    Channel(u8),
    /// Kept to the end.
    Status,
}

/// The streams of one session.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Plan {
    opening: Vec<u8>,
    inward: BTreeMap<u8, u32>,
    outward: BTreeMap<u32, Outward>,
    greetings: Vec<(u8, Vec<u8>)>,
    /// Stdin's stream, which version 5 can end.
    stdin: Option<u32>,
    is_exec: bool,
}

impl Plan {
    /// Exec and attach: the order of streams is that of upstream's clients.
    pub(in super::super) fn exec(options: &Options) -> Result<Self, String> {
        let mut plan = Self { is_exec: true, ..Self::default() };
        let mut encoder = spdy::Encoder::default();
        let wanted = [
            ("error", true),
            ("stdin", options.stdin),
            ("stdout", options.stdout),
            ("stderr", options.stderr && !options.tty),
            ("resize", options.tty),
        ];
        let mut stream = 1;
        for (kind, _) in wanted.into_iter().filter(|(_, is_wanted)| *is_wanted) {
            plan.begin(&mut encoder, stream, false, &[("streamtype", kind.to_owned())])?;
            match kind {
                "error" => drop(plan.outward.insert(stream, Outward::Status)),
                "stdin" => {
                    plan.stdin = Some(stream);
                    plan.inward.insert(STDIN, stream);
                }
                "stdout" => drop(plan.outward.insert(stream, Outward::Channel(STDOUT))),
                "stderr" => drop(plan.outward.insert(stream, Outward::Channel(STDERR))),
                _ => drop(plan.inward.insert(RESIZE, stream)),
            }
            stream += 2;
        }
        // clients wait for a first message to know that they are through
        let lowest = match (options.stdout, options.stderr && !options.tty) {
            (true, _) => STDOUT,
            (false, true) => STDERR,
            (false, false) => ERROR,
        };
        plan.greetings.push((lowest, Vec::new()));
        Ok(plan)
    }

    /// Port-forward: two channels for each port, one for bytes and one for what went wrong.
    pub(in super::super) fn ports(options: &Options) -> Result<Self, String> {
        if options.ports.is_empty() {
            return Err("query parameter \"port\" is required".to_owned());
        }
        let mut plan = Self::default();
        let mut encoder = spdy::Encoder::default();
        for (number, port) in options.ports.iter().enumerate() {
            let index = u8::try_from(number * 2).map_err(|_| "too many ports".to_owned())?;
            let error = u32::from(index) * 2 + 1;
            let data = error + 2;
            for (stream, kind) in [(error, "error"), (data, "data")] {
                let headers = [
                    ("streamtype", kind.to_owned()),
                    ("port", port.to_string()),
                    ("requestid", number.to_string()),
                ];
                plan.begin(&mut encoder, stream, kind == "error", &headers)?;
            }
            plan.inward.insert(index, data);
            plan.outward.insert(data, Outward::Channel(index));
            plan.outward.insert(error, Outward::Channel(index + 1));
            for channel in [index, index + 1] {
                plan.greetings.push((channel, port.to_le_bytes().to_vec()));
            }
        }
        Ok(plan)
    }

    fn begin(
        &mut self,
        encoder: &mut spdy::Encoder,
        stream: u32,
        fin: bool,
        headers: &[(&str, String)],
    ) -> Result<(), String> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let frame = encoder.syn_stream(stream, fin, &headers.collect());
        self.opening.extend(frame.map_err(|error| error.to_string())?);
        Ok(())
    }

    /// The frames that open every stream.
    pub(super) fn opening(&self) -> &[u8] {
        &self.opening
    }

    /// What the client is told first.
    pub(super) fn greetings(&self) -> Vec<(u8, Vec<u8>)> {
        self.greetings.clone()
    }

    /// Streams whose end is the session's.
    pub(super) fn awaited(&self) -> impl Iterator<Item = u32> {
        let is_awaited = |kind: &Outward| !self.is_exec || *kind == Outward::Status;
        self.outward.iter().filter(move |(_, kind)| is_awaited(kind)).map(|(stream, _)| *stream)
    }

    /// Whether the runtime says at the end how it went.
    pub(super) fn has_status(&self) -> bool {
        self.is_exec
    }

    /// Where failures are told.
    pub(super) fn error_channel(&self) -> u8 {
        if self.is_exec { ERROR } else { 1 }
    }

    pub(super) fn outward(&self, stream: u32) -> Option<Outward> {
        self.outward.get(&stream).copied()
    }

    /// The stream that a client's message is for, whether it ends with it, and its bytes there.
    pub(super) fn inward<'a>(
        &self,
        protocol: Protocol,
        channel: u8,
        bytes: &'a [u8],
    ) -> Option<(u32, bool, &'a [u8])> {
        if channel == CLOSE && protocol.version >= 5 {
            let stream = self.stdin.filter(|_| bytes.first() == Some(&STDIN))?;
            return Some((stream, true, &[]));
        }
        let stream = self.inward.get(&channel)?;
        (!bytes.is_empty()).then_some((*stream, false, bytes))
    }
}
