//! Does the watcher still work? One that hangs does not end, and what it would tell people is
//! missing without a word. So it is asked now and then, and ended when it does not answer.

use std::time::{Duration, Instant};

/// How long after an answer it is asked again. An idle daemon wakes up for nothing else.
const EVERY: Duration = Duration::from_secs(30);
/// How often it is looked whether the answer has come.
const ROUND: Duration = Duration::from_secs(10);
/// Rounds without an answer: a minute, which a disk that stalls does not take.
///
/// Rounds are counted and not time, because time that both processes were stopped or frozen is
/// not the watcher's fault: it is one round.
const ROUNDS_MAX: u32 = 6;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet.
    Wait,
    /// Ask.
    Ping,
    /// It does not answer: end it.
    GiveUp,
}

/// When one watcher was asked and has answered.
#[derive(Debug)]
pub struct Pulse {
    /// When it last answered, or began.
    heard: Instant,
    /// When there is something to do.
    due: Instant,
    /// Rounds since it was asked. None: it was not.
    rounds: Option<u32>,
}

impl Pulse {
    /// Of a watcher that begins.
    pub fn new(now: Instant) -> Self {
        Self {
            heard: now,
            due: now + EVERY,
            rounds: None,
        }
    }

    /// When to call [`Pulse::step`] next.
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// When the watcher last answered, or began.
    pub const fn heard(&self) -> Instant {
        self.heard
    }

    /// It has answered.
    pub fn answered(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// What to do now.
    pub fn step(&mut self, now: Instant) -> Step {
        if now < self.due {
            return Step::Wait;
        }
        self.due = now + ROUND;
        let rounds = self.rounds.map_or(0, |rounds| rounds + 1);
        self.rounds = Some(rounds);
        match rounds {
            0 => Step::Ping,
            ROUNDS_MAX => Step::GiveUp,
            _ => Step::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_is_asked_again_and_again() {
        let mut now = Instant::now();
        let mut pulse = Pulse::new(now);
        for _ in 0..1000 {
            assert_eq!(pulse.step(now), Step::Wait);
            now = pulse.due();
            assert_eq!(pulse.step(now), Step::Ping);
            for _ in 1..ROUNDS_MAX {
                now = pulse.due();
                assert_eq!(pulse.step(now), Step::Wait);
            }
            pulse.answered(now);
            assert_eq!(pulse.heard(), now);
        }
    }

    #[test]
    fn who_does_not_answer_for_a_minute_is_given_up() {
        let begun = Instant::now();
        let mut pulse = Pulse::new(begun);
        let mut now = pulse.due();
        assert_eq!(pulse.step(now), Step::Ping);
        let asked = now;
        while pulse.step(now) != Step::GiveUp {
            now = pulse.due();
        }
        assert_eq!(now - asked, Duration::from_secs(60));
        assert_eq!(pulse.heard(), begun);
    }

    #[test]
    fn time_in_which_the_keeper_stood_still_is_one_round() {
        let mut pulse = Pulse::new(Instant::now());
        let mut now = pulse.due();
        assert_eq!(pulse.step(now), Step::Ping);
        for _ in 1..ROUNDS_MAX {
            now += Duration::from_secs(3600);
            assert_eq!(pulse.step(now), Step::Wait);
            assert_eq!(pulse.step(now), Step::Wait);
        }
    }
}
