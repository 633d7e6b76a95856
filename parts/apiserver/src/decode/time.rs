//! Moments as Go reads them, and what Go says where it cannot.

use super::options::quote;
use jiff::Timestamp;

/// RFC 3339 to the second; a fraction is taken and dropped.
const SECONDS: &[&str] = &["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05", "Z07:00"];
/// The same with exactly six digits behind the seconds.
const MICROS: &[&str] =
    &["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05", ".000000", "Z07:00"];

/// Reads a moment, with six digits of a fraction where `micro`.
pub(super) fn read(text: &str, micro: bool) -> Result<Timestamp, String> {
    let layout = if micro { MICROS } else { SECONDS };
    let whole = layout.concat();
    let about = || format!("parsing time {}", quote(text));
    let mut rest = text;
    for element in layout {
        rest = match take(rest, element, micro) {
            Ok(rest) => rest,
            Err(Fault::Form) => {
                let (rest, element) = (quote(rest), quote(element));
                return Err(format!(
                    "{} as {:?}: cannot parse {rest} as {element}",
                    about(),
                    whole
                ));
            }
            Err(Fault::Range(what)) => return Err(format!("{}: {what} out of range", about())),
        };
    }
    if !rest.is_empty() {
        return Err(format!("{}: extra text: {}", about(), quote(rest)));
    }
    text.parse().map_err(|_| format!("{}: day out of range", about()))
}

/// Why an element does not fit.
enum Fault {
    Form,
    Range(&'static str),
}

/// What is left of a text behind an element of the layout.
fn take<'a>(text: &'a str, element: &str, micro: bool) -> Result<&'a str, Fault> {
    let digits = |count: usize| -> Result<(u32, &'a str), Fault> {
        let found = text.get(..count).filter(|found| found.bytes().all(|b| b.is_ascii_digit()));
        let number = found.and_then(|found| found.parse().ok()).ok_or(Fault::Form)?;
        Ok((number, &text[count..]))
    };
    let ranged = |low: u32, high: u32, what: &'static str| {
        let (number, rest) = digits(2)?;
        if (low..=high).contains(&number) { Ok(rest) } else { Err(Fault::Range(what)) }
    };
    match element {
        "2006" => Ok(digits(4)?.1),
        "01" => ranged(1, 12, "month"),
        "02" => Ok(digits(2)?.1),
        "15" => ranged(0, 23, "hour"),
        "04" => ranged(0, 59, "minute"),
        "05" => {
            let rest = ranged(0, 59, "second")?;
            let fraction = rest.strip_prefix(['.', ',']).filter(|_| !micro);
            let end = |rest: &str| rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            match fraction.map(|digits| (digits, end(digits))) {
                Some((digits, end)) if end > 0 => Ok(&digits[end..]),
                _ => Ok(rest),
            }
        }
        ".000000" => {
            let fits = text.get(..7).is_some_and(|part| {
                part.starts_with('.') && part[1..].bytes().all(|b| b.is_ascii_digit())
            });
            if fits { Ok(&text[7..]) } else { Err(Fault::Form) }
        }
        "Z07:00" => offset(text),
        literal => text.strip_prefix(literal).ok_or(Fault::Form),
    }
}

fn offset(text: &str) -> Result<&str, Fault> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Ok(rest);
    }
    let part = text.get(..6).ok_or(Fault::Form)?;
    let number = |at: std::ops::Range<usize>| part.get(at).and_then(|n| n.parse::<u8>().ok());
    let fits = part.starts_with(['+', '-']) && part.as_bytes()[3] == b':';
    match (number(1..3), number(4..6)) {
        (Some(0..=24), Some(0..=60)) if fits => Ok(&text[6..]),
        (Some(_), Some(_)) if fits => Err(Fault::Range("time zone offset")),
        _ => Err(Fault::Form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_refused_as_go_does() {
        for (text, micro, expected) in [
            ("2024-01-02T03:04:05Z", false, ""),
            ("2024-01-02T03:04:05.5+01:00", false, ""),
            ("2024-01-02T03:04:05.000006Z", true, ""),
            ("yesterday", false, "cannot parse \"yesterday\" as \"2006\""),
            ("2024-1-02T03:04:05Z", false, "cannot parse \"1-02T03:04:05Z\" as \"01\""),
            ("2024-01-02 03:04:05Z", false, "cannot parse \" 03:04:05Z\" as \"T\""),
            ("2024-01-02T03:04:05", false, "cannot parse \"\" as \"Z07:00\""),
            ("2024-01-02T03:04:06.5Z", true, "cannot parse \".5Z\" as \".000000\""),
            ("2024-01-02T03:04:06Z", true, "cannot parse \"Z\" as \".000000\""),
            ("2024-13-02T03:04:05Z", false, ": month out of range"),
            ("2024-02-30T03:04:05Z", false, ": day out of range"),
            ("2024-01-02T03:04:05Zulu", false, ": extra text: \"ulu\""),
        ] {
            match read(text, micro) {
                Ok(_) => assert_eq!(expected, "", "{text}"),
                Err(why) => assert!(!expected.is_empty() && why.ends_with(expected), "{why}"),
            }
        }
    }
}
