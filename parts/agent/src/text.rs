//! Texts as upstream writes them.

use std::time::Duration;

/// A duration as Go prints it: `10s`, `1m20s`, `5m0s`, `1.5s`, `250ms`.
pub(crate) fn go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let fraction = |value: f64, unit: &str| {
        let text = format!("{value:.9}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        format!("{text}{unit}")
    };
    if nanos < 1_000_000_000 {
        let (unit, size) = match nanos {
            1_000_000.. => ("ms", 1_000_000.0),
            1_000.. => ("µs", 1_000.0),
            _ => ("ns", 1.0),
        };
        return fraction(duration.as_secs_f64() * 1e9 / size, unit);
    }
    let (hours, minutes) = (duration.as_secs() / 3600, duration.as_secs() / 60 % 60);
    let rest = duration.saturating_sub(Duration::from_secs(hours * 3600 + minutes * 60));
    let seconds = fraction(rest.as_secs_f64(), "s");
    match (hours, minutes) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

/// An error of the system as upstream prints it: `no such file or directory`.
pub(crate) fn io_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    let Some(code) = error.raw_os_error() else { return text };
    let text = text.strip_suffix(&format!(" (os error {code})")).unwrap_or(&text);
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

/// Names as upstream prints a list: `[a b]`.
pub(crate) fn bracketed(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

/// Pod as upstream names it in messages: `name_namespace(uid)`.
pub(crate) fn pod_name(pod: &k8s_openapi::api::core::v1::Pod) -> String {
    let meta = &pod.metadata;
    format!(
        "{}_{}({})",
        meta.name.as_deref().unwrap_or_default(),
        meta.namespace.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_read_as_in_go() {
        let error = std::io::Error::from_raw_os_error(2);
        assert_eq!(io_text(&error), "no such file or directory");
        assert_eq!(io_text(&std::io::Error::other("Own words")), "Own words");
    }

    #[test]
    fn durations_read_as_in_go() {
        let cases = [
            (10_000, "10s"),
            (80_000, "1m20s"),
            (300_000, "5m0s"),
            (1_500, "1.5s"),
            (250, "250ms"),
            (0, "0s"),
            (3_600_000, "1h0m0s"),
        ];
        for (millis, text) in cases {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }
}
