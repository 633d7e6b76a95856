//! What is asked of the machine: its name, its address, its limits.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// The host name; empty when it is not text.
pub(crate) fn name() -> String {
    rustix::system::uname().nodename().to_str().unwrap_or_default().to_owned()
}

/// The address that others reach this machine by: that of the route outward, or loopback where there is none.
pub(crate) fn outward_address() -> IpAddr {
    // connecting a datagram socket only looks up the route; nothing is sent (192.0.2.0/24 is nobody's, RFC 5737)
    let found = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    found
        .map(|address: SocketAddr| address.ip())
        .ok()
        .filter(|ip| !ip.is_unspecified())
        .unwrap_or_else(|| IpAddr::from(Ipv4Addr::LOCALHOST))
}

/// Allows as many open files as the machine lets us: every agent holds one connection.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(fault) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%fault, "cannot raise the limit of open files");
    }
}
