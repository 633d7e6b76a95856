//! TLS handshakes under way. Whoever is in one has proved nothing yet, so there are few places, and the oldest gives way
//! to the newest: somebody who opens connections and stays silent keeps nobody else out.

use std::collections::VecDeque;
use tokio::sync::oneshot;

/// Handshakes at the same time. An honest one takes a few milliseconds; each costs about 50 KiB: 6 MiB when full.
const HANDSHAKES_MAX: usize = 128;

/// All of them, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Handshakes(VecDeque<oneshot::Sender<()>>);

/// One of them; dropped when it is done.
#[derive(Debug)]
pub(super) struct Turn(oneshot::Receiver<()>);

impl Handshakes {
    /// Begins one more. If there is no place, the oldest is over.
    pub(super) fn begin(&mut self) -> Turn {
        self.0.retain(|one| !one.is_closed());
        while self.0.len() >= HANDSHAKES_MAX {
            self.0.pop_front();
        }
        let (place, turn) = oneshot::channel();
        self.0.push_back(place);
        Turn(turn)
    }
}

impl Turn {
    /// Returns when a newer one needs the place.
    pub(super) async fn over(self) {
        let _ = self.0.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn the_oldest_gives_way_and_those_that_are_done_take_no_place() {
        let mut all = Handshakes::default();
        let silent: Vec<Turn> = (0..HANDSHAKES_MAX).map(|_| all.begin()).collect();
        let honest = all.begin();
        let ended: Vec<bool> =
            silent.into_iter().map(|turn| turn.over().now_or_never().is_some()).collect();
        assert_eq!(ended.iter().filter(|is_over| **is_over).count(), 1);
        assert!(ended[0], "the oldest");
        // those that were looked at are dropped by now: there is room for as many again
        let more: Vec<Turn> = (1..HANDSHAKES_MAX).map(|_| all.begin()).collect();
        assert!(honest.over().now_or_never().is_none());
        assert!(more.into_iter().all(|turn| turn.over().now_or_never().is_none()));
    }
}
