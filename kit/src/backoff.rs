//! Waiting longer after every failure, without chance.

use std::time::Duration;

/// Doubles from `initial` to `max`. The salt shortens each wait by up to a quarter, so that many processes that
/// failed together do not return together; the same salt gives the same waits.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    salt: u64,
    failures: u32,
}

impl Backoff {
    /// A back-off without any failure yet.
    pub fn new(initial: Duration, max: Duration, salt: u64) -> Self {
        Self { initial, max, salt, failures: 0 }
    }

    /// Counts a failure and says how long to wait.
    pub fn failed(&mut self) -> Duration {
        let whole = exponential(self.initial, self.max, self.failures);
        let parts =
            if self.salt == 0 { 0 } else { mix(self.salt ^ u64::from(self.failures)) % 256 };
        self.failures = self.failures.saturating_add(1);
        // parts of 1024: at most 255/1024, just under a quarter
        whole.saturating_sub(whole / 1024 * u32::try_from(parts).unwrap_or(0))
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Forgets the failures.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// `initial` doubled `failures` times, at most `max`.
pub fn exponential(initial: Duration, max: Duration, failures: u32) -> Duration {
    let factor = 1u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX);
    initial.checked_mul(factor).map_or(max, |wait| wait.min(max))
}

/// Spreads a number over all bits (the finaliser of SplitMix64).
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(1000), 0);
        let waits: Vec<u128> = (0..4).map(|_| backoff.failed().as_millis()).collect();
        assert_eq!(waits, [5, 10, 20, 40]);
        for _ in 0..60 {
            backoff.failed();
        }
        assert_eq!(backoff.failed(), Duration::from_secs(1000));
        backoff.succeeded();
        assert_eq!(backoff.failed(), Duration::from_millis(5));
    }

    #[test]
    fn a_salt_shortens_by_less_than_a_quarter_and_repeats_itself() {
        let run = |salt| {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30), salt);
            (0..20).map(|_| backoff.failed()).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        for (salted, plain) in run(7).into_iter().zip(run(0)) {
            assert!(salted <= plain && salted * 4 >= plain * 3, "{salted:?} of {plain:?}");
        }
    }
}
