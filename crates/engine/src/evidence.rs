//! What speaks for or against an infection at the moment of a refusal.
//!
//! The finding itself follows the paper's rule alone (see [`crate::Engine`]); the evidence
//! tells a reader why to believe it, strongest first.

use std::sync::Arc;

use policy::{Origin, Reason, Role};
use serde::{Deserialize, Serialize};

use crate::attempts::Attempt;
use crate::event::{Actor, FlowInfo, Judged, Party, Timestamp};
use crate::observation::Subject;
use crate::printable::program_name;
use crate::sign::Sign;
use crate::tampering::{TamperedBy, tamper_words};

/// One observation that counts for or against an infection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What was observed.
    pub what: Sign,
    /// How much it weighs; positive speaks for an infection.
    pub weight: i32,
    /// Who, where and how much, in words that are safe to print.
    pub detail: String,
}

impl Evidence {
    pub(crate) fn new(what: Sign, detail: String) -> Self {
        Self {
            what,
            weight: what.weight(),
            detail,
        }
    }
}

/// An IRC connection with the times that the evidence speaks of.
#[derive(Clone, Debug)]
pub(crate) struct Irc {
    pub(crate) flow: FlowInfo,
    pub(crate) since: Timestamp,
}

/// Everything that is known at the moment of a refusal.
pub(crate) struct Scene<'a> {
    pub(crate) actor: &'a Actor,
    /// Its lineage.
    pub(crate) subject: &'a Subject,
    pub(crate) judged: &'a Judged,
    pub(crate) reason: Reason,
    pub(crate) now: Timestamp,
    /// Open IRC connections of the same user that count, oldest first.
    pub(crate) irc: &'a [&'a Irc],
    /// Closed IRC connections of the same user that count; `since` is when they closed.
    pub(crate) irc_ended: &'a [&'a Irc],
    pub(crate) attempt: &'a Attempt,
    /// Who tampered with the process while it ran.
    pub(crate) tamperer: Option<&'a Party>,
}

/// How many IRC connections are described one by one.
const IRC_DESCRIBED: usize = 4;
/// How many programs in droppers' places are described.
const DROPPERS_DESCRIBED: usize = 3;
/// From how many refused attempts in a minute on they are evidence: people do not insist.
const REPEATED_FROM: u64 = 4;
/// From how many different servers in a minute on they are evidence: a mailer with two
/// accounts, each with IPv4 and IPv6 addresses, knows four.
const FAN_OUT_FROM: usize = 5;

/// The evidence for a refusal, strongest first.
pub(crate) fn gather(scene: &Scene<'_>) -> Vec<Evidence> {
    let mut evidence = Vec::new();
    irc(scene, &mut evidence);
    conduct(scene, &mut evidence);
    attempts(scene, &mut evidence);
    paths(scene, &mut evidence);
    doubts(scene, &mut evidence);
    evidence.sort_by_key(|one| std::cmp::Reverse(one.weight));
    evidence
}

fn irc(scene: &Scene<'_>, evidence: &mut Vec<Evidence>) {
    let (own, elsewhere): (Vec<&Irc>, Vec<&Irc>) = scene
        .irc
        .iter()
        .copied()
        .partition(|irc| same_lineage(scene, &irc.flow));
    for (sign, group) in [(Sign::IrcSameLineage, own), (Sign::IrcElsewhere, elsewhere)] {
        for irc in group.iter().take(IRC_DESCRIBED) {
            let open = seconds(scene.now.since_ns(irc.since));
            evidence.push(Evidence::new(
                sign,
                format!("{}, open for {open}", irc_words(&irc.flow)),
            ));
        }
        if group.len() > IRC_DESCRIBED {
            let more = group.len() - IRC_DESCRIBED;
            evidence.push(Evidence::new(
                sign,
                format!("and {more} more IRC connections"),
            ));
        }
    }
    if let Some(irc) = scene
        .irc_ended
        .iter()
        .rev()
        .find(|irc| same_lineage(scene, &irc.flow))
    {
        let ago = seconds(scene.now.since_ns(irc.since));
        evidence.push(Evidence::new(
            Sign::IrcJustEnded,
            format!("{}, closed {ago} before", irc_words(&irc.flow)),
        ));
    }
}

