//! Starts the binary on a free port with a folder of its own, and ends it, also when a test fails.

use http::{Request, StatusCode, header};
use kube::Client;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tempfile::TempDir;

/// How long a start may take on a busy machine before the test gives up.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long an end may take: the server's own patience is below.
const END_DEADLINE: Duration = Duration::from_secs(30);
/// How long anything may take that comes about by itself.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);
/// Between two looks at it: what is waited for is only to be seen by asking.
const LOOK: Duration = Duration::from_millis(100);

/// Users of every test: token is the name with `-token` behind it.
const TOKENS: &str = "alice-token,alice,1001,\"devs,ops\"\nbob-token,bob,1002,devs\n\
    edge-token,system:node:edge-1,1004,system:nodes\nroot-token,root,1,system:masters\n";

/// The binary under test.
pub(crate) fn pernode() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pernode"))
}

/// A data folder and the files beside it.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokens.csv"), TOKENS).unwrap();
        Self { folder }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.data().join(name)
    }

    /// A server command on a free port, the API alone.
    pub(crate) fn command(&self) -> Command {
        self.command_on(0)
    }

    fn command_on(&self, port: u16) -> Command {
        let mut command = pernode();
        let address = format!("127.0.0.1:{port}");
        command.args(["server", "--listen", &address, "--parts", "apiserver", "--data-dir"]);
        command
            .arg(self.data())
            // nobody makes accounts here
            .args(["--disable-admission-plugins", "ServiceAccount"])
            .arg("--token-auth-file")
            .arg(self.folder.path().join("tokens.csv"));
        command
    }

    /// A server that is ready.
    pub(crate) fn start(&self) -> Running {
        Self::start_with(self.command())
    }

    /// The API alone on this port, ready.
    pub(crate) fn start_on(&self, port: u16) -> Running {
        Self::start_with(self.command_on(port))
    }

    /// A server with all its parts that is ready, on this port (0: a free one).
    pub(crate) fn start_whole(&self, port: u16) -> Running {
        let mut command = pernode();
        command.args(["server", "--listen", &format!("127.0.0.1:{port}"), "--data-dir"]);
        command.arg(self.data());
        Self::start_with(command)
    }

    /// A server with these parts that is ready, on a free port.
    pub(crate) fn start_parts(&self, parts: &str) -> Running {
        let mut command = pernode();
        command.args(["server", "--listen", "127.0.0.1:0", "--parts", parts]);
        command.args(["--disable-admission-plugins", "ServiceAccount", "--data-dir"]);
        command.arg(self.data());
        Self::start_with(command)
    }

    fn start_with(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let stderr = child.stderr.take().unwrap();
        // from here on the child is ended whatever happens
        let mut running = Running { child, url: String::new(), greeting: String::new() };
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            let _read = BufReader::new(stderr).read_to_string(&mut log);
            eprintln!("--- log of the server\n{log}");
        });
        drop(log);
        let (say, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if say.send(line).is_err() {
                    break;
                }
            }
        });
        while !running.greeting.contains("--ca-hash") {
            let line = heard.recv_timeout(START_DEADLINE).expect("the server did not become ready");
            if let Some((_, rest)) = line.split_once(" serves ") {
                running.url = rest.split(' ').next().unwrap().to_owned();
            }
            running.greeting.push_str(&line);
            running.greeting.push('\n');
        }
        running
    }
}

/// A server that runs; killed at the end of the test.
pub(crate) struct Running {
    child: Child,
    pub(crate) url: String,
    pub(crate) greeting: String,
}

impl Running {
    pub(crate) fn port(&self) -> u16 {
        self.url.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// The value of a flag in the line that the server prints for joining nodes.
    pub(crate) fn told(&self, flag: &str) -> String {
        let mut words = self.greeting.split_whitespace().skip_while(|word| *word != flag).skip(1);
        words.next().unwrap().to_owned()
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(mut self, signal: &str) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        wait(&mut self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Waits for the end of a process, killing it when that takes too long.
fn wait(child: &mut Child) -> ExitStatus {
    let (done, over) = mpsc::channel::<()>();
    let pid = child.id().to_string();
    let guard = std::thread::spawn(move || {
        if over.recv_timeout(END_DEADLINE) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _killed = Command::new("kill").args(["-9", &pid]).status();
        }
    });
    let status = child.wait().unwrap();
    drop(done);
    guard.join().unwrap();
    status
}

/// Runs a command that is expected to refuse: its exit code and what it said on standard error.
pub(crate) fn refused(command: &mut Command) -> (i32, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = wait(&mut child);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (status.code().unwrap_or(-1), said)
}

/// A client with a bearer token, or nobody's.
pub(crate) async fn with_token(place: &Place, server: &Running, token: Option<&str>) -> Client {
    let mut config = administrator_config(place).await;
    config.cluster_url = server.url.parse().unwrap();
    let token = token.map(|token| token.to_owned().into());
    config.auth_info = AuthInfo { token, ..AuthInfo::default() };
    Client::try_from(config).unwrap()
}

/// The administrator's client, by the kubeconfig that the server wrote.
pub(crate) async fn administrator(place: &Place) -> Client {
    Client::try_from(administrator_config(place).await).unwrap()
}

async fn administrator_config(place: &Place) -> kube::Config {
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let read = Kubeconfig::read_from(place.file("admin.kubeconfig")).unwrap();
    kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.unwrap()
}

/// GET: the status and the body as text.
pub(crate) async fn get(client: &Client, path: &str) -> (StatusCode, String) {
    send(client, Request::get(path).body(Vec::new()).unwrap()).await
}

/// POST of JSON: the status and the body as JSON.
pub(crate) async fn post(client: &Client, path: &str, body: &Value) -> (StatusCode, Value) {
    let request = Request::post(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.to_string().into_bytes())
        .unwrap();
    let (status, text) = send(client, request).await;
    (status, serde_json::from_str(&text).unwrap())
}

/// DELETE: the status.
pub(crate) async fn delete(client: &Client, path: &str) -> StatusCode {
    send(client, Request::delete(path).body(Vec::new()).unwrap()).await.0
}

pub(crate) async fn send(client: &Client, request: Request<Vec<u8>>) -> (StatusCode, String) {
    use http_body_util::BodyExt;
    let response = client.send(request.map(kube::client::Body::from)).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

/// The message of a Status.
pub(crate) fn message(text: &str) -> String {
    let status: Value = serde_json::from_str(text).unwrap();
    assert_eq!(status["kind"], "Status", "{text}");
    status["message"].as_str().unwrap_or_default().to_owned()
}

/// Runs kubectl as administrator; answers its standard output.
pub(crate) fn kubectl(kubeconfig: &Path, arguments: &[&str]) -> String {
    let output = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(arguments)
        .env("HOME", kubeconfig.parent().unwrap())
        .output()
        .expect("kubectl 1.28 or newer is needed on PATH; see the README");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Looks until it holds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + DEADLINE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < end, "not within {DEADLINE:?}: {what}");
        // what is waited for here are answers of other programs, which nothing announces
        tokio::time::sleep(LOOK).await;
    }
}

/// Sends a merge patch that is taken.
pub(crate) async fn patch(client: &Client, path: &str, body: &Value) {
    let request = Request::patch(path)
        .header(header::CONTENT_TYPE, "application/merge-patch+json")
        .body(body.to_string().into_bytes())
        .unwrap();
    let (status, text) = send(client, request).await;
    assert_eq!(status, StatusCode::OK, "{text}");
}
