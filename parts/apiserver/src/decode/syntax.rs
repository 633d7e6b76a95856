//! Why a text is no JSON, in Go's words, which is what users of Kubernetes know and search for.
//! Runs only after the real parser has refused the text, so it may be slow.

/// Go's message for the first fault, or `None` when there is none that it sees.
pub fn fault(text: &[u8]) -> Option<String> {
    let mut scan = Scan { text, at: 0 };
    let outcome = scan.value("looking for beginning of value", 0).and_then(|()| {
        scan.space();
        match scan.peek() {
            None => Ok(()),
            Some(byte) => Err(unexpected(byte, "after top-level value")),
        }
    });
    outcome.err()
}

/// Deepest nesting looked at; Go's decoder stops at 10,000, our parser at 128.
const DEPTH_MAX: usize = 200;

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

fn unexpected(byte: u8, context: &str) -> String {
    let shown = match byte {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => "'\\\\'".to_owned(),
        b'\n' => "'\\n'".to_owned(),
        b'\r' => "'\\r'".to_owned(),
        b'\t' => "'\\t'".to_owned(),
        byte if byte.is_ascii_graphic() || byte == b' ' => format!("'{}'", char::from(byte)),
        byte if byte < 0x80 => format!("'\\x{byte:02x}'"),
        byte => match char::from(byte) {
            c if c.is_control() => format!("'\\x{byte:02x}'"),
            c => format!("'{c}'"),
        },
    };
    format!("invalid character {shown} {context}")
}

fn end() -> String {
    "unexpected end of JSON input".to_owned()
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, context: &str, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err("exceeded max depth".to_owned());
        }
        self.space();
        match self.peek().ok_or_else(end)? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            b'-' | b'0'..=b'9' => self.number(),
            byte => Err(unexpected(byte, context)),
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for wanted in word.bytes() {
            let byte = self.peek().ok_or_else(end)?;
            if byte != wanted {
                let context = format!("in literal {word} (expecting '{}')", char::from(wanted));
                return Err(unexpected(byte, &context));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), String> {
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            match self.peek().ok_or_else(end)? {
                b'"' => self.string()?,
                byte => return Err(unexpected(byte, "looking for beginning of object key string")),
            }
            self.space();
            match self.peek().ok_or_else(end)? {
                b':' => self.at += 1,
                byte => return Err(unexpected(byte, "after object key")),
            }
            self.value("looking for beginning of value", depth + 1)?;
            self.space();
            match self.peek().ok_or_else(end)? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                byte => return Err(unexpected(byte, "after object key:value pair")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), String> {
        self.at += 1;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value("looking for beginning of value", depth + 1)?;
            self.space();
            match self.peek().ok_or_else(end)? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(());
                }
                byte => return Err(unexpected(byte, "after array element")),
            }
        }
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.peek().ok_or_else(end)? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    self.escape()?;
                }
                byte if byte < 0x20 => return Err(unexpected(byte, "in string literal")),
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        let byte = self.peek().ok_or_else(end)?;
        self.at += 1;
        match byte {
            b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => Ok(()),
            b'u' => {
                for _ in 0..4 {
                    let digit = self.peek().ok_or_else(end)?;
                    if !digit.is_ascii_hexdigit() {
                        return Err(unexpected(digit, "in \\u hexadecimal character escape"));
                    }
                    self.at += 1;
                }
                Ok(())
            }
            byte => Err(unexpected(byte, "in string escape code")),
        }
    }

    fn number(&mut self) -> Result<(), String> {
        if self.peek() == Some(b'-') {
            self.at += 1;
            match self.peek().ok_or_else(end)? {
                b'0'..=b'9' => {}
                byte => return Err(unexpected(byte, "in numeric literal")),
            }
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.wanted_digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.wanted_digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn wanted_digits(&mut self, context: &str) -> Result<(), String> {
        match self.peek().ok_or_else(end)? {
            b'0'..=b'9' => {
                self.digits();
                Ok(())
            }
            byte => Err(unexpected(byte, context)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn faults_read_as_go_words_them() {
        for (text, message) in [
            ("", "unexpected end of JSON input"),
            ("{\"a\":1", "unexpected end of JSON input"),
            ("{bad", "invalid character 'b' looking for beginning of object key string"),
            ("not json", "invalid character 'o' in literal null (expecting 'u')"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("\"\u{1}\"", "invalid character '\\x01' in string literal"),
            ("-x", "invalid character 'x' in numeric literal"),
        ] {
            assert_eq!(fault(text.as_bytes()).as_deref(), Some(message), "{text}");
        }
    }

    #[test]
    fn good_json_has_no_fault() {
        assert_eq!(fault(br#" {"a":[1,-2.5e+3,true,null,"x\u00e9\n"],"b":{}} "#), None);
    }
}
