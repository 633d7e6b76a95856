//! The time of day, in one place.

use jiff::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// Tells the time of day. The only reader of the system's clock outside `app`.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// The machine's clock, with its corrections.
    System,
    /// A moment, plus what tokio's clock has moved since.
    From { wall: Timestamp, instant: Instant },
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that shows `start` now and moves with tokio's clock; a paused test moves both.
    pub fn starting_at(start: Timestamp) -> Self {
        Self(Source::From { wall: start, instant: Instant::now() })
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            #[expect(
                clippy::disallowed_methods,
                reason = "this is the one place that reads the clock"
            )]
            Source::System => Timestamp::now(),
            Source::From { wall, instant } => {
                wall.checked_add(instant.elapsed()).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// A moment of the clock that only goes forward, whatever becomes of the time of day: for how long something
    /// lasted, as this process saw it.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// tokio's instant at which this clock will show `moment`; now, if that has passed.
    pub fn instant_of(&self, moment: Timestamp) -> Instant {
        let wait = moment.duration_since(self.now());
        Instant::now() + Duration::try_from(wait).unwrap_or(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_virtual_clock_moves_with_paused_time() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = Clock::starting_at(start);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now().to_string(), "2026-01-01T00:01:30Z");
        let later: Timestamp = "2026-01-01T00:02:00Z".parse().unwrap();
        assert_eq!(clock.instant_of(later) - Instant::now(), Duration::from_secs(30));
        assert_eq!(clock.instant_of(start), Instant::now());
    }
}
