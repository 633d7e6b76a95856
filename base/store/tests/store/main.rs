//! The laws of the store, and what it makes of crashes and damage.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod crashes;
mod damage;
mod kill;
mod laws;
mod support;
