//! The laws of records: what is answered is durable, and a watch misses nothing or says so.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod commits;
mod disk;
mod informers;
mod support;
mod watches;
