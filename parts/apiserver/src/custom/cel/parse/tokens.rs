//! From characters to words, signs and literals.

use super::{Fault, Kind, note};

/// A piece of the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Literal(Kind),
    Word(String),
    Sign(&'static str),
    End,
}

const SIGNS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}",
];

/// All pieces of a text with their places. What is no piece of the language goes into `faults`, and reading goes on
/// behind it, as in upstream's reader.
pub(super) fn tokens(
    chars: &[char],
    faults: &mut Vec<Fault>,
) -> Result<Vec<(usize, Token)>, Fault> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let start = at;
        let token = if c.is_whitespace() {
            at += 1;
            continue;
        } else if c == '/' && chars.get(at + 1) == Some(&'/') {
            while chars.get(at).is_some_and(|c| *c != '\n') {
                at += 1;
            }
            continue;
        } else if let Some(end) = unterminated(chars, at) {
            note(faults, unknown(chars, at, end));
            at = end;
            continue;
        } else if let Some((token, end)) = quoted(chars, at)? {
            at = end;
            token
        } else if c.is_ascii_digit()
            || (c == '.' && chars.get(at + 1).is_some_and(char::is_ascii_digit))
        {
            let (token, end) = number(chars, at)?;
            at = end;
            token
        } else if c.is_ascii_alphabetic() || c == '_' {
            while chars.get(at).is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_') {
                at += 1;
            }
            Token::Word(chars.get(start..at).unwrap_or_default().iter().collect())
        } else {
            let sign = SIGNS.iter().find(|sign| {
                sign.chars().enumerate().all(|(more, c)| chars.get(at + more) == Some(&c))
            });
            let Some(sign) = sign else {
                // Half of a sign takes the letter with it that it was given up at.
                let width = if matches!(c, '=' | '&' | '|') { 2 } else { 1 };
                let end = chars.len().min(at + width);
                note(faults, unknown(chars, at, end));
                at = end;
                continue;
            };
            at += sign.len();
            Token::Sign(sign)
        };
        found.push((start, token));
    }
    found.push((chars.len(), Token::End));
    Ok(found)
}

fn unknown(chars: &[char], start: usize, end: usize) -> Fault {
    let shown: String = chars.get(start..end).unwrap_or_default().iter().collect();
    let shown = shown.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
    Fault { at: start, why: format!("Syntax error: token recognition error at: '{shown}'") }
}

/// Where a text in quotes that begins here is broken off: by the end of the line, or of everything.
fn unterminated(chars: &[char], start: usize) -> Option<usize> {
    let &quote = chars.get(start).filter(|c| matches!(c, '"' | '\''))?;
    if chars.get(start + 1) == Some(&quote) && chars.get(start + 2) == Some(&quote) {
        return None;
    }
    let mut at = start + 1;
    loop {
        match chars.get(at) {
            None => return Some(at),
            Some('\n' | '\r') => return Some(at + 1),
            Some('\\') => at += 2,
            Some(c) if *c == quote => return None,
            Some(_) => at += 1,
        }
    }
}

fn number(chars: &[char], start: usize) -> Result<(Token, usize), Fault> {
    let mut at = start;
    let hex = chars.get(at) == Some(&'0') && matches!(chars.get(at + 1), Some('x' | 'X'));
    if hex {
        at += 2;
    }
    let mut real = false;
    while let Some(&c) = chars.get(at) {
        let signed = matches!(chars.get(at.wrapping_sub(1)), Some('e' | 'E'));
        let part = if hex {
            c.is_ascii_hexdigit()
        } else {
            let point = c == '.' && chars.get(at + 1).is_some_and(char::is_ascii_digit);
            let exponent = matches!(c, 'e' | 'E') || (real && signed && matches!(c, '+' | '-'));
            real |= point || exponent;
            c.is_ascii_digit() || point || exponent
        };
        if !part {
            break;
        }
        at += 1;
    }
    let text: String = chars.get(start..at).unwrap_or_default().iter().collect();
    let bad = |what: &str| Fault { at: start, why: format!("invalid {what} literal") };
    if real {
        return Ok((Token::Literal(Kind::Double(text.parse().map_err(|_| bad("double"))?)), at));
    }
    let (digits, radix) =
        text.get(2..).filter(|_| hex).map_or((text.as_str(), 10), |rest| (rest, 16));
    if matches!(chars.get(at), Some('u' | 'U')) {
        let value = u64::from_str_radix(digits, radix).map_err(|_| bad("uint"))?;
        return Ok((Token::Literal(Kind::Uint(value)), at + 1));
    }
    let value = i64::from_str_radix(digits, radix).map_err(|_| bad("int"))?;
    Ok((Token::Literal(Kind::Int(value)), at))
}

/// A text or bytes in quotes, with the place behind it; `None` where none begins.
fn quoted(chars: &[char], start: usize) -> Result<Option<(Token, usize)>, Fault> {
    let (mut raw, mut bytes, mut at) = (false, false, start);
    while let Some(c) = chars.get(at).filter(|c| matches!(c, 'r' | 'R' | 'b' | 'B')) {
        raw |= matches!(c, 'r' | 'R');
        bytes |= matches!(c, 'b' | 'B');
        at += 1;
    }
    let Some(&quote) = chars.get(at).filter(|c| matches!(c, '"' | '\'')) else { return Ok(None) };
    if at - start > 2 {
        return Ok(None);
    }
    let long = chars.get(at + 1) == Some(&quote) && chars.get(at + 2) == Some(&quote);
    let width = if long { 3 } else { 1 };
    at += width;
    let mut text = String::new();
    loop {
        let ends = (0..width).all(|more| chars.get(at + more) == Some(&quote));
        match chars.get(at) {
            _ if ends => break,
            None => {
                return Err(Fault {
                    at: start,
                    why: "Syntax error: unterminated string".to_owned(),
                });
            }
            Some('\n') if !long => {
                return Err(Fault {
                    at: start,
                    why: "Syntax error: unterminated string".to_owned(),
                });
            }
            Some('\\') if !raw => {
                let (c, end) = escape(chars, at)?;
                text.push(c);
                at = end;
            }
            Some(c) => {
                text.push(*c);
                at += 1;
            }
        }
    }
    let kind = if bytes { Kind::Bytes(text.into_bytes()) } else { Kind::Text(text) };
    Ok(Some((Token::Literal(kind), at + width)))
}

fn escape(chars: &[char], at: usize) -> Result<(char, usize), Fault> {
    let bad = || Fault { at, why: "Syntax error: bad escape in string".to_owned() };
    let digits = |from: usize, count: usize, radix: u32| {
        let text: String = chars.get(from..from + count)?.iter().collect();
        Some((char::from_u32(u32::from_str_radix(&text, radix).ok()?)?, from + count))
    };
    let c = chars.get(at + 1).ok_or_else(bad)?;
    let plain = match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'v' => '\u{b}',
        '\\' | '\'' | '"' | '`' | '?' => *c,
        'x' | 'X' => return digits(at + 2, 2, 16).ok_or_else(bad),
        'u' => return digits(at + 2, 4, 16).ok_or_else(bad),
        'U' => return digits(at + 2, 8, 16).ok_or_else(bad),
        '0'..='3' => return digits(at + 1, 3, 8).ok_or_else(bad),
        _ => return Err(bad()),
    };
    Ok((plain, at + 2))
}
