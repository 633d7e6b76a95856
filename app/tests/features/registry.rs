//! A registry that asks for a password, over the images of the cluster's own.

use crate::node::{Node, until};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The name by which manifests know it.
const HOST: &str = "private.example";
/// `user` with the password `sesame`.
const USERS: &str = "user:$2b$04$7MW2kcoIydLvbXz9Kb9D.uGMI/XJj9IjYxBmm/Dg/hAkFfZBMI5kS\n";
/// How long it may take to listen.
const START: Duration = Duration::from_secs(60);

/// Runs until it is dropped.
pub(crate) struct Private(Child);

impl Private {
    /// Starts it, and tells the node's runtime where it is.
    pub(crate) fn start(node: &Node) -> Self {
        let (dir, gateway) = node.place();
        let free = TcpListener::bind((gateway, 0)).expect("a free port");
        let address = free.local_addr().expect("its address");
        drop(free);
        let users = dir.join("registry.users");
        std::fs::write(&users, USERS).expect("a file");
        let images = dir.join("../../registry").canonicalize().expect("the cluster's images");
        let config = serde_json::json!({
            "version": "0.1", "log": {"level": "error", "accesslog": {"disabled": true}},
            "storage": {"filesystem": {"rootdirectory": images}},
            "http": {"addr": address.to_string()},
            "auth": {"htpasswd": {"realm": "private", "path": users}},
        });
        let file = dir.join("registry.json");
        std::fs::write(&file, config.to_string()).expect("a file");
        Self::tell(dir, &address.to_string());
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry runs");
        let own = Self(child);
        until(START, || {
            TcpStream::connect(address).map(drop).map_err(|error| format!("no registry: {error}"))
        });
        own
    }

    /// The runtime's file about the registry: where it is, and that it speaks without TLS.
    fn tell(dir: &Path, address: &str) {
        let folder = dir.join("certs.d").join(HOST);
        std::fs::create_dir_all(&folder).expect("a folder");
        let text = format!(
            "server = \"https://{HOST}\"\n\n[host.\"http://{address}/v2/docker.io\"]\n  \
             capabilities = [\"pull\", \"resolve\"]\n  override_path = true\n"
        );
        std::fs::write(folder.join("hosts.toml"), text).expect("a file");
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
