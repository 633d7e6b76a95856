//! `make test`: what CI runs, step by step, each under its name and with its time.

use crate::{cluster, python, say, sh};
use anyhow::{Result, bail};
use std::process::Command;

/// Where the properties of the short form begin to draw their inputs; printed with the numbers.
const PROPERTY_SEED: &str = "20261121";

/// Runs every step; stops at the first that fails.
pub(crate) fn run() -> Result<()> {
    cluster::install_test_needs()?;
    if !crate::demo::kubectl_is_usable() {
        bail!("tests drive the real kubectl: put kubectl 1.28 or newer on PATH");
    }
    let numbers = crate::demo::repository()?.join("proof/numbers.json");
    let form = std::env::var("PERNODE_NUMBERS").unwrap_or_else(|_| "short".to_owned());
    let counts: serde_json::Value = serde_json::from_slice(&std::fs::read(numbers)?)?;
    say(&format!(
        "== numbers of seeds, kills and inputs ({form} form; properties from seed {PROPERTY_SEED}): {}",
        counts[&form]
    ));
    step("fmt", &["fmt", "--all", "--check"])?;
    step("clippy", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    step("build", &["build", "--workspace", "--bins"])?;
    step("tape", &["run", "--quiet", "--package", "tape", "--", "--quiet"])?;
    say("== python client");
    python::run()?;
    if sh::is_on_path("cargo-nextest") {
        step("test", &["nextest", "run", "--workspace"])?;
        step("doctest", &["test", "--workspace", "--doc", "--quiet"])
    } else {
        step("test", &["test", "--workspace"])
    }
}

fn step(name: &str, args: &[&str]) -> Result<()> {
    say(&format!("== {name}: cargo {}", args.join(" ")));
    let start = std::time::Instant::now();
    let mut cargo = Command::new("cargo");
    cargo.args(args).env("INSTA_UPDATE", "no");
    if std::env::var("PERNODE_NUMBERS").is_err() {
        // the short form draws the same inputs each time; the long form new ones
        cargo.env("PROPTEST_RNG_SEED", PROPERTY_SEED);
    }
    let status = cargo.status()?;
    say(&format!("== {name}: {status}, {} s", start.elapsed().as_secs()));
    if !status.success() {
        bail!("{name} failed");
    }
    Ok(())
}
