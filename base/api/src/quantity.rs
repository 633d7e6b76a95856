//! Resource quantities: `100m`, `1.5Gi`, `2e3`. Exact, and written as Kubernetes writes them.

use std::cmp::Ordering;
use std::fmt;

/// One unit, in the nanos that amounts are kept in: nothing finer exists on the wire.
const UNIT: i128 = 1_000_000_000;
/// One thousandth.
const MILLI: i128 = UNIT / 1000;
/// Largest amount kept; greater ones are cut to it, as upstream does (2^63-1 units).
const AMOUNT_MAX: i128 = (i64::MAX as i128) * UNIT;

/// How a quantity was written, and is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `k`, `M`, `G`, ... and `m`, `u`, `n`.
    DecimalSi,
    /// `Ki`, `Mi`, `Gi`, ...
    BinarySi,
    /// `e3`, `e6`, ...
    Exponent,
}

/// An amount of a resource. Compared by amount, whatever the notation.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// A text that is no quantity; the message is upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the form number and suffix.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Form,
    /// An unknown suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: [(&str, u32); 6] =
    [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    /// Whole units, written decimally.
    pub fn from_units(units: i64) -> Self {
        Self { nanos: i128::from(units) * UNIT, format: Format::DecimalSi }
    }

    /// Thousandths, written decimally.
    pub fn from_milli(milli: i64) -> Self {
        Self { nanos: i128::from(milli) * MILLI, format: Format::DecimalSi }
    }

    /// Bytes, written with `Ki`, `Mi`, ...
    pub fn from_bytes(bytes: i64) -> Self {
        Self { nanos: i128::from(bytes) * UNIT, format: Format::BinarySi }
    }

    /// Reads a quantity.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let number_end =
            text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
        let (number, suffix) = text.split_at(number_end);
        let (sign, digits) = match number.as_bytes().first() {
            Some(b'-') => (-1, &number[1..]),
            Some(b'+') => (1, &number[1..]),
            _ => (1, number),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() && fraction.is_empty() || !plain(whole) || !plain(fraction) {
            return Err(QuantityError::Form);
        }
        let (format, power, shift) = suffix_of(suffix)?;
        let nanos = scale(whole, fraction, power, shift);
        Ok(Self { nanos: sign * nanos, format })
    }

    /// The amount in thousandths, rounded up (away from zero), as schedulers count CPU.
    pub fn milli(&self) -> i64 {
        clamp(div_up(self.nanos, MILLI))
    }

    /// The amount in whole units, rounded up (away from zero), as schedulers count memory.
    pub fn units(&self) -> i64 {
        clamp(div_up(self.nanos, UNIT))
    }

    /// Below zero.
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// Exactly zero.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// A whole number of units.
    pub fn is_whole(&self) -> bool {
        self.nanos % UNIT == 0
    }

    /// The same, with nothing finer than a thousandth: rounded up (spec A14).
    #[must_use]
    pub fn rounded_to_milli(&self) -> Self {
        Self { nanos: div_up(self.nanos, MILLI) * MILLI, format: self.format }
    }

    /// The sum, in this quantity's notation.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let nanos = (self.nanos + other.nanos).clamp(-AMOUNT_MAX, AMOUNT_MAX);
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos, format }
    }

    /// The difference, in this quantity's notation.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let nanos = (self.nanos - other.nanos).clamp(-AMOUNT_MAX, AMOUNT_MAX);
        Self { nanos, format: self.format }
    }
}

/// Notation, and the factor as a power of ten and a power of two.
fn suffix_of(suffix: &str) -> Result<(Format, i32, u32), QuantityError> {
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((Format::DecimalSi, *power, 0));
    }
    if let Some((_, shift)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Ok((Format::BinarySi, 0, *shift));
    }
    let Some(power) = suffix.strip_prefix(['e', 'E']) else {
        let known = |c: char| "eEinumkKMGTP+-0123456789".contains(c);
        let form =
            if suffix.chars().all(known) { QuantityError::Suffix } else { QuantityError::Form };
        return Err(form);
    };
    let power: i32 = power.parse().map_err(|_| QuantityError::Suffix)?;
    Ok((Format::Exponent, power, 0))
}

/// `whole.fraction × 10^power × 2^shift` in nanos, rounded up, at most [`AMOUNT_MAX`].
fn scale(whole: &str, fraction: &str, power: i32, shift: u32) -> i128 {
    // Digits beyond these cannot change an amount below the maximum by more than the rounding does.
    const DIGITS_MAX: usize = 38;
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return 0;
    }
    let mut exponent = i64::from(power) + 9 - i64::try_from(fraction.len()).unwrap_or(i64::MAX / 2);
    let (kept, dropped) = digits.split_at(digits.len().min(DIGITS_MAX - 10));
    exponent += i64::try_from(dropped.len()).unwrap_or(i64::MAX / 2);
    let inexact = dropped.bytes().any(|b| b != b'0');
    let mut value: i128 = kept.parse().unwrap_or(AMOUNT_MAX);
    // The binary factor first: it is exact, and a later division by ten then rounds once.
    let Some(shifted) = value.checked_shl(shift).filter(|v| v >> shift == value) else {
        return if exponent < -60 { 1 } else { AMOUNT_MAX };
    };
    value = shifted;
    let mut rest = inexact;
    while exponent > 0 {
        exponent -= 1;
        value = match value.checked_mul(10) {
            Some(more) if more <= AMOUNT_MAX => more,
            _ => return AMOUNT_MAX,
        };
    }
    while exponent < 0 && value > 0 {
        exponent += 1;
        rest |= value % 10 != 0;
        value /= 10;
    }
    (value + i128::from(rest)).min(AMOUNT_MAX)
}

