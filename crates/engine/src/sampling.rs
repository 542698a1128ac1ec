//! Samples in, observations out: follows the connections that the gate samples until it is
//! known what they are, and IRC for as long as it lives.

use std::net::IpAddr;

use protocols::{App, Classifier, Facts, Outcome, Progress, Roles, Side, dns, irc};

use crate::bounded::Bounded;
use crate::event::{FlowInfo, Payload, Sample, SampleKind, Timestamp};
use crate::observation::{Connection, Observation, Subject, Transport};

/// What the gate is to do with a sampled connection from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Report no more payload of it.
    Enough,
    /// Report what follows, within limits.
    Follow,
}

/// What a sample led to, beside observations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Noted {
    /// What the gate is to do.
    pub(crate) wish: Option<Wish>,
    /// What the connection has just been found to be.
    pub(crate) found: Option<Found>,
}

/// What a connection is, as far as the paper's rule asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// IRC.
    Irc,
    /// Surely something else, in which no IRC can hide.
    Other,
}

#[derive(Debug)]
enum Followed {
    /// It is not known yet.
    Looking(Looking),
    /// It is IRC.
    Irc(Box<irc::Watch>),
    /// It is this, or will never be known. A client of IRC or mail may begin in it yet.
    Known(App),
    /// It is encrypted: no more of it is asked for.
    Opaque,
}

/// A connection of which it is not known yet what it is.
#[derive(Debug)]
struct Looking {
    classifier: Box<Classifier>,
    /// What was told of it so far.
    told: App,
    /// The gate was asked for more of it.
    wants_more: bool,
}

impl Looking {
    fn new(classifier: Classifier, told: App) -> Self {
        Self {
            classifier: Box::new(classifier),
            told,
            wants_more: false,
        }
    }
}

/// How sure it must be that a connection is something else than IRC.
const SURE: f32 = 0.9;
/// An answer on a new connection counts as one after quiet, when the server was not heard
/// from for as long: bots that poll make a connection for each question.
const QUIET_NS: u64 = 5_000_000_000;
/// Where mail is fetched from (RFC 8314): people's mailers ask there all the time, and then
/// send.
const MAIL_FETCHED_FROM: [u16; 4] = [110, 143, 993, 995];

/// The connections that are sampled at this time.
#[derive(Debug)]
pub(crate) struct Sampling {
    flows: Bounded<u64, Followed>,
    /// When a server was last heard from, by whom.
    heard: Bounded<(Subject, IpAddr), Timestamp>,
    /// Connections that were given up because there were too many.
    forgotten: u64,
}

impl Sampling {
    /// At most `flows_max` connections, of some KiB each at the worst.
    pub(crate) fn new(flows_max: usize) -> Self {
        Self {
            flows: Bounded::new(flows_max),
            heard: Bounded::new(flows_max),
            forgotten: 0,
        }
    }

    /// Connections that were given up because there were too many.
    pub(crate) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// A connection is IRC, as is known from before.
    pub(crate) fn follow(&mut self, cookie: u64) {
        self.flows.put(cookie, Followed::Irc(Box::default()));
    }

