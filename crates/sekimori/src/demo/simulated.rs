//! The stage without a kernel: the same scenes through the same policy and engine. What the
//! hooks would have recorded is put together by hand.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use engine::{
    Action, Actor, Culprit, Engine, Entry, Event, FlowInfo, FlowKind, Judged, Lineage, LineageLink,
    Settings,
};
use policy::{
    Attempt, Blame, Invocation, Kind, Program, Rate, Reason, Role, Standing, Tamper, Verdict,
    may_send,
};
use serde_json::Value;

use super::{Deed, Outcome, Play, Scene};
use crate::clock;
use crate::failure::Failure;

const MAIL_SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 25)), 25);
const IRC_SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 66)), 6667);
const ATTEMPT: Attempt = Attempt {
    to_itself: false,
    by_root: false,
};
const UID: u32 = 1000;
/// What the simulated mailer says to the mail server (RFC 5321).
const DIALOGUE: &str = "EHLO localhost\r\nMAIL FROM:<user@example.org>\r\nRCPT TO:<friend@example.net>\r\n\
    DATA\r\nSubject: hello\r\n\r\nHello.\r\n.\r\nQUIT\r\n";

const INIT: (&str, Program) = (
    "/sbin/init",
    Program::registered(Role::System, Kind::Interactive),
);
const DESKTOP: (&str, Program) = (
    "/usr/bin/desktop",
    Program::registered(Role::Session, Kind::Interactive),
);
const MAILER: (&str, Program) = (
    "/usr/bin/mailer",
    Program::registered(Role::Mailer, Kind::Interactive),
);
const BOT: (&str, Program) = ("/home/user/.cache/bot", Program::UNKNOWN);

/// The simulated stage.
pub struct Simulation {
    engine: Engine,
    next_pid: u32,
    next_cookie: u64,
}

impl Simulation {
    /// An empty stage.
    pub fn new() -> Self {
        Self {
            engine: Engine::new(Settings::default()),
            next_pid: 1,
            next_cookie: 1,
        }
    }

    /// A process that came to be by these execs, each in a child of the one before.
    fn started_through(&mut self, execs: &[(&str, Program)]) -> (Actor, Standing) {
        let mut standing = Standing::ROOT;
        let mut lineage = Lineage::default();
        for (path, program) in execs {
            let pid = self.next_pid;
            self.next_pid += 1;
            let after = standing.after_exec(*program, Invocation::Plain, Tamper::NONE);
            let program: Arc<str> = (*path).into();
            if standing.blame(&after) == Blame::Program {
                lineage.culprit = Some(Culprit {
                    program: program.clone(),
                    pid,
                });
            }
            lineage.links.push(LineageLink {
                program,
                pid,
                role: after.role,
                origin: after.origin,
                kind: after.kind,
                seeded: false,
            });
            standing = after;
        }
        let last = lineage.links.last().cloned();
        let program = last
            .as_ref()
            .map_or_else(|| "".into(), |link| link.program.clone());
        let comm = program.rsplit('/').next().unwrap_or_default().to_owned();
        let actor = Actor {
            pid: last.map_or(0, |link| link.pid),
            uid: UID,
            comm,
            program,
            role: standing.role,
            kind: standing.kind,
            origin: standing.origin,
            tampered: standing.tampered,
            cause: None,
            lineage,
        };
        (actor, standing)
    }

    fn handle(&mut self, event: Event) -> Vec<Value> {
        self.engine
            .handle(event, clock::now())
            .into_iter()
            .filter_map(|action| match action {
                Action::Append(entry @ (Entry::Verdict(_) | Entry::Finding(_))) => {
                    serde_json::to_value(entry).ok()
                }
                _ => None,
            })
            .collect()
    }

    fn irc(&mut self, bot: &Actor) -> FlowInfo {
        self.next_cookie += 1;
        FlowInfo {
            cookie: self.next_cookie,
            kind: FlowKind::Irc,
            pid: bot.pid,
            uid: UID,
            program: bot.program.clone(),
            culprit: bot.lineage.culprit.clone(),
            role: bot.role,
            origin: bot.origin,
            destination: IRC_SERVER,
        }
    }
}

impl Play for Simulation {
    const SIMULATED: bool = true;

    fn play(&mut self, scene: &Scene) -> Result<Outcome, Failure> {
        let execs: &[_] = match scene.deed {
            Deed::UserSends => &[INIT, DESKTOP, MAILER],
            Deed::OwnEngine => &[INIT, DESKTOP, BOT],
            Deed::DrivesMailer => &[INIT, DESKTOP, BOT, MAILER],
        };
        let irc = scene.irc.then(|| {
            let (bot, _) = self.started_through(&[INIT, DESKTOP, BOT]);
            self.irc(&bot)
        });
        if let Some(flow) = irc.clone() {
            self.handle(Event::FlowOpened(flow));
        }
        let (actor, standing) = self.started_through(execs);
        let verdict = may_send(&standing, ATTEMPT, Rate::UNLIMITED);
        let judged = Judged::Connect {
            destination: MAIL_SERVER,
            cookie: 0,
        };
        let entries = self.handle(Event::Verdict {
            actor,
            judged,
            reason: verdict.reason(),
            observed: false,
        });
        if let Some(flow) = irc {
            self.handle(Event::FlowClosed {
                flow,
                bytes_sent: 0,
                bytes_received: 0,
            });
        }
        let of = |kind: &str| entries.iter().find(|entry| entry["type"] == kind).cloned();
        let sent = u64::from(verdict == Verdict::Allow && verdict.reason() == Reason::Permitted);
        Ok(Outcome {
            verdict: of("verdict"),
            finding: of("finding"),
            bot: BOT.0.to_owned(),
            messages_delivered: sent,
            payload_bytes: sent * DIALOGUE.len() as u64,
        })
    }
}
