//! Regular expressions as Go reads them (RE2), in the words of the library that we have: classes such as `\w` are
//! ASCII's, a bracket within brackets is itself, and a brace that repeats nothing is one.

mod refused;
pub(super) use refused::refusal;

use std::iter::Peekable;
use std::str::Chars;

type Rest<'t> = Peekable<Chars<'t>>;

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

/// An expression of Go's in the syntax of `regex`. What Go refuses need not come out as something that `regex` refuses.
pub(super) fn from_go(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            '\\' => match rest.next() {
                Some('Q') => quoted(&mut rest, &mut out),
                Some(bound @ ('b' | 'B')) => {
                    out.extend(["(?-u:\\", if bound == 'b' { "b" } else { "B" }, ")"]);
                }
                Some(next) => escaped(next, &mut rest, &mut out),
                None => out.push('\\'),
            },
            '[' => brackets(&mut rest, &mut out),
            '{' if !repeats(rest.clone()) => out.push_str("\\{"),
            letter => out.push(letter),
        }
    }
    out
}

/// `\Q…\E`: everything is itself.
fn quoted(rest: &mut Rest<'_>, out: &mut String) {
    while let Some(letter) = rest.next() {
        if letter == '\\' && rest.next_if_eq(&'E').is_some() {
            return;
        }
        itself(letter, out);
    }
}

/// Whether what follows a brace makes it a repetition: `n}`, `n,}` or `n,m}`.
fn repeats(mut rest: Rest<'_>) -> bool {
    let number = |rest: &mut Rest<'_>| {
        let mut count = 0;
        while rest.next_if(char::is_ascii_digit).is_some() {
            count += 1;
        }
        count > 0
    };
    if !number(&mut rest) {
        return false;
    }
    if rest.next_if_eq(&',').is_some() {
        number(&mut rest);
    }
    rest.next() == Some('}')
}

/// A letter that means nothing but itself.
fn itself(letter: char, out: &mut String) {
    let mut bytes = [0; 4];
    out.push_str(&regex::escape(letter.encode_utf8(&mut bytes)));
}

/// What stands after a backslash: a class, a letter told by its number, or a letter. The same within brackets.
fn escaped(next: char, rest: &mut Rest<'_>, out: &mut String) {
    if let Some((words, not)) = class(next) {
        out.extend(["[", if not { "^" } else { "" }, words, "]"]);
    } else if matches!(next, '0'..='7')
        && (next == '0' || rest.peek().copied().is_some_and(is_octal))
    {
        let mut code = next.to_digit(8).unwrap_or(0);
        for _ in 0..2 {
            let Some(digit) = rest.next_if(|letter| is_octal(*letter)) else { break };
            code = code * 8 + digit.to_digit(8).unwrap_or(0);
        }
        let digit = |shift: u32| char::from_digit(code >> shift & 15, 16).unwrap_or('0');
        out.extend(["\\x{", &String::from_iter([8, 4, 0].map(digit)), "}"]);
    } else if next.is_ascii_alphanumeric() {
        out.extend(['\\', next]);
        if matches!(next, 'p' | 'P' | 'x') && rest.peek() == Some(&'{') {
            named(rest, out, '}');
        } else if next == 'x' {
            out.extend(rest.next_if(char::is_ascii_hexdigit));
            out.extend(rest.next_if(char::is_ascii_hexdigit));
        } else if matches!(next, 'p' | 'P') {
            out.extend(rest.next());
        }
    } else {
        itself(next, out);
    }
}

fn is_octal(letter: char) -> bool {
    ('0'..='7').contains(&letter)
}

/// Everything up to an end, as it is.
fn named(rest: &mut Rest<'_>, out: &mut String, end: char) {
    for letter in rest.by_ref() {
        out.push(letter);
        if letter == end {
            return;
        }
    }
}

