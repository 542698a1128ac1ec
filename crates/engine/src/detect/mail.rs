//! Mail that goes past the mail server: to many servers, refused, or looked up as spam
//! engines do (the paper's second and third generation).

use std::net::SocketAddr;

use protocols::dns::Question;

use super::distinct::Distinct;
use super::state::HOLDS_NS;
use super::{counted, hash, span};
use crate::event::Timestamp;
use crate::evidence::Evidence;
use crate::sign::Sign;

/// Different servers from which on it is a fan-out: people with several accounts, each with
/// IPv4 and IPv6 addresses, know some.
const FAN_OUT_FROM: usize = 6;
/// Domains whose exchangers were looked up.
const MX_FROM: usize = 3;
/// Mail hosts that were looked up and contacted.
const GUESSED_FROM: usize = 3;
/// Ports at which people hand in mail (RFC 8314): each has a server of his own, and a house full
/// of people has many. Spam is delivered to the recipients' servers, at another port.
const SUBMISSION: [u16; 2] = [465, 587];
/// Servers from which on it is a fan-out at those ports as well.
const SUBMITTED_FROM: usize = 16;
/// A pause after which counting begins anew.
const PAUSE_NS: u64 = 600 * 1_000_000_000;
/// A contact follows its lookup within this time.
const FOLLOWS_NS: u64 = 10 * 1_000_000_000;
const LOOKUPS_MAX: usize = 8;

/// What an act followed: looked at when it begins, because what goes on already follows nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Prompt {
    /// An order, or the answer to one, in IRC.
    pub(super) order: bool,
    /// It was in IRC already, or had just left.
    pub(super) login: bool,
}

/// What a subject does about mail.
#[derive(Debug, Default)]
pub(super) struct Mail {
    /// The first contact or refusal.
    pub(super) since: Timestamp,
    last: Timestamp,
    /// What it followed.
    pub(super) prompt: Prompt,
    contacts: u32,
    refused: u32,
    servers: Distinct<64>,
    /// Those among them to which mail is delivered, not handed in.
    relays: Distinct<64>,
    /// What the lookups of exchangers followed.
    pub(super) mx_prompt: Prompt,
    mx_since: Timestamp,
    mx_last: Timestamp,
    mx_queries: u32,
    mx_names: Distinct<64>,
    mx_first: String,
    /// Lookups of mail hosts that were not followed by a contact yet.
    lookups: Vec<(Timestamp, u64)>,
    guessed: Distinct<64>,
}

impl Mail {
    /// A connection to a mail server.
    pub(super) fn contact(&mut self, server: SocketAddr, prompt: Prompt, now: Timestamp) -> bool {
        self.begin(prompt, now);
        self.contacts = self.contacts.saturating_add(1);
        self.to(Some(server), now)
    }

    /// Mail that the gate refused.
    pub(super) fn refused(
        &mut self,
        server: Option<SocketAddr>,
        prompt: Prompt,
        now: Timestamp,
    ) -> bool {
        self.begin(prompt, now);
        self.refused = self.refused.saturating_add(1);
        self.to(server, now) | (self.refused == 1)
    }

    /// A lookup of mail exchangers, or of a mail host.
    pub(super) fn query(&mut self, question: &Question, prompt: Prompt, now: Timestamp) -> bool {
        if question.is_mx() {
            if pause(self.mx_last, now, self.mx_names.count() >= MX_FROM) {
                self.mx_names.clear();
                self.mx_queries = 0;
            }
            if self.mx_queries == 0 {
                self.mx_since = now;
                self.mx_prompt = prompt;
                self.mx_first = crate::printable(&question.name).chars().take(64).collect();
            }
            self.mx_last = now;
            self.mx_queries = self.mx_queries.saturating_add(1);
            let before = self.mx_names.count();
            self.mx_names.add(&question.name);
            return before < MX_FROM && self.mx_names.count() >= MX_FROM;
        }
        if self.lookups.len() >= LOOKUPS_MAX {
            self.lookups.remove(0);
        }
        self.lookups.push((now, hash(&question.name)));
        false
    }

    /// How many went where, in words.
    pub(super) fn words(&self) -> String {
        let mut words = Vec::new();
        if self.refused > 0 {
            words.push(counted(self.refused as usize, "refused connection"));
        }
        if self.contacts > 0 {
            words.push(counted(self.contacts as usize, "connection"));
        }
        format!(
            "{} to {}",
            words.join(" and "),
            self.servers.words("mail server")
        )
    }

