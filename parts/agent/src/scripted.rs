//! For tests: a container runtime that answers CRI in memory as a script says, and a node around it.

use crate::cri::tasks::v1::tasks_server::TasksServer;
use crate::cri::{Runtime, v1};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tonic::{Request, Response, Status};
use tower::Service as _;
use v1::image_service_server::{ImageService, ImageServiceServer};
use v1::runtime_service_server::{RuntimeService, RuntimeServiceServer};

mod bench;
mod tasks;
pub(crate) use bench::Bench;

type Reply<T> = Result<Response<T>, Status>;

/// What the runtime has, and how it behaves.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) sandboxes: Vec<v1::PodSandbox>,
    pub(crate) containers: Vec<v1::ContainerStatus>,
    /// Sandbox of each container.
    homes: BTreeMap<String, String>,
    /// Calls that changed something, in order.
    pub(crate) asked: Vec<String>,
    /// Cgroup parents and handlers of the sandboxes that were asked for.
    pub(crate) parents: Vec<(String, String)>,
    /// What `RuntimeConfig` says; `None`: the call is not known.
    pub(crate) driver: Option<v1::CgroupDriver>,
    /// Whether `GetContainerEvents` is known.
    pub(crate) has_events: bool,
    listeners: Vec<mpsc::Sender<Result<v1::ContainerEventResponse, Status>>>,
    /// How long a stop takes.
    pub(crate) stop: Duration,
    /// Grace of each stop that was asked for, in seconds.
    pub(crate) graces: Vec<i64>,
    /// Whose processes each container was to see.
    pub(crate) targets: Vec<String>,
    /// How long a list takes; it shows what is so at its end.
    pub(crate) slow: Duration,
    /// How long the making of a sandbox takes.
    pub(crate) making: Duration,
    /// Whether the images that pods name are missing, and cannot be pulled.
    pub(crate) lacks_images: bool,
    /// What ConfigMaps hold under their key, if it is not `value`.
    pub(crate) in_maps: Option<String>,
    /// Environments of the containers that were made, as `NAME=value`.
    pub(crate) environments: Vec<Vec<String>>,
    /// Images that are there.
    pub(crate) images: Vec<v1::Image>,
    /// Removals that fail, by image id.
    pub(crate) stuck_images: Vec<String>,
    /// Answers to the removal of a sandbox before it works.
    pub(crate) refusals: Vec<Status>,
    /// Containers with a task that CRI does not know of; `None`: the runtime has no such service.
    pub(crate) tasks: Option<Vec<String>>,
    /// Lists that were asked for.
    pub(crate) lists: usize,
    made: i64,
    /// Commands that were run in containers.
    pub(crate) execs: usize,
    /// Whether these succeed.
    pub(crate) exec_works: bool,
    /// CPU shares that running containers were given.
    pub(crate) shares: Vec<i64>,
}

/// The runtime. Clones are the same.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) state: Arc<Mutex<State>>,
    /// The test's.
    pub(crate) clock: kit::Clock,
    /// While it is true no call is answered.
    pub(crate) hung: watch::Sender<bool>,
    /// Rises with every change.
    pub(crate) changes: watch::Sender<u64>,
}

impl Scripted {
    pub(crate) fn new() -> Self {
        let (hung, _) = watch::channel(false);
        let (changes, _) = watch::channel(0);
        let start = "2026-01-01T00:00:00Z".parse().expect("a time");
        let clock = kit::Clock::starting_at(start);
        Self { state: Arc::default(), clock, hung, changes }
    }

    /// Nanoseconds since the epoch.
    fn nanoseconds(&self) -> i64 {
        i64::try_from(self.clock.now().as_nanosecond()).expect("before the year 2262")
    }

    /// A connection to it; what serves it lives in `tasks`.
    pub(crate) fn connect(&self, tasks: &kit::Tasks) -> Runtime {
        let (own, serving) = (self.clone(), tasks.clone());
        let connector = tower::service_fn(move |_: http::Uri| {
            let (near, far) = tokio::io::duplex(1 << 16);
            let served = own.clone().serve(far);
            serving.spawn("scripted runtime", served);
            async move { Ok::<_, std::io::Error>(TokioIo::new(near)) }
        });
        let channel = tonic::transport::Endpoint::from_static("http://cri.invalid")
            .connect_with_connector_lazy(connector);
        Runtime::over(channel, Path::new("/scripted.sock"))
    }

