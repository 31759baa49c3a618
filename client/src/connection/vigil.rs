//! Whether the server is still there: decided soon while it owes an answer, and almost as soon while it owes none.
//!
//! Never: a slow commit, a slow line or a machine that stood still taken for a server that is gone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Error;
use super::shared::Shared;
use crate::carrier::{Ear, awake};

/// So much silence of a server that owes an answer decides that the device is offline.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// After so much of it a second connection is tried beside this one.
const SUSPECT_AFTER: Duration = Duration::from_secs(1);
/// How often a silent server is asked whether it is there, while it owes an answer: it answers whatever a commit takes.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How often it is looked whether something came, while an answer is due.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// So much silence ends a connection on which nothing is due.
const IDLE_SILENCE_MAX: Duration = Duration::from_secs(3);
/// After so much of it the server is asked, and as often again.
pub(super) const IDLE_ASK_EVERY: Duration = Duration::from_secs(1);
const _: () = assert!(LOOK_EVERY.as_millis() < ASK_EVERY.as_millis() && ASK_EVERY.as_millis() < SUSPECT_AFTER.as_millis());
const _: () = assert!(SUSPECT_AFTER.as_millis() < SILENCE_MAX.as_millis() && IDLE_ASK_EVERY.as_millis() < SILENCE_MAX.as_millis());

/// What the server has still to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// Nothing.
    Nothing,
    /// An account call, *hello*, or requests of an open session.
    Something,
}

impl Unanswered {
    /// After how much silence the server is gone.
    const fn silence_max(self) -> Duration {
        match self {
            Self::Nothing => IDLE_SILENCE_MAX,
            Self::Something => SILENCE_MAX,
        }
    }

    /// How long to wait for the next look, and after how much silence to ask, and to ask again.
    const fn pace(self) -> (Duration, Duration) {
        match self {
            Self::Nothing => (IDLE_ASK_EVERY, IDLE_ASK_EVERY),
            Self::Something => (LOOK_EVERY, ASK_EVERY),
        }
    }
}

/// What to do after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Wait,
    Ask,
    /// There was no sign of life for so long.
    Gone(Duration),
}

/// How long it has been silent.
#[derive(Debug)]
struct Vigil {
    heard: u64,
    silent: Duration,
    since_asked: Duration,
}

impl Vigil {
    const fn new(heard: u64) -> Self {
        Self { heard, silent: Duration::ZERO, since_asked: Duration::ZERO }
    }

    /// Something is asked after nothing was due: silence counts from now on.
    const fn begin(&mut self, heard: u64) {
        *self = Self::new(heard);
    }

    /// A look after `passed`. A process that stood still longer than it wanted to may not have read what is there.
    fn look(&mut self, passed: Duration, heard: u64, unanswered: Unanswered) -> Step {
        let (every, ask_every) = unanswered.pace();
        let passed = awake(passed, every);
        self.since_asked += passed;
        if heard == self.heard {
            self.silent += passed;
        } else {
            (self.heard, self.silent) = (heard, Duration::ZERO);
        }
        if self.silent >= unanswered.silence_max() {
            return Step::Gone(self.silent);
        }
        // What comes says already that it is there.
        if !self.silent.is_zero() && self.since_asked >= ask_every {
            self.since_asked = Duration::ZERO;
            return Step::Ask;
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
        let looked = Instant::now();
        tokio::select! {
            _ = shared.ended() => return,
            () = shared.asked(), if is_idle => continue,
            () = tokio::time::sleep(unanswered.pace().0) => {}
        }
        match vigil.look(looked.elapsed(), ear.heard(), unanswered) {
            Step::Wait => {}
            Step::Ask => shared.ask(),
            Step::Gone(silent) => {
                let why = format!("no sign of life for {:.0} s", silent.as_secs_f64());
                // Where nothing was due nobody has waited yet: another connection is worth its try.
                shared.note_silence(!is_idle);
                return shared.end(&Error::Closed(why));
            }
        }
        shared.note_silence(!is_idle && vigil.silent >= SUSPECT_AFTER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks as often as it is looked, with what is heard by then; when and with what it ends, and how often it was asked.
    fn watched(until: Duration, unanswered: Unanswered, heard: impl Fn(Duration) -> u128) -> (Option<Duration>, u32) {
        let (mut vigil, mut now, mut asked) = (Vigil::new(0), Duration::ZERO, 0);
        while now < until {
            let every = unanswered.pace().0;
            now += every;
            match vigil.look(every, u64::try_from(heard(now)).unwrap(), unanswered) {
                Step::Wait => {}
                Step::Ask => asked += 1,
                Step::Gone(_) => return (Some(now), asked),
            }
        }
        (None, asked)
    }

    const MINUTE: Duration = Duration::from_secs(60);
    const DUE: Unanswered = Unanswered::Something;

    #[test]
    fn a_server_that_owes_an_answer_and_says_nothing_is_asked_twice_a_second_and_is_gone_after_2() {
        assert_eq!(watched(MINUTE, DUE, |_| 0), (Some(Duration::from_secs(2)), 3));
    }

    #[test]
    fn a_server_that_answers_when_it_is_asked_may_take_as_long_as_it_likes() {
        // Each answer comes a whole second later.
        let (gone, asked) = watched(MINUTE, DUE, |now| now.as_secs().into());
        assert!(gone.is_none() && asked >= 59, "{gone:?} {asked}");
    }

    #[test]
    fn a_server_that_sends_is_not_asked() {
        assert_eq!(watched(MINUTE, DUE, |now| now.as_millis()), (None, 0));
    }

    #[test]
    fn a_connection_on_which_nothing_is_due_is_asked_each_second_and_gone_after_3() {
        assert_eq!(watched(MINUTE, Unanswered::Nothing, |_| 0), (Some(Duration::from_secs(3)), 2));
        assert_eq!(watched(MINUTE, Unanswered::Nothing, |now| now.as_secs().div_euclid(2).into()), (None, 30));
    }

    #[test]
    fn a_process_that_stood_still_gives_the_server_time_to_be_heard() {
        let mut vigil = Vigil::new(0);
        assert_eq!(vigil.look(MINUTE, 0, DUE), Step::Wait);
        assert_eq!(vigil.look(LOOK_EVERY, 1, DUE), Step::Wait);
        assert_eq!(vigil.silent, Duration::ZERO);
    }
}
