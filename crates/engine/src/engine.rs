//! The engine: which entries and warnings an event leads to.

use std::sync::Arc;

use policy::{Reason, Tamper};

use crate::answers::{Answer, Answers};
use crate::attempts::Attempt;
use crate::bounded::Bounded;
use crate::detect::{DetectSettings, Detector, MAIL_PORTS};
use crate::entry::{
    Entry, FindingEntry, FindingKind, GrantEntry, JudgedWord, NoticeEntry, VerdictEntry,
};
use crate::event::{
    Actor, Event, FlowInfo, FlowKind, Judged, Party, Sample, SampleKind, Timestamp,
};
use crate::evidence::{Irc, Scene, gather};
use crate::limiter::{Limiter, Report};
use crate::observation::{Observation, Subject};
use crate::printable::program_name;
use crate::sampling::{self, Found, Sampling, Wish};
use crate::suspicion::Suspicion;
use crate::warning::{Draft, Warning};

/// A minute: the length in which one culprit is reported once.
const MINUTE_NS: u64 = 60_000_000_000;
/// How long an IRC connection is remembered after its end.
const IRC_REMEMBERED_NS: u64 = 5 * MINUTE_NS;
/// Clocks of different processors differ by less than this; more is a clock set back.
const JITTER_NS: u64 = 1_000_000_000;

/// Limits of the engine's state. The defaults hold it below 8 MiB whatever happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// At most one finding for the same culprit, kind and reason, and at most one warning
    /// for the same culprit, in this many nanoseconds.
    pub report_every_ns: u64,
    /// How many culprits, kinds and reasons are told apart within that time. What is beyond
    /// is counted together.
    pub findings_tracked: usize,
    /// How many different culprits a user is warned about within that time. What is beyond
    /// is one warning with a number.
    pub warnings_tracked: usize,
    /// How many open grants are remembered.
    pub grants_tracked: usize,
    /// How many IRC connections are remembered.
    pub irc_tracked: usize,
    /// How many sampled connections are followed until it is known what they are.
    pub samples_tracked: usize,
    /// How many lineages' conduct on the network is remembered.
    pub lineages_tracked: usize,
    /// Most bytes that are held for what they did.
    pub conduct_max_bytes: usize,
    /// Ports that mail goes to.
    pub mail_ports: Vec<u16>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            report_every_ns: MINUTE_NS,
            findings_tracked: 512,
            warnings_tracked: 24,
            grants_tracked: 4096,
            irc_tracked: 512,
            samples_tracked: 512,
            lineages_tracked: 4096,
            conduct_max_bytes: 2 * 1024 * 1024,
            mail_ports: MAIL_PORTS.to_vec(),
        }
    }
}

/// What the daemon has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write this to the journal.
    Append(Entry),
    /// Tell the user. The finding that it is about was appended before.
    Warn(Warning),
    /// Tell the gate how much of this connection it is to report from now on.
    Sample {
        /// The socket.
        cookie: u64,
        /// How much.
        wish: Wish,
    },
}

/// A finding is the same when culprit, kind and reason are; without a refusal there is none.
type FindingKey = (Arc<str>, FindingKind, Option<Reason>);
/// A warning is the same when the culprit is, for each user that is to be told.
type WarningKey = (u32, Arc<str>);

/// Turns events into actions.
///
/// Its rule is the paper's (R. Mamiya, Meijo University, "Transmission prevention of
/// illegal mail and examination of Bot infection detection"): an illegal send while IRC
/// communication is going on anywhere on the machine is [`FindingKind::BotSuspected`],
/// without it [`FindingKind::IllegalSend`]. A person chatting with a registered chat program
/// is no such communication. Beyond the paper, a lineage whose conduct is a bot's (see
/// [`Detector`]) is [`FindingKind::BotSuspected`] too, with or without a refusal.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    last: Timestamp,
    grants: Bounded<u64, FlowInfo>,
    irc: Bounded<u64, Irc>,
    irc_ended: Bounded<u64, Irc>,
    /// Connections to ports where IRC servers listen that are known to be something else.
    not_irc: Bounded<u64, ()>,
    sampling: Sampling,
    detector: Detector,
    answers: Answers,
    attempts: Bounded<Arc<str>, Attempt>,
    /// Processes that were tampered with while they ran, and by whom.
    tampered: Bounded<u32, Party>,
    findings: Limiter<FindingKey, FindingEntry>,
    warnings: Limiter<WarningKey, Draft>,
    forgotten: u64,
    forgotten_told: u64,
    forgotten_told_at: Timestamp,
}

