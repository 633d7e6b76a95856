//! Formats of texts that a schema may ask for. Those that are not known judge nothing, as upstream has it.

use base64::Engine;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a text is of a format.
pub(crate) fn fits(format: &str, text: &str) -> bool {
    match format {
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "date-time" | "datetime" => is_moment(text),
        "duration" => is_duration(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some(b'3')),
        "uuid4" => is_uuid(text, Some(b'4')),
        "uuid5" => is_uuid(text, Some(b'5')),
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "uri" => is_uri(text),
        "email" => is_email(text),
        "hostname" => is_hostname(text),
        "k8s-short-name" => api::names::dns_label(text).is_empty(),
        "k8s-long-name" => api::names::dns_subdomain(text).is_empty(),
        "hexcolor" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            matches!(digits.len(), 3 | 6) && digits.bytes().all(|b| b.is_ascii_hexdigit())
        }
        _ => true,
    }
}

fn is_moment(text: &str) -> bool {
    let upper = text.get(10..11).is_some_and(|mark| matches!(mark, "T" | "t" | " "));
    upper && text.parse::<jiff::Timestamp>().is_ok()
}

/// Go's durations: `1h30m`, `-1.5s`, `0`.
fn is_duration(text: &str) -> bool {
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut rest = rest.trim_start();
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let digits =
            rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (number, tail) = rest.split_at(digits);
        if number.parse::<f64>().is_err() {
            return false;
        }
        let tail = tail.trim_start();
        let unit = ["ns", "us", "µs", "μs", "ms", "s", "m", "h", "d", "w"]
            .iter()
            .filter(|unit| tail.starts_with(**unit))
            .max_by_key(|unit| unit.len());
        let Some(unit) = unit else { return false };
        rest = tail.get(unit.len()..).unwrap_or_default().trim_start();
    }
    true
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(bits) = bits.parse::<u8>() else { return false };
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => bits <= 32,
        Ok(IpAddr::V6(_)) => bits <= 128,
        Err(_) => false,
    }
}

fn is_mac(text: &str) -> bool {
    [':', '-'].iter().any(|mark| {
        let parts: Vec<&str> = text.split(*mark).collect();
        matches!(parts.len(), 6 | 8 | 20)
            && parts.iter().all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))
    })
}

fn is_uuid(text: &str, version: Option<u8>) -> bool {
    let plain: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    plain.len() == 32
        && plain.iter().all(u8::is_ascii_hexdigit)
        && version.is_none_or(|version| plain.get(12) == Some(&version))
}

fn is_uri(text: &str) -> bool {
    let scheme = text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    });
    (scheme || text.starts_with('/')) && !text.chars().any(|c| c.is_control() || c == ' ')
}

fn is_email(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && !host.is_empty() && !text.chars().any(char::is_whitespace)
    })
}

fn is_hostname(text: &str) -> bool {
    text.len() <= 255
        && !text.is_empty()
        && text.trim_end_matches('.').split('.').all(|part| {
            !part.is_empty()
                && part.len() <= 63
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
        })
}
