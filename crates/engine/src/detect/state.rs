//! What is known of one subject: a part for each kind of conduct, none before it is needed.

use std::net::SocketAddr;

use protocols::{App, Facts};

use super::beacon::Beacons;
use super::irc::Irc;
use super::mail::{Mail, Prompt};
use super::peers::Peers;
use super::reaction::{Act, Kind, Reaction};
use super::rounds::Rounds;
use super::scan::{BURST_FROM, Scan};
use super::{Hearsay, counted, hash};
use crate::event::Timestamp;
use crate::evidence::Evidence;
use crate::observation::{Connection, Observation, Transport};
use crate::sign::Sign;

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

/// What a subject did, and what its acts followed.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    /// Strongest first.
    pub(super) evidence: Vec<Evidence>,
    /// What its mail followed.
    pub(super) mail: Prompt,
    /// What its lookups of exchangers followed.
    pub(super) mx: Prompt,
    /// What its scan followed.
    pub(super) scan: Prompt,
    /// Its mail follows a channel more often than chance explains.
    pub(super) reacts_by_mail: bool,
    /// Its scans, or floods, do.
    pub(super) reacts_by_scan: bool,
}

impl State {
    /// Takes an observation into account. `true` when a sign is new.
    pub(super) fn observe(
        &mut self,
        observation: &Observation<'_>,
        mail_ports: &[u16],
        now: Timestamp,
        hearsay: &mut Option<Hearsay>,
    ) -> bool {
        let prompt = self.prompt(now);
        match observation {
            Observation::Opened(connection) => self.opened(connection, mail_ports, now),
            Observation::Failed(connection) => self.failed(connection, mail_ports, now),
            Observation::Refused { destination } => {
                let mail = self.mail.get_or_insert_default();
                let grown = mail.refused(*destination, prompt, now);
                self.act(Act::Refused, *destination, None, now) | grown
            }
            Observation::Burst {
                connections,
                over_ns,
            } => {
                let scan = self.scan.get_or_insert_default();
                let grown = scan.burst(*connections, *over_ns, prompt, now);
                *connections >= BURST_FROM
                    && self.act(Act::Burst(*connections), None, None, now) | grown
            }
            Observation::Inbound {
                connection,
                quiet_ns,
            } => self.inbound(connection, *quiet_ns, now),
            Observation::Recognised {
                connection,
                app,
                facts,
                own_chat,
            } => {
                let new_mail = *app == App::Smtp
                    && connection.transport == Transport::Tcp
                    && !mail_ports.contains(&connection.destination.port());
                let grown = new_mail && self.mail(connection, now);
                self.recognised(connection, *app, facts, *own_chat, now, hearsay) | grown
            }
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
                self.mail
                    .get_or_insert_default()
                    .query(question, prompt, now)
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
        self.conduct(now).evidence
    }

    /// All that counts now, and what it followed.
    pub(super) fn conduct(&self, now: Timestamp) -> Conduct {
        let mut conduct = Conduct::default();
        let evidence = &mut conduct.evidence;
        if let Some(irc) = &self.irc {
            irc.evidence(self.mail.as_deref(), now, evidence);
        }
        if let Some(mail) = &self.mail {
            mail.evidence(now, evidence);
            (conduct.mail, conduct.mx) = (mail.prompt, mail.mx_prompt);
        }
        if let Some(scan) = &self.scan {
            let dead_peers = self.peers.as_ref().is_some_and(|peers| peers.is_sign());
            conduct.scan = scan.evidence(now, dead_peers, evidence);
        }
        if let Some(beacons) = &self.beacons {
            beacons.evidence(now, evidence);
        }
        let before = evidence.len();
        if let Some(rounds) = &self.rounds {
            rounds.evidence(now, evidence);
        }
        let goes_rounds = evidence.len() > before;
        if let Some(reaction) = &self.reaction {
            conduct.reacts_by_mail = reaction.is_sign(Kind::Mail, now);
            conduct.reacts_by_scan = reaction.is_sign(Kind::Scan, now);
            // A reader of news asks its servers in turn, and then fetches what is new there.
            if conduct.reacts_by_mail || conduct.reacts_by_scan || !goes_rounds {
                reaction.evidence(now, evidence);
            }
        }
        if let Some(peers) = &self.peers {
            peers.evidence(now, evidence);
        }
        if self.serves_mail > 0 && evidence.iter().any(|one| one.what.is_mail_act()) {
            let times = counted(self.serves_mail as usize, "time");
            let detail = format!("others delivered mail to it {times}");
            evidence.push(Evidence::new(Sign::MailServer, detail));
        }
        evidence.sort_by_key(|one| std::cmp::Reverse(one.weight));
        conduct
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

    /// Payload came in after a silence.
    fn inbound(&mut self, connection: &Connection, quiet_ns: u64, now: Timestamp) -> bool {
        // A clock and a resolver answer; they give no orders.
        if connection.transport != Transport::Tcp || self.chats.contains(&connection.id) {
            return false;
        }
        let destination = connection.destination;
        let reaction = self.reaction.get_or_insert_default();
        reaction.came_in(destination, quiet_ns, false, now);
        // Each IRC server asks regularly whether its clients are still there.
        let is_in = |irc: &Irc| irc.is_in(connection.id);
        if self.irc.as_deref().is_some_and(is_in) {
            return false;
        }
        let beacons = self.beacons.get_or_insert_default();
        beacons.opened(destination, now).0
    }

    fn prompt(&self, now: Timestamp) -> Prompt {
        self.irc
            .as_ref()
            .map_or_else(Prompt::default, |irc| irc.prompt(now))
    }

    /// A connection to a mail server.
    fn mail(&mut self, connection: &Connection, now: Timestamp) -> bool {
        let (there, prompt) = (connection.destination, self.prompt(now));
        let mail = self.mail.get_or_insert_default();
        let grown = mail.contact(there, prompt, now);
        let server = hash(there.ip().to_canonical());
        self.act(Act::Mail, Some(there), Some(server), now) | grown
    }

    fn opened(&mut self, connection: &Connection, mail_ports: &[u16], now: Timestamp) -> bool {
        if connection.transport != Transport::Tcp {
            return false;
        }
        let there = connection.destination;
        let obeyed = self
            .irc
            .as_mut()
            .is_some_and(|irc| irc.obey.connected(there.ip(), now));
        if mail_ports.contains(&there.port()) {
            return self.mail(connection, now) | obeyed;
        }
        let prompt = self.prompt(now);
        let scan = self.scan.get_or_insert_default();
        let mut grown = obeyed;
        if let Some((connections, over_ns)) = scan.opened(there.ip(), now) {
            grown |= scan.burst(connections, over_ns, prompt, now);
            grown |= self.act(Act::Burst(connections), Some(there), None, now);
        }
        let (regular, ago_ns) = self.beacons.get_or_insert_default().opened(there, now);
        // Somebody who calls home regularly gets his orders with the answer.
        if let Some(ago_ns) = ago_ns {
            let reaction = self.reaction.get_or_insert_default();
            reaction.came_in(there, ago_ns, true, now);
        }
        grown | regular
    }

    fn failed(&mut self, connection: &Connection, mail_ports: &[u16], now: Timestamp) -> bool {
        let there = connection.destination;
        if connection.transport != Transport::Tcp || mail_ports.contains(&there.port()) {
            return false;
        }
        let prompt = self.prompt(now);
        let scan = self.scan.get_or_insert_default();
        let grown = scan.failed(there, prompt, now);
        let peers = self.peers.get_or_insert_default();
        let grown = peers.silent(there, now) | grown;
        let host = hash(there.ip().to_canonical());
        self.act(Act::Failed, Some(there), Some(host), now) | grown
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
                let obeyed = self
                    .irc
                    .as_mut()
                    .is_some_and(|irc| irc.obey.fetched(facts, now));
                let grown = self.rounds.get_or_insert_default().asked(facts, now);
                let file = hash((&facts.host, &facts.target));
                let there = Some(connection.destination);
                self.act(Act::Fetched, there, Some(file), now) | grown | obeyed
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
        let obeyed = down == 0
            && self
                .irc
                .as_mut()
                .is_some_and(|irc| irc.obey.sent(connection.destination.ip(), up, now));
        if down > 0 {
            if let Some(peers) = &mut self.peers {
                peers.answered(connection.destination);
            }
            return false;
        }
        let peers = self.peers.get_or_insert_default();
        peers.silent(connection.destination, now) | obeyed
    }

    fn act(
        &mut self,
        act: Act,
        there: Option<SocketAddr>,
        to: Option<u64>,
        now: Timestamp,
    ) -> bool {
        self.reaction
            .as_mut()
            .is_some_and(|reaction| reaction.act(act, there, to, now))
    }
}