fn irc_words(flow: &FlowInfo) -> String {
    format!(
        "IRC connection to {} by {} (pid {})",
        flow.destination,
        program_name(&flow.program),
        flow.pid
    )
}

/// Whether a connection belongs to the lineage that tried to send: the same culprit, which is
/// one process and not just one program, or a process that stands in the lineage. System
/// processes stand in every lineage and say nothing. The user is the same already.
fn same_lineage(scene: &Scene<'_>, flow: &FlowInfo) -> bool {
    let actor = scene.actor;
    let in_chain = || {
        actor
            .lineage
            .links
            .iter()
            .any(|link| link.pid == flow.pid && link.origin != Origin::System)
    };
    Subject::of(flow) == *scene.subject || (actor.pid != 0 && actor.pid == flow.pid) || in_chain()
}

fn conduct(scene: &Scene<'_>, evidence: &mut Vec<Evidence>) {
    let actor = scene.actor;
    let program = program_name(&actor.program);
    let culprit = actor.lineage.culprit.as_ref();
    let driven = culprit.filter(|culprit| culprit.program != actor.program);
    match (scene.reason, driven) {
        (Reason::NotAMailer, _) => {
            let detail = format!("{program} speaks to mail servers without being a mailer");
            evidence.push(Evidence::new(Sign::OwnEngine, detail));
        }
        (Reason::MailOnOtherPort, _) => {
            let detail = match scene.judged.destination() {
                Some(destination) => format!("{program} spoke mail to {destination}"),
                None => format!("{program} spoke mail"),
            };
            evidence.push(Evidence::new(Sign::MailOnOtherPort, detail));
        }
        (Reason::NoRoom, _) => {
            let detail = format!("{program} filled its socket up before it connected");
            evidence.push(Evidence::new(Sign::BypassedConnect, detail));
        }
        (Reason::GrantOfAnother, _) => {
            let detail = format!("{program} wrote into a connection that was granted to a mailer");
            evidence.push(Evidence::new(Sign::UsesAnothersGrant, detail));
        }
        // Whoever only tampered with it did not start it: it may be the user's own shell.
        (_, Some(culprit))
            if matches!(actor.role, Role::Mailer | Role::Submitter)
                && actor.origin == Origin::Foreign =>
        {
            let by = program_name(&culprit.program);
            let detail = format!(
                "{program} was started on behalf of {by} (pid {})",
                culprit.pid
            );
            evidence.push(Evidence::new(Sign::DrivesMailer, detail));
        }
        _ => {}
    }
    if actor.tampered.any() {
        let by = actor.cause.map(|cause| TamperedBy {
            name: cause.name,
            flaw: cause.flaw,
        });
        let mut detail = tamper_words(actor.tampered, by);
        let caller = driven
            .filter(|_| actor.origin != Origin::Foreign)
            .map(|by| (&by.program, by.pid));
        let tamperer = scene.tamperer.map(|by| (&by.program, by.pid));
        if let Some((by, pid)) = tamperer.or(caller) {
            detail += &format!(" (by {}, pid {pid})", program_name(by));
        }
        evidence.push(Evidence::new(Sign::Tampering, detail));
    }
    // A process that is known and whose packet has no grant went around connect(); without
    // a process it is more likely a connection that was open before the gate came up.
    if scene.reason == Reason::NoGrant && actor.pid != 0 && !actor.program.is_empty() {
        let detail = format!("{program} sent a packet without having asked for a connection");
        evidence.push(Evidence::new(Sign::BypassedConnect, detail));
    }
}

fn attempts(scene: &Scene<'_>, evidence: &mut Vec<Evidence>) {
    let attempt = scene.attempt;
    let over = seconds(scene.now.since_ns(attempt.since));
    if attempt.count >= REPEATED_FROM {
        evidence.push(Evidence::new(
            Sign::Repeated,
            format!("{} refused attempts in {over}", attempt.count),
        ));
    }
    if attempt.servers() >= FAN_OUT_FROM {
        let servers = attempt.servers_words();
        evidence.push(Evidence::new(
            Sign::FanOut,
            format!("{servers} different mail servers in {over}"),
        ));
    }
}

