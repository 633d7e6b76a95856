//! The token file: `token,user,uid[,"group1,group2"]`, one a line, read once at start.

use super::{Tokens, secret_hash};
use crate::identity::Identity;
use std::collections::BTreeMap;

/// What is wrong with a token file, with the line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StaticTokensError {
    /// A line with less than three fields.
    #[error("line {line}: expected token,user,uid[,\"group1,group2\"], found {found} field(s)")]
    Fields {
        /// Counted from 1.
        line: usize,
        /// How many there were.
        found: usize,
    },
    /// A line with an empty token or user.
    #[error("line {line}: the {what} is empty")]
    Empty {
        /// Counted from 1.
        line: usize,
        /// `token` or `user`.
        what: &'static str,
    },
    /// A quote that is not closed.
    #[error("line {line}: a quote is not closed")]
    Quote {
        /// Counted from 1.
        line: usize,
    },
    /// A token that stands twice: one of its users would never be seen.
    #[error("line {line}: this token stands on an earlier line as well")]
    Twice {
        /// Counted from 1.
        line: usize,
    },
}

/// Tokens from a file. Kept by hash: a lookup then takes no longer for a token that begins like a real one.
pub struct StaticTokens(BTreeMap<[u8; 32], Identity>);

impl std::fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StaticTokens({})", self.0.len())
    }
}

impl StaticTokens {
    /// Reads the text of a token file. Empty lines and lines that begin with `#` are skipped.
    pub fn parse(text: &str) -> Result<Self, StaticTokensError> {
        let mut tokens = BTreeMap::new();
        for (index, content) in text.lines().enumerate() {
            let line = index + 1;
            if content.trim().is_empty() || content.starts_with('#') {
                continue;
            }
            let fields = fields(content).ok_or(StaticTokensError::Quote { line })?;
            let [token, user, uid, rest @ ..] = fields.as_slice() else {
                return Err(StaticTokensError::Fields { line, found: fields.len() });
            };
            for (what, value) in [("token", token), ("user", user)] {
                if value.is_empty() {
                    return Err(StaticTokensError::Empty { line, what });
                }
            }
            let groups = rest.first().map(String::as_str).unwrap_or_default();
            let groups: Vec<&str> =
                groups.split(',').map(str::trim).filter(|g| !g.is_empty()).collect();
            let identity = Identity { uid: uid.clone(), ..Identity::new(user, &groups) };
            if tokens.insert(secret_hash(token), identity).is_some() {
                return Err(StaticTokensError::Twice { line });
            }
        }
        Ok(Self(tokens))
    }
}

impl Tokens for StaticTokens {
    fn check(&self, token: &str, _now: jiff::Timestamp) -> Option<Identity> {
        self.0.get(&secret_hash(token)).cloned()
    }
}

/// The fields of one CSV line; `None` when a quote is open at its end.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let field = fields.last_mut()?;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    for field in &mut fields {
        *field = field.trim().to_owned();
    }
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }

    #[test]
    fn a_token_says_user_uid_and_groups() {
        let tokens = StaticTokens::parse(
            "# people\n\nt1,alice,1001,\"devs,ops\"\nt2,carol,1003\nt3, \"bo\"\"b\" ,1002,devs\n",
        )
        .unwrap();
        let alice = tokens.check("t1", at()).unwrap();
        assert_eq!((alice.user.as_str(), alice.uid.as_str()), ("alice", "1001"));
        assert_eq!(alice.groups, ["devs", "ops", "system:authenticated"]);
        assert_eq!(tokens.check("t2", at()).unwrap().groups, ["system:authenticated"]);
        assert_eq!(tokens.check("t3", at()).unwrap().user, "bo\"b");
        for wrong in ["", "t", "t11", "T1", "alice"] {
            assert_eq!(tokens.check(wrong, at()), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_bad_file_is_refused_with_its_line() {
        let table = [
            ("a,b", "line 1: expected token,user,uid[,\"group1,group2\"], found 2 field(s)"),
            ("\n,b,c", "line 2: the token is empty"),
            ("a,,c", "line 1: the user is empty"),
            ("a,b,c,\"d", "line 1: a quote is not closed"),
            ("a,b,c\na,d,e", "line 2: this token stands on an earlier line as well"),
        ];
        for (text, message) in table {
            assert_eq!(StaticTokens::parse(text).unwrap_err().to_string(), message, "{text:?}");
        }
    }
}