impl Engine {
    /// An engine that has seen nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            last: Timestamp(0),
            grants: Bounded::new(settings.grants_tracked),
            irc: Bounded::new(settings.irc_tracked),
            irc_ended: Bounded::new(64),
            not_irc: Bounded::new(settings.irc_tracked),
            sampling: Sampling::new(settings.samples_tracked),
            detector: Detector::new(DetectSettings {
                subjects_max: settings.lineages_tracked,
                detail_max_bytes: settings.conduct_max_bytes,
                mail_ports: settings.mail_ports.clone(),
            }),
            answers: Answers::new(),
            attempts: Bounded::new(settings.findings_tracked),
            tampered: Bounded::new(256),
            findings: Limiter::new(settings.report_every_ns, settings.findings_tracked),
            warnings: Limiter::new(settings.report_every_ns, settings.warnings_tracked),
            forgotten: 0,
            forgotten_told: 0,
            forgotten_told_at: Timestamp(0),
            settings,
        }
    }

    /// From now on mail goes to these ports. What is known already stays.
    pub fn set_mail_ports(&mut self, mail_ports: Vec<u16>) {
        self.detector.set_mail_ports(mail_ports);
    }

    /// What follows from an event that happened at `now`. What was held back and has waited
    /// long enough comes first.
    pub fn handle(&mut self, event: Event, now: Timestamp) -> Vec<Action> {
        let mut actions = self.tick(now);
        let now = self.last;
        let (event, count) = match event {
            Event::Repeated { event, count } => (*event, count),
            once => (once, 1),
        };
        match event {
            Event::Verdict {
                actor,
                judged,
                reason,
                observed,
            } => {
                let entry = VerdictEntry {
                    count,
                    ..VerdictEntry::new(&actor, &judged, reason, observed)
                };
                self.verdict(&actor, &judged, entry, now, &mut actions);
            }
            Event::Answered {
                own_port,
                destination,
                observed,
            } => {
                let answer = Answer {
                    own_port,
                    destination,
                    observed,
                };
                actions.extend(self.answers.take(answer, count, now).map(notice));
            }
            Event::FlowOpened(flow) => self.opened(flow, now, &mut actions),
            Event::FlowClosed {
                flow,
                bytes_sent,
                bytes_received,
            } => {
                self.closed(flow, bytes_sent, bytes_received, now, &mut actions);
            }
            Event::Sampled(sample) => self.sampled(&sample, now, &mut actions),
            Event::Followed(flow) => {
                self.sampling.follow(flow.cookie);
                let kind = FlowKind::Irc;
                self.opened(FlowInfo { kind, ..flow }, now, &mut actions);
            }
            Event::Tampered {
                by,
                uid,
                target,
                signs,
            } => {
                actions.push(notice(tampering(&by, uid, &target, signs)));
                self.tampered.put(target.pid, by);
            }
            Event::Lost { what, count } => actions.push(notice(NoticeEntry {
                text: format!("{count} {what} could not be reported"),
                count: Some(count),
                ..NoticeEntry::default()
            })),
            // Nothing repeats a repetition.
            Event::Repeated { .. } => {}
            Event::Notice { text } => actions.push(notice(NoticeEntry {
                text,
                ..NoticeEntry::default()
            })),
        }
        actions
    }

    /// What was held back and has waited long enough. Call it when
    /// [`Engine::next_deadline`] has come; calling it more often does no harm.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Action> {
        let now = self.advance(now);
        let mut actions = Vec::new();
        for report in self.findings.expire(now) {
            actions.push(finding(report));
        }
        for report in self.warnings.expire(now) {
            actions.push(warn(report));
        }
        actions.extend(self.answers.expire(now).map(notice));
        self.tell_forgotten(now, &mut actions);
        actions
    }

    /// When [`Engine::tick`] will have something to say, if no event comes before.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let forgotten = (self.forgotten > self.forgotten_told).then(|| {
            self.forgotten_told_at
                .plus_ns(self.settings.report_every_ns)
        });
        [
            self.findings.next_deadline(),
            self.warnings.next_deadline(),
            self.answers.next_deadline(),
            forgotten,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Connections that hold a grant, oldest first.
    pub fn open_grants(&self) -> impl Iterator<Item = &FlowInfo> {
        self.grants.values()
    }

    /// IRC connections that are going on, people's own chats included, oldest first.
    pub fn open_irc(&self) -> impl Iterator<Item = &FlowInfo> {
        self.irc.values().map(|irc| &irc.flow)
    }

    /// Open connections that had to be forgotten because there were too many.
    pub fn forgotten(&self) -> u64 {
        self.forgotten + self.sampling.forgotten()
    }

    /// Lineages whose conduct had to be forgotten because there were too many.
    pub fn lineages_forgotten(&self) -> u64 {
        self.detector.forgotten()
    }

    fn verdict(
        &mut self,
        actor: &Actor,
        judged: &Judged,
        entry: VerdictEntry,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let reason = entry.reason;
        if reason == Reason::Permitted {
            actions.push(Action::Append(Entry::Verdict(entry)));
            return;
        }
        let found = self.find(actor, judged, reason, &entry, now);
        actions.push(Action::Append(Entry::Verdict(entry)));
        self.report(found, actor.answerable().clone(), now, actions);
    }

    /// Journals a finding and warns of it, both as often as is allowed.
    fn report(
        &mut self,
        found: FindingEntry,
        culprit: Arc<str>,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let (kind, reason, uid) = (found.finding, found.reason, found.uid);
        let draft = Draft::new(&found);
        let held = self
            .findings
            .offer((culprit.clone(), kind, reason), kind, found, now);
        actions.extend(held.map(finding));
        actions.extend(
            self.warnings
                .offer((uid, culprit), kind, draft, now)
                .map(warn),
        );
    }

    fn find(
        &mut self,
        actor: &Actor,
        judged: &Judged,
        reason: Reason,
        entry: &VerdictEntry,
        now: Timestamp,
    ) -> FindingEntry {
        let culprit = actor.answerable();
        let mut attempt = self
            .attempts
            .take(culprit)
            .unwrap_or_else(|| Attempt::new(now));
        attempt.add(
            judged.destination(),
            entry.count,
            now,
            self.settings.report_every_ns,
        );

        let irc: Vec<&Irc> = self
            .irc
            .values()
            .filter(|irc| !irc.flow.is_users_own_chat())
            .collect();
        let irc_ended: Vec<&Irc> = self
            .irc_ended
            .values()
            .filter(|irc| now.since_ns(irc.since) <= IRC_REMEMBERED_NS)
            .collect();
        let mut evidence = gather(&Scene {
            actor,
            judged,
            reason,
            now,
            irc: &irc,
            irc_ended: &irc_ended,
            attempt: &attempt,
            tamperer: self.tampered.get(&actor.pid),
        });
        let irc_goes_on = !irc.is_empty();
        self.attempts.put(culprit.clone(), attempt);
        let subject = subject(actor);
        let refused = Observation::Refused {
            destination: judged.destination(),
        };
        // What comes back is told with this finding.
        let _ = self.detector.observe(&subject, &refused, now);
        evidence.extend(self.detector.evidence(&subject, now));
        evidence.sort_by_key(|one| std::cmp::Reverse(one.weight));
        let like_a_bot = self.detector.suspicion(&subject, now).is_some();
        let finding = if irc_goes_on || like_a_bot {
            FindingKind::BotSuspected
        } else {
            FindingKind::IllegalSend
        };
        FindingEntry {
            finding,
            reason: Some(reason),
            judged: entry.judged,
            observed: entry.observed,
            suppressed: 0,
            evidence,
            culprit: entry.culprit.clone(),
            culprit_pid: entry.culprit_pid,
            program: entry.program.clone(),
            role: entry.role,
            pid: entry.pid,
            uid: entry.uid,
            comm: entry.comm.clone(),
            destination: entry.destination,
            tampered: entry.tampered,
            lineage: entry.lineage.clone(),
            lost: entry.lost,
        }
    }

    fn sampled(&mut self, sample: &Sample, now: Timestamp, actions: &mut Vec<Action>) {
        let subject = sampling::subject(sample);
        let (sampling, detector) = (&mut self.sampling, &mut self.detector);
        let mut suspicion = None;
        let noted = sampling.take(sample, now, |observation| {
            // Live, all of them are about this lineage: no conversation accuses another one.
            suspicion = detector
                .observe(&subject, observation, now)
                .pop()
                .or(suspicion.take());
        });
        if let Some(suspicion) = suspicion {
            let culprit = sample.flow.culprit.as_ref().unwrap_or(&sample.flow.program);
            self.report(conduct(sample, suspicion), culprit.clone(), now, actions);
        }
        let cookie = sample.flow.cookie;
        actions.extend(noted.wish.map(|wish| Action::Sample { cookie, wish }));
        let as_irc = || FlowInfo {
            kind: FlowKind::Irc,
            ..sample.flow.clone()
        };
        match noted.found {
            Some(Found::Irc) => self.opened(as_irc(), now, actions),
            // The port says IRC, the bytes say that it is something else.
            Some(Found::Other) => {
                self.irc.take(&cookie);
                self.not_irc.put(cookie, ());
            }
            None => {}
        }
        if let SampleKind::Closed {
            bytes_sent,
            bytes_received,
        } = sample.kind
            && self.irc.contains(&cookie)
        {
            self.closed(as_irc(), bytes_sent, bytes_received, now, actions);
        }
    }

    fn opened(&mut self, flow: FlowInfo, now: Timestamp, actions: &mut Vec<Action>) {
        let forgotten = match flow.kind {
            FlowKind::Grant => {
                // After a restart the open ones are told again; their birth is journaled.
                if !self.grants.contains(&flow.cookie) {
                    actions.push(Action::Append(Entry::Grant(GrantEntry::opened(&flow))));
                }
                self.grants.put(flow.cookie, flow).is_some()
            }
            FlowKind::Irc if self.not_irc.contains(&flow.cookie) => false,
            FlowKind::Irc => {
                let since = self.irc.take(&flow.cookie).map_or(now, |known| known.since);
                self.irc.put(flow.cookie, Irc { flow, since }).is_some()
            }
            FlowKind::Sampled => false,
        };
        self.forgotten += u64::from(forgotten);
    }

    fn closed(
        &mut self,
        flow: FlowInfo,
        sent: u64,
        received: u64,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        match flow.kind {
            FlowKind::Grant => {
                self.grants.take(&flow.cookie);
                actions.push(Action::Append(Entry::Grant(GrantEntry::closed(
                    &flow, sent, received,
                ))));
            }
            FlowKind::Irc => {
                self.irc.take(&flow.cookie);
                if !flow.is_users_own_chat() {
                    self.irc_ended.put(flow.cookie, Irc { flow, since: now });
                }
            }
            FlowKind::Sampled => {}
        }
    }

    /// The time to count with. Events of different processors come a little out of order,
    /// which is evened out; a clock that was set back takes all windows with it, or nothing
    /// would be reported until it has caught up.
    fn advance(&mut self, now: Timestamp) -> Timestamp {
        let back = self.last.since_ns(now);
        if back > JITTER_NS {
            self.findings.set_back(back);
            self.warnings.set_back(back);
            self.answers.set_back(back);
            self.forgotten_told_at.0 = self.forgotten_told_at.0.saturating_sub(back);
            self.last = now;
        }
        self.last = self.last.max(now);
        self.last
    }

    fn tell_forgotten(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let new = self.forgotten - self.forgotten_told;
        if new > 0 && now.since_ns(self.forgotten_told_at) >= self.settings.report_every_ns {
            self.forgotten_told = self.forgotten;
            self.forgotten_told_at = now;
            actions.push(notice(NoticeEntry {
                text: format!("{new} open connections were forgotten because there were too many"),
                count: Some(new),
                ..NoticeEntry::default()
            }));
        }
    }
}

