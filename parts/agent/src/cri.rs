//! The container runtime, through CRI v1 on a unix socket.

/// Stubs generated from `proto/cri.proto`.
#[expect(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    unused_qualifications,
    unreachable_pub,
    reason = "generated code"
)]
#[cfg_attr(
    test,
    expect(clippy::allow_attributes, clippy::clone_on_ref_ptr, reason = "generated code")
)]
pub(crate) mod v1 {
    tonic::include_proto!("runtime.v1");
}
pub(crate) mod tasks;

use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use v1::image_service_client::ImageServiceClient;
use v1::runtime_service_client::RuntimeServiceClient;

/// Where runtimes put their sockets, in the order in which we look.
pub(crate) const USUAL_SOCKETS: &[&str] = &[
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/k3s/containerd/containerd.sock",
    "/var/run/cri-dockerd.sock",
];
/// Longest wait for an answer that needs no work. Upstream waits 2 minutes for everything but pulls.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Longest wait for a sandbox or container to be made or removed (upstream: 2 minutes; sandboxes 4).
const WORK_MAX: Duration = Duration::from_secs(240);
/// Longest wait for one image; an hour is far beyond what a user would call progress.
const PULL_MAX: Duration = Duration::from_secs(3600);
/// Most bytes of one answer. A container's entry in a list is about 1 KiB: room for 16,000.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What a call to the runtime gave instead of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// What the runtime, or the connection to it, says.
    pub(crate) message: String,
    /// The call is not known to this runtime.
    pub(crate) is_unimplemented: bool,
    /// The thing asked about does not exist.
    pub(crate) is_absent: bool,
    /// It took longer than it might.
    pub(crate) is_late: bool,
    /// What kind of failure the runtime calls it.
    pub(crate) code: tonic::Code,
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Self {
            message: format!("rpc error: code = {:?} desc = {}", status.code(), status.message()),
            is_unimplemented: status.code() == tonic::Code::Unimplemented,
            is_absent: status.code() == tonic::Code::NotFound,
            // the second is how the client's own deadline is told
            is_late: matches!(
                status.code(),
                tonic::Code::DeadlineExceeded | tonic::Code::Cancelled
            ),
            code: status.code(),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// An answer, or why there is none.
pub(crate) type Answer<T> = Result<T, Failure>;

/// A connection to the runtime, made when it is first used and again when it breaks. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    socket: PathBuf,
    channel: Channel,
    pods: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

/// The socket to use: the one asked for, else the first usual one that exists. `Err` names the places tried.
pub(crate) fn socket(endpoint: Option<&str>) -> Result<PathBuf, Vec<PathBuf>> {
    let places: Vec<PathBuf> = match endpoint {
        Some(endpoint) => {
            vec![PathBuf::from(endpoint.strip_prefix("unix://").unwrap_or(endpoint))]
        }
        None => USUAL_SOCKETS.iter().map(PathBuf::from).collect(),
    };
    match places.iter().find(|place| place.exists()) {
        Some(place) => Ok(place.clone()),
        None => Err(places),
    }
}

fn request<T>(message: T, patience: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(patience);
    request
}

impl Runtime {
    /// A connection to a socket; nothing is sent yet. Must be called inside a tokio runtime.
    pub(crate) fn new(socket: &Path) -> Self {
        let path = socket.to_path_buf();
        let connector = tower::service_fn(move |_: http::Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // the name is never looked up; gRPC only wants one
        let channel =
            Endpoint::from_static("http://cri.invalid").connect_with_connector_lazy(connector);
        Self::over(channel, socket)
    }

    /// A connection that is there.
    pub(crate) fn over(channel: Channel, socket: &Path) -> Self {
        Self {
            socket: socket.to_path_buf(),
            channel: channel.clone(),
            pods: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(ANSWER_BYTES_MAX),
            images: ImageServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX),
        }
    }

    /// The socket, for messages.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Name and version.
    pub(crate) async fn version(&self) -> Answer<v1::VersionResponse> {
        let ask = v1::VersionRequest { version: "v1".to_owned() };
        Ok(self.pods.clone().version(request(ask, ANSWER_MAX)).await?.into_inner())
    }

    /// Its conditions; with `verbose` also its configuration.
    pub(crate) async fn status(&self, verbose: bool) -> Answer<v1::StatusResponse> {
        let ask = v1::StatusRequest { verbose };
        Ok(self.pods.clone().status(request(ask, ANSWER_MAX)).await?.into_inner())
    }

    /// Whether the runtime hands cgroups to systemd: by its own word, else by its configuration (containerd before 2.0).
    pub(crate) async fn uses_systemd(&self) -> Answer<bool> {
        match self
            .pods
            .clone()
            .runtime_config(request(v1::RuntimeConfigRequest {}, ANSWER_MAX))
            .await
        {
            Ok(answer) => {
                let linux = answer.into_inner().linux.unwrap_or_default();
                return Ok(linux.cgroup_driver == v1::CgroupDriver::Systemd as i32);
            }
            Err(status) if status.code() != tonic::Code::Unimplemented => return Err(status.into()),
            Err(_) => {}
        }
        let info = self.status(true).await?.info;
        let config: serde_json::Value =
            info.get("config").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let name = config["containerd"]["defaultRuntimeName"].as_str().unwrap_or("runc").to_owned();
        Ok(config["containerd"]["runtimes"][&name]["options"]["SystemdCgroup"] == true)
    }

    /// Tells of every change of a container, where the runtime can.
    pub(crate) async fn events(&self) -> Answer<tonic::Streaming<v1::ContainerEventResponse>> {
        let ask = tonic::Request::new(v1::GetEventsRequest {});
        Ok(self.pods.clone().get_container_events(ask).await?.into_inner())
    }

    /// Sandboxes that carry all these labels.
    pub(crate) async fn sandboxes(
        &self,
        labels: &BTreeMap<String, String>,
    ) -> Answer<Vec<v1::PodSandbox>> {
        let filter = v1::PodSandboxFilter {
            label_selector: labels.clone(),
            ..v1::PodSandboxFilter::default()
        };
        let ask = v1::ListPodSandboxRequest { filter: Some(filter) };
        Ok(self.pods.clone().list_pod_sandbox(request(ask, ANSWER_MAX)).await?.into_inner().items)
    }

    /// Containers that carry all these labels.
    pub(crate) async fn containers(
        &self,
        labels: &BTreeMap<String, String>,
    ) -> Answer<Vec<v1::Container>> {
        let filter = v1::ContainerFilter {
            label_selector: labels.clone(),
            ..v1::ContainerFilter::default()
        };
        let ask = v1::ListContainersRequest { filter: Some(filter) };
        Ok(self
            .pods
            .clone()
            .list_containers(request(ask, ANSWER_MAX))
            .await?
            .into_inner()
            .containers)
    }

    /// One sandbox, with its addresses.
    pub(crate) async fn sandbox(&self, id: &str) -> Answer<v1::PodSandboxStatus> {
        let ask = v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let answer = self.pods.clone().pod_sandbox_status(request(ask, ANSWER_MAX)).await?;
        Ok(answer.into_inner().status.unwrap_or_default())
    }

    /// One container, with its exit code and times.
    pub(crate) async fn container(&self, id: &str) -> Answer<v1::ContainerStatus> {
        let ask = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let answer = self.pods.clone().container_status(request(ask, ANSWER_MAX)).await?;
        Ok(answer.into_inner().status.unwrap_or_default())
    }

    /// Makes and starts a sandbox; its id.
    pub(crate) async fn run_sandbox(
        &self,
        config: v1::PodSandboxConfig,
        runtime_handler: &str,
    ) -> Answer<String> {
        let ask = v1::RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: runtime_handler.to_owned(),
        };
        let answer = self.pods.clone().run_pod_sandbox(request(ask, WORK_MAX)).await?;
        Ok(answer.into_inner().pod_sandbox_id)
    }

    /// Ends a sandbox and gives back its network. No error if there is none.
    pub(crate) async fn stop_sandbox(&self, id: &str) -> Answer<()> {
        let ask = v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        gone_is_fine(self.pods.clone().stop_pod_sandbox(request(ask, WORK_MAX)).await)
    }

    /// Removes a sandbox with its containers. No error if there is none.
    pub(crate) async fn remove_sandbox(&self, id: &str) -> Answer<()> {
        let ask = v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        gone_is_fine(self.pods.clone().remove_pod_sandbox(request(ask, WORK_MAX)).await)
    }

    /// Makes a container; its id.
    pub(crate) async fn create_container(
        &self,
        sandbox: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Answer<String> {
        let ask = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let answer = self.pods.clone().create_container(request(ask, WORK_MAX)).await?;
        Ok(answer.into_inner().container_id)
    }

    /// Starts a container.
    pub(crate) async fn start_container(&self, id: &str) -> Answer<()> {
        let ask = v1::StartContainerRequest { container_id: id.to_owned() };
        self.pods.clone().start_container(request(ask, WORK_MAX)).await?;
        Ok(())
    }

    /// Gives a running container other limits.
    pub(crate) async fn update_container(
        &self,
        id: &str,
        limits: v1::LinuxContainerResources,
    ) -> Answer<()> {
        let ask = v1::UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(limits),
        };
        self.pods.clone().update_container_resources(request(ask, ANSWER_MAX)).await?;
        Ok(())
    }

    /// Ends a container: its stop signal, then SIGKILL after `grace`. No error if there is none.
    pub(crate) async fn stop_container(&self, id: &str, grace: Duration) -> Answer<()> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let ask = v1::StopContainerRequest { container_id: id.to_owned(), timeout };
        gone_is_fine(self.pods.clone().stop_container(request(ask, grace + WORK_MAX)).await)
    }

    /// Removes a container. No error if there is none.
    pub(crate) async fn remove_container(&self, id: &str) -> Answer<()> {
        let ask = v1::RemoveContainerRequest { container_id: id.to_owned() };
        gone_is_fine(self.pods.clone().remove_container(request(ask, WORK_MAX)).await)
    }

    /// Runs a command in a container: exit code and output.
    pub(crate) async fn exec(
        &self,
        id: &str,
        command: Vec<String>,
        patience: Duration,
    ) -> Answer<v1::ExecSyncResponse> {
        let timeout = i64::try_from(patience.as_secs()).unwrap_or(i64::MAX).max(1);
        let ask = v1::ExecSyncRequest { container_id: id.to_owned(), cmd: command, timeout };
        let wait = patience + ANSWER_MAX;
        Ok(self.pods.clone().exec_sync(request(ask, wait)).await?.into_inner())
    }

    /// Where a command may be run in a container with its streams: a URL of the runtime's own server.
    pub(crate) async fn exec_url(&self, ask: v1::ExecRequest) -> Answer<String> {
        Ok(self.pods.clone().exec(request(ask, ANSWER_MAX)).await?.into_inner().url)
    }

    /// Where the streams of a container's first process are.
    pub(crate) async fn attach_url(&self, ask: v1::AttachRequest) -> Answer<String> {
        Ok(self.pods.clone().attach(request(ask, ANSWER_MAX)).await?.into_inner().url)
    }

    /// Where connections into a sandbox's network begin.
    pub(crate) async fn port_forward_url(&self, sandbox: &str, ports: Vec<i32>) -> Answer<String> {
        let ask = v1::PortForwardRequest { pod_sandbox_id: sandbox.to_owned(), port: ports };
        Ok(self.pods.clone().port_forward(request(ask, ANSWER_MAX)).await?.into_inner().url)
    }

    /// What containers that carry all these labels use.
    pub(crate) async fn stats(
        &self,
        labels: &BTreeMap<String, String>,
    ) -> Answer<Vec<v1::ContainerStats>> {
        let filter = v1::ContainerStatsFilter {
            label_selector: labels.clone(),
            ..v1::ContainerStatsFilter::default()
        };
        let ask = v1::ListContainerStatsRequest { filter: Some(filter) };
        Ok(self
            .pods
            .clone()
            .list_container_stats(request(ask, ANSWER_MAX))
            .await?
            .into_inner()
            .stats)
    }

    /// An image that is on this machine.
    pub(crate) async fn image(&self, name: &str) -> Answer<Option<v1::Image>> {
        let ask = v1::ImageStatusRequest { image: Some(spec(name)), verbose: false };
        Ok(self.images.clone().image_status(request(ask, ANSWER_MAX)).await?.into_inner().image)
    }

    /// Every image on this machine.
    pub(crate) async fn images(&self) -> Answer<Vec<v1::Image>> {
        let ask = v1::ListImagesRequest::default();
        Ok(self.images.clone().list_images(request(ask, ANSWER_MAX)).await?.into_inner().images)
    }

    /// Removes an image. No error if there is none.
    pub(crate) async fn remove_image(&self, name: &str) -> Answer<()> {
        let ask = v1::RemoveImageRequest { image: Some(spec(name)) };
        gone_is_fine(self.images.clone().remove_image(request(ask, WORK_MAX)).await)
    }

    /// Where images lie, if the runtime says so.
    pub(crate) async fn image_place(&self) -> Answer<Option<String>> {
        let ask = v1::ImageFsInfoRequest {};
        let answer = self.images.clone().image_fs_info(request(ask, ANSWER_MAX)).await?;
        let first = answer.into_inner().image_filesystems.into_iter().next();
        Ok(first
            .and_then(|one| one.fs_id)
            .map(|id| id.mountpoint)
            .filter(|place| !place.is_empty()))
    }

    /// Makes the runtime open a container's log anew, after the old one was put aside.
    pub(crate) async fn reopen_log(&self, id: &str) -> Answer<()> {
        let ask = v1::ReopenContainerLogRequest { container_id: id.to_owned() };
        self.pods.clone().reopen_container_log(request(ask, ANSWER_MAX)).await?;
        Ok(())
    }

    /// One word of its configuration (containerd's shape), by path.
    pub(crate) async fn setting(&self, path: &[&str]) -> Option<String> {
        let info = self.status(true).await.ok()?.info;
        let config: serde_json::Value = serde_json::from_str(info.get("config")?).ok()?;
        let found = path.iter().try_fold(&config, |value, key| value.get(key))?;
        found.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// Fetches an image; the reference of what came.
    pub(crate) async fn pull(
        &self,
        name: &str,
        auth: Option<v1::AuthConfig>,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Answer<String> {
        let ask = v1::PullImageRequest {
            image: Some(spec(name)),
            auth,
            sandbox_config: Some(sandbox_config),
        };
        Ok(self.images.clone().pull_image(request(ask, PULL_MAX)).await?.into_inner().image_ref)
    }
}

fn spec(image: &str) -> v1::ImageSpec {
    v1::ImageSpec { image: image.to_owned(), ..v1::ImageSpec::default() }
}

fn gone_is_fine<T>(answer: Result<T, tonic::Status>) -> Answer<()> {
    match answer {
        Ok(_) => Ok(()),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
        Err(status) => Err(status.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_is_not_there_names_every_place_tried() {
        let tried = socket(Some("unix:///nowhere/at-all.sock")).unwrap_err();
        assert_eq!(tried, [PathBuf::from("/nowhere/at-all.sock")]);
    }
}
