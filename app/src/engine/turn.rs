//! Whose turn it is to lead, by what a Lease says. Pure.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use std::time::Duration;

/// How long a Lease lasts, and how it is kept. Upstream: 15 s, 10 s, 2 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timings {
    /// A Lease that was not renewed for this long is free.
    pub(crate) duration: Duration,
    /// A leader that could not renew for this long leads no longer; less than `duration`.
    pub(crate) deadline: Duration,
    /// Between two tries.
    pub(crate) retry: Duration,
}

/// What to do with a Lease.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Turn {
    /// Write this: it is or becomes ours.
    Ours(Box<LeaseSpec>),
    /// Somebody else leads.
    Theirs(String),
}

/// Decides. `unchanged`: for how long we have seen the Lease as it is, by our own clock, so that nobody's clock but
/// ours matters.
pub(crate) fn plan(
    seen: Option<&LeaseSpec>,
    me: &str,
    unchanged: Duration,
    timings: Timings,
    now: Timestamp,
) -> Turn {
    let holder = seen.and_then(|seen| seen.holder_identity.as_deref()).unwrap_or_default();
    let seconds = seen.and_then(|seen| seen.lease_duration_seconds).unwrap_or(0);
    let lasts = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    if !holder.is_empty() && holder != me && unchanged < lasts {
        return Turn::Theirs(holder.to_owned());
    }
    let mut spec = seen.cloned().unwrap_or_default();
    if holder != me {
        spec.acquire_time = Some(MicroTime(now));
        let before = spec.lease_transitions.unwrap_or(0);
        // the first holder of a new Lease follows nobody
        spec.lease_transitions = Some(if seen.is_some() { before.saturating_add(1) } else { 0 });
    }
    spec.holder_identity = Some(me.to_owned());
    let seconds = timings.duration.as_secs().max(1);
    spec.lease_duration_seconds = Some(i32::try_from(seconds).unwrap_or(i32::MAX));
    spec.renew_time = Some(MicroTime(now));
    Turn::Ours(Box::new(spec))
}

/// The Lease given up: free for anybody, at once.
pub(crate) fn given_up(seen: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        ..seen.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMINGS: Timings = Timings {
        duration: Duration::from_secs(15),
        deadline: Duration::from_secs(10),
        retry: Duration::from_secs(2),
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn take(seen: Option<&LeaseSpec>, me: &str, unchanged: u64) -> Result<LeaseSpec, String> {
        match plan(seen, me, Duration::from_secs(unchanged), TIMINGS, at(100)) {
            Turn::Ours(spec) => Ok(*spec),
            Turn::Theirs(holder) => Err(holder),
        }
    }

    #[test]
    fn a_lease_is_taken_when_free_kept_while_ours_and_left_while_theirs() {
        let mine = take(None, "me", 0).unwrap();
        assert_eq!(mine.holder_identity.as_deref(), Some("me"));
        assert_eq!((mine.lease_duration_seconds, mine.lease_transitions), (Some(15), Some(0)));
        let renewed = take(Some(&mine), "me", 60).unwrap();
        assert_eq!(
            (renewed.lease_transitions, &renewed.acquire_time),
            (Some(0), &mine.acquire_time)
        );
        assert_eq!(take(Some(&mine), "other", 14), Err("me".to_owned()));
        assert_eq!(take(Some(&mine), "other", 15).unwrap().lease_transitions, Some(1));
    }

    #[test]
    fn a_lease_that_was_given_up_is_free_at_once() {
        let mine = take(None, "me", 0).unwrap();
        let free = given_up(&mine, at(101));
        assert!(take(Some(&free), "other", 0).is_ok());
    }
}
