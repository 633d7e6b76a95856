//! Golden exchanges with a real Kubernetes 1.36.2 API server, replayed against ours.
//!
//! The tapes, the cases they were recorded from and the script that recorded them (`tape.py`) are in `data`.
//! [`replay`] sends a tape's requests to a server in this process, in virtual time, and compares the answers as
//! `tape.py replay` does over TLS: status, media type, some headers and the whole body, after [`norm`] has
//! taken out what differs from run to run. Start reading at [`replay::replay`].
//!
//! # Promises
//! - The same verdict, exchange by exchange, as `tape.py replay` gives (a test in `app/tests` holds them together).
//! - The same result for the same tape, order and seed, whatever the machine's load: no wall clock is read.
//! - `floor.json` holds what passed once; less than that in any topic fails the tests.
//!
//! # Invariants
//! - Nothing here knows a case by name: an exchange passes because the server answers so.
//! - Request bodies are sent with the order of fields in which they were recorded.
//!
//! # Absent
//! Recording (`tape.py record` does that), transport (TLS, HTTP/2), timing.

pub mod compare;
pub mod discovery;
pub mod floor;
pub mod norm;
pub mod rename;
pub mod replay;
pub mod score;
pub mod send;
pub mod tape;
