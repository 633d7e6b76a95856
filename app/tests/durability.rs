//! The server is killed at random moments while clients write: what was acknowledged is there afterwards, and revisions
//! never go back. And, since a kill cannot show a missing sync, the order of system calls is looked at too.

#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    reason = "a test that kills real processes waits in real time and fails by panicking"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Writers at the same time.
const WRITERS: usize = 8;

struct Server {
    child: Child,
}

impl Server {
    /// Starts the server's API part on a folder and waits until it is ready.
    fn start(dir: &Path, port: u16, before: &[&str]) -> Self {
        let mut words: Vec<String> = before.iter().map(|w| (*w).to_owned()).collect();
        words.push(env!("CARGO_BIN_EXE_pernode").to_owned());
        let log = std::fs::File::create(dir.join("server.log")).expect("a log file");
        let child = Command::new(&words[0])
            .args(&words[1..])
            .args(["server", "--parts", "apiserver", "--advertise-address", "127.0.0.1"])
            .args(["--listen", &format!("127.0.0.1:{port}"), "--data-dir"])
            .arg(dir.join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the server starts");
        let mut server = Self { child };
        let url = format!("https://127.0.0.1:{port}/readyz");
        let begin = Instant::now();
        loop {
            let ask = Command::new("curl").args(["-sk", "--max-time", "2", &url]).output();
            if ask.expect("curl runs").stdout == b"ok" {
                return server;
            }
            let log = || std::fs::read_to_string(dir.join("server.log")).unwrap_or_default();
            let ended = server.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "the server ended: {ended:?}\n{}", log());
            assert!(begin.elapsed() < Duration::from_secs(60), "not ready in time\n{}", log());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

async fn client(dir: &Path) -> Client {
    let config = Kubeconfig::read_from(dir.join("data/admin.kubeconfig")).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let config =
        kube::Config::from_custom_kubeconfig(config, &options).await.expect("it is usable");
    Client::try_from(config).expect("a client")
}

fn count(suite: &str) -> usize {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../proof/numbers.json");
    let text = std::fs::read_to_string(path).expect("proof/numbers.json is there");
    let numbers: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let form = std::env::var("PERNODE_NUMBERS").unwrap_or_else(|_| "short".to_owned());
    let number = numbers[&form][suite].as_u64().unwrap_or_else(|| panic!("no {suite} in {form}"));
    usize::try_from(number).expect("a small number")
}

fn map(name: &str, value: u64) -> ConfigMap {
    serde_json::from_value(serde_json::json!({
        "metadata": {"name": name}, "data": {"value": value.to_string()},
    }))
    .expect("a config map")
}

/// Creates and rewrites objects until the server is gone; what was acknowledged: name, value, revision.
async fn write(client: Client, round: usize, writer: usize) -> Vec<(String, u64, u64)> {
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let mut acknowledged = Vec::new();
    for value in 0u64.. {
        let name = format!("w{round}-{writer}-{}", value % 5);
        let params = PostParams::default();
        let answer = if value < 5 {
            api.create(&params, &map(&name, value)).await
        } else {
            api.replace(&name, &params, &map(&name, value)).await
        };
        match answer {
            Ok(made) => {
                let revision = made.metadata.resource_version.unwrap_or_default();
                acknowledged.push((name, value, revision.parse().expect("a revision")));
            }
            Err(kube::Error::Api(status)) => panic!("a write was refused: {status:?}"),
            Err(_) => break,
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_sigkill_and_revisions_never_go_back() {
    let kills = count("server_kills");
    let seed = u64::from(std::process::id());
    println!("{kills} kills, seed {seed}");
    let mut chance = SmallRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let port = free_port();
    let (mut expected, mut highest) = (BTreeMap::<String, (u64, u64)>::new(), 0);
    let mut total = 0;
    for round in 0..kills {
        let mut server = Server::start(dir.path(), port, &[]);
        let client = client(dir.path()).await;
        let highest_before = highest;
        check(&client, &expected, highest_before).await;
        let writers: Vec<_> = (0..WRITERS).map(|w| write(client.clone(), round, w)).collect();
        let pause = Duration::from_millis(chance.random_range(20..300));
        let killer = async {
            // no condition to wait for: the server is to die at any moment, in the midst of whatever it does
            tokio::time::sleep(pause).await;
            server.child.kill().expect("SIGKILL");
            server.child.wait().expect("it ended");
        };
        let (results, ()) = tokio::join!(futures::future::join_all(writers), killer);
        for (name, value, revision) in results.into_iter().flatten() {
            assert!(revision > highest_before, "round {round}: {revision} after {highest_before}");
            highest = highest.max(revision);
            expected.insert(name, (value, revision));
            total += 1;
        }
    }
    let _server = Server::start(dir.path(), port, &[]);
    check(&client(dir.path()).await, &expected, highest).await;
    println!("{total} acknowledged writes in {kills} lives");
    assert!(total > kills * WRITERS, "too few writes to show anything: {total}");
}

/// Every acknowledged write is there, or a later one of the same writer that was on its way at the kill.
async fn check(client: &Client, expected: &BTreeMap<String, (u64, u64)>, highest: u64) {
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let list = api.list(&ListParams::default()).await.expect("a list");
    let revision: u64 =
        list.metadata.resource_version.expect("a revision").parse().expect("a number");
    assert!(revision >= highest, "the store went back from {highest} to {revision}");
    let found: BTreeMap<String, ConfigMap> =
        list.items.into_iter().map(|m| (m.metadata.name.clone().unwrap_or_default(), m)).collect();
    for (name, (value, revision)) in expected {
        let map = found.get(name).unwrap_or_else(|| panic!("{name} at {revision} is lost"));
        let now: u64 =
            map.metadata.resource_version.as_deref().unwrap_or("0").parse().expect("a number");
        assert!(now >= *revision, "{name} went back from {revision} to {now}");
        let text = map.data.as_ref().and_then(|d| d.get("value")).expect("a value");
        assert!(
            now > *revision || *text == value.to_string(),
            "{name} at {now} holds {text}, not {value}"
        );
    }
}

/// One curl, so one connection: a pool of connections shakes hands on a second one while a write is on its way, and in
/// the trace that is hard to tell from an answer.
fn write_one_after_another(dir: &Path, port: u16, writes: u64) -> Vec<String> {
    let kubeconfig =
        std::fs::read_to_string(dir.join("data/admin.kubeconfig")).expect("it is there");
    let file = |name: &str, data: Vec<u8>| {
        let path = dir.join(name);
        std::fs::write(&path, data).expect("a file");
        path.display().to_string()
    };
    let secret = |field: &str| {
        let line = kubeconfig.lines().find_map(|l| l.trim().strip_prefix(field));
        STANDARD.decode(line.expect("it is in the kubeconfig").trim()).expect("base64")
    };
    let certificate = file("admin.crt", secret("client-certificate-data:"));
    let key = file("admin.key", secret("client-key-data:"));
    let url = format!("https://127.0.0.1:{port}/api/v1/namespaces/default/configmaps");
    let mut requests = Vec::new();
    for i in 0..writes {
        let body = file(
            &format!("s{i}.json"),
            serde_json::to_vec(&map(&format!("s{i}"), i)).expect("JSON"),
        );
        requests.push(format!(
            "url = {url}\nhttp1.1\ninsecure\nsilent\ncert = {certificate}\nkey = {key}\n\
             header = \"Content-Type: application/json\"\ndata-binary = @{body}\n\
             output = /dev/null\nwrite-out = \"%{{http_code}} %{{num_connects}}\\n\"\n"
        ));
    }
    let script = file("requests", requests.join("next\n").into_bytes());
    let output = Command::new("curl").args(["-K", &script]).output().expect("curl runs");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn no_acknowledgement_leaves_before_a_sync_that_began_after_its_write() {
    const WRITES: u64 = 40;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let port = free_port();
    let trace = dir.path().join("trace");
    let trace_text = trace.display().to_string();
    let calls = "trace=fsync,fdatasync,write,writev,pwrite64,sendto,sendmsg";
    let strace = ["strace", "-f", "-yy", "-s", "0", "-e", calls, "-o", &trace_text];
    let mut server = Server::start(dir.path(), port, &strace);
    let mark = std::fs::read_to_string(&trace).expect("a trace").lines().count();
    let answered = write_one_after_another(dir.path(), port, WRITES);
    let expected: Vec<String> = (0..WRITES).map(|i| format!("201 {}", u64::from(i == 0))).collect();
    assert_eq!(answered, expected, "every write was made, all over one connection");
    // strace ends with its child; the child is ended by its process id, as strace's only child
    let children = format!("/proc/{0}/task/{0}/children", server.child.id());
    let pid = std::fs::read_to_string(children).expect("strace has a child");
    Command::new("kill").args(["-TERM", pid.trim()]).status().expect("kill runs");
    server.child.wait().expect("it ended");
    let text = std::fs::read_to_string(&trace).expect("a trace");
    let (syncs, answers) = judge(text.lines().skip(mark)).unwrap_or_else(|fault| panic!("{fault}"));
    println!("{syncs} syncs, {answers} answers on the client's socket");
    assert!(syncs >= WRITES, "{syncs} syncs for {WRITES} writes one after another");
    assert!(answers >= WRITES, "{answers} answers for {WRITES} writes");
}

#[test]
fn an_answer_before_its_sync_is_found() {
    let good = [
        "1 pwrite64(9</d/pernode.db-wal>, ...) = 10",
        "1 fdatasync(9</d/pernode.db-wal>) = 0",
        "2 sendto(12<TCP:[127.0.0.1:1->127.0.0.1:2]>, ...) = 5",
    ];
    assert_eq!(judge(good.into_iter()), Ok((1, 1)));
    let early = [good[0], good[2], good[1]];
    assert!(judge(early.into_iter()).is_err());
    let overlapping = [
        "1 pwrite64(9</d/pernode.db-wal>, ...) = 10",
        "1 fdatasync(9</d/pernode.db-wal> <unfinished ...>",
        "2 sendto(12<TCP:[127.0.0.1:1->127.0.0.1:2]>, ...) = 5",
        "1 <... fdatasync resumed>) = 0",
    ];
    assert!(judge(overlapping.into_iter()).is_err());
    let stale = [
        "1 fdatasync(9</d/pernode.db-wal> <unfinished ...>",
        "3 pwrite64(9</d/pernode.db-wal>, ...) = 10",
        "1 <... fdatasync resumed>) = 0",
        "2 sendto(12<TCP:[127.0.0.1:1->127.0.0.1:2]>, ...) = 5",
    ];
    assert!(judge(stale.into_iter()).is_err(), "a sync that began before the write does not count");
}

/// Reads a trace of one client that writes one object after another: whenever the server writes to the client's socket,
/// nothing written to the store's files may be unsynced. Counts syncs and answers.
fn judge<'a>(lines: impl Iterator<Item = &'a str>) -> Result<(u64, u64), String> {
    // number of writes to the log so far; how many of them a finished sync covers; a running sync by thread
    let (mut written, mut durable) = (0u64, 0u64);
    let mut running: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut syncs, mut answers) = (0, 0);
    for line in lines {
        let (thread, call) = line.trim_start().split_once(' ').unwrap_or((line, ""));
        let call = call.trim_start();
        let is_store = call.contains("pernode.db");
        if call.starts_with("fsync") || call.starts_with("fdatasync") {
            if !is_store {
                continue;
            }
            if call.contains("<unfinished") {
                running.insert(thread, written);
            } else {
                durable = durable.max(written);
                syncs += 1;
            }
        } else if call.starts_with("<... fsync resumed")
            || call.starts_with("<... fdatasync resumed")
        {
            if let Some(covered) = running.remove(thread) {
                durable = durable.max(covered);
                syncs += 1;
            }
        } else if is_store && !call.contains("-shm") {
            written += 1;
        } else if call.contains("<TCP") {
            if durable < written {
                return Err(format!("answered with {} writes unsynced: {line}", written - durable));
            }
            answers += 1;
        }
    }
    Ok((syncs, answers))
}
