//! The framings of Kubernetes' streams: SPDY/3.1 and WebSocket. Bytes in, frames out; no sockets, no tasks.
//!
//! # Promises
//! - Any way of cutting the bytes gives the same frames (data of one frame may come in several pieces).
//! - What a hostile peer sends costs bounded memory: every limit is a named constant, and reaching it is an error.
//!
//! # Invariants
//! - A decoder that gave an error gives it again: nothing after damage is believed.
//! - Header blocks of one connection are packed and unpacked in the order of the wire: they share a dictionary.
//!
//! # Absent
//! - SPDY: settings, priorities and flow control (the peers of Kubernetes use TCP's), push.
//! - WebSocket: extensions (compression).
//!
//! Start reading at [`spdy::Decoder`] and [`websocket::Decoder`].

pub mod spdy;
pub mod websocket;
