//! Sandboxes and containers: made, started, stopped.

use super::{Done, Worker};
use crate::config::{self, Parts};
use crate::context::Context;
use crate::env::{self, Sources};
use crate::plan::Stop;
use crate::probe;
use crate::words::reason;
use crate::world::{WHOLE_POD, World};
use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use std::sync::Arc;
use std::time::Duration;

/// What is left for SIGTERM when the hook before the stop has used the grace up (spec E34).
const AFTER_HOOK: Duration = Duration::from_secs(2);
/// Longest wait for a hook after the start.
const HOOK_MAX: Duration = Duration::from_secs(120);

impl Worker {
    pub(super) async fn run_sandbox(&mut self, world: &World, attempt: u32) -> Done {
        let context = Arc::clone(&self.context);
        if attempt > 0 {
            let text = "Pod sandbox changed, it will be killed and re-created.".to_owned();
            context.tell(&world.pod, "", false, reason::SANDBOX_CHANGED, text);
        }
        let uid = world.pod.metadata.uid.clone().unwrap_or_default();
        let config = config::sandbox(&world.pod, attempt, &context.setting(&uid));
        let handler = match config::users(&world.pod).and_then(|()| config::kernel_name(&world.pod))
        {
            Ok(_) => context.handler(&world.pod).await,
            Err(problem) => Err(problem),
        };
        let made = match handler {
            Ok(handler) => {
                let making = context.runtime.run_sandbox(config, &handler);
                let made = self.while_made(world, making).await;
                made.map_err(|failure| failure.to_string())
            }
            Err(problem) => Err(problem),
        };
        match made {
            Ok(_) => {
                self.memory.troubles.remove(WHOLE_POD);
                Ok(())
            }
            Err(problem) => {
                let text = format!("Failed to create pod sandbox: {problem}");
                let reason = reason::FAILED_CREATE_POD_SANDBOX;
                context.tell(&world.pod, "", true, reason, text.clone());
                self.failed(WHOLE_POD, reason, text);
                Err(())
            }
        }
    }

    /// Image, configuration, container, start; each failure has its waiting reason (spec E22, E32).
    pub(super) async fn start(&mut self, world: &World, name: &str, attempt: u32) -> Done {
        let context = Arc::clone(&self.context);
        let Some(mut container) = Self::by_name(world, name) else { return Err(()) };
        container.resources = world.granted(&container);
        let Some(sandbox) = world.ready_sandbox().cloned() else { return Err(()) };
        let uid = world.pod.metadata.uid.clone().unwrap_or_default();
        let setting = context.setting(&uid);
        let sandbox_config = config::sandbox(&world.pod, sandbox.attempt, &setting);
        let image = self.ensure_image(world, &container, sandbox_config.clone()).await?;
        let config = match self.container_config(world, &container, attempt, image).await {
            Ok(config) => config,
            Err(text) => {
                return self.start_failed(world, name, reason::CREATE_CONTAINER_CONFIG_ERROR, text);
            }
        };
        if let Err(text) = self.widen(world).await {
            return self.start_failed(world, name, reason::CREATE_CONTAINER_ERROR, text);
        }
        let id = match context.runtime.create_container(&sandbox.id, config, sandbox_config).await {
            Ok(id) => id,
            Err(failure) => {
                return self.start_failed(
                    world,
                    name,
                    reason::CREATE_CONTAINER_ERROR,
                    failure.message,
                );
            }
        };
        let pod = &world.pod;
        context.tell(pod, name, false, reason::CREATED, "Container created".to_owned());
        if let Err(failure) = context.runtime.start_container(&id).await {
            return self.start_failed(world, name, reason::RUN_CONTAINER_ERROR, failure.message);
        }
        context.tell(pod, name, false, reason::STARTED, "Container started".to_owned());
        self.memory.troubles.remove(name);
        self.link_log(world, name, &id, attempt);
        self.post_start(world, &container, &id).await
    }

    /// What the container's environment names; where the server cannot be asked, as it was at the start before (upstream
    /// keeps these objects, too): a container starts again while the server is away.
    async fn environment(
        &mut self,
        world: &World,
        container: &Container,
        attempt: u32,
    ) -> Result<Arc<Sources>, String> {
        let name = &container.name;
        let known = self.environments.get(name).and_then(|before| before.services.clone());
        let is_first = attempt == 0 && known.is_none();
        if let Some(sources) = self.ahead.sources(name).filter(|_| is_first) {
            let sources = Arc::new(sources);
            self.environments.insert(name.clone(), Arc::clone(&sources));
            return Ok(sources);
        }
        match self.context.environment_of(&world.pod, container, known, is_first).await {
            Ok(sources) => {
                let sources = Arc::new(sources);
                self.environments.insert(name.clone(), Arc::clone(&sources));
                Ok(sources)
            }
            Err(problem) => self.environments.get(name).cloned().ok_or(problem),
        }
    }

