//! From text to an expression.

use std::fmt::Write as _;

/// Deepest nesting of brackets and calls in a text.
const DEPTH_MAX: usize = 64;

/// Highest tree of an expression. Chains (`a.b.c`, `1 + 2 + 3`, `!!a`) grow a tree by one for each link, and whatever
/// looks at a tree goes down all of it: 120 levels fit into a half of a thread's stack. Upstream's reader stops at
/// 250 levels.
const HEIGHT_MAX: usize = 120;

/// Longest expression, characters: the bound of upstream's reader.
const CHARS_MAX: usize = 100_000;

/// What is wrong with an expression, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// `usize::MAX` where it is about all of it.
    pub(super) at: usize,
    pub(super) why: String,
}

impl Fault {
    /// As upstream shows it: place, reason, and the line with a mark under it.
    pub(super) fn shown(&self, text: &str) -> String {
        if self.at == usize::MAX {
            return format!("ERROR: <input>:-1:0: {}", self.why);
        }
        let before: String = text.chars().take(self.at).collect();
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().map_or(0, |part| part.chars().count());
        let shown = text.split('\n').nth(line).unwrap_or_default();
        let dots = ".".repeat(column);
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "ERROR: <input>:{}:{}: {}\n | {shown}\n | {dots}^",
            line + 1,
            column + 1,
            self.why
        );
        out
    }
}

/// An expression with its place in the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expr {
    pub(super) at: usize,
    pub(super) kind: Kind,
    height: usize,
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Name(String),
    Field(Box<Expr>, String),
    /// `has(a.b)`.
    Has(Box<Expr>, String),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    /// A function, or an operator by its name in messages (`_+_`).
    Call(String, Vec<Expr>),
    /// A function of a value.
    Method(Box<Expr>, String, Vec<Expr>),
    /// A macro over a list or map: its name, the value, the variable, and its one or two expressions.
    Over(String, Box<Expr>, String, Vec<Expr>),
}

impl Expr {
    /// An expression of parts; refused where it grows too high.
    fn new(at: usize, kind: Kind) -> Read {
        let made = Self { at, kind, height: 0 };
        let below = made.parts().into_iter().map(|part| part.height).max().unwrap_or(0);
        if below >= HEIGHT_MAX {
            return Err(Fault { at, why: TOO_DEEP.to_owned() });
        }
        Ok(Self { height: below + 1, ..made })
    }

    /// The expressions that it is made of.
    pub(super) fn parts(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::Field(of, _) | Kind::Has(of, _) => vec![of],
            Kind::List(all) | Kind::Call(_, all) => all.iter().collect(),
            Kind::Map(all) => all.iter().flat_map(|(key, value)| [key, value]).collect(),
            Kind::Method(of, _, all) | Kind::Over(_, of, _, all) => {
                std::iter::once(of.as_ref()).chain(all).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether a name is used anywhere.
    pub(super) fn names(&self, name: &str) -> bool {
        matches!(&self.kind, Kind::Name(found) if found == name)
            || self.parts().into_iter().any(|part| part.names(name))
    }
}

const TOO_DEEP: &str = "expression is nested too deeply";

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Literal(Kind),
    Word(String),
    Sign(&'static str),
    End,
}

const SIGNS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}",
];

/// Reads an expression.
pub(super) fn read(text: &str) -> Result<Expr, Fault> {
    let size = text.chars().count();
    if size > CHARS_MAX {
        let why =
            format!("expression code point size exceeds limit: size: {size}, limit {CHARS_MAX}");
        return Err(Fault { at: usize::MAX, why });
    }
    let chars: Vec<char> = text.chars().collect();
    let tokens = tokens(&chars)?;
    let mut parser = Parser { tokens, next: 0, depth: 0 };
    let expr = parser.ternary()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected()),
    }
}

fn tokens(chars: &[char]) -> Result<Vec<(usize, Token)>, Fault> {
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
            let sign = sign.ok_or_else(|| Fault {
                at,
                why: format!("Syntax error: token recognition error at: '{c}'"),
            })?;
            at += sign.len();
            Token::Sign(sign)
        };
        found.push((start, token));
    }
    found.push((chars.len(), Token::End));
    Ok(found)
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

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

