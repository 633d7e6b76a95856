//! What a request is warned of, whether it is granted or refused: `Warning: 299` headers in the order in which the
//! texts came up, each once.

use http::HeaderValue;
use parking_lot::Mutex;
use std::collections::BTreeSet;

/// Characters of all texts together that are told in full; upstream's bound.
const TOTAL_CHARS_MAX: usize = 4 * 1024;
/// Characters of one text when there are more.
const ITEM_CHARS_MAX: usize = 256;

/// Different texts in the order in which they came, as far as any of them is ever told: what comes when the
/// headers are full is dropped, so that a body costs no more than its own size.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    held: Vec<String>,
    known: BTreeSet<String>,
    /// Characters of all texts held.
    chars: usize,
    /// Characters of those that can stand in headers when each is cut.
    told: usize,
}

impl Texts {
    /// Adds a text that is not there yet.
    pub(crate) fn add(&mut self, text: String) {
        let chars = text.chars().count();
        let silent = text.chars().any(char::is_control);
        // a text that no header can carry counts for one thing only: that all together are long
        let moot = silent && self.chars > TOTAL_CHARS_MAX;
        if chars == 0 || moot || self.full() || self.known.contains(&text) {
            return;
        }
        self.chars = self.chars.saturating_add(chars);
        if !silent {
            self.told += chars.min(ITEM_CHARS_MAX);
        }
        self.known.insert(text.clone());
        self.held.push(text);
    }

    /// Whether no further text is ever told.
    pub(crate) fn full(&self) -> bool {
        self.told > TOTAL_CHARS_MAX
    }

    /// All texts.
    pub(crate) fn into_vec(self) -> Vec<String> {
        self.held
    }
}

/// Texts so far.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Mutex<Texts>);

impl Warnings {
    /// Adds texts that are not there yet.
    pub(crate) fn add(&self, texts: impl IntoIterator<Item = String>) {
        let mut all = self.0.lock();
        for text in texts {
            all.add(text);
        }
    }

    /// All texts, which are forgotten here.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock()).into_vec()
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

    #[test]
    fn texts_that_are_never_told_are_not_held_and_the_headers_are_the_same() {
        let lengths = [20, 300, 5000];
        for length in lengths {
            let texts: Vec<String> =
                (0..2_000).map(|i| format!("{i:04}{}", "x".repeat(length))).collect();
            let warnings = Warnings::default();
            warnings.add(texts.clone());
            let held = warnings.take();
            assert!(held.len() <= TOTAL_CHARS_MAX / 20, "{} texts of {length}", held.len());
            assert_eq!(told(&held), told(&texts), "texts of {length}");
        }
    }

    #[test]
    fn texts_that_no_header_carries_are_not_held_without_bound() {
        let warnings = Warnings::default();
        warnings.add((0..10_000).map(|i| format!("{i}\n")));
        warnings.add(["a".to_owned()]);
        let held = warnings.take();
        assert!(held.len() < TOTAL_CHARS_MAX, "{}", held.len());
        assert_eq!(told(&held), ["299 - \"a\""]);
    }
}
