//! Regular expressions as Go reads them (RE2), in the words of the library that we have: classes such as `\w` are
//! ASCII's, and a bracket within brackets is itself.

/// The words of Go's Perl classes without their brackets.
fn class(letter: char) -> Option<(&'static str, bool)> {
    Some(match letter {
        'w' => ("0-9A-Za-z_", false),
        'W' => ("0-9A-Za-z_", true),
        'd' => ("0-9", false),
        'D' => ("0-9", true),
        's' => ("\\t\\n\\f\\r ", false),
        'S' => ("\\t\\n\\f\\r ", true),
        _ => return None,
    })
}

/// An expression of Go's in the syntax of `regex`.
pub(super) fn from_go(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text.chars().peekable();
    let mut inside = false;
    while let Some(letter) = rest.next() {
        match letter {
            '\\' => {
                let Some(next) = rest.next() else {
                    out.push(letter);
                    break;
                };
                match (class(next), inside) {
                    (Some((words, false)), true) => out.push_str(words),
                    (Some((words, not)), _) => {
                        let not = if not { "^" } else { "" };
                        out.extend(["[", not, words, "]"]);
                    }
                    (None, false) if matches!(next, 'b' | 'B') => {
                        out.extend(["(?-u:\\", if next == 'b' { "b" } else { "B" }, ")"]);
                    }
                    (None, _) => out.extend([letter, next]),
                }
            }
            '[' if !inside => {
                inside = true;
                out.push(letter);
                // a caret, and then a closing bracket, are the first of their class and do not end it
                for first in ['^', ']'] {
                    if rest.next_if_eq(&first).is_some() {
                        out.push_str(if first == ']' { "\\]" } else { "^" });
                    }
                }
            }
            '[' if rest.peek() == Some(&':') => {
                // a class by name, `[:alpha:]`, up to its own end
                out.push(letter);
                for named in rest.by_ref() {
                    out.push(named);
                    if named == ']' {
                        break;
                    }
                }
            }
            ']' if inside => {
                inside = false;
                out.push(letter);
            }
            // what would be a class in a class, or an operation on two
            '[' | '&' | '~' if inside => out.extend(['\\', letter]),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(go: &str, text: &str) -> bool {
        regex::Regex::new(&from_go(go))
            .unwrap_or_else(|error| panic!("{go}: {error}"))
            .is_match(text)
    }

    #[test]
    fn classes_are_those_of_ascii() {
        assert!(fits(r"^\w+$", "aZ_9") && !fits(r"^\w+$", "é") && fits(r"^\W$", "é"));
        assert!(fits(r"^[\w.-]+$", "a.b-c") && !fits(r"^[\w.-]+$", "a/b"));
        assert!(fits(r"^[^\s]+$", "ab") && !fits(r"^\S+$", "a b") && fits(r"^[\D]$", "x"));
        assert!(!fits(r"^\d$", "\u{0663}"), "an Arabic digit is none of Go's");
        assert!(fits(r"\bé", "aé") && fits(r"^\\w$", r"\w"));
    }

    #[test]
    fn brackets_within_brackets_are_themselves() {
        assert!(fits(r"^[[a]$", "[") && fits(r"^[a&&b]$", "&") && fits(r"^[a~~b]$", "~"));
        assert!(fits(r"^[]a]$", "]") && fits(r"^[^]a]$", "b") && !fits(r"^[^]a]$", "]"));
        assert!(fits(r"^[[:alpha:]_]+$", "a_b") && !fits(r"^[[:alpha:]]$", "1"));
        assert!(fits(r"^[\]]$", "]") && fits(r"^\[a\]$", "[a]"));
    }
}