/// The programs that may be a dropper's: the culprit, what tried to send, and what is foreign
/// between the two.
fn paths(scene: &Scene<'_>, evidence: &mut Vec<Evidence>) {
    let lineage = &scene.actor.lineage;
    let culprit = lineage.culprit.as_ref().map(|culprit| &culprit.program);
    let between = lineage
        .links
        .iter()
        .filter(|link| link.origin == Origin::Foreign && link.role == Role::Unknown)
        .map(|link| &link.program);
    let mut paths: Vec<&Arc<str>> = Vec::new();
    for path in culprit
        .into_iter()
        .chain([&scene.actor.program])
        .chain(between)
    {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    let mut found = 0;
    for path in paths {
        if let Some(place) = dropper_place(path) {
            evidence.push(Evidence::new(
                Sign::DropperPath,
                format!("{} {place}", program_name(path)),
            ));
            found += 1;
        }
        if found == DROPPERS_DESCRIBED {
            return;
        }
    }
}

/// Where droppers put their programs. Hidden folders in a home are full of honest tools, so
/// the usual ones are let off.
pub fn dropper_place(path: &str) -> Option<&'static str> {
    if path.contains("memfd:") {
        return Some("exists in memory only");
    }
    // Deeper than the gate follows: see `linux::programs`.
    if path.starts_with('…') {
        return Some("lies in so many folders that its place cannot be told");
    }
    if path.ends_with(" (deleted)") {
        return Some("deleted its own file");
    }
    let temporary = [
        "/tmp/",
        "/var/tmp/",
        "/dev/shm/",
        "/run/shm/",
        "/run/lock/",
        "/run/user/",
        "/var/lock/",
    ];
    if temporary.iter().any(|folder| path.starts_with(folder)) {
        return Some("runs from a folder for temporary files");
    }
    let usual = [
        ".local",
        ".cargo",
        ".nvm",
        ".rustup",
        ".pyenv",
        ".linuxbrew",
        ".nix-profile",
    ];
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    let hidden = |name: &str| {
        name.len() > 1 && name.starts_with('.') && name != ".." && !usual.contains(&name)
    };
    folders
        .split('/')
        .any(hidden)
        .then_some("runs from a hidden folder")
}

fn doubts(scene: &Scene<'_>, evidence: &mut Vec<Evidence>) {
    let lineage = &scene.actor.lineage;
    if scene.reason == Reason::FileChanged {
        let detail = format!(
            "the file of {} is newer than its registration",
            program_name(&scene.actor.program)
        );
        evidence.push(Evidence::new(Sign::FileChanged, detail));
    }
    let seeded = lineage.links.iter().filter(|link| link.seeded).count();
    // PID 1 and the like are always older than the gate; only a process that fell because
    // nobody saw it start is in doubt.
    if lineage.links.last().is_some_and(|link| link.seeded) {
        let detail = format!(
            "{seeded} of {} links of the lineage are older than the gate",
            lineage.links.len()
        );
        evidence.push(Evidence::new(Sign::OlderThanGate, detail));
    }
    let registered_all = lineage.culprit.is_none()
        && !lineage.links.is_empty()
        && lineage.lost == 0
        && lineage.links.iter().all(|link| link.role != Role::Unknown);
    if registered_all && !scene.actor.tampered.any() {
        evidence.push(Evidence::new(
            Sign::NoCulprit,
            "every program in the lineage is registered".to_owned(),
        ));
    }
}

pub(crate) fn seconds(nanoseconds: u64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    match seconds {
        0 => "less than a second".to_owned(),
        1..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn droppers_are_told_by_their_place() {
        for path in [
            "/tmp/x",
            "/dev/shm/.x/y",
            "/home/u/.x/y",
            "memfd:kworker (deleted)",
            "/home/u/x (deleted)",
            "/tmp/a/b/c/d/e/f/g/…/w/x/y/z",
            "/home/u/d/d/d/d/d/d/.…/w/x/y/bot",
            "…/d/d/d/d/d/d/d/…/d/d/d/bot",
        ] {
            assert!(dropper_place(path).is_some(), "{path}");
        }
        for path in [
            "/usr/bin/mutt",
            "/home/u/.local/bin/x",
            "/home/u/bin/.x",
            "/tmpfs/x",
            "/home/u/d/d/d/d/d/d/…/w/x/y/bot",
            "",
        ] {
            assert!(dropper_place(path).is_none(), "{path}");
        }
    }
}