    async fn serve(self, far: tokio::io::DuplexStream) {
        let service = hyper::service::service_fn(move |request: http::Request<_>| {
            let own = self.clone();
            async move {
                own.hung.subscribe().wait_for(|is_hung| !is_hung).await.expect("its own sender");
                if request.uri().path().contains("ImageService") {
                    ImageServiceServer::new(own).call(request).await
                } else if request.uri().path().contains("Tasks") && own.state.lock().tasks.is_some()
                {
                    TasksServer::new(own).call(request).await
                } else {
                    RuntimeServiceServer::new(own).call(request).await
                }
            }
        });
        let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = http.serve_connection(TokioIo::new(far), service).await;
    }

    /// A container ends by itself.
    pub(crate) fn exits(&self, name: &str, code: i32) {
        let mut state = self.state.lock();
        let one = state.containers.iter_mut().find(|one| {
            one.metadata.as_ref().is_some_and(|own| own.name == name)
                && one.state() == v1::ContainerState::ContainerRunning
        });
        let one = one.expect("it runs");
        one.set_state(v1::ContainerState::ContainerExited);
        one.exit_code = code;
        one.finished_at = self.nanoseconds();
        let id = one.id.clone();
        for listener in &state.listeners {
            let event =
                v1::ContainerEventResponse { container_id: id.clone(), ..Default::default() };
            listener.try_send(Ok(event)).expect("room for an event");
        }
        drop(state);
        self.changed();
    }

    /// A pod that ended has left its sandbox and its first container.
    pub(crate) fn left_over(&self, pod: &k8s_openapi::api::core::v1::Pod) {
        let labels = crate::config::labels("n", pod);
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let (id, container) = (format!("old-sandbox-{uid}"), format!("old-{uid}"));
        let name = pod.spec.as_ref().and_then(|spec| spec.containers.first());
        let name = name.map(|one| one.name.clone()).unwrap_or_default();
        let mut state = self.state.lock();
        state.homes.insert(container.clone(), id.clone());
        state.containers.push(v1::ContainerStatus {
            id: container,
            metadata: Some(v1::ContainerMetadata { name, attempt: 0 }),
            state: v1::ContainerState::ContainerExited as i32,
            labels: labels.clone(),
            ..v1::ContainerStatus::default()
        });
        state.sandboxes.push(v1::PodSandbox {
            id,
            state: v1::PodSandboxState::SandboxNotready as i32,
            labels,
            ..v1::PodSandbox::default()
        });
    }

    /// Waits until the state is as wanted.
    pub(crate) async fn until(&self, is_so: impl Fn(&State) -> bool) {
        let mut changes = self.changes.subscribe();
        changes.wait_for(|_| is_so(&self.state.lock())).await.expect("its own sender");
    }

    async fn wait_for_list(&self) {
        let slow = self.state.lock().slow;
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn did(&self, what: &str) {
        self.state.lock().asked.push(what.to_owned());
        self.changed();
    }
}

/// Containers that run, by name.
pub(crate) fn running(state: &State) -> Vec<String> {
    let list = state.containers.iter();
    list.filter(|one| one.state() == v1::ContainerState::ContainerRunning)
        .map(|one| one.metadata.clone().unwrap_or_default().name)
        .collect()
}

fn carries(own: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| own.get(key) == Some(value))
}

fn none<T>() -> Reply<T> {
    Err(Status::not_found("no such thing"))
}

#[tonic::async_trait]
impl RuntimeService for Scripted {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Reply<v1::StatusResponse> {
        Ok(Response::new(v1::StatusResponse::default()))
    }

    async fn runtime_config(
        &self,
        _: Request<v1::RuntimeConfigRequest>,
    ) -> Reply<v1::RuntimeConfigResponse> {
        let driver = self.state.lock().driver;
        let driver = driver.ok_or_else(|| Status::unimplemented("RuntimeConfig"))? as i32;
        let linux = Some(v1::LinuxRuntimeConfiguration { cgroup_driver: driver });
        Ok(Response::new(v1::RuntimeConfigResponse { linux }))
    }

