//! The real binary, over real TLS: who may come in, what a person is told, what survives.

mod access;
mod harness;
mod lifecycle;
mod refusals;