    async fn container_config(
        &mut self,
        world: &World,
        container: &Container,
        attempt: u32,
        image: super::image::Ready,
    ) -> Result<crate::cri::v1::ContainerConfig, String> {
        let context = Arc::clone(&self.context);
        let sources = self.environment(world, container, attempt).await?;
        let own =
            world.ready_sandbox().map(|sandbox| sandbox.addresses.clone()).unwrap_or_default();
        let is_host = world.spec().host_network == Some(true);
        let place = context.place(if is_host { context.addresses.clone() } else { own });
        let variables = env::environment(&world.pod, container, &sources, &place)?;
        let (mounts, message_file) = self.mounts(world, container, attempt, variables).await?;
        let parts = Parts {
            attempt,
            image: image.id,
            mounts,
            sources: &sources,
            place: &place,
            message_file,
            image_user: image.user,
        };
        let uid = world.pod.metadata.uid.clone().unwrap_or_default();
        let target = world.target_of(&container.name)?;
        let mut config = config::container(&world.pod, container, parts, &context.setting(&uid))?;
        if let Some(target) = target {
            config::join_processes(&mut config, target);
        }
        Ok(config)
    }

    fn start_failed(&mut self, world: &World, name: &str, why: &'static str, text: String) -> Done {
        self.context.tell(&world.pod, name, true, reason::FAILED, format!("Error: {text}"));
        self.failed(name, why, text);
        Err(())
    }

    /// The hook after the start; a container whose hook fails is stopped (spec E31).
    async fn post_start(&mut self, world: &World, container: &Container, id: &str) -> Done {
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        let Some(hook) = hook else { return Ok(()) };
        let Err(problem) = run_hook(&self.context, world, container, id, hook, HOOK_MAX).await
        else {
            return Ok(());
        };
        let name = &container.name;
        // what a hook says may hold secrets: events tell only that it failed, as upstream's
        let text = "PostStartHook failed".to_owned();
        self.context.tell(&world.pod, name, true, reason::FAILED_POST_START_HOOK, text);
        let text = problem;
        let stopped = self.context.runtime.stop_container(id, Duration::from_secs(30)).await;
        if let Err(failure) = stopped {
            tracing::warn!(pod = world.pod.metadata.name, "container not stopped: {failure}");
        }
        self.failed(name, reason::POST_START_HOOK_ERROR, text);
        Err(())
    }
}

/// Stops a container: its hook, its stop signal, SIGKILL. `Err` says why it is not stopped.
pub(super) async fn stop_one(
    context: Arc<Context>,
    world: &World,
    stop: Stop,
    is_first: bool,
) -> Result<(), String> {
    let begun = tokio::time::Instant::now();
    if is_first {
        context.tell(&world.pod, &stop.name, false, reason::KILLING, stop.message.clone());
        let container = super::container(world, &stop.name);
        let hook = container.and_then(|container| {
            Some((container, container.lifecycle.as_ref()?.pre_stop.as_ref()?))
        });
        if let Some((container, hook)) = hook {
            let run = run_hook(&context, world, container, &stop.id, hook, stop.grace).await;
            if let Err(problem) = run {
                tracing::debug!(container = stop.name, "hook before the stop: {problem}");
                let text = "PreStopHook failed".to_owned();
                let reason = reason::FAILED_PRE_STOP_HOOK;
                context.tell(&world.pod, &stop.name, true, reason, text);
            }
        }
    }
    let spent = begun.elapsed();
    let grace = if spent < Duration::from_millis(500) {
        stop.grace
    } else {
        stop.grace.saturating_sub(spent).max(AFTER_HOOK.min(stop.grace))
    };
    let stopped = context.runtime.stop_container(&stop.id, grace).await;
    stopped.map_err(|failure| format!("failed to stop container {}: {failure}", stop.name))
}

async fn run_hook(
    context: &Context,
    world: &World,
    container: &Container,
    id: &str,
    hook: &LifecycleHandler,
    patience: Duration,
) -> Result<(), String> {
    let work = async {
        if let Some(exec) = &hook.exec {
            let command = exec.command.clone().unwrap_or_default();
            let shown = command.join(" ");
            let answer = context.runtime.exec(id, command, patience).await;
            let answer = answer.map_err(|failure| failure.message)?;
            if answer.exit_code == 0 {
                return Ok(());
            }
            let output = [answer.stdout, answer.stderr].concat();
            let output = String::from_utf8_lossy(&output).into_owned();
            return Err(format!(
                "Exec lifecycle hook ([{shown}]) for Container \"{}\" in Pod \"{}\" failed - error: command '{shown}' \
                 exited with {}: {output}, message: {output:?}",
                container.name,
                crate::text::pod_name(&world.pod),
                answer.exit_code
            ));
        }
        if let Some(http) = &hook.http_get {
            let own = world.ready_sandbox().and_then(|sandbox| sandbox.addresses.first());
            let host = own.or_else(|| context.addresses.first()).cloned().unwrap_or_default();
            let target = probe::http::Target::of(http, container, &host)?;
            return probe::http::get(target, patience).await.map(drop);
        }
        if let Some(sleep) = &hook.sleep {
            let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
        Ok(())
    };
    tokio::time::timeout(patience, work).await.unwrap_or_else(|_| Err("timed out".to_owned()))
}
