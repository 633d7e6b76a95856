//! The container runtime, through CRI v1 on a unix socket.

/// Stubs generated from `proto/cri.proto`.
#[expect(
    clippy::all,
    clippy::pedantic,
    unused_qualifications,
    unreachable_pub,
    reason = "generated code"
)]
pub(crate) mod v1 {
    tonic::include_proto!("runtime.v1");
}
