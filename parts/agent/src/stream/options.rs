//! Which streams are wanted.

/// Most ports of one request; each costs two streams.
pub(super) const PORTS_MAX: usize = 64;

/// Options of one request.
#[expect(clippy::struct_excessive_bools, reason = "the parameters are these flags")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
    pub(super) command: Vec<String>,
    pub(super) ports: Vec<u16>,
}

impl Options {
    /// Reads a query string in the words of upstream's kubelet.
    pub(super) fn read(query: &str) -> Result<Self, String> {
        let mut found = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let flag = value == "1" || value == "true";
            match key.as_ref() {
                "input" => found.stdin = flag,
                "output" => found.stdout = flag,
                "error" => found.stderr = flag,
                "tty" => found.tty = flag,
                "command" => found.command.push(value.into_owned()),
                "port" => {
                    for text in value.split(',') {
                        let port = text.parse().ok().filter(|port: &u16| *port > 0);
                        found.ports.push(port.ok_or_else(|| format!("invalid port {text:?}"))?);
                    }
                }
                _ => {}
            }
        }
        if found.ports.len() > PORTS_MAX {
            return Err(format!("more than {PORTS_MAX} ports"));
        }
        // a terminal has one output
        found.stderr &= !found.tty;
        Ok(found)
    }

    pub(super) fn has_streams(&self) -> bool {
        self.stdin || self.stdout || self.stderr
    }
}