    /// Takes a sample, and tells what it shows.
    pub(crate) fn take(
        &mut self,
        sample: &Sample,
        now: Timestamp,
        mut each: impl FnMut(&Observation<'_>),
    ) -> Noted {
        let connection = connection(&sample.flow);
        match &sample.kind {
            SampleKind::Sent(payload) => self.payload(sample, Side::Client, payload, &mut each),
            SampleKind::Received(payload) => {
                self.heard_from(sample, now, &mut each);
                self.payload(sample, Side::Server, payload, &mut each)
            }
            SampleKind::Query(bytes) => {
                for question in dns::parse(bytes).iter().flat_map(|query| &query.questions) {
                    each(&Observation::Query(question));
                }
                Noted::default()
            }
            SampleKind::AfterQuiet { quiet_ns } => {
                // The gate tells shorter silences too. A replay of the same traffic does not.
                if *quiet_ns >= QUIET_NS {
                    each(&Observation::Inbound {
                        connection,
                        quiet_ns: *quiet_ns,
                    });
                }
                Noted::default()
            }
            SampleKind::Burst {
                connections,
                over_ns,
            } => {
                each(&Observation::Burst {
                    connections: *connections,
                    over_ns: *over_ns,
                });
                Noted::default()
            }
            SampleKind::Closed {
                bytes_sent,
                bytes_received,
            } => {
                if let Some(Followed::Looking(looking)) = self.flows.take(&sample.flow.cookie) {
                    let _ = recognised(&connection, *looking.classifier, looking.told, &mut each);
                }
                each(&Observation::Closed {
                    connection,
                    bytes_up: *bytes_sent,
                    bytes_down: *bytes_received,
                });
                Noted::default()
            }
        }
    }

    /// The first answer on a connection, when its server was not heard from for a while.
    fn heard_from(
        &mut self,
        sample: &Sample,
        now: Timestamp,
        each: &mut impl FnMut(&Observation<'_>),
    ) {
        let server = sample.flow.destination;
        if MAIL_FETCHED_FROM.contains(&server.port()) {
            return;
        }
        let key = (subject(sample), server.ip());
        let last = self.heard.take(&key);
        self.heard.put(key, now);
        let quiet_ns = last.map_or(0, |last| now.since_ns(last));
        if quiet_ns >= QUIET_NS {
            each(&Observation::Inbound {
                connection: connection(&sample.flow),
                quiet_ns,
            });
        }
    }

    fn payload(
        &mut self,
        sample: &Sample,
        side: Side,
        payload: &Payload,
        each: &mut impl FnMut(&Observation<'_>),
    ) -> Noted {
        let connection = connection(&sample.flow);
        let followed = self.flows.take(&sample.flow.cookie).unwrap_or_else(|| {
            each(&Observation::Opened(connection));
            Followed::Looking(Looking::new(Classifier::new(Roles::Known), App::Unknown))
        });
        let mut noted = Noted::default();
        let followed = match followed {
            Followed::Known(app) if protocols::begins_anew(&payload.bytes) => {
                Followed::Looking(Looking::new(Classifier::again(Roles::Known, app), app))
            }
            followed => followed,
        };
        let followed = match followed {
            Followed::Looking(looking) => {
                look_on(looking, &connection, side, payload, &mut noted, each)
            }
            Followed::Irc(mut watch) => {
                if payload.gap_before {
                    watch.gap(side);
                }
                let mut renamed = false;
                watch.feed(side, &payload.bytes, |heard| match heard {
                    irc::Heard::Text(text) => each(&Observation::Irc { connection, text }),
                    irc::Heard::Joined(_) | irc::Heard::Nick(_) => renamed = true,
                });
                if payload.gap_after {
                    watch.gap(side);
                }
                if renamed {
                    tell_irc(&connection, &watch, each);
                }
                Followed::Irc(watch)
            }
            followed @ (Followed::Known(_) | Followed::Opaque) => followed,
        };
        self.forgotten += u64::from(self.flows.put(sample.flow.cookie, followed).is_some());
        noted
    }
}

/// Whose conduct a sample is.
pub(crate) fn subject(sample: &Sample) -> Subject {
    let flow = &sample.flow;
    let culprit = flow.culprit.as_ref().zip(sample.culprit_pid);
    Subject::lineage(culprit, &flow.program, flow.pid)
}

fn connection(flow: &FlowInfo) -> Connection {
    Connection {
        id: flow.cookie,
        transport: Transport::Tcp,
        destination: flow.destination,
    }
}

/// Takes payload of a connection of which it is not known yet what it is.
fn look_on(
    mut looking: Looking,
    connection: &Connection,
    side: Side,
    payload: &Payload,
    noted: &mut Noted,
    each: &mut impl FnMut(&Observation<'_>),
) -> Followed {
    let classifier = &mut looking.classifier;
    let progress = look(classifier, side, payload);
    let is_irc = classifier.is_surely_irc() || classifier.is_irc_by_server();
    if progress == Progress::More && !is_irc {
        if looking.told == App::Unknown
            && let Some(named) = classifier.named()
        {
            looking.told = named.app;
            each(&Observation::Recognised {
                connection: *connection,
                app: named.app,
                facts: &named.facts,
                own_chat: false,
            });
        }
        // A client that registers may wait for a server that first sends much else.
        if classifier.registers() && !looking.wants_more {
            looking.wants_more = true;
            noted.wish = Some(Wish::Follow);
        }
        return Followed::Looking(looking);
    }
    let told = looking.told;
    let known = recognised(connection, *looking.classifier, told, each);
    noted.found = known.found;
    if let Some(watch) = known.watch {
        noted.wish = Some(Wish::Follow);
        return Followed::Irc(Box::new(watch));
    }
    if known.opaque {
        noted.wish = Some(Wish::Enough);
        return Followed::Opaque;
    }
    if looking.wants_more {
        noted.wish = Some(Wish::Enough);
    }
    // IRC may begin yet: the gate goes on with the little that it reports of any connection.
    Followed::Known(if known.app == App::Unknown {
        told
    } else {
        known.app
    })
}

fn look(classifier: &mut Classifier, side: Side, payload: &Payload) -> Progress {
    if payload.gap_before {
        classifier.gap(side);
    }
    let progress = classifier.feed(side, &payload.bytes);
    if payload.gap_after {
        classifier.gap(side);
    }
    progress
}

/// What a connection was found to be.
#[derive(Default)]
struct Recognised {
    app: App,
    found: Option<Found>,
    /// No line can be read in it from now on.
    opaque: bool,
    /// Who listens on, when it is IRC.
    watch: Option<irc::Watch>,
}

/// Tells what a connection was found to be, unless that was `told` before.
fn recognised(
    connection: &Connection,
    classifier: Classifier,
    told: App,
    each: &mut impl FnMut(&Observation<'_>),
) -> Recognised {
    let (outcome, watch) = classifier.finish_watching();
    if outcome.app == App::Unknown {
        return Recognised::default();
    }
    // Behind TLS, or a proxy, there may be anything.
    let bare = !matches!(outcome.app, App::Tls | App::Socks) && outcome.through.is_none();
    let sure = outcome.confidence >= SURE;
    let found = match outcome.app {
        App::Irc => Some(Found::Irc),
        _ if bare && sure => Some(Found::Other),
        _ => None,
    };
    match &watch {
        Some(watch) => tell_irc(connection, watch, each),
        None if outcome.app == told => {}
        None => each(&Observation::Recognised {
            connection: *connection,
            app: outcome.app,
            facts: &outcome.facts,
            own_chat: false,
        }),
    }
    Recognised {
        app: outcome.app,
        found,
        opaque: sure && is_opaque(&outcome),
        watch,
    }
}

/// Is it encrypted or binary from its greeting on, which both sides have sent?
fn is_opaque(outcome: &Outcome) -> bool {
    match outcome.app {
        // Anybody can send five bytes that look like TLS.
        App::Tls => matches!(outcome.facts, Facts::Tls(_)),
        App::Ssh | App::Smb | App::Rdp | App::BitTorrent | App::Bgp | App::Ldap => true,
        _ => false,
    }
}

fn tell_irc(connection: &Connection, watch: &irc::Watch, each: &mut impl FnMut(&Observation<'_>)) {
    each(&Observation::Recognised {
        connection: *connection,
        app: App::Irc,
        facts: &Facts::Irc(Box::new(watch.facts().clone())),
        // The chats of a person are not sampled at all.
        own_chat: false,
    });
}

#[cfg(test)]
mod tests {
    use policy::{Origin, Role};

    use super::*;
    use crate::event::FlowKind;

    fn sample(cookie: u64, kind: SampleKind) -> Sample {
        Sample {
            flow: FlowInfo {
                cookie,
                kind: FlowKind::Sampled,
                pid: 40,
                uid: 1000,
                program: "/tmp/child".into(),
                culprit: Some("/tmp/bot".into()),
                role: Role::Unknown,
                origin: Origin::Foreign,
                destination: "198.51.100.7:8080".parse().expect("an address"),
            },
            culprit_pid: Some(30),
            kind,
        }
    }

    fn payload(bytes: &[u8]) -> Payload {
        Payload {
            bytes: bytes.to_vec(),
            gap_before: false,
            gap_after: false,
        }
    }

    fn words(observation: &Observation<'_>) -> String {
        match observation {
            Observation::Opened(_) => "opened".to_owned(),
            Observation::Recognised { app, .. } => format!("is {}", app.word()),
            Observation::Irc { text, .. } => format!("heard {}", text.text),
            Observation::Query(question) => format!("asked {}", question.name),
            Observation::Closed { bytes_down, .. } => format!("closed {bytes_down}"),
            other => format!("{other:?}"),
        }
    }

    fn take(sampling: &mut Sampling, sample: &Sample) -> (Vec<String>, Noted) {
        let mut seen = Vec::new();
        let noted = sampling.take(sample, Timestamp(0), |observation| {
            seen.push(words(observation))
        });
        (seen, noted)
    }

    #[test]
    fn irc_is_recognised_on_any_port_and_listened_to() {
        let mut sampling = Sampling::new(8);
        let sent = sample(7, SampleKind::Sent(payload(b"NICK x\r\nUSER x 0 * :x\r\n")));
        assert_eq!(take(&mut sampling, &sent).0, ["opened"]);
        let welcome = sample(
            7,
            SampleKind::Received(payload(b":irc.example.net 001 x :hi\r\n")),
        );
        let (seen, noted) = take(&mut sampling, &welcome);
        assert_eq!(
            (seen, noted.found),
            (vec!["is irc".to_owned()], Some(Found::Irc))
        );
        assert_eq!(noted.wish, Some(Wish::Follow));
        let order = sample(
            7,
            SampleKind::Received(payload(b":m!u@h PRIVMSG #x :.spam 192.0.2.1\r\n")),
        );
        assert!(
            take(&mut sampling, &order)
                .0
                .contains(&"heard .spam 192.0.2.1".to_owned())
        );
    }

    #[test]
    fn what_is_something_else_is_let_go() {
        let mut sampling = Sampling::new(8);
        let sent = sample(
            7,
            SampleKind::Sent(payload(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")),
        );
        let (seen, noted) = take(&mut sampling, &sent);
        assert_eq!(seen, ["opened", "is http"]);
        // The server has not confirmed it.
        assert_eq!((noted.wish, noted.found), (None, None));
        let answered = sample(
            7,
            SampleKind::Received(payload(b"HTTP/1.1 200 OK\r\n\r\nhello")),
        );
        let (seen, noted) = take(&mut sampling, &answered);
        assert_eq!((seen, noted.found), (vec![], Some(Found::Other)));
        let closed = sample(
            7,
            SampleKind::Closed {
                bytes_sent: 1,
                bytes_received: 2,
            },
        );
        assert_eq!(take(&mut sampling, &closed).0, ["closed 2"]);
    }

    #[test]
    fn a_query_is_read_and_damage_is_not() {
        let mut sampling = Sampling::new(8);
        let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07Example\x03org\x00\x00\x0f\x00\x01";
        let asked = sample(0, SampleKind::Query(query.to_vec()));
        assert_eq!(take(&mut sampling, &asked).0, ["asked example.org"]);
        let damaged = sample(0, SampleKind::Query(query[..20].to_vec()));
        assert_eq!(take(&mut sampling, &damaged).0, [""; 0]);
    }

    #[test]
    fn too_many_connections_push_out_the_idlest() {
        let mut sampling = Sampling::new(4);
        for cookie in 0..100 {
            take(
                &mut sampling,
                &sample(cookie, SampleKind::Sent(payload(b"x"))),
            );
        }
        assert_eq!((sampling.flows.len(), sampling.forgotten()), (4, 96));
    }
}
