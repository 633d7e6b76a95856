//! Numbers that may be percentages: `3` or `"10%"`.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The number behind a percentage text; `None` for anything that is not digits and a percent sign.
pub fn percent(text: &str) -> Option<u32> {
    let digits = text.strip_suffix('%')?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// Scales against a total. Percentages round up or down; numbers stay as they are; a text that is no percentage is an
/// error. Negative numbers stay negative.
pub fn scaled(value: &IntOrString, total: i64, round_up: bool) -> Result<i64, NotAPercentage> {
    match value {
        IntOrString::Int(number) => Ok(i64::from(*number)),
        IntOrString::String(text) => {
            let percent = i64::from(percent(text).ok_or_else(|| NotAPercentage(text.clone()))?);
            let hundredfold = percent.saturating_mul(total);
            Ok(if round_up { hundredfold.saturating_add(99) / 100 } else { hundredfold / 100 })
        }
    }
}

/// A text where a number or a percentage should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid value for IntOrString: invalid type: string is not a percentage: {0:?}")]
pub struct NotAPercentage(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_scale_and_numbers_stay() {
        let text = |t: &str| IntOrString::String(t.to_owned());
        assert_eq!(scaled(&text("10%"), 3, true), Ok(1));
        assert_eq!(scaled(&text("10%"), 3, false), Ok(0));
        assert_eq!(scaled(&text("50%"), 3, true), Ok(2));
        assert_eq!(scaled(&text("0%"), 3, true), Ok(0));
        assert_eq!(scaled(&IntOrString::Int(10), 3, true), Ok(10));
        assert!(scaled(&text("10"), 3, true).is_err());
        assert!(scaled(&text("%"), 3, true).is_err());
        assert!(scaled(&text("-1%"), 3, true).is_err());
    }
}