/// A class of letters, after its opening bracket. A minus is a range only between two letters: after a class, after a
/// range, at the start and at the end it is itself, or begins a range.
fn brackets(rest: &mut Rest<'_>, out: &mut String) {
    out.push('[');
    if rest.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    let mut first = true;
    while let Some(letter) = rest.next() {
        match letter {
            ']' if !first => {
                out.push(']');
                return;
            }
            '[' if is_named(rest.clone()) => {
                out.push('[');
                named(rest, out, ']');
            }
            '\\' if rest.peek().is_some_and(|next| is_set(*next)) => {
                if let Some(next) = rest.next() {
                    escaped(next, rest, out);
                }
            }
            letter => {
                member(letter, rest, out);
                let mut ahead = rest.clone();
                if ahead.next() == Some('-') && ahead.peek().is_some_and(|next| *next != ']') {
                    rest.next();
                    out.push('-');
                    if let Some(last) = rest.next() {
                        member(last, rest, out);
                    }
                }
            }
        }
        first = false;
    }
}

/// Letters of the longest name of a class, `xdigit`, with what ends it; and some to spare.
const CLASS_NAME_MAX: usize = 16;

/// Whether a class by name follows, `:alpha:]`: without its end the bracket is itself.
fn is_named(mut rest: Rest<'_>) -> bool {
    let mut last = ' ';
    rest.next() == Some(':')
        && rest
            .take(CLASS_NAME_MAX)
            .any(|letter| std::mem::replace(&mut last, letter) == ':' && letter == ']')
}

/// Whether a backslash and this letter are many letters.
fn is_set(letter: char) -> bool {
    class(letter).is_some() || matches!(letter, 'p' | 'P')
}

/// One letter of a class.
fn member(letter: char, rest: &mut Rest<'_>, out: &mut String) {
    match letter {
        '\\' => match rest.next() {
            Some(next) => escaped(next, rest, out),
            None => out.push('\\'),
        },
        letter => itself(letter, out),
    }
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
        assert!(fits(r"^[^[:]+$", "a.b") && !fits(r"^[^[:]+$", "a:b") && fits(r"^[[:]+$", "[:"));
    }

    #[test]
    fn a_minus_is_a_range_only_between_two_letters() {
        for (go, yes, no) in [
            (r"^[\w-.]+$", "a-b.c_", "a/b"),
            (r"^[\w-\.]+@x$", "a.b-c@x", "a,b@x"),
            (r"^[\s-a]+$", " a-", "0"),
            (r"^[\w-~]+$", "a-~", "`"),
            (r"^[a-c-e]+$", "b-e", "d"),
            (r"^[\w--/]+$", "a-./", ","),
            (r"^[+--]+$", "+,-", "."),
            (r"^[-a]+$", "-a", "b"),
            (r"^[^-a]+$", "b", "-"),
            (r"^[a-]+$", "a-", "b"),
            (r"^[\x41-\x43]+$", "ABC", "D"),
            (r"^[\p{Greek}-]+$", "α-", "a"),
        ] {
            assert!(fits(go, yes), "{go} {yes} as {}", from_go(go));
            assert!(!fits(go, no), "{go} {no} as {}", from_go(go));
        }
    }

    #[test]
    fn what_repeats_nothing_is_a_brace_and_what_is_no_letter_is_itself() {
        assert!(fits(r"^{.*}$", "{x}") && fits(r"^\w{a}$", "b{a}") && fits(r"^a{,2}$", "a{,2}"));
        assert!(fits(r"^a{2}b{1,}c{1,2}$", "aabcc") && !fits(r"^a{2}$", "a{2}"));
        assert!(fits(r"^\<a\>$", "<a>") && fits(r"^\Qa.b\E$", "a.b") && !fits(r"^\Qa.b\E$", "axb"));
        assert!(fits(r"^\101\x42\x{43}\777$", "ABC\u{1ff}") && fits(r"^\-\/\_$", "-/_"));
    }
}
