//! From text to an expression.

mod tokens;

use std::fmt::Write as _;
use tokens::{Token, tokens};

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

/// Faults of one expression that are told; upstream's number.
const FAULTS_MAX: usize = 100;

/// Letters of the longest line that is shown with its fault; upstream's number.
const SHOWN_CHARS_MAX: usize = 16_384;

/// Adds a fault to those that are told.
pub(super) fn note(faults: &mut Vec<Fault>, fault: Fault) {
    if faults.len() < FAULTS_MAX {
        faults.push(fault);
    }
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
        let mut out = String::new();
        if shown.chars().nth(SHOWN_CHARS_MAX).is_some() {
            let _ = write!(out, "ERROR: <input>:{}:{}: {}", line + 1, column + 1, self.why);
            return out;
        }
        let dots = ".".repeat(column);
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

/// What may stand where a value is wanted, as upstream's reader lists it.
const VALUES: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// Reads an expression. The error is everything that is wrong with it, in order.
pub(super) fn read(text: &str) -> Result<Expr, Vec<Fault>> {
    let mut faults = Vec::new();
    match read_noting(text, &mut faults) {
        Ok(expr) if faults.is_empty() => return Ok(expr),
        Ok(_) => {}
        Err(fault) => note(&mut faults, fault),
    }
    faults.sort_by_key(|fault| fault.at);
    Err(faults)
}

fn read_noting(text: &str, faults: &mut Vec<Fault>) -> Result<Expr, Fault> {
    let size = text.chars().count();
    if size > CHARS_MAX {
        let why =
            format!("expression code point size exceeds limit: size: {size}, limit {CHARS_MAX}");
        return Err(Fault { at: usize::MAX, why });
    }
    let chars: Vec<char> = text.chars().collect();
    let tokens = tokens(&chars, faults)?;
    let shown = |at: &[(usize, Token)], next: usize| {
        let begin = at.get(next).map_or(chars.len(), |(at, _)| *at);
        let end = at.get(next + 1).map_or(chars.len(), |(at, _)| *at);
        let text: String = chars.get(begin..end).unwrap_or_default().iter().collect();
        text.trim_end().to_owned()
    };
    let texts = (0..tokens.len()).map(|next| shown(&tokens, next)).collect();
    let mut parser = Parser { tokens, texts, next: 0, depth: 0 };
    let expr = parser.ternary()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ if parser.tokens.len() == parser.next + 2 => Err(parser.extraneous("<EOF>")),
        _ => Err(parser.mismatched("<EOF>")),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    /// The tokens as they are written.
    texts: Vec<String>,
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
        if self.take(sign) {
            return Ok(());
        }
        let wanted = format!("'{sign}'");
        let after = self.tokens.get(self.next + 1).map(|(_, token)| token);
        Err(match (self.peek(), after) {
            // What ends the expression could follow the sign.
            (Token::End, _) if matches!(sign, ")" | "]" | "}") => {
                self.fault(&format!("missing {wanted} at '<EOF>'"))
            }
            (_, Some(Token::Sign(next))) if *next == sign => self.extraneous(&wanted),
            _ => self.mismatched(&wanted),
        })
    }

    fn fault(&self, why: &str) -> Fault {
        Fault { at: self.at(), why: format!("Syntax error: {why}") }
    }

    fn mismatched(&self, wanted: &str) -> Fault {
        self.fault(&format!("mismatched input '{}' expecting {wanted}", self.shown()))
    }

    fn extraneous(&self, wanted: &str) -> Fault {
        self.fault(&format!("extraneous input '{}' expecting {wanted}", self.shown()))
    }

    /// The token that is next, as it is written.
    fn shown(&self) -> &str {
        match self.peek() {
            Token::End => "<EOF>",
            _ => self.texts.get(self.next).map_or("", String::as_str),
        }
    }

    /// Something stands where a value should. Where a value follows, that something is too much.
    fn no_value(&self) -> Fault {
        let begins = |token: &Token| match token {
            Token::Literal(_) | Token::Word(_) => true,
            Token::Sign(sign) => ["[", "{", "(", ".", "-", "!"].contains(sign),
            Token::End => false,
        };
        match self.tokens.get(self.next + 1) {
            Some((_, after)) if begins(after) => self.extraneous(VALUES),
            _ => self.mismatched(VALUES),
        }
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
                let Token::Word(name) = self.peek().clone() else {
                    return Err(match self.peek() {
                        Token::End => self.fault("no viable alternative at input '.'"),
                        _ => self.mismatched("IDENTIFIER"),
                    });
                };
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
                _ if matches!(self.peek(), Token::Sign("(")) => {
                    let at = self.at();
                    self.next += 1;
                    let mut arguments = self.list(")")?;
                    if word != "has" {
                        return Expr::new(at, Kind::Call(word, arguments));
                    }
                    let inner = arguments.first().map_or(at, |one| one.at);
                    let last = arguments.pop().map(|one| one.kind);
                    if let (Some(Kind::Field(of, name)), true) = (last, arguments.is_empty()) {
                        return Expr::new(at, Kind::Has(of, name));
                    }
                    let why = "invalid argument to has() macro".to_owned();
                    Err(Fault { at: inner, why })
                }
                _ => Expr::new(at, Kind::Name(word)),
            },
            _ => {
                self.next -= 1;
                Err(self.no_value())
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
