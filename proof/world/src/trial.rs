//! One run: the cluster, the deeds, the calm, the verdict.

use crate::cluster::Cluster;
use crate::gate::{Bug, Gate};
use crate::scenario::{CALM_FROM, Scenario};
use kit::Clock;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long the cluster may take to come to rest. The longest way: a lost node is given up after 50 s, its pods are
/// quarantined for 40 s and collected within 20 s, back-off may have grown to a minute; twice that.
const REST_MAX: Duration = Duration::from_secs(300);
/// How long rest has to last to be believed.
const REST_MIN: Duration = Duration::from_secs(10);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How a run went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What was wrong; empty if nothing.
    pub faults: Vec<String>,
    /// Every request, event and deed, with the virtual milliseconds since the start.
    pub tape: Vec<String>,
}

impl Outcome {
    /// What to tell about a run that failed.
    pub fn report(&self) -> String {
        format!(
            "seed {}:\n  {}\nreplay: cargo run -p world -- {}",
            self.seed,
            self.faults.join("\n  "),
            self.seed
        )
    }
}

/// Plays a seed.
pub fn run(seed: u64, bug: Option<Bug>) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return Outcome { seed, faults: vec![error.to_string()], tape: Vec::new() };
        }
    };
    runtime.block_on(play(seed, bug))
}

async fn play(seed: u64, bug: Option<Bug>) -> Outcome {
    let clock = Clock::starting_at(jiff::Timestamp::from_second(1_800_000_000).unwrap_or_default());
    let gate = Gate::new(seed, clock.clone(), bug);
    let scenario = Scenario::of(seed);
    let mut own = Vec::new();
    match Cluster::start(seed, &scenario, &gate, &clock).await {
        Err(error) => own.push(error),
        Ok(mut cluster) => {
            if let Err(error) = go_through(&mut cluster, &scenario, &gate, &clock).await {
                own.push(error);
            }
            own.extend(
                cluster.panicked().into_iter().map(|task| format!("the task {task} panicked")),
            );
            cluster.end().await;
        }
    }
    let (tape, mut faults) = gate.end();
    faults.extend(own);
    Outcome { seed, faults, tape }
}

async fn go_through(
    cluster: &mut Cluster,
    scenario: &Scenario,
    gate: &Arc<Gate>,
    clock: &Clock,
) -> Result<(), String> {
    let start = Instant::now();
    for (at, deed) in &scenario.deeds {
        tokio::time::sleep_until(start + *at).await;
        cluster.perform(*deed).await?;
    }
    tokio::time::sleep_until(start + CALM_FROM).await;
    gate.calm();
    gate.note("== calm");
    let deadline = Instant::now() + REST_MAX;
    let mut resting_since = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(server) = cluster.server() else { return Err("the server is down".to_owned()) };
        let unrest = gate.witness(|witness| witness.unrest(server.records(), clock.now()));
        if unrest.is_empty() {
            let (since, acts) = *resting_since.get_or_insert_with(|| (Instant::now(), gate.acts()));
            if since.elapsed() >= REST_MIN {
                gate.note("== rest");
                let idle = gate.acts() - acts;
                return match idle {
                    0 => Ok(()),
                    _ => Err(format!("the engine made {idle} changes though all was well")),
                };
            }
        } else {
            resting_since = None;
        }
        if Instant::now() > deadline {
            return Err(format!("not at rest after {REST_MAX:?}: {}", unrest.join("; ")));
        }
    }
}
