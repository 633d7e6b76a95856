//! Agents that cannot join, or can: what they say, that they try again, and what they do when the trouble is over.
//!
//! No container runtime is needed here: an agent joins while it waits for one, and says that it waits.

use crate::harness::{Place, Running, pernode, refused};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tempfile::TempDir;

/// How long an agent on a busy machine may take to say something.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines looked at for a sentence. The runtime that is missing is told about every ten seconds at last.
const LINES_MAX: usize = 20;

/// An agent that runs; killed at the end of the test.
struct Agent {
    child: Child,
    lines: Receiver<String>,
}

impl Agent {
    fn start(server: &Running, root: &Path, token: &str, hash: &str) -> Self {
        Self::of(command(&server.url, root, &["--token", token, "--ca-hash", hash]))
    }

    fn of(mut command: Command) -> Self {
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (say, lines) = channel();
        let mut agent = Self { child, lines };
        let stderr = agent.child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("--- agent: {line}");
                if say.send(line).is_err() {
                    break;
                }
            }
        });
        agent
    }

    /// Waits for a line that holds every one of `words`.
    fn says(&self, words: &[&str]) -> String {
        for _ in 0..LINES_MAX {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_default();
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
        }
        assert!(words.is_empty(), "the agent did not say {words:?}");
        String::new()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// An agent without a runtime, on no port of this machine.
fn command(server: &str, root: &Path, flags: &[&str]) -> Command {
    let mut command = pernode();
    command.args(["agent", "--node-name", "here", "--node-ip", "127.0.0.1", "--port", "0"]);
    command.args(["--runtime-endpoint", "/nonexistent/containerd.sock", "--server", server]);
    command.arg("--root-dir").arg(root).args(flags);
    command
}

fn token(place: &Place) -> String {
    std::fs::read_to_string(place.file("join-token")).unwrap().trim().to_owned()
}

fn hash(server: &Running) -> String {
    server.told("--ca-hash")
}

fn is_joined(root: &TempDir) -> bool {
    root.path().join("pki/node.pem").exists()
}

#[test]
fn the_line_that_the_server_prints_joins_a_node_which_then_asks_for_its_runtime() {
    let (place, root) = (Place::new(), TempDir::new().unwrap());
    let server = place.start_whole(0);
    // the printed line reads the token with $(cat FILE)
    assert!(server.greeting.contains(&place.file("join-token").display().to_string()));
    let agent = Agent::start(&server, root.path(), &token(&place), &hash(&server));
    let (mut has_joined, mut has_asked) = (false, false);
    while !(has_joined && has_asked) {
        let line = agent.says(&[]);
        has_joined |= line.contains("joined: the certificate is in");
        has_asked |= line.contains("there is no socket at /nonexistent/containerd.sock")
            && line.contains("start containerd, or name its socket with --runtime-endpoint")
            && line.contains("next try in");
    }
    assert!(is_joined(&root));
}

#[test]
fn a_wrong_token_is_told_with_the_file_that_holds_the_right_one() {
    let (place, root) = (Place::new(), TempDir::new().unwrap());
    let server = place.start_whole(0);
    let agent = Agent::start(&server, root.path(), "abcdef.0123456789abcdef", &hash(&server));
    let words = ["does not know the join token", "<data-dir>/join-token", "next try in"];
    agent.says(&words);
    // it tries again, later
    agent.says(&words);
    assert!(!is_joined(&root));
}

#[test]
fn a_wrong_authority_hash_is_told_with_the_right_one() {
    let (place, root) = (Place::new(), TempDir::new().unwrap());
    let server = place.start_whole(0);
    let wrong = format!("sha256:{}", "0".repeat(64));
    let agent = Agent::start(&server, root.path(), &token(&place), &wrong);
    agent.says(&["the hash of --ca-hash", &hash(&server), "correct --ca-hash", "next try in"]);
    assert!(!is_joined(&root));
}

#[test]
fn the_authority_of_another_server_is_told_by_the_flag_that_named_it() {
    let (place, other, root) = (Place::new(), Place::new(), TempDir::new().unwrap());
    let (server, _other) = (place.start_whole(0), other.start_whole(0));
    let file = other.file("pki/ca.crt").display().to_string();
    let flags = ["--token", &token(&place), "--ca-file", &file];
    let agent = Agent::of(command(&server.url, root.path(), &flags));
    agent.says(&["the authority given by --ca-file", "next try in"]);
    assert!(!is_joined(&root));
}

#[test]
fn an_agent_that_is_there_before_its_server_joins_when_the_server_comes() {
    let (place, root) = (Place::new(), TempDir::new().unwrap());
    // the authority and the token of a server that has stopped
    let first = place.start_whole(0);
    let (url, port) = (first.url.clone(), first.port());
    let flags = ["--token", &token(&place), "--ca-hash", &hash(&first)];
    let _status = first.end("-TERM");
    let agent = Agent::of(command(&url, root.path(), &flags));
    agent.says(&["nothing listens at the server's address", "the server running?", "next try in"]);
    let _again = place.start_whole(port);
    agent.says(&["joined: the certificate is in"]);
}

#[test]
fn a_node_whose_server_was_made_anew_joins_anew() {
    let (place, other, root) = (Place::new(), Place::new(), TempDir::new().unwrap());
    let (server, made_anew) = (place.start_whole(0), other.start_whole(0));
    let agent = Agent::start(&server, root.path(), &token(&place), &hash(&server));
    agent.says(&["joined: the certificate is in"]);
    drop(agent);
    let agent = Agent::start(&made_anew, root.path(), &token(&other), &hash(&made_anew));
    agent.says(&["does not know the certificate in", "joining anew"]);
    agent.says(&["joined: the certificate is in"]);
}

#[test]
fn what_waiting_cannot_mend_ends_the_agent_with_one_line() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("agent");
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let hash = format!("sha256:{}", "0".repeat(64));
    let good = ["--token", "abcdef.0123456789abcdef", "--ca-hash", hash.as_str()];
    let table: [(&str, &[&str], &str); 8] = [
        (
            "https://127.0.0.1:1",
            &["--token", "abc", "--ca-hash", &hash],
            "--token: not a join token",
        ),
        ("https://127.0.0.1:1", &["--token", good[1], "--ca-hash", "sha256:12"], "--ca-hash: "),
        (
            "https://127.0.0.1:1",
            &["--token", good[1]],
            "--ca-file or --ca-hash: one of them is needed",
        ),
        ("http://127.0.0.1:1", &good, "--server: "),
        (
            "https://127.0.0.1:1",
            &[&good[..], &["--node-labels", "novalue"]].concat(),
            "--node-labels: ",
        ),
        (
            "https://127.0.0.1:1",
            &[&good[..], &["--node-taints", "a=b:Never"]].concat(),
            "--node-taints: ",
        ),
        (
            "https://127.0.0.1:1",
            &[&good[..], &["--ca-file", "/nonexistent/ca.crt"]].concat(),
            "/nonexistent/ca.crt",
        ),
        (
            "https://127.0.0.1:1",
            &["--token-file", "/nonexistent/token", "--ca-hash", &hash],
            "/nonexistent/token",
        ),
    ];
    for (server, flags, says) in table {
        let (code, said) = refused(&mut command(server, &root, flags));
        assert!(code == 1 && said.contains(says), "{flags:?}: {code} {said}");
    }
    let mut busy = pernode();
    busy.args(["agent", "--server", "https://127.0.0.1:1", "--node-name", "here", "--port", &port]);
    let (code, said) = refused(busy.arg("--root-dir").arg(&root).args(good));
    let expected = format!("cannot listen on port {port}: ");
    assert!(code == 1 && said.contains(&expected) && said.contains("--port"), "{code} {said}");
}
