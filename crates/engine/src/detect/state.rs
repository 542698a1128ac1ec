//! What is known of one subject: a part for each kind of conduct, none before it is needed.

use protocols::{App, Facts};

use super::beacon::Beacons;
use super::irc::Irc;
use super::mail::Mail;
use super::peers::Peers;
use super::reaction::{Act, Reaction};
use super::rounds::Rounds;
use super::scan::{BURST_FROM, Scan};
use super::{Hearsay, counted};
use crate::event::Timestamp;
use crate::evidence::Evidence;
use crate::observation::{Connection, Observation, Transport};
use crate::sign::Sign;

/// Ports that mail goes to.
const MAIL_PORTS: [u16; 3] = [25, 465, 587];
/// Connections of chatting people that are remembered.
const CHATS_MAX: usize = 8;
/// How long a sign counts after it was last seen.
pub(super) const HOLDS_NS: u64 = 6 * 3600 * 1_000_000_000;

/// What is known of one subject.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Its last observation.
    pub(super) last: Timestamp,
    /// The signs that were told, and when.
    pub(super) told: Option<(u64, Timestamp)>,
    /// When the evidence became enough.
    pub(super) since: Option<Timestamp>,
    /// There is a new sign, and it was too early to tell it.
    pub(super) untold: bool,
    serves_mail: u32,
    /// Connections in which a person chats.
    chats: Vec<u64>,
    irc: Option<Box<Irc>>,
    mail: Option<Box<Mail>>,
    scan: Option<Box<Scan>>,
    reaction: Option<Box<Reaction>>,
    beacons: Option<Box<Beacons>>,
    rounds: Option<Box<Rounds>>,
    peers: Option<Box<Peers>>,
}

impl State {
    /// Takes an observation into account. `true` when a sign is new.
    pub(super) fn observe(
        &mut self,
        observation: &Observation<'_>,
        now: Timestamp,
        hearsay: &mut Option<Hearsay>,
    ) -> bool {
        match observation {
            Observation::Opened(connection) => self.opened(connection, now),
            Observation::Failed(connection) => self.failed(connection, now),
            Observation::Refused { destination } => {
                let mail = self.mail.get_or_insert_default();
                let grown = mail.refused(destination.map(|there| there.ip()), now);
                self.act(Act::Refused, None, now) | grown
            }
            Observation::Burst {
                connections,
                over_ns,
            } => {
                let scan = self.scan.get_or_insert_default();
                let grown = scan.burst(*connections, *over_ns, now);
                *connections >= BURST_FROM && self.act(Act::Burst(*connections), None, now) | grown
            }
            Observation::Inbound {
                connection,
                quiet_ns,
            } => {
                // A clock and a resolver answer; they give no orders.
                if connection.transport != Transport::Tcp || self.chats.contains(&connection.id) {
                    return false;
                }
                let destination = connection.destination;
                let reaction = self.reaction.get_or_insert_default();
                reaction.came_in(destination, *quiet_ns, now);
                self.beacons
                    .get_or_insert_default()
                    .opened(destination, now)
                    .0
            }
            Observation::Recognised {
                connection,
                app,
                facts,
                own_chat,
            } => self.recognised(connection, *app, facts, *own_chat, now, hearsay),
            Observation::Irc { connection, text } => {
                if self.chats.contains(&connection.id) {
                    return false;
                }
                self.irc
                    .as_mut()
                    .is_some_and(|irc| irc.text(connection.id, text, now, hearsay))
            }
            Observation::Query(question) => {
                if !question.is_mx() && !question.is_address() {
                    return false;
                }
                // Most lookups are of no interest, and most subjects send no mail.
                if question.is_address() && !super::mail::is_mail_host(&question.name) {
                    return false;
                }
                self.mail.get_or_insert_default().query(question, now)
            }
            Observation::Served { app } => {
                self.serves_mail += u32::from(*app == App::Smtp && self.serves_mail < u32::MAX);
                false
            }
            Observation::Closed {
                connection,
                bytes_up,
                bytes_down,
            } => self.closed(connection, *bytes_up, *bytes_down, now),
        }
    }

    /// Takes in what somebody else's conversation tells.
    pub(super) fn hearsay(&mut self, hearsay: Hearsay, now: Timestamp) -> bool {
        self.irc.get_or_insert_default().hearsay(hearsay, now)
    }

    /// The clock was set back: what is measured in time is worth nothing any more.
    pub(super) fn begin_anew(&mut self) {
        self.mail = None;
        self.scan = None;
        self.reaction = None;
        self.beacons = None;
        self.rounds = None;
        self.peers = None;
    }

