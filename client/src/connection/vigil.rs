//! Whether the server is still there: decided soon while it owes an answer, and with patience while it owes none.
//!
//! Never: a slow commit, a slow line or a machine that stood still taken for a server that is gone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Error;
use super::shared::Shared;
use crate::carrier::Ear;

/// So much silence of a session that owes an answer decides that the device is offline.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// What a slow line carries of requests, 32 kB/s: an answer comes no sooner than its request is there, nor does a pong.
const SLOW_LINE_BYTES_PER_MS: u64 = 32;
/// However much is under way.
const SILENCE_WITH_REQUESTS_MAX: Duration = Duration::from_secs(10);
/// How often a server is asked whether it is there, while it owes an answer: it answers whatever a commit takes.
const PING_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether something came, while an answer is due.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Before *welcome* there are no pings, and a node takes up to 10 s until it says that it is busy.
const SILENCE_BEFORE_WELCOME_MAX: Duration = Duration::from_secs(12);
/// After so much silence a WebSocket on which nothing is due is asked; after as much again it is given up.
pub(super) const IDLE_LOOK_EVERY: Duration = Duration::from_secs(5);
const _: () = assert!(LOOK_EVERY.as_millis() < PING_EVERY.as_millis() && PING_EVERY.as_millis() < SILENCE_MAX.as_millis());

/// What the server has still to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// Nothing.
    Nothing,
    /// An account call, or *hello*.
    BeforeWelcome,
    /// Requests of an open session.
    Requests {
        /// Of all of them.
        bytes: usize,
    },
}

impl Unanswered {
    /// After how much silence the server is gone.
    fn silence_max(self) -> Duration {
        match self {
            Self::Nothing => IDLE_LOOK_EVERY * 2,
            Self::BeforeWelcome => SILENCE_BEFORE_WELCOME_MAX,
            Self::Requests { bytes } => {
                let under_way = Duration::from_millis(bytes as u64 / SLOW_LINE_BYTES_PER_MS);
                (SILENCE_MAX + under_way).min(SILENCE_WITH_REQUESTS_MAX)
            }
        }
    }

    /// How long to wait for the next look, and between two pings.
    const fn pace(self) -> (Duration, Option<Duration>) {
        match self {
            Self::Nothing => (IDLE_LOOK_EVERY, Some(IDLE_LOOK_EVERY)),
            Self::BeforeWelcome => (LOOK_EVERY, None),
            Self::Requests { .. } => (LOOK_EVERY, Some(PING_EVERY)),
        }
    }
}

/// What to do after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Wait,
    Ping,
    /// There was no sign of life for so long.
    Gone(Duration),
}

/// How long it has been silent.
#[derive(Debug)]
struct Vigil {
    heard: u64,
    silent: Duration,
    since_ping: Duration,
}

impl Vigil {
    const fn new(heard: u64) -> Self {
        Self { heard, silent: Duration::ZERO, since_ping: Duration::ZERO }
    }

    /// Something is asked after nothing was due: silence counts from now on.
    const fn begin(&mut self, heard: u64) {
        *self = Self::new(heard);
    }

    /// A look after `passed`. A process that stood still longer than it wanted to may not have read what is there.
    fn look(&mut self, passed: Duration, heard: u64, unanswered: Unanswered) -> Step {
        let (every, ping_every) = unanswered.pace();
        let passed = passed.min(every * 2);
        self.since_ping += passed;
        if heard == self.heard {
            self.silent += passed;
        } else {
            (self.heard, self.silent) = (heard, Duration::ZERO);
        }
        if self.silent >= unanswered.silence_max() {
            return Step::Gone(self.silent);
        }
        // What comes says already that it is there.
        if !self.silent.is_zero() && ping_every.is_some_and(|every| self.since_ping >= every) {
            self.since_ping = Duration::ZERO;
            return Step::Ping;
        }
        Step::Wait
    }
}

