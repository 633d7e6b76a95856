//! Containers that end, and what is told meanwhile.

use super::{Desired, Done, Worker, apply, interrupted};
use crate::plan::Stop;
use crate::world::World;
use std::sync::Arc;

impl Worker {
    /// Stops these containers, all at once. Readiness is told while they end, as it is asked for until their very end.
    /// `None`: what is wanted of the pod has changed.
    pub(super) async fn stop_all(
        &mut self,
        world: &World,
        stops: Vec<Stop>,
        before: &Desired,
    ) -> Option<Done> {
        let mut work = Vec::with_capacity(stops.len());
        let mut renewals = Vec::with_capacity(stops.len());
        for stop in stops {
            renewals.push(stop.is_renewal.then(|| stop.id.clone()));
            let is_first = self.announced.insert(stop.id.clone());
            work.push(apply::stop_one(Arc::clone(&self.context), world, stop, is_first));
        }
        let mut work = Box::pin(futures::future::join_all(work));
        let mut desired = self.desired.clone();
        let mut interrupted = Box::pin(interrupted(&mut desired, before, true));
        let called = Arc::clone(&self.called);
        let done = loop {
            tokio::select! {
                biased;
                () = &mut interrupted => return None,
                done = &mut work => break done,
                () = called.notified() => self.show_health(world),
            }
        };
        // only what has ended by it is made anew whatever its policy says
        let ended = renewals.into_iter().zip(&done).filter(|(_, done)| done.is_ok());
        self.memory.renewed.extend(ended.filter_map(|(renewal, _)| renewal));
        let failures: Vec<String> = done.into_iter().filter_map(Result::err).collect();
        Some(if failures.is_empty() { Ok(()) } else { self.noted(world, Err(failures.join("; "))) })
    }

    /// What the probes say now, of containers as they were seen last.
    fn show_health(&mut self, world: &World) {
        let mut world = world.clone();
        world.memory.health = self.probes.health();
        {
            let desired = self.desired.borrow();
            world.pod = Arc::clone(&desired.pod);
            world.is_known = desired.is_known;
        }
        let now = self.context.setup.clock.now();
        self.show(&world, now, false);
    }
}
