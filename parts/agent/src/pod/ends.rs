//! Ends that the node itself decides on: the pod's time is over, or it takes more room than it may.

use super::Worker;
use super::files::blocking;
use crate::words::reason;
use crate::world::{Ending, World};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// Grace of a pod that takes more room than it may (upstream's number).
const AT_ONCE: Duration = Duration::from_secs(1);
/// Upstream's sentence for a pod whose time is over (spec E10).
const TIME_OVER: &str = "Pod was active on the node longer than the specified deadline";

impl Worker {
    /// Takes what the node has ordered, if that leaves less time than what holds already. A pod that has ended by itself
    /// stays what it is; what still runs of it is only hurried.
    pub(super) fn take_order(
        &mut self,
        ordered: Option<Ending>,
        world: &World,
        now: Timestamp,
    ) -> bool {
        let Some(ordered) = ordered else { return false };
        let is_own = self.memory.ending.is_none() && crate::plan::status::is_over(world);
        if is_own {
            return self.hurry(ordered.grace, now);
        }
        let is_news = ordered.is_sooner_than(self.memory.ending.as_ref());
        if is_news {
            self.end(ordered, now);
        }
        is_news
    }

    fn end(&mut self, ending: Ending, now: Timestamp) {
        self.hurry(ending.grace, now);
        self.memory.ending = Some(ending);
    }

    fn hurry(&mut self, grace: Option<Duration>, now: Timestamp) -> bool {
        let Some(grace) = grace else { return false };
        let is_news = self.memory.hurry.is_none_or(|(known, _)| grace < known);
        if is_news {
            self.memory.hurry = Some((grace, now));
        }
        is_news
    }

    /// Ends the pod when its time is over.
    pub(super) fn end_at_deadline(&mut self, world: &World, now: Timestamp) -> bool {
        let is_over = world.deadline().is_some_and(|deadline| deadline <= now);
        let is_ending = self.memory.ending.is_some() || world.is_deleted();
        if !is_over || is_ending || crate::plan::status::is_over(world) {
            return false;
        }
        let ending = Ending {
            reason: reason::DEADLINE_EXCEEDED,
            message: TIME_OVER.to_owned(),
            grace: None,
            disruption: None,
        };
        let text = "Pod was active on the node longer than specified deadline".to_owned();
        self.context.tell(&world.pod, "", false, ending.reason, text);
        self.end(ending, now);
        true
    }

    /// Whether the pod has room that has to be measured.
    pub(super) fn is_measured(&self) -> bool {
        let desired = self.desired.borrow();
        let volumes = desired.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        self.memory.is_prepared
            && !self.memory.is_cleaned
            && desired.is_known
            && self.memory.ending.is_none()
            && volumes.into_iter().any(crate::volumes::is_limited)
    }

    /// Ends the pod if one of its volumes takes more than it may (spec E53).
    pub(super) async fn measure(&mut self) {
        let context = Arc::clone(&self.context);
        let pod = Arc::clone(&self.desired.borrow().pod);
        let measured = Arc::clone(&pod);
        let found = blocking(move || crate::volumes::over_limit(&context.root, &measured)).await;
        let Ok(Some(message)) = found else { return };
        self.context.tell(&pod, "", true, reason::EVICTED, message.clone());
        let ending = Ending {
            reason: reason::EVICTED,
            message,
            grace: Some(AT_ONCE),
            disruption: Some(reason::TERMINATION_BY_KUBELET),
        };
        self.end(ending, self.context.setup.clock.now());
    }
}
