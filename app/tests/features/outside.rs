//! Somebody outside the pods' network, who tells each caller the address that it has from there.

use crate::node::{NAMESPACE, Node};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Answers until it is dropped.
pub(crate) struct Outside {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Outside {
    /// Listens on this machine's address on the cluster's network, and writes its place into the map of the manifest.
    pub(crate) fn start(node: &Node) -> Self {
        let (_, gateway) = node.place();
        let listener = TcpListener::bind((gateway, 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                if seen.load(Ordering::Relaxed) {
                    return;
                }
                // a caller that says nothing is left
                let _ = answer(caller);
            }
        });
        let place = format!("--from-literal=place={address}");
        node.kubectl(&["create", "configmap", "outside", "-n", NAMESPACE, &place]);
        Self { address, is_over, thread: Some(thread) }
    }
}

fn answer(mut caller: TcpStream) -> std::io::Result<()> {
    caller.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = [0; 4096];
    let _ = caller.read(&mut request)?;
    let address = caller.peer_addr()?.ip();
    write!(caller, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n{address}\n")
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