/// Ends the connection when the server is gone.
pub(super) async fn keep(shared: Arc<Shared>, ear: Ear) {
    let (mut vigil, mut was_idle) = (Vigil::new(ear.heard()), true);
    loop {
        let unanswered = shared.unanswered();
        let is_idle = unanswered == Unanswered::Nothing;
        if was_idle && !is_idle {
            vigil.begin(ear.heard());
        }
        was_idle = is_idle;
        // QUIC sees to a connection on which nothing is due itself, and before *welcome* the server keeps the time.
        let is_watched = !is_idle || (matches!(ear, Ear::Socket(_)) && shared.is_welcome());
        let looked = Instant::now();
        tokio::select! {
            _ = shared.ended() => return,
            () = shared.asked(), if is_idle => continue,
            () = tokio::time::sleep(unanswered.pace().0), if is_watched => {}
        }
        match vigil.look(looked.elapsed(), ear.heard(), unanswered) {
            Step::Wait => {}
            // Who can't even be written to is not waited for.
            Step::Ping => shared.try_ping(),
            Step::Gone(silent) => {
                let why = format!("no sign of life for {:.0} s", silent.as_secs_f64());
                return shared.end(&Error::Closed(why));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks as often as it is looked, with what is heard by then; when and with what it ends, and how many pings there were.
    fn watched(until: Duration, unanswered: Unanswered, heard: impl Fn(Duration) -> u128) -> (Option<Duration>, u32) {
        let (mut vigil, mut now, mut pings) = (Vigil::new(0), Duration::ZERO, 0);
        while now < until {
            let every = unanswered.pace().0;
            now += every;
            match vigil.look(every, u64::try_from(heard(now)).unwrap(), unanswered) {
                Step::Wait => {}
                Step::Ping => pings += 1,
                Step::Gone(_) => return (Some(now), pings),
            }
        }
        (None, pings)
    }

    const MINUTE: Duration = Duration::from_secs(60);
    const SMALL: Unanswered = Unanswered::Requests { bytes: 1000 };

    #[test]
    fn a_server_that_owes_an_answer_and_says_nothing_is_asked_each_second_and_is_gone_after_2() {
        let (gone, pings) = watched(MINUTE, SMALL, |_| 0);
        assert!(gone.is_some_and(|gone| gone > Duration::from_secs(2) && gone <= Duration::from_millis(2200)), "{gone:?}");
        assert_eq!(pings, 2, "after one second, and at the end of the second one");
    }

    #[test]
    fn a_server_that_answers_pings_may_take_as_long_as_it_likes() {
        // Each pong comes a whole second after its ping.
        assert_eq!(watched(MINUTE, SMALL, |now| now.as_secs().into()), (None, 59));
    }

    #[test]
    fn a_server_that_sends_is_not_asked() {
        assert_eq!(watched(MINUTE, SMALL, |now| now.as_millis()), (None, 0));
    }

    #[test]
    fn requests_that_are_under_way_on_a_slow_line_get_their_time_up_to_10_s() {
        for (bytes, seconds) in [(0, 2), (32_000, 3), (128_000, 6), (256_000, 10), (1_048_576, 10), (usize::MAX, 10)] {
            assert_eq!(Unanswered::Requests { bytes }.silence_max(), Duration::from_secs(seconds), "{bytes}");
        }
    }

    #[test]
    fn a_session_on_which_nothing_is_due_is_asked_after_5_s_and_gone_after_10() {
        assert_eq!(watched(MINUTE, Unanswered::Nothing, |_| 0), (Some(Duration::from_secs(10)), 1));
    }

    #[test]
    fn a_process_that_stood_still_gives_the_server_time_to_be_heard() {
        let mut vigil = Vigil::new(0);
        assert_eq!(vigil.look(MINUTE, 0, SMALL), Step::Wait);
        assert_eq!(vigil.look(LOOK_EVERY, 1, SMALL), Step::Wait);
        assert_eq!(vigil.silent, Duration::ZERO);
    }

    #[test]
    fn before_welcome_nobody_is_asked_and_a_node_may_take_the_time_to_say_that_it_is_busy() {
        let (gone, pings) = watched(MINUTE, Unanswered::BeforeWelcome, |_| 0);
        assert_eq!((gone, pings), (Some(SILENCE_BEFORE_WELCOME_MAX), 0));
    }
}
