//! What is told of a capture: flows as they end, and what the hosts did, as it happens.

use std::net::IpAddr;

use engine::{Connection, Observation, Transport};
use protocols::dns::{self, Question};
use protocols::irc::{IrcFacts, Text};
use protocols::{App, Facts};

use crate::flow::{self, Flow, FlowRecord};

/// Who wants to know.
pub trait Sink {
    /// Are observations wanted? Without them a capture is read faster.
    const OBSERVES: bool = true;

    /// A flow has ended, or the table had no more room for it.
    fn flow(&mut self, flow: FlowRecord);

    /// A host did something. The times, in nanoseconds since 1970, are not quite in order:
    /// that a connection was not answered, or ended without a word, shows later.
    fn observe(&mut self, host: IpAddr, observation: &Observation<'_>, time_ns: u64);
}

/// For those who want flows alone.
pub struct FlowsOnly<F>(pub F);

impl<F: FnMut(FlowRecord)> Sink for FlowsOnly<F> {
    const OBSERVES: bool = false;

    fn flow(&mut self, flow: FlowRecord) {
        (self.0)(flow);
    }

    fn observe(&mut self, _host: IpAddr, _observation: &Observation<'_>, _time_ns: u64) {}
}

/// What a flow has come to, between two packets.
pub enum News<'a> {
    /// It is known what it is: see [`Flow::outcome`].
    Recognised,
    /// An IRC connection has another channel or name.
    Renewed(&'a IrcFacts),
    /// Something was said in an IRC connection.
    Said(&'a Text),
    /// Something was asked in a DNS flow.
    Asked(&'a Question),
}

/// A sink, and how many flows it was told.
pub struct Out<'a, S> {
    pub sink: &'a mut S,
    pub told: u64,
}

impl<S: Sink> Out<'_, S> {
    /// A flow leaves the table.
    pub fn leave(&mut self, mut flow: Flow) {
        self.told += 1;
        let time_ns = flow.last_ns;
        if S::OBSERVES {
            let mut recognised = false;
            flow.decide(&mut |_| recognised = true);
            if recognised {
                self.recognised(&flow, time_ns);
            }
            let (host, connection) = ends(&flow);
            if flow.is_unanswered() {
                self.sink
                    .observe(host, &Observation::Failed(connection), flow.first_ns);
            }
            let (bytes_up, bytes_down) = flow.bytes();
            let closed = Observation::Closed {
                connection,
                bytes_up,
                bytes_down,
            };
            self.sink.observe(host, &closed, time_ns);
        }
        self.sink.flow(flow.into_record());
    }

    /// A connection was opened.
    pub fn opened(&mut self, flow: &Flow, time_ns: u64) {
        let (host, connection) = ends(flow);
        self.sink
            .observe(host, &Observation::Opened(connection), time_ns);
    }

    /// A connection came to nothing.
    pub fn failed(&mut self, flow: &Flow, time_ns: u64) {
        let (host, connection) = ends(flow);
        self.sink
            .observe(host, &Observation::Failed(connection), time_ns);
    }

    /// Payload came in after a silence.
    pub fn inbound(&mut self, flow: &Flow, quiet_ns: u64, time_ns: u64) {
        let (host, connection) = ends(flow);
        let inbound = Observation::Inbound {
            connection,
            quiet_ns,
        };
        self.sink.observe(host, &inbound, time_ns);
    }

    /// There is something new of a flow. `host` and `connection` are [`ends`] of it.
    pub fn news(&mut self, host: IpAddr, connection: Connection, news: &News<'_>, time_ns: u64) {
        match news {
            News::Recognised => {}
            News::Renewed(facts) => {
                let facts = Facts::Irc(Box::new((*facts).clone()));
                let recognised = Observation::Recognised {
                    connection,
                    app: App::Irc,
                    facts: &facts,
                    own_chat: false,
                };
                self.sink.observe(host, &recognised, time_ns);
            }
            News::Said(text) => {
                let irc = Observation::Irc { connection, text };
                self.sink.observe(host, &irc, time_ns);
            }
            News::Asked(question) => {
                self.sink
                    .observe(host, &Observation::Query(question), time_ns);
            }
        }
    }

    /// It is known what a flow is; the sides are the right ones now.
    pub fn recognised(&mut self, flow: &Flow, time_ns: u64) {
        let outcome = flow.outcome();
        if outcome.app == App::Unknown {
            return;
        }
        let (host, connection) = ends(flow);
        let recognised = Observation::Recognised {
            connection,
            app: outcome.app,
            facts: &outcome.facts,
            own_chat: false,
        };
        self.sink.observe(host, &recognised, time_ns);
        match &outcome.facts {
            Facts::Dns(message) if !message.response => {
                for question in &message.questions {
                    self.sink
                        .observe(host, &Observation::Query(question), time_ns);
                }
            }
            Facts::Smtp(_) => {
                let server = connection.destination.ip();
                let served = Observation::Served { app: App::Smtp };
                self.sink.observe(server, &served, time_ns);
            }
            _ => {}
        }
    }
}

/// The host that is taken for the client, and the connection as it sees it.
pub fn ends(flow: &Flow) -> (IpAddr, Connection) {
    let (client, server) = flow.sides();
    let transport = match flow.key.transport() {
        flow::Transport::Tcp => Transport::Tcp,
        flow::Transport::Udp => Transport::Udp,
    };
    let connection = Connection {
        id: flow.id,
        transport,
        destination: server,
    };
    (client.ip(), connection)
}

/// The questions of a datagram that is no answer.
pub fn questions(payload: &[u8]) -> Vec<Question> {
    // The first bit of the third byte tells an answer (RFC 1035, 4.1.1).
    if payload.get(2).is_none_or(|flags| flags & 0x80 != 0) {
        return Vec::new();
    }
    dns::parse(payload).map_or_else(Vec::new, |message| message.questions)
}
