//! When a probe asks, and what follows from its answers (spec E40, E41, E43).

use k8s_openapi::api::core::v1::Probe;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// Tries of a probe that could not run, before that is told (upstream's number).
const TRIES_MAX: usize = 3;

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// All is well.
    Success,
    /// Counts as success, and is worth a look.
    Warning(String),
    /// Not well: what was said.
    Failure(String),
    /// The probe could not run: no result.
    Broken(String),
}

/// What a probe is told to its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// One failure.
    Failed(String),
    /// It could not run.
    Broken(String),
    /// A success that is worth a look.
    Warned(String),
    /// As many successes in a row as are needed.
    Passed,
    /// As many failures in a row as are needed.
    GaveUp,
}

/// Pace and thresholds of one probe.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    delay: Duration,
    period: Duration,
    successes: u32,
    failures: u32,
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
}

/// How long one question may take.
pub(super) fn patience(probe: &Probe) -> Duration {
    seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1))
}

impl Pace {
    /// For a container that has been running for `age`: the delay counts from its start.
    pub(super) fn of(probe: &Probe, age: Duration) -> Self {
        let count = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).unwrap_or(default).max(1)
        };
        Self {
            delay: seconds(probe.initial_delay_seconds, 0).saturating_sub(age),
            period: seconds(probe.period_seconds, 10).max(Duration::from_secs(1)),
            successes: count(probe.success_threshold, 1),
            failures: count(probe.failure_threshold, 3),
        }
    }

    /// Asks until `hear` says that it is enough. A question that takes longer than a period is followed by the next one
    /// at once; more missed ones are not made up for.
    pub(super) async fn keep<Asked: Future<Output = Answer>>(
        &self,
        mut ask: impl FnMut() -> Asked,
        mut hear: impl FnMut(Heard) -> bool,
    ) {
        let mut ticks = tokio::time::interval_at(Instant::now() + self.delay, self.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut good, mut bad) = (0, 0);
        loop {
            ticks.tick().await;
            let mut answer = ask().await;
            for _ in 1..TRIES_MAX {
                if !matches!(answer, Answer::Broken(_)) {
                    break;
                }
                answer = ask().await;
            }
            match answer {
                Answer::Success | Answer::Warning(_) => {
                    if let Answer::Warning(text) = answer {
                        hear(Heard::Warned(text));
                    }
                    (good, bad) = (good + 1, 0);
                    if good >= self.successes && hear(Heard::Passed) {
                        return;
                    }
                }
                Answer::Failure(output) => {
                    (good, bad) = (0, bad + 1);
                    hear(Heard::Failed(output));
                    if bad >= self.failures && hear(Heard::GaveUp) {
                        return;
                    }
                }
                Answer::Broken(problem) => {
                    hear(Heard::Broken(problem));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use serde_json::json;

    /// What is heard, and at which second, while the questions are answered in turn and take `takes`.
    async fn run(
        probe: serde_json::Value,
        age: u64,
        answers: Vec<Answer>,
        takes: Duration,
    ) -> Vec<(u64, Heard)> {
        let probe: Probe = serde_json::from_value(probe).unwrap();
        let begun = Instant::now();
        let heard = Mutex::new(Vec::new());
        let rest = Mutex::new(answers.into_iter());
        let ask = || async {
            tokio::time::sleep(takes).await;
            let next = rest.lock().next();
            match next {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        };
        let hear = |what: Heard| {
            heard.lock().push((begun.elapsed().as_secs(), what));
            false
        };
        let pace = Pace::of(&probe, Duration::from_secs(age));
        let _ = tokio::time::timeout(Duration::from_secs(1000), pace.keep(ask, hear)).await;
        heard.into_inner()
    }

    fn failure() -> Answer {
        Answer::Failure("no".to_owned())
    }

    fn failed() -> Heard {
        Heard::Failed("no".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_question_comes_after_the_delay_and_the_others_a_period_apart() {
        let probe = json!({"initialDelaySeconds": 5, "periodSeconds": 10});
        let heard = run(probe, 0, vec![Answer::Success; 3], Duration::ZERO).await;
        assert_eq!(heard, [(5, Heard::Passed), (15, Heard::Passed), (25, Heard::Passed)]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_delay_counts_from_the_containers_start() {
        let probe = json!({"initialDelaySeconds": 5, "periodSeconds": 10});
        for (age, first) in [(3, 2), (5, 0), (500, 0)] {
            let heard = run(probe.clone(), age, vec![Answer::Success], Duration::ZERO).await;
            assert_eq!(heard, [(first, Heard::Passed)]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn by_default_three_failures_ten_seconds_apart_are_enough_and_one_success_forgives() {
        let answers = vec![failure(), failure(), Answer::Success, failure(), failure(), failure()];
        let heard = run(json!({}), 0, answers, Duration::ZERO).await;
        let wanted = [
            (0, failed()),
            (10, failed()),
            (20, Heard::Passed),
            (30, failed()),
            (40, failed()),
            (50, failed()),
            (50, Heard::GaveUp),
        ];
        assert_eq!(heard, wanted);
    }

    #[tokio::test(start_paused = true)]
    async fn successes_have_to_come_in_a_row() {
        let answers = vec![Answer::Success, failure(), Answer::Success, Answer::Success];
        let probe = json!({"successThreshold": 2, "periodSeconds": 1});
        let heard = run(probe, 0, answers, Duration::ZERO).await;
        assert_eq!(heard, [(1, failed()), (3, Heard::Passed)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_cannot_run_is_tried_three_times_and_counts_for_nothing() {
        let broken = || Answer::Broken("gone".to_owned());
        let answers = vec![failure(), failure(), broken(), broken(), broken(), failure()];
        let heard = run(json!({"periodSeconds": 1}), 0, answers, Duration::ZERO).await;
        let wanted = [
            (0, failed()),
            (1, failed()),
            (2, Heard::Broken("gone".to_owned())),
            (3, failed()),
            (3, Heard::GaveUp),
        ];
        assert_eq!(heard, wanted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_is_followed_at_once_and_the_missed_ones_are_not_made_up_for() {
        let probe = json!({"periodSeconds": 2});
        let heard = run(probe, 0, vec![Answer::Success; 3], Duration::from_secs(7)).await;
        assert_eq!(heard, [(7, Heard::Passed), (14, Heard::Passed), (21, Heard::Passed)]);
    }
}
