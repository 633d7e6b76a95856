//! Durations as Go writes them: `1h15m30.5s`.

use super::options::quote;
use std::time::Duration;

/// Units and their length, nanoseconds. The micro sign and the Greek letter are both taken.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
];
/// Nanoseconds that Go has room for, 292 years.
const NANOSECONDS_MAX: u64 = i64::MAX.unsigned_abs();

/// Reads a duration; one below zero is zero.
///
/// # Errors
/// What Go says of a text that is none.
pub(crate) fn read(text: &str) -> Result<Duration, String> {
    let wrong = || format!("time: invalid duration {}", quote(text));
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned == "0" {
        return Ok(Duration::ZERO);
    }
    if unsigned.is_empty() {
        return Err(wrong());
    }
    let (mut rest, mut sum) = (unsigned, 0_u64);
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (part, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && part.is_empty() {
            return Err(wrong());
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        let length = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, length)| *length);
        let length = length.ok_or_else(|| {
            format!("time: unknown unit {} in duration {}", quote(unit), quote(text))
        })?;
        let whole: u64 =
            if whole.is_empty() { Ok(0) } else { whole.parse() }.map_err(|_| wrong())?;
        let whole = whole.checked_mul(length).ok_or_else(wrong)?;
        let added = whole.checked_add(fraction(part, length)).ok_or_else(wrong)?;
        sum = sum.checked_add(added).filter(|sum| *sum <= NANOSECONDS_MAX).ok_or_else(wrong)?;
        rest = after;
    }
    Ok(if text.starts_with('-') { Duration::ZERO } else { Duration::from_nanos(sum) })
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// So much of a unit as the digits behind the point say; what is below a nanosecond is nothing.
fn fraction(digits: &str, unit: u64) -> u64 {
    let (mut found, mut place) = (0_u64, unit);
    // a unit has at most 13 decimal places
    for digit in digits.bytes().take(13) {
        found += u64::from(digit - b'0') * place / 10;
        place /= 10;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("-3s", 0),
            ("+5s", 5_000),
            ("1.5h", 5_400_000),
            ("1h15m30.918s", 4_530_918),
            (".5s", 500),
            ("5.s", 5_000),
            ("2000us", 2),
            ("3000000ns", 3),
        ] {
            assert_eq!(read(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_told_in_gos_words() {
        for (text, why) in [
            ("", "time: invalid duration \"\""),
            ("-", "time: invalid duration \"-\""),
            ("invalid", "time: invalid duration \"invalid\""),
            (".s", "time: invalid duration \".s\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5d", "time: unknown unit \"d\" in duration \"5d\""),
            ("9999999h", "time: invalid duration \"9999999h\""),
        ] {
            assert_eq!(read(text), Err(why.to_owned()), "{text}");
        }
    }
}
