//! A whole cluster in virtual time, from one seed.
//!
//! # Promises
//! - [`run`] plays the scenario of a seed on the real API server, engine, scheduler and caretaker with pretend nodes, in
//!   one thread and in paused time: the same seed gives the same tape, line by line.
//! - Checkers watch every state of the store from outside ([`witness`]): they share no code with the engine.
//! - After the last deed the faults end, and the cluster has to come to rest in what the DaemonSets say.
//! - [`Bug`]s can be planted between server and parts; a run with one must fail, which shows that the checkers see.
//!
//! # Invariants
//! - All chance comes from the seed; all waiting is on tokio's clock.
//! - The parts run as they ship. Faults live in front of the server ([`gate`]), in its medium, and in what happens to
//!   nodes and processes ([`cluster`]).
//!
//! # Absent
//! Real sockets, real containers, several servers.
//!
//! Start reading at [`scenario`], then [`trial`]; [`stage`] is for tests that need a cluster and no trouble.

pub mod cluster;
pub mod gate;
pub mod scenario;
pub mod stage;
pub mod trial;
pub mod witness;

pub use gate::Bug;
pub use trial::{Outcome, run};