/// Whose conduct a verdict is about.
fn subject(actor: &Actor) -> Subject {
    let culprit = actor.lineage.culprit.as_ref();
    let culprit = culprit.map(|culprit| (&culprit.program, culprit.pid));
    Subject::lineage(culprit, &actor.program, actor.pid)
}

/// The finding that somebody behaves like a bot, without a refusal. The lineage is not known
/// here; whoever performs the action may fill it in.
fn conduct(sample: &Sample, suspicion: Suspicion) -> FindingEntry {
    let flow = &sample.flow;
    FindingEntry {
        finding: FindingKind::BotSuspected,
        reason: None,
        judged: JudgedWord::Conduct,
        observed: false,
        suppressed: 0,
        evidence: suspicion.evidence,
        culprit: flow.culprit.clone(),
        culprit_pid: sample.culprit_pid,
        program: flow.program.clone(),
        role: flow.role,
        pid: flow.pid,
        uid: flow.uid,
        comm: String::new(),
        destination: Some(flow.destination),
        tampered: Tamper::NONE,
        lineage: Vec::new(),
        lost: 0,
    }
}

fn finding(report: Report<FindingEntry>) -> Action {
    Action::Append(Entry::Finding(FindingEntry {
        suppressed: report.suppressed,
        ..report.value
    }))
}

fn warn(report: Report<Draft>) -> Action {
    Action::Warn(report.value.finish(report.suppressed, report.of_others))
}

fn notice(entry: NoticeEntry) -> Action {
    Action::Append(Entry::Notice(entry))
}

fn tampering(by: &Party, uid: u32, target: &Party, signs: Tamper) -> NoticeEntry {
    let what: Vec<_> = signs.words().collect();
    NoticeEntry {
        text: format!(
            "{} (pid {}) tampered with {} (pid {}): {}; it may send no mail until it is started anew",
            program_name(&by.program),
            by.pid,
            program_name(&target.program),
            target.pid,
            what.join("; "),
        ),
        pid: Some(by.pid),
        uid: Some(uid),
        program: Some(by.program.clone()),
        count: None,
    }
}
