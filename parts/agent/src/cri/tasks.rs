//! Tasks that a runtime's CRI side knows nothing of.
//!
//! A container is started in two steps: a task is made for it, and is run. When the caller goes away between them (an
//! agent killed at that moment), containerd's CRI side may take the container for one that never ran, and leave the task
//! with nobody who waits for its end. It then refuses to remove the container for ever ("cannot delete running task"),
//! even when no process of it lives. containerd's service for tasks, at the same socket, deletes it; other runtimes answer
//! that they do not know the service, and nothing has changed.

/// Stubs generated from `proto/tasks.proto`.
#[expect(
    clippy::allow_attributes_without_reason,
    unused_qualifications,
    unreachable_pub,
    reason = "generated code"
)]
#[cfg_attr(
    test,
    expect(
        clippy::pedantic,
        clippy::allow_attributes,
        clippy::clone_on_ref_ptr,
        reason = "generated code"
    )
)]
pub(crate) mod v1 {
    tonic::include_proto!("containerd.services.tasks.v1");
}

use super::{ANSWER_MAX, Answer, Runtime, request};
use std::time::Duration;
use tonic::metadata::MetadataValue;
use v1::tasks_client::TasksClient;

/// The namespace in which containerd keeps what CRI made.
const NAMESPACE: &str = "k8s.io";
/// Signal 9.
const KILL: u32 = 9;
/// How often a task is deleted, and the pause before: its end is known once its shim has seen it, usually within 50 ms.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(100);

fn in_namespace<T>(message: T) -> tonic::Request<T> {
    let mut request = request(message, ANSWER_MAX);
    request.metadata_mut().insert("containerd-namespace", MetadataValue::from_static(NAMESPACE));
    request
}

impl Runtime {
    /// Ends and deletes the task of one container.
    ///
    /// # Errors
    /// The runtime has no such service, or the container no task.
    pub(crate) async fn end_task(&self, container: &str) -> Answer<()> {
        let mut tasks = TasksClient::new(self.channel.clone());
        let id = container.to_owned();
        let kill = v1::KillRequest { container_id: id.clone(), signal: KILL, all: true };
        if let Err(status) = tasks.kill(in_namespace(kill)).await {
            // one whose processes have ended is deleted all the same
            tracing::debug!(container, "no signal: {status}");
        }
        let mut tries = 0;
        loop {
            let delete = v1::DeleteTaskRequest { container_id: id.clone() };
            match tasks.delete(in_namespace(delete)).await {
                Ok(_) => return Ok(()),
                Err(status) => {
                    tries += 1;
                    let is_over = tries == TRIES || is_final(status.code());
                    if is_over {
                        return Err(status.into());
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn is_final(code: tonic::Code) -> bool {
    matches!(
        code,
        tonic::Code::NotFound
            | tonic::Code::Unimplemented
            | tonic::Code::Unavailable
            | tonic::Code::DeadlineExceeded
            // how the client's own deadline is told
            | tonic::Code::Cancelled
    )
}