    async fn get_container_events(
        &self,
        _: Request<v1::GetEventsRequest>,
    ) -> Reply<tonic::codegen::BoxStream<v1::ContainerEventResponse>> {
        let mut state = self.state.lock();
        if !state.has_events {
            return Err(Status::unimplemented("GetContainerEvents"));
        }
        let (sender, receiver) = mpsc::channel(16);
        state.listeners.push(sender);
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver))))
    }

    async fn list_pod_sandbox(
        &self,
        ask: Request<v1::ListPodSandboxRequest>,
    ) -> Reply<v1::ListPodSandboxResponse> {
        let wanted = ask.into_inner().filter.unwrap_or_default().label_selector;
        self.wait_for_list().await;
        let mut state = self.state.lock();
        state.lists += 1;
        let items = state.sandboxes.iter().filter(|one| carries(&one.labels, &wanted));
        Ok(Response::new(v1::ListPodSandboxResponse { items: items.cloned().collect() }))
    }

    async fn list_containers(
        &self,
        ask: Request<v1::ListContainersRequest>,
    ) -> Reply<v1::ListContainersResponse> {
        let wanted = ask.into_inner().filter.unwrap_or_default().label_selector;
        self.wait_for_list().await;
        let state = self.state.lock();
        let list = state.containers.iter().filter(|one| carries(&one.labels, &wanted));
        let containers = list.map(|one| v1::Container {
            id: one.id.clone(),
            pod_sandbox_id: state.homes[&one.id].clone(),
            metadata: one.metadata.clone(),
            state: one.state,
            created_at: one.created_at,
            labels: one.labels.clone(),
            ..v1::Container::default()
        });
        Ok(Response::new(v1::ListContainersResponse { containers: containers.collect() }))
    }

    async fn pod_sandbox_status(
        &self,
        _: Request<v1::PodSandboxStatusRequest>,
    ) -> Reply<v1::PodSandboxStatusResponse> {
        let network =
            v1::PodSandboxNetworkStatus { ip: "10.0.0.7".to_owned(), ..Default::default() };
        let status = v1::PodSandboxStatus { network: Some(network), ..Default::default() };
        Ok(Response::new(v1::PodSandboxStatusResponse {
            status: Some(status),
            ..Default::default()
        }))
    }

    async fn container_status(
        &self,
        ask: Request<v1::ContainerStatusRequest>,
    ) -> Reply<v1::ContainerStatusResponse> {
        let id = ask.into_inner().container_id;
        let status = self.state.lock().containers.iter().find(|one| one.id == id).cloned();
        match status {
            None => none(),
            status => {
                Ok(Response::new(v1::ContainerStatusResponse { status, ..Default::default() }))
            }
        }
    }

    async fn run_pod_sandbox(
        &self,
        ask: Request<v1::RunPodSandboxRequest>,
    ) -> Reply<v1::RunPodSandboxResponse> {
        let v1::RunPodSandboxRequest { config, runtime_handler } = ask.into_inner();
        let config = config.unwrap_or_default();
        if runtime_handler == "unknown" {
            return Err(Status::unknown("no runtime for \"unknown\" is configured"));
        }
        let making = self.state.lock().making;
        tokio::time::sleep(making).await;
        let mut state = self.state.lock();
        state.made += 1;
        let id = format!("sandbox-{}", state.made);
        let parent = config.linux.unwrap_or_default().cgroup_parent;
        state.parents.push((parent, runtime_handler));
        // no two are made at the same time
        let created_at = self.nanoseconds() + state.made;
        state.sandboxes.push(v1::PodSandbox {
            id: id.clone(),
            metadata: config.metadata,
            created_at,
            labels: config.labels,
            annotations: config.annotations,
            ..v1::PodSandbox::default()
        });
        drop(state);
        self.did("run sandbox");
        Ok(Response::new(v1::RunPodSandboxResponse { pod_sandbox_id: id }))
    }

    async fn stop_pod_sandbox(
        &self,
        ask: Request<v1::StopPodSandboxRequest>,
    ) -> Reply<v1::StopPodSandboxResponse> {
        let id = ask.into_inner().pod_sandbox_id;
        for one in self.state.lock().sandboxes.iter_mut().filter(|one| one.id == id) {
            one.set_state(v1::PodSandboxState::SandboxNotready);
        }
        self.did("stop sandbox");
        Ok(Response::new(v1::StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(
        &self,
        ask: Request<v1::RemovePodSandboxRequest>,
    ) -> Reply<v1::RemovePodSandboxResponse> {
        let id = ask.into_inner().pod_sandbox_id;
        let mut state = self.state.lock();
        if !state.refusals.is_empty() {
            return Err(state.refusals.remove(0));
        }
        let has_task = |one: &String| state.homes.get(one) == Some(&id);
        if state.tasks.iter().flatten().any(has_task) {
            return Err(Status::failed_precondition("cannot delete running task"));
        }
        state.sandboxes.retain(|one| one.id != id);
        let homes = state.homes.clone();
        state.containers.retain(|one| homes[&one.id] != id);
        drop(state);
        self.did("remove sandbox");
        Ok(Response::new(v1::RemovePodSandboxResponse {}))
    }

    async fn create_container(
        &self,
        ask: Request<v1::CreateContainerRequest>,
    ) -> Reply<v1::CreateContainerResponse> {
        let v1::CreateContainerRequest { pod_sandbox_id, config, .. } = ask.into_inner();
        let config = config.unwrap_or_default();
        let mut state = self.state.lock();
        state.made += 1;
        let id = format!("container-{}", state.made);
        state.homes.insert(id.clone(), pod_sandbox_id);
        let variables = config.envs.iter().map(|one| format!("{}={}", one.key, one.value));
        state.environments.push(variables.collect());
        let security = config.linux.unwrap_or_default().security_context.unwrap_or_default();
        state.targets.push(security.namespace_options.unwrap_or_default().target_id);
        let created_at = self.nanoseconds() + state.made;
        state.containers.push(v1::ContainerStatus {
            id: id.clone(),
            metadata: config.metadata,
            created_at,
            labels: config.labels,
            annotations: config.annotations,
            ..v1::ContainerStatus::default()
        });
        drop(state);
        self.did("create container");
        Ok(Response::new(v1::CreateContainerResponse { container_id: id }))
    }

    async fn start_container(
        &self,
        ask: Request<v1::StartContainerRequest>,
    ) -> Reply<v1::StartContainerResponse> {
        let id = ask.into_inner().container_id;
        for one in self.state.lock().containers.iter_mut().filter(|one| one.id == id) {
            one.set_state(v1::ContainerState::ContainerRunning);
            one.started_at = self.nanoseconds();
        }
        self.did("start container");
        Ok(Response::new(v1::StartContainerResponse {}))
    }

    async fn stop_container(
        &self,
        ask: Request<v1::StopContainerRequest>,
    ) -> Reply<v1::StopContainerResponse> {
        let v1::StopContainerRequest { container_id: id, timeout } = ask.into_inner();
        self.state.lock().graces.push(timeout);
        self.did("stop container");
        let wait = self.state.lock().stop;
        tokio::time::sleep(wait).await;
        for one in self.state.lock().containers.iter_mut().filter(|one| one.id == id) {
            one.set_state(v1::ContainerState::ContainerExited);
            one.finished_at = self.nanoseconds();
        }
        self.changed();
        Ok(Response::new(v1::StopContainerResponse {}))
    }

    async fn update_container_resources(
        &self,
        ask: Request<v1::UpdateContainerResourcesRequest>,
    ) -> Reply<v1::UpdateContainerResourcesResponse> {
        let limits = ask.into_inner().linux.unwrap_or_default();
        self.state.lock().shares.push(limits.cpu_shares);
        self.did("update container");
        Ok(Response::new(v1::UpdateContainerResourcesResponse {}))
    }

    async fn reopen_container_log(
        &self,
        _: Request<v1::ReopenContainerLogRequest>,
    ) -> Reply<v1::ReopenContainerLogResponse> {
        Ok(Response::new(v1::ReopenContainerLogResponse {}))
    }

    async fn exec_sync(&self, _: Request<v1::ExecSyncRequest>) -> Reply<v1::ExecSyncResponse> {
        let mut state = self.state.lock();
        state.execs += 1;
        let exit_code = i32::from(!state.exec_works);
        Ok(Response::new(v1::ExecSyncResponse { exit_code, ..Default::default() }))
    }

    async fn remove_container(
        &self,
        ask: Request<v1::RemoveContainerRequest>,
    ) -> Reply<v1::RemoveContainerResponse> {
        let id = ask.into_inner().container_id;
        self.state.lock().containers.retain(|one| one.id != id);
        self.did("remove container");
        Ok(Response::new(v1::RemoveContainerResponse {}))
    }
}

#[tonic::async_trait]
impl ImageService for Scripted {
    async fn image_status(
        &self,
        _: Request<v1::ImageStatusRequest>,
    ) -> Reply<v1::ImageStatusResponse> {
        let is_here = !self.state.lock().lacks_images;
        let image = is_here.then(|| v1::Image { id: "image".to_owned(), ..v1::Image::default() });
        Ok(Response::new(v1::ImageStatusResponse { image, ..Default::default() }))
    }

    async fn list_images(
        &self,
        _: Request<v1::ListImagesRequest>,
    ) -> Reply<v1::ListImagesResponse> {
        let images = self.state.lock().images.clone();
        Ok(Response::new(v1::ListImagesResponse { images }))
    }

    async fn remove_image(
        &self,
        ask: Request<v1::RemoveImageRequest>,
    ) -> Reply<v1::RemoveImageResponse> {
        let id = ask.into_inner().image.unwrap_or_default().image;
        self.did(&format!("remove image {id}"));
        let mut state = self.state.lock();
        if state.stuck_images.contains(&id) {
            return Err(Status::unknown("no such luck"));
        }
        state.images.retain(|image| image.id != id);
        Ok(Response::new(v1::RemoveImageResponse {}))
    }
}