    pub(super) fn evidence(&self, now: Timestamp, evidence: &mut Vec<Evidence>) {
        let recent = now.since_ns(self.last) <= HOLDS_NS;
        let over = span(self.last.since_ns(self.since));
        if recent && self.refused > 0 {
            let detail = format!("{} in {over}", self.words());
            evidence.push(Evidence::new(Sign::RefusedMail, detail));
        }
        if recent && self.fans_out() {
            let servers = self.servers.words("different mail server");
            evidence.push(Evidence::new(Sign::FanOut, format!("{servers} in {over}")));
        }
        if now.since_ns(self.mx_last) <= HOLDS_NS && self.mx_names.count() >= MX_FROM {
            let detail = format!(
                "asked {} for the mail exchangers of {}, {} first, in {}",
                counted(self.mx_queries as usize, "time"),
                self.mx_names.words("domain"),
                self.mx_first,
                span(self.mx_last.since_ns(self.mx_since)),
            );
            evidence.push(Evidence::new(Sign::MxLookups, detail));
        } else if recent && self.guesses() {
            let detail = format!(
                "looked {} up by name and contacted mail servers at once, without asking for mail exchangers",
                self.guessed.words("mail host")
            );
            evidence.push(Evidence::new(Sign::MailHostLookups, detail));
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.servers.held_bytes()
            + self.relays.held_bytes()
            + self.mx_names.held_bytes()
            + self.guessed.held_bytes()
            + self.mx_first.capacity()
            + self.lookups.capacity() * size_of::<(Timestamp, u64)>()
    }

    fn guesses(&self) -> bool {
        self.guessed.count() >= GUESSED_FROM && self.mx_queries == 0
    }

    fn fans_out(&self) -> bool {
        self.relays.count() >= FAN_OUT_FROM || self.servers.count() >= SUBMITTED_FROM
    }

    fn begin(&mut self, prompt: Prompt, now: Timestamp) {
        let fired = self.refused > 0 || self.fans_out() || self.guesses();
        if self.contacts + self.refused == 0 || pause(self.last, now, fired) {
            self.since = now;
            self.prompt = prompt;
            self.contacts = 0;
            self.refused = 0;
            self.servers.clear();
            self.relays.clear();
            self.guessed.clear();
        }
        // Captures of several interfaces are not quite in order.
        self.last = self.last.max(now);
    }

    fn to(&mut self, server: Option<SocketAddr>, now: Timestamp) -> bool {
        let (guessed, fanned_out) = (self.guesses(), self.fans_out());
        let relay = server.is_none_or(|server| !SUBMISSION.contains(&server.port()));
        for (at, name) in std::mem::take(&mut self.lookups) {
            if relay && now.since_ns(at) <= FOLLOWS_NS {
                self.guessed.add(name);
            }
        }
        if let Some(server) = server {
            let address = server.ip().to_canonical();
            self.servers.add(address);
            if relay {
                self.relays.add(address);
            }
        }
        (self.fans_out() && !fanned_out) | (self.guesses() && !guessed)
    }
}

/// Is what was counted too old? What already was a sign is kept longer.
fn pause(last: Timestamp, now: Timestamp, fired: bool) -> bool {
    now.since_ns(last) > if fired { HOLDS_NS } else { PAUSE_NS }
}

/// Is it called as mail servers are: `mx1.`, `mail.`, `smtp-in.`, `aspmx.l.`?
pub(super) fn is_mail_host(name: &str) -> bool {
    let Some((label, domain)) = name.split_once('.') else {
        return false;
    };
    if !domain.contains('.') {
        return false;
    }
    let plain = label.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '-');
    matches!(
        plain,
        "mx" | "mail"
            | "smtp"
            | "aspmx"
            | "mta"
            | "mailhost"
            | "mailin"
            | "mail-in"
            | "smtp-in"
            | "mx-in"
            | "inbound"
            | "gmail-smtp-in"
            | "relay"
            | "mxs"
            | "email"
    ) || domain.starts_with("mx.")
        || domain.starts_with("aspmx.")
        || domain.starts_with("gmail-smtp-in.")
}
