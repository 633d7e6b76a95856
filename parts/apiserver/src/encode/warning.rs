//! What a request is warned of, whether it is granted or refused: `Warning: 299` headers in the order in which the
//! texts came up, each once.

use http::HeaderValue;
use parking_lot::Mutex;

/// Characters of all texts together that are told in full; upstream's bound.
const TOTAL_CHARS_MAX: usize = 4 * 1024;
/// Characters of one text when there are more.
const ITEM_CHARS_MAX: usize = 256;

/// Texts so far. They are few: each is made of the body of one request, which has its own bound.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    /// Adds texts that are not there yet.
    pub(crate) fn add(&self, texts: impl IntoIterator<Item = String>) {
        let mut all = self.0.lock();
        for text in texts {
            if !text.is_empty() && !all.contains(&text) {
                all.push(text);
            }
        }
    }

    /// All texts, which are forgotten here.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

/// The values of the headers. Long lists are cut: each text to some characters, and then the list.
pub(super) fn headers(texts: &[String]) -> Vec<HeaderValue> {
    let chars = |text: &str| text.chars().count();
    let total: usize = texts.iter().map(|text| chars(text)).sum();
    let long = total > TOTAL_CHARS_MAX;
    let mut told = 0;
    let mut all = Vec::new();
    for text in texts.iter().filter(|text| !text.chars().any(char::is_control)) {
        if told >= TOTAL_CHARS_MAX {
            break;
        }
        let most = if long { ITEM_CHARS_MAX } else { usize::MAX };
        let text: String = text.chars().take(most).collect();
        told += chars(&text);
        all.extend(HeaderValue::from_bytes(quoted(&text).as_bytes()));
    }
    all
}

/// `299 - "text"`, quoted as HTTP wants it.
fn quoted(text: &str) -> String {
    let mut out = String::from("299 - \"");
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(texts: &[String]) -> Vec<String> {
        let text = |value: HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers(texts).into_iter().map(text).collect()
    }

    #[test]
    fn warnings_are_quoted() {
        let texts = ["unknown field \"spec.x\"".to_owned()];
        assert_eq!(told(&texts), ["299 - \"unknown field \\\"spec.x\\\"\""]);
    }

    #[test]
    fn a_text_is_told_once_and_in_the_order_it_came() {
        let warnings = Warnings::default();
        warnings.add(["b".to_owned(), "a".to_owned(), String::new()]);
        warnings.add(["b".to_owned(), "c".to_owned()]);
        assert_eq!(warnings.take(), ["b", "a", "c"]);
        assert!(warnings.take().is_empty());
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_left_out() {
        assert_eq!(told(&["a\nb".to_owned(), "c".to_owned()]), ["299 - \"c\""]);
    }

    #[test]
    fn many_long_texts_are_cut() {
        let texts: Vec<String> = (0..40).map(|i| format!("{i:02}").repeat(200)).collect();
        let all = told(&texts);
        assert_eq!(all.len(), TOTAL_CHARS_MAX / ITEM_CHARS_MAX);
        assert!(all.iter().all(|text| text.len() == ITEM_CHARS_MAX + "299 - \"\"".len()));
    }
}
