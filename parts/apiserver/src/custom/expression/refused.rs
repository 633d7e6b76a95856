//! What Go refuses of a regular expression, in its words (`regexp/syntax`).

use std::str::Chars;

/// Most repetitions of one thing.
const REPEAT_MAX: u32 = 1000;

/// What the reader has before it, and what stands behind it.
struct Reader<'t> {
    whole: &'t str,
    rest: Chars<'t>,
    /// Groups that are open.
    open: usize,
    /// Whether there is something that can be repeated.
    is_repeatable: bool,
    /// Where the repetition began that ends here.
    repetition: Option<usize>,
}

/// Why Go does not take it, as far as it is told here; `None` is no promise that it does.
pub(in crate::custom) fn refusal(text: &str) -> Option<String> {
    let rest = text.chars();
    let mut reader = Reader { whole: text, rest, open: 0, is_repeatable: false, repetition: None };
    reader.read().err().map(|why| format!("error parsing regexp: {why}"))
}

impl<'t> Reader<'t> {
    fn at(&self) -> usize {
        self.whole.len() - self.rest.as_str().len()
    }

    fn since(&self, begin: usize) -> &'t str {
        self.whole.get(begin..self.at()).unwrap_or_default()
    }

    fn next_if(&mut self, wanted: char) -> bool {
        let is_next = self.rest.as_str().starts_with(wanted);
        if is_next {
            self.rest.next();
        }
        is_next
    }

    fn read(&mut self) -> Result<(), String> {
        while let Some(letter) = self.rest.clone().next() {
            let begin = self.at();
            self.rest.next();
            match letter {
                '(' => self.opened(begin)?,
                ')' if self.open == 0 => return Err(format!("unexpected ): `{}`", self.whole)),
                ')' => {
                    self.open -= 1;
                    self.single();
                }
                '|' => (self.is_repeatable, self.repetition) = (false, None),
                '*' | '+' | '?' => self.repeated(begin)?,
                '{' => match counts(self.rest.as_str()) {
                    Some((counts, length)) => {
                        self.rest = self.rest.as_str().get(length..).unwrap_or_default().chars();
                        let (least, most) = counts;
                        let is_odd = most.is_some_and(|most| most < least);
                        if least > REPEAT_MAX || most > Some(REPEAT_MAX) || is_odd {
                            return Err(format!("invalid repeat count: `{}`", self.since(begin)));
                        }
                        self.repeated(begin)?;
                    }
                    None => self.single(),
                },
                '[' => self.class(begin)?,
                '\\' => self.escaped(begin)?,
                _ => self.single(),
            }
        }
        if self.open > 0 {
            return Err(format!("missing closing ): `{}`", self.whole));
        }
        Ok(())
    }

    /// Something that can be repeated.
    fn single(&mut self) {
        (self.is_repeatable, self.repetition) = (true, None);
    }

    fn repeated(&mut self, begin: usize) -> Result<(), String> {
        self.next_if('?');
        if let Some(first) = self.repetition {
            return Err(format!("invalid nested repetition operator: `{}`", self.since(first)));
        }
        if !self.is_repeatable {
            return Err(format!(
                "missing argument to repetition operator: `{}`",
                self.since(begin)
            ));
        }
        self.repetition = Some(begin);
        Ok(())
    }

    fn opened(&mut self, begin: usize) -> Result<(), String> {
        let before = self.is_repeatable;
        self.open += 1;
        (self.is_repeatable, self.repetition) = (false, None);
        if !self.next_if('?') {
            return Ok(());
        }
        if self.rest.as_str().starts_with("P<") || self.rest.as_str().starts_with('<') {
            // names are read by those who build it
            return Ok(());
        }
        for letter in self.rest.by_ref() {
            match letter {
                ':' => return Ok(()),
                ')' => {
                    // flags for what follows
                    (self.open, self.is_repeatable) = (self.open - 1, before);
                    return Ok(());
                }
                'i' | 'm' | 's' | 'U' | '-' => {}
                _ => break,
            }
        }
        Err(format!("invalid or unsupported Perl syntax: `{}`", self.since(begin)))
    }

    fn escaped(&mut self, begin: usize) -> Result<(), String> {
        match self.rest.next() {
            None => return Err("trailing backslash at end of expression: ``".to_owned()),
            Some('Q') => {
                let rest = self.rest.as_str();
                let length = rest.find("\\E").map_or(rest.len(), |at| at + 2);
                self.rest = rest.get(length..).unwrap_or_default().chars();
            }
            Some(letter) if is_unknown(letter) => {
                return Err(format!("invalid escape sequence: `{}`", self.since(begin)));
            }
            Some(_) => {}
        }
        self.single();
        Ok(())
    }

    /// What stands after a backslash within brackets: a letter, a class, or a letter told by its number.
    fn named_letter(&mut self) {
        let Some(letter) = self.rest.next() else { return };
        if matches!(letter, 'p' | 'P' | 'x') && self.rest.as_str().starts_with('{') {
            let rest = self.rest.as_str();
            let length = rest.find('}').map_or(rest.len(), |at| at + 1);
            self.rest = rest.get(length..).unwrap_or_default().chars();
            return;
        }
        let more = match letter {
            'p' | 'P' => 1,
            'x' | '0'..='7' => 2,
            _ => 0,
        };
        for _ in 0..more {
            let is_part = |next: char| letter == 'p' || letter == 'P' || next.is_ascii_hexdigit();
            if self.rest.clone().next().is_some_and(is_part) {
                self.rest.next();
            }
        }
    }

    /// A class of letters, up to its closing bracket.
    fn class(&mut self, begin: usize) -> Result<(), String> {
        self.next_if('^');
        let mut is_first = true;
        loop {
            let place = self.at();
            let Some(letter) = self.rest.next() else {
                let rest = self.whole.get(begin..).unwrap_or_default();
                return Err(format!("missing closing ]: `{rest}`"));
            };
            match letter {
                ']' if !is_first => break,
                '[' if self.rest.as_str().starts_with(':') => {
                    let rest = self.rest.as_str();
                    let length = rest.find(":]").map_or(0, |at| at + 2);
                    self.rest = rest.get(length..).unwrap_or_default().chars();
                }
                '\\' => {
                    self.named_letter();
                    // a minus behind it is left to those who build it
                    self.next_if('-');
                }
                low => {
                    let mut after = self.rest.clone();
                    let high = (after.next() == Some('-')).then(|| after.next()).flatten();
                    if let Some(high) = high.filter(|high| !matches!(high, ']' | '\\')) {
                        self.rest = after;
                        if high < low {
                            let range = self.since(place);
                            return Err(format!("invalid character class range: `{range}`"));
                        }
                    }
                }
            }
            is_first = false;
        }
        self.single();
        Ok(())
    }
}