fn div_up(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    if value % by == 0 { quotient } else { quotient + value.signum() }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

impl fmt::Display for Quantity {
    /// The canonical form: no fraction, the largest suffix that loses nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let small = self.nanos.abs() < 1024 * UNIT;
        if self.format == Format::BinarySi && !small && self.is_whole() {
            let mut value = self.nanos / UNIT;
            let mut suffix = "";
            for (name, _) in BINARY {
                if value % 1024 != 0 {
                    break;
                }
                value /= 1024;
                suffix = name;
            }
            return write!(f, "{value}{suffix}");
        }
        let (mut value, mut power) = (self.nanos, -9);
        while value != 0 && value % 1000 == 0 && power < 18 {
            value /= 1000;
            power += 3;
        }
        if value == 0 {
            return f.write_str("0");
        }
        match self.format {
            Format::Exponent if power == 0 => write!(f, "{value}"),
            Format::Exponent => write!(f, "{value}e{power}"),
            Format::DecimalSi | Format::BinarySi => {
                let suffix = DECIMAL.iter().find(|(_, p)| *p == power).map_or("", |(name, _)| name);
                write!(f, "{value}{suffix}")
            }
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> String {
        Quantity::parse(text).map_or_else(|e| e.to_string(), |q| q.to_string())
    }

    #[test]
    fn quantities_are_written_as_kubernetes_writes_them() {
        for (given, wanted) in [
            ("0", "0"),
            ("0Mi", "0"),
            ("100m", "100m"),
            ("0.1", "100m"),
            ("1000m", "1"),
            ("1.5", "1500m"),
            ("1500", "1500"),
            ("1000", "1k"),
            ("200Mi", "200Mi"),
            ("1024Mi", "1Gi"),
            ("0.5Gi", "512Mi"),
            ("1.5Gi", "1536Mi"),
            ("512", "512"),
            ("1Ki", "1Ki"),
            ("0.5Ki", "512"),
            ("1.0001Ki", "1024102400u"),
            ("128974848", "128974848"),
            ("129e6", "129e6"),
            ("129M", "129M"),
            ("1e3", "1e3"),
            ("100e2", "10e3"),
            ("1E", "1E"),
            ("+2", "2"),
            ("-3Mi", "-3Mi"),
            (".5", "500m"),
            ("5.", "5"),
            ("0.0000000001", "1n"),
            ("100000000000000000000", "9223372036854775807"),
        ] {
            assert_eq!(canonical(given), wanted, "of {given}");
        }
    }

    #[test]
    fn texts_that_are_no_quantities_are_refused() {
        for text in ["", "abc", "1.2.3", "m", "1 Gi", "--1", "1/2"] {
            assert_eq!(Quantity::parse(text), Err(QuantityError::Form), "{text:?}");
        }
        for text in ["1Kib", "1mm", "1ee3", "1e"] {
            assert!(Quantity::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn rounding_goes_up() {
        let q = Quantity::parse("0.0001").unwrap();
        assert_eq!((q.milli(), q.units()), (1, 1));
        assert_eq!(q.rounded_to_milli().to_string(), "1m");
        assert_eq!(Quantity::parse("1Gi").unwrap().units(), 1 << 30);
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_the_same_amount_and_stays(n in 0i64..i64::MAX, f in 0u32..1000, s in 0usize..16) {
            let suffix = DECIMAL.iter().map(|d| d.0).chain(BINARY.iter().map(|b| b.0)).nth(s).unwrap();
            let first = Quantity::parse(&format!("{n}.{f:03}{suffix}")).unwrap();
            let again = Quantity::parse(&first.to_string()).unwrap();
            prop_assert_eq!(first, again);
            prop_assert_eq!(first.to_string(), again.to_string());
        }

        #[test]
        fn sums_are_exact(a in 0i64..1 << 50, b in 0i64..1 << 50) {
            let sum = Quantity::from_milli(a).plus(&Quantity::from_milli(b));
            prop_assert_eq!(sum.milli(), a + b);
            prop_assert_eq!(sum.minus(&Quantity::from_milli(b)).milli(), a);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-+]?[0-9.]{0,50}[eEinumkKMGTP]{0,3}[-+]?[0-9]{0,12}") {
            let _ = Quantity::parse(&text).map(|q| q.to_string());
        }
    }
}
