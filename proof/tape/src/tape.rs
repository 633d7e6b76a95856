//! What a tape holds: one exchange a line, in cases.

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// `--token-auth-file` of the recorded server.
pub const TOKENS: &str = include_str!("../data/tokens.csv");

/// One tape and how the server that it was recorded from was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tape {
    /// `dev`, `dev-sa`.
    pub name: &'static str,
    /// The lines.
    pub text: &'static str,
    /// `--disable-admission-plugins`.
    pub disabled: &'static [&'static str],
    /// `--enable-admission-plugins`.
    pub enabled: &'static [&'static str],
}

/// Everything but admission of service accounts.
pub const DEV: Tape = Tape {
    name: "dev",
    text: include_str!("../data/dev.jsonl"),
    disabled: &["ServiceAccount"],
    enabled: &[],
};

/// As a default cluster, with admission of service accounts.
pub const DEV_SA: Tape = Tape {
    name: "dev-sa",
    text: include_str!("../data/dev-sa.jsonl"),
    disabled: &[],
    enabled: &["ServiceAccount"],
};

/// A request and the answer it got.
#[derive(Debug, Deserialize)]
pub struct Exchange {
    /// Exchanges of one case depend on each other; cases do not.
    pub case: String,
    /// What it is about.
    pub topic: String,
    /// Place in its case; 0 and less make the case's namespaces.
    pub step: i64,
    /// Who asks: a user of the token file, or `anonymous`.
    #[serde(rename = "as")]
    pub user: String,
    /// What is asked.
    pub request: Asked,
    /// `status`, `contentType`, `warnings`, `headers` and `body`, as compared.
    pub response: Value,
    /// How to send and compare.
    #[serde(default)]
    pub options: Choices,
}

/// A request.
#[derive(Debug, Deserialize)]
pub struct Asked {
    /// GET, POST, ...
    pub method: String,
    /// With the query, percent-encoded; may hold references.
    pub path: String,
    /// Sent beside those every request has.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A string is sent as it is, anything else as JSON.
    pub body: Option<Box<RawValue>>,
}

impl Asked {
    /// The body where it is JSON.
    pub fn object(&self) -> Option<Value> {
        let text = self.body.as_ref()?.get();
        serde_json::from_str(text).ok().filter(Value::is_object)
    }
}

/// How an exchange is sent and compared; `tape.py` explains each.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choices {
    /// Makes a namespace: not scored.
    pub setup: bool,
    /// Seconds before it is sent.
    pub wait: f64,
    /// It is a watch.
    pub watch: Option<Watch>,
    /// Seconds in which it is sent again until the answer fits.
    pub eventually: Option<f64>,
    /// Paths of values that the server draws.
    pub random: Vec<String>,
    /// The only paths compared.
    pub select: Vec<String>,
    /// Paths of lists without an order.
    pub unordered: Vec<String>,
    /// Discovery is cut to what is in scope.
    pub filter: Option<String>,
}

/// How a watch is read.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Watch {
    /// After this step; at the end of the case otherwise.
    pub collect: Option<i64>,
    /// At most so many events.
    pub count: Option<usize>,
    /// The bookmark that ends the initial events counts.
    pub bookmarks: bool,
    /// Time for events that are still missing when it is read.
    pub seconds: f64,
}

/// A case: its exchanges in order.
pub type Case = Vec<Exchange>;

/// The cases of a tape in order, those whose names match `only`, with the exchanges whose topic matches `topic`.
pub fn read(
    text: &str,
    only: Option<&Regex>,
    topic: Option<&Regex>,
) -> serde_json::Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let exchange: Exchange = serde_json::from_str(line)?;
        if only.is_some_and(|only| !only.is_match(&exchange.case))
            || topic.is_some_and(|topic| !topic.is_match(&exchange.topic))
        {
            continue;
        }
        match cases.iter_mut().find(|case| case[0].case == exchange.case) {
            Some(case) => case.push(exchange),
            None => cases.push(vec![exchange]),
        }
    }
    Ok(cases)
}