type Read = Result<Expr, Fault>;

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).or_else(|| self.tokens.last()).map_or(0, |(at, _)| *at)
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(found) if *found == sign);
        self.next += usize::from(found);
        found
    }

    fn need(&mut self, sign: &str) -> Result<(), Fault> {
        if self.take(sign) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> Fault {
        let shown = match self.peek() {
            Token::End => "<EOF>".to_owned(),
            Token::Sign(sign) => (*sign).to_owned(),
            Token::Word(word) => word.clone(),
            Token::Literal(_) => "literal".to_owned(),
        };
        Fault { at: self.at(), why: format!("Syntax error: mismatched input '{shown}'") }
    }

    fn ternary(&mut self) -> Read {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault { at: self.at(), why: TOO_DEEP.to_owned() });
        }
        let condition = self.binary(0)?;
        let at = self.at();
        let expr = if self.take("?") {
            let yes = self.binary(0)?;
            self.need(":")?;
            let no = self.ternary()?;
            Expr::new(at, Kind::Call("_?_:_".to_owned(), vec![condition, yes, no]))?
        } else {
            condition
        };
        self.depth -= 1;
        Ok(expr)
    }

    /// Operators of one chain, from the weakest (`||`) to the strongest (`*`).
    fn binary(&mut self, level: usize) -> Read {
        const LEVELS: [&[&str]; 5] =
            [&["||"], &["&&"], &["==", "!=", "<=", ">=", "<", ">"], &["+", "-"], &["*", "/", "%"]];
        let Some(signs) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        if level < 2 {
            let sign = if level == 0 { "||" } else { "&&" };
            let mut all = vec![(left.at, left)];
            loop {
                let at = self.at();
                if !self.take(sign) {
                    return balanced(sign, all);
                }
                all.push((at, self.binary(level + 1)?));
            }
        }
        loop {
            let at = self.at();
            let name = match self.peek() {
                Token::Sign(sign) if signs.contains(sign) => format!("_{sign}_"),
                Token::Word(word) if level == 2 && word == "in" => "@in".to_owned(),
                _ => return Ok(left),
            };
            self.next += 1;
            let right = self.binary(level + 1)?;
            left = Expr::new(at, Kind::Call(name, vec![left, right]))?;
        }
    }

    fn unary(&mut self) -> Read {
        let at = self.at();
        let mut signs = Vec::new();
        while let Token::Sign(sign @ ("!" | "-")) = *self.peek() {
            signs.push(sign);
            self.next += 1;
        }
        let mut expr = self.member()?;
        while let Some(sign) = signs.pop() {
            expr = match (sign, expr.kind) {
                ("-", Kind::Int(value)) => Expr::new(at, Kind::Int(value.wrapping_neg()))?,
                ("-", Kind::Double(value)) => Expr::new(at, Kind::Double(-value))?,
                (sign, kind) => {
                    let inner = Expr { kind, ..expr };
                    Expr::new(at, Kind::Call(format!("{sign}_"), vec![inner]))?
                }
            };
        }
        Ok(expr)
    }

    fn member(&mut self) -> Read {
        let mut expr = self.primary()?;
        loop {
            let at = self.at();
            if self.take(".") {
                let Token::Word(name) = self.peek().clone() else { return Err(self.unexpected()) };
                self.next += 1;
                let behind = self.at();
                expr = if self.take("(") {
                    let arguments = self.list(")")?;
                    over(expr, name, arguments, behind)?
                } else {
                    Expr::new(at, Kind::Field(Box::new(expr), name))?
                };
            } else if self.take("[") {
                let index = self.ternary()?;
                self.need("]")?;
                expr = Expr::new(at, Kind::Call("_[_]".to_owned(), vec![expr, index]))?;
            } else {
                return Ok(expr);
            }
        }
    }

    fn primary(&mut self) -> Read {
        let at = self.at();
        let token = self.peek().clone();
        self.next += 1;
        match token {
            Token::Literal(kind) => Expr::new(at, kind),
            Token::Sign("(") => {
                let inner = self.ternary()?;
                self.need(")")?;
                Ok(inner)
            }
            Token::Sign("[") => Expr::new(at, Kind::List(self.list("]")?)),
            Token::Sign("{") => self.map(at),
            Token::Word(word) => match word.as_str() {
                "true" | "false" => Expr::new(at, Kind::Bool(word == "true")),
                "null" => Expr::new(at, Kind::Null),
                _ if self.take("(") => {
                    let mut arguments = self.list(")")?;
                    if word != "has" {
                        return Expr::new(at, Kind::Call(word, arguments));
                    }
                    match (arguments.pop().map(|one| one.kind), arguments.is_empty()) {
                        (Some(Kind::Field(of, name)), true) => Expr::new(at, Kind::Has(of, name)),
                        _ => Err(Fault { at, why: "invalid argument to has() macro".to_owned() }),
                    }
                }
                _ => Expr::new(at, Kind::Name(word)),
            },
            _ => {
                self.next -= 1;
                Err(self.unexpected())
            }
        }
    }

    fn list(&mut self, end: &str) -> Result<Vec<Expr>, Fault> {
        let mut found = Vec::new();
        while !self.take(end) {
            found.push(self.ternary()?);
            if !self.take(",") {
                self.need(end)?;
                break;
            }
        }
        Ok(found)
    }

    fn map(&mut self, at: usize) -> Read {
        let mut found = Vec::new();
        while !self.take("}") {
            let key = self.ternary()?;
            self.need(":")?;
            found.push((key, self.ternary()?));
            if !self.take(",") {
                self.need("}")?;
                break;
            }
        }
        Expr::new(at, Kind::Map(found))
    }
}

/// A macro where the name and the arguments are those of one, else a method.
fn over(of: Expr, name: String, mut arguments: Vec<Expr>, at: usize) -> Read {
    let macros: &[(&str, &[usize])] = &[
        ("all", &[2]),
        ("exists", &[2]),
        ("exists_one", &[2]),
        ("filter", &[2]),
        ("map", &[2, 3]),
    ];
    let is_macro =
        macros.iter().any(|(known, counts)| *known == name && counts.contains(&arguments.len()));
    if let (true, Some(Expr { kind: Kind::Name(variable), .. })) = (is_macro, arguments.first()) {
        let variable = variable.clone();
        arguments.remove(0);
        return Expr::new(at, Kind::Over(name, Box::new(of), variable, arguments));
    }
    Expr::new(at, Kind::Method(Box::new(of), name, arguments))
}

/// A chain of `&&` or `||` as a tree that is as low as can be, in the same order: long ones are usual, and upstream
/// reads them so. Each link comes with the place of the sign before it.
fn balanced(sign: &str, mut all: Vec<(usize, Expr)>) -> Read {
    if all.len() > 1 {
        let right = all.split_off(all.len() / 2);
        let at = right.first().map_or(0, |(at, _)| *at);
        let sides = vec![balanced(sign, all)?, balanced(sign, right)?];
        return Expr::new(at, Kind::Call(format!("_{sign}_"), sides));
    }
    all.pop().map_or_else(|| Err(Fault { at: 0, why: TOO_DEEP.to_owned() }), |(_, one)| Ok(one))
}
