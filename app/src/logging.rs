//! Logs: to standard error, as text or JSON.

use crate::cli::{LogFlags, LogFormat};
use tracing_subscriber::EnvFilter;

/// Starts logging. Client libraries speak at `debug` only when asked for by name.
pub(crate) fn start(flags: &LogFlags) {
    let filter = EnvFilter::try_new(&flags.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    match flags.log_format {
        LogFormat::Text => builder.with_target(true).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
