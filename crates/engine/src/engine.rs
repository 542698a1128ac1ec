//! The engine: which entries and warnings an event leads to.

use std::sync::Arc;

use policy::Reason;

use crate::accounts::Subordinate;
use crate::answers::{Answer, Answers};
use crate::attempts::Attempt;
use crate::blame::to_blame;
use crate::bounded::Bounded;
use crate::case_kind::retold;
use crate::conduct::{conduct, tampering};
use crate::detect::{DetectSettings, Detector, MAIL_PORTS};
use crate::entry::{Entry, FindingEntry, FindingKind, GrantEntry, NoticeEntry, VerdictEntry};
use crate::event::{
    Actor, Event, FlowInfo, FlowKind, Judged, Party, Sample, SampleKind, Timestamp,
};
use crate::evidence::{Irc, Scene, gather};
use crate::limiter::{Limiter, Report};
use crate::observation::{Observation, Subject};
use crate::sampling::{Found, Sampling, Wish};
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
    /// How many culprits, kinds and reasons of one user are told apart within that time. What is
    /// beyond is counted together, for each user apart.
    pub findings_tracked: usize,
    /// How many different culprits a user is warned about within that time. What is beyond
    /// is one warning with a number.
    pub warnings_tracked: usize,
    /// How many users have a share of their own in findings and warnings within that time. Users
    /// beyond have one share together.
    pub users_tracked: usize,
    /// How many culprits' refused attempts are counted.
    pub attempts_tracked: usize,
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
    /// Ids that one user may take for his programs beside his own.
    pub subordinate: Subordinate,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            report_every_ns: MINUTE_NS,
            findings_tracked: 48,
            warnings_tracked: 8,
            users_tracked: 24,
            attempts_tracked: 512,
            grants_tracked: 4096,
            irc_tracked: 512,
            samples_tracked: 512,
            lineages_tracked: 4096,
            conduct_max_bytes: 2 * 1024 * 1024,
            mail_ports: MAIL_PORTS.to_vec(),
            subordinate: Subordinate::default(),
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

/// A finding is the same when user, culprit, kind and reason are; without a refusal there is no
/// reason.
type FindingKey = (u32, Arc<str>, FindingKind, Option<Reason>);
/// A warning is the same when the culprit is, for each user that is to be told.
type WarningKey = (u32, Arc<str>);

