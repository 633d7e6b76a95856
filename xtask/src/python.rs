//! The official Python client against the real server: an informer loop over TLS.

use crate::{demo, say, sh};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The client, at the version it was last seen to work with.
const CLIENT: &str = "kubernetes==37.0.2";

/// How long the server may take to be ready.
const READY_DEADLINE: Duration = Duration::from_secs(60);

/// Runs the program; says so and goes on where there is no Python, or nowhere to get the client from.
pub(crate) fn run() -> Result<()> {
    let root = demo::repository()?;
    let packages = root.join("target/python-client");
    if !install(&packages) {
        say("== python client: SKIPPED, python3 with pip and the package index are needed");
        return Ok(());
    }
    let folder = tempfile_folder()?;
    let outcome = with_server(&root, &folder, &packages);
    std::fs::remove_dir_all(&folder).context("cannot remove the server's folder")?;
    outcome
}

fn install(packages: &Path) -> bool {
    if packages.join("kubernetes").is_dir() {
        return true;
    }
    let installed = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"])
        .arg(packages)
        .arg(CLIENT)
        .status();
    installed.is_ok_and(|status| status.success())
}

fn tempfile_folder() -> Result<std::path::PathBuf> {
    let made = Command::new("mktemp").args(["-d", "--suffix=-pernode"]).output()?;
    Ok(String::from_utf8(made.stdout)?.trim().into())
}

/// Ends its process when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn with_server(root: &Path, folder: &Path, packages: &Path) -> Result<()> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    drop(listener);
    let data = folder.join("data");
    let server = Command::new(std::env::current_exe()?.with_file_name("pernode"))
        .args(["server", "--parts", "apiserver", "--listen", &address, "--data-dir"])
        .arg(&data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start pernode, which lies beside this program")?;
    let _server = Server(server);
    let begin = Instant::now();
    let url = format!("https://{address}/readyz");
    while sh::raw("curl", &["-sk", "--max-time", "2", &url])?.stdout != b"ok" {
        if begin.elapsed() > READY_DEADLINE {
            bail!("the server did not become ready");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let status = Command::new("python3")
        .arg(root.join("app/tests/clients/informer.py"))
        .arg(data.join("admin.kubeconfig"))
        .env("PYTHONPATH", packages)
        .status()?;
    if !status.success() {
        bail!("the python client's informer failed: {status}");
    }
    Ok(())
}