/// Letters that mean nothing behind a backslash.
fn is_unknown(letter: char) -> bool {
    letter.is_ascii_alphabetic() && !"abfnrtvxpPdDsSwWABbzCQE".contains(letter)
}

/// The numbers of `n}`, `n,}` and `n,m}`, and how long that is.
fn counts(rest: &str) -> Option<((u32, Option<u32>), usize)> {
    let end = rest.find('}')?;
    let inside = rest.get(..end)?;
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().unwrap_or(u32::MAX))
    };
    let counts = match inside.split_once(',') {
        None => (number(inside)?, Some(number(inside)?)),
        Some((least, "")) => (number(least)?, None),
        Some((least, most)) => (number(least)?, Some(number(most)?)),
    };
    Some((counts, end + 1))
}

#[cfg(test)]
mod tests {
    use super::refusal;

    #[test]
    fn what_go_refuses_is_told_in_its_words() {
        for (text, why) in [
            ("(", "missing closing ): `(`"),
            ("a)b", "unexpected ): `a)b`"),
            ("x[ab", "missing closing ]: `[ab`"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("(+?)", "missing argument to repetition operator: `+?`"),
            ("a|?", "missing argument to repetition operator: `?`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a+?{2}", "invalid nested repetition operator: `+?{2}`"),
            ("a{2,1}", "invalid repeat count: `{2,1}`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("\\", "trailing backslash at end of expression: ``"),
            ("[z-a]", "invalid character class range: `z-a`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
            ("\\y", "invalid escape sequence: `\\y`"),
        ] {
            assert_eq!(refusal(text), Some(format!("error parsing regexp: {why}")), "{text}");
        }
    }

    #[test]
    fn what_go_takes_is_not_refused() {
        for text in [
            "",
            "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
            "a*?b+?c??d{2,3}?",
            "(?i)x(?:y|z)(?P<n>w)(?<m>v)(?s-U:.)",
            "[]a]",
            "[^]a]",
            "[\\w-.]",
            "^[\\p{L}\\p{N}-_.]+$",
            "[\\p{L}-.]",
            "[\\x2d-9][\\x2f-9]",
            "[\\x{41}-Z]",
            "[\\pL-_][^\\]-a]",
            "[[:alpha:]-z]",
            "a{,3}{x}{",
            "\\Q**(\\E+",
            "\\.\\-\\p{Greek}\\x{10FFFF}\\bx\\z",
            "(a|b|)*",
            "x{1000}",
            "^*",
        ] {
            assert_eq!(refusal(text), None, "{text}");
        }
    }
}