/// Turns events into actions.
///
/// Its rule is the paper's (R. Mamiya, Meijo University, "Transmission prevention of
/// illegal mail and examination of Bot infection detection"): an illegal send while IRC
/// communication of the same user is going on is [`FindingKind::BotSuspected`], without it
/// [`FindingKind::IllegalSend`]. The paper's computer has one user. Where there are several, what
/// one of them does is no evidence about another, and is not shown to another. A person chatting
/// with a registered chat program is no such communication. Beyond the paper, a lineage whose conduct is a bot's (see
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
    attempts: Bounded<Subject, Attempt>,
    /// Processes that were tampered with while they ran, with their user, and by whom.
    tampered: Bounded<(u32, u32), Party>,
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
            attempts: Bounded::new(settings.attempts_tracked),
            tampered: Bounded::new(256),
            findings: Limiter::new(
                settings.report_every_ns,
                settings.findings_tracked,
                settings.users_tracked,
            ),
            warnings: Limiter::new(
                settings.report_every_ns,
                settings.warnings_tracked,
                settings.users_tracked,
            ),
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
                mut actor,
                judged,
                reason,
                observed,
            } => {
                // What the gate recorded ties evidence together. What people read names who is to
                // blame.
                let subject = subject(&actor);
                let named = to_blame(&actor.lineage.links, actor.lineage.culprit.as_ref());
                actor.lineage.culprit = named;
                let (reason, in_between) = retold(reason, actor.tampered, &actor.lineage.links);
                let mut entry = VerdictEntry {
                    count,
                    ..VerdictEntry::new(&actor, &judged, reason, observed)
                };
                if let Some(link) = in_between {
                    entry.culprit = Some(link.program.clone());
                    entry.culprit_pid = Some(link.pid);
                }
                self.verdict(&actor, &subject, &judged, entry, now, &mut actions);
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
                self.sampling.follow(self.account(flow.uid), flow.cookie);
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
                self.tampered.put(self.account(uid), (uid, target.pid), by);
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
        subject: &Subject,
        judged: &Judged,
        entry: VerdictEntry,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        if entry.reason == Reason::Permitted {
            actions.push(Action::Append(Entry::Verdict(entry)));
            return;
        }
        let found = self.find(actor, subject, judged, &entry, now);
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
        let account = self.account(uid);
        let key = (uid, culprit.clone(), kind, reason);
        let held = self.findings.offer(account, key, kind, found, now);
        actions.extend(held.map(finding));
        actions.extend(
            self.warnings
                .offer(account, (uid, culprit), kind, draft, now)
                .map(warn),
        );
    }

    /// Whose share of the room a process of this user takes.
    fn account(&self, uid: u32) -> u32 {
        self.settings.subordinate.account(uid)
    }

    fn find(
        &mut self,
        actor: &Actor,
        subject: &Subject,
        judged: &Judged,
        entry: &VerdictEntry,
        now: Timestamp,
    ) -> FindingEntry {
        let reason = entry.reason;
        let mut attempt = self
            .attempts
            .take(subject)
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
            .filter(|irc| irc.flow.uid == actor.uid && !irc.flow.is_users_own_chat())
            .collect();
        let irc_ended: Vec<&Irc> = self
            .irc_ended
            .values()
            .filter(|irc| irc.flow.uid == actor.uid)
            .filter(|irc| now.since_ns(irc.since) <= IRC_REMEMBERED_NS)
            .collect();
        let mut evidence = gather(&Scene {
            actor,
            subject,
            judged,
            reason,
            now,
            irc: &irc,
            irc_ended: &irc_ended,
            attempt: &attempt,
            tamperer: self.tampered.get(&(actor.uid, actor.pid)),
        });
        let irc_goes_on = !irc.is_empty();
        self.attempts
            .put(self.account(actor.uid), subject.clone(), attempt);
        let refused = Observation::Refused {
            destination: judged.destination(),
        };
        // What comes back is told with this finding.
        let _ = self.detector.observe(subject, &refused, now);
        evidence.extend(self.detector.evidence(subject, now));
        evidence.sort_by_key(|one| std::cmp::Reverse(one.weight));
        let like_a_bot = self.detector.suspicion(subject, now).is_some();
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
            unit: entry.unit.clone(),
            script: entry.script.clone(),
            tampered: entry.tampered,
            tampered_by: entry.tampered_by.clone(),
            tampered_flaw: entry.tampered_flaw,
            lineage: entry.lineage.clone(),
            lost: entry.lost,
        }
    }

    fn sampled(&mut self, sample: &Sample, now: Timestamp, actions: &mut Vec<Action>) {
        let subject = Subject::of(&sample.flow);
        let account = self.account(sample.flow.uid);
        let (sampling, detector) = (&mut self.sampling, &mut self.detector);
        let mut suspicion = None;
        let noted = sampling.take(account, sample, now, |observation| {
            // Live, all of them are about this lineage: no conversation accuses another one.
            suspicion = detector
                .observe(&subject, observation, now)
                .pop()
                .or(suspicion.take());
        });
        if let Some(suspicion) = suspicion {
            let found = conduct(sample, suspicion);
            let culprit = found.culprit.as_ref().unwrap_or(&found.program).clone();
            self.report(found, culprit, now, actions);
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
                self.not_irc.put(account, cookie, ());
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
        let account = self.account(flow.uid);
        let forgotten = match flow.kind {
            FlowKind::Grant => {
                // After a restart the open ones are told again; their birth is journaled.
                if !self.grants.contains(&flow.cookie) {
                    actions.push(Action::Append(Entry::Grant(GrantEntry::opened(&flow))));
                }
                self.grants.put(account, flow.cookie, flow).is_some()
            }
            FlowKind::Irc if self.not_irc.contains(&flow.cookie) => false,
            FlowKind::Irc => {
                let since = self.irc.take(&flow.cookie).map_or(now, |known| known.since);
                self.irc
                    .put(account, flow.cookie, Irc { flow, since })
                    .is_some()
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
                    let account = self.account(flow.uid);
                    self.irc_ended
                        .put(account, flow.cookie, Irc { flow, since: now });
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
    Subject::lineage(actor.uid, culprit, &actor.program, actor.pid)
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
