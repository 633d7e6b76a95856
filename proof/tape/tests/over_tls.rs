//! The same tapes, sent by `tape.py` over TLS to the real binary, get the same verdicts.

#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    reason = "a test that runs real processes waits in real time and fails by panicking"
)]

use serde_json::Value;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tape::replay::{Wish, replay};
use tape::tape::{DEV, DEV_SA, TOKENS, Tape};

/// How often a tape is sent: `tape.py` waits in real time, and a machine may once be too busy for that.
const TRIES: usize = 2;

/// Verdicts by exchange.
type Verdicts = BTreeMap<String, bool>;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// The binary, built as for everybody else; next to nothing to do when it is there.
fn pernode() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let build = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--bin", "pernode", "--message-format", "json"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(build.status.success(), "the binary does not build");
    let text = String::from_utf8_lossy(&build.stdout);
    let found = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(
        |message| {
            let path = message["executable"].as_str().map(PathBuf::from);
            path.filter(|_| message["target"]["name"] == "pernode")
        },
    );
    found.expect("cargo names the binary")
}

/// A Python that has what `tape.py` imports.
fn python() -> &'static str {
    let able = |python: &&str| {
        let asked = Command::new(python).args(["-c", "import aiohttp, yaml"]).output();
        asked.is_ok_and(|output| output.status.success())
    };
    ["python3", "/usr/bin/python3"]
        .into_iter()
        .find(able)
        .expect("apt-get install python3-aiohttp python3-yaml")
}

fn start(dir: &Path, tape: Tape) -> (Server, String) {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("an address").port()
    };
    let tokens = dir.join("tokens.csv");
    std::fs::write(&tokens, TOKENS).expect("a token file");
    let address = format!("127.0.0.1:{port}");
    let mut command = Command::new(pernode());
    command
        .args(["server", "--parts", "apiserver", "--advertise-address", "127.0.0.1"])
        .args(["--listen", &address, "--data-dir"])
        .arg(dir.join("data"))
        .arg("--token-auth-file")
        .arg(&tokens);
    for (flag, plugins) in [
        ("--disable-admission-plugins", tape.disabled),
        ("--enable-admission-plugins", tape.enabled),
    ] {
        if !plugins.is_empty() {
            command.args([flag, &plugins.join(",")]);
        }
    }
    let log = std::fs::File::create(dir.join("server.log")).expect("a log file");
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
    let mut server = Server(child.expect("the server starts"));
    let url = format!("https://{address}");
    let begin = Instant::now();
    loop {
        let ready = format!("{url}/readyz");
        let ask = Command::new("curl").args(["-sk", "--max-time", "2", &ready]).output();
        if ask.expect("curl runs").stdout == b"ok" {
            return (server, url);
        }
        let log = || std::fs::read_to_string(dir.join("server.log")).unwrap_or_default();
        let ended = server.0.try_wait().expect("a child can be asked");
        assert!(ended.is_none(), "the server ended: {ended:?}\n{}", log());
        assert!(begin.elapsed() < Duration::from_secs(60), "not ready in time\n{}", log());
    }
}

fn over_tls(tape: Tape) -> Verdicts {
    let dir = tempfile::tempdir().expect("a folder");
    let (_server, url) = start(dir.path(), tape);
    let out = dir.path().join("verdicts.json");
    let run = Command::new(python())
        .arg(data("tape.py"))
        .arg("replay")
        .arg(data(&format!("{}.jsonl", tape.name)))
        .args(["--server", &url, "--token", "admintoken", "--json"])
        .arg(&out)
        .output()
        .expect("python runs");
    let text = std::fs::read(&out).unwrap_or_else(|error| {
        panic!("tape.py: {error}\n{}", String::from_utf8_lossy(&run.stderr));
    });
    let verdicts: Vec<Value> = serde_json::from_slice(&text).expect("tape.py writes JSON");
    let name = |verdict: &Value| {
        format!("{}/{}", verdict["case"].as_str().unwrap_or_default(), verdict["step"])
    };
    verdicts.iter().map(|verdict| (name(verdict), verdict["pass"] == true)).collect()
}

fn in_process(tape: Tape) -> Verdicts {
    let score = replay(tape, &Wish::default()).expect("the tape replays");
    let scored = score.verdicts.iter().filter(|verdict| !verdict.setup);
    scored.map(|verdict| (verdict.name(), verdict.passed())).collect()
}

fn agree(tape: Tape) {
    let inside = in_process(tape);
    let mut differ = Vec::new();
    for _ in 0..TRIES {
        let outside = over_tls(tape);
        assert_eq!(inside.len(), outside.len(), "as many exchanges");
        differ = inside
            .iter()
            .filter(|(name, passed)| outside.get(*name) != Some(passed))
            .map(|(name, passed)| {
                format!("{name} {} in process only", if *passed { "passes" } else { "fails" })
            })
            .collect();
        if differ.is_empty() {
            return;
        }
    }
    panic!("tape {}: {differ:#?}", tape.name);
}

#[test]
fn the_binary_answers_over_tls_as_the_server_does_in_process() {
    agree(DEV);
}

#[test]
fn the_binary_with_service_account_admission_agrees_as_well() {
    agree(DEV_SA);
}
