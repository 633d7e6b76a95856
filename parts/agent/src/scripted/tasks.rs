//! The service for tasks beside CRI.

use super::{Reply, Scripted};
use crate::cri::tasks::v1;
use tonic::{Request, Response, Status};
use v1::tasks_server::Tasks;

impl Scripted {
    fn task(&self, namespace: Option<&str>, id: &str) -> Result<(), Status> {
        assert_eq!(namespace, Some("k8s.io"), "where CRI keeps its own");
        let state = self.state.lock();
        let is_there = state.tasks.iter().flatten().any(|one| one == id);
        if is_there { Ok(()) } else { Err(Status::not_found("no task")) }
    }
}

fn namespace<T>(request: &Request<T>) -> Option<&str> {
    request.metadata().get("containerd-namespace").and_then(|value| value.to_str().ok())
}

#[tonic::async_trait]
impl Tasks for Scripted {
    async fn kill(&self, request: Request<v1::KillRequest>) -> Reply<v1::Nothing> {
        self.task(namespace(&request), &request.get_ref().container_id)?;
        self.did(&format!("kill {}", request.get_ref().signal));
        Ok(Response::new(v1::Nothing {}))
    }

    async fn delete(&self, request: Request<v1::DeleteTaskRequest>) -> Reply<v1::Nothing> {
        let id = &request.get_ref().container_id;
        self.task(namespace(&request), id)?;
        self.state.lock().tasks.iter_mut().for_each(|tasks| tasks.retain(|one| one != id));
        self.did("delete task");
        Ok(Response::new(v1::Nothing {}))
    }
}