    /// All that counts now, strongest first.
    pub(super) fn evidence(&self, now: Timestamp) -> Vec<Evidence> {
        let mut evidence = Vec::new();
        if let Some(irc) = &self.irc {
            irc.evidence(self.mail.as_deref(), now, &mut evidence);
        }
        if let Some(mail) = &self.mail {
            mail.evidence(now, &mut evidence);
        }
        if let Some(scan) = &self.scan {
            let dead_peers = self.peers.as_ref().is_some_and(|peers| peers.is_sign());
            scan.evidence(now, dead_peers, &mut evidence);
        }
        if let Some(reaction) = &self.reaction {
            reaction.evidence(now, &mut evidence);
        }
        if let Some(beacons) = &self.beacons {
            beacons.evidence(now, &mut evidence);
        }
        if let Some(rounds) = &self.rounds {
            rounds.evidence(now, &mut evidence);
        }
        if let Some(peers) = &self.peers {
            peers.evidence(now, &mut evidence);
        }
        if self.serves_mail > 0 && evidence.iter().any(|one| one.what.is_act()) {
            let times = counted(self.serves_mail as usize, "time");
            let detail = format!("others delivered mail to it {times}");
            evidence.push(Evidence::new(Sign::MailServer, detail));
        }
        evidence.sort_by_key(|one| std::cmp::Reverse(one.weight));
        evidence
    }

    /// Bytes held beside itself.
    pub(super) fn held_bytes(&self) -> usize {
        fn of<T>(part: &Option<Box<T>>, held: impl Fn(&T) -> usize) -> usize {
            part.as_ref().map_or(0, |part| size_of::<T>() + held(part))
        }
        self.chats.capacity() * size_of::<u64>()
            + of(&self.irc, Irc::held_bytes)
            + of(&self.mail, Mail::held_bytes)
            + of(&self.scan, Scan::held_bytes)
            + of(&self.reaction, Reaction::held_bytes)
            + of(&self.beacons, Beacons::held_bytes)
            + of(&self.rounds, Rounds::held_bytes)
            + of(&self.peers, Peers::held_bytes)
    }

    fn opened(&mut self, connection: &Connection, now: Timestamp) -> bool {
        if connection.transport != Transport::Tcp {
            return false;
        }
        let destination = connection.destination;
        if MAIL_PORTS.contains(&destination.port()) {
            let mail = self.mail.get_or_insert_default();
            let grown = mail.contact(destination.ip(), now);
            return self.act(Act::Mail, Some(connection), now) | grown;
        }
        let (grown, period_ns) = self
            .beacons
            .get_or_insert_default()
            .opened(destination, now);
        // Somebody who calls home regularly gets his orders with the answer.
        if let Some(period_ns) = period_ns {
            let reaction = self.reaction.get_or_insert_default();
            reaction.came_in(destination, period_ns, now);
        }
        grown
    }

    fn failed(&mut self, connection: &Connection, now: Timestamp) -> bool {
        let destination = connection.destination;
        if connection.transport != Transport::Tcp || MAIL_PORTS.contains(&destination.port()) {
            return false;
        }
        let grown = self.scan.get_or_insert_default().failed(destination, now);
        let peers = self.peers.get_or_insert_default();
        let grown = peers.silent(destination, now) | grown;
        self.act(Act::Failed, Some(connection), now) | grown
    }

    fn recognised(
        &mut self,
        connection: &Connection,
        app: App,
        facts: &Facts,
        own_chat: bool,
        now: Timestamp,
        hearsay: &mut Option<Hearsay>,
    ) -> bool {
        if own_chat {
            if !self.chats.contains(&connection.id) {
                if self.chats.len() >= CHATS_MAX {
                    self.chats.remove(0);
                }
                self.chats.push(connection.id);
            }
            return false;
        }
        match (app, facts) {
            (App::Irc, Facts::Irc(facts)) => {
                let irc = self.irc.get_or_insert_default();
                irc.recognised(connection, facts, now, hearsay)
            }
            // What says it accepts anything is a browser, or a library that browsers use.
            (App::Http, Facts::Http(facts)) if !facts.accept => {
                let grown = self.rounds.get_or_insert_default().asked(facts, now);
                self.act(Act::Fetched, Some(connection), now) | grown
            }
            (App::BitTorrent | App::Gnutella, _) => {
                self.peers.get_or_insert_default().shares_files();
                false
            }
            _ => false,
        }
    }

    fn closed(&mut self, connection: &Connection, up: u64, down: u64, now: Timestamp) -> bool {
        self.chats.retain(|chat| *chat != connection.id);
        if let Some(irc) = &mut self.irc {
            irc.closed(connection.id, now);
        }
        if connection.transport != Transport::Udp || up == 0 {
            return false;
        }
        if down > 0 {
            if let Some(peers) = &mut self.peers {
                peers.answered(connection.destination);
            }
            return false;
        }
        let peers = self.peers.get_or_insert_default();
        peers.silent(connection.destination, now)
    }

    fn act(&mut self, act: Act, connection: Option<&Connection>, now: Timestamp) -> bool {
        let destination = connection.map(|connection| connection.destination);
        self.reaction
            .as_mut()
            .is_some_and(|reaction| reaction.act(act, destination, now))
    }
}
