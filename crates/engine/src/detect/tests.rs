//! Each rule with what it is for, and with the honest conduct that looks like it.

use std::net::SocketAddr;

use protocols::dns::Question;
use protocols::http::HttpFacts;
use protocols::irc::{Command, IrcFacts, Text};
use protocols::{App, Facts, Side};

use super::*;
use crate::observation::{Connection, Transport};

mod limits;
mod mail;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_795_000_000;

fn subject() -> Subject {
    Subject::Host("192.0.2.7".parse().unwrap())
}

fn at(seconds: f64) -> Timestamp {
    Timestamp(START * SECOND + (seconds * 1e9) as u64)
}

fn to(id: u64, address: &str) -> Connection {
    Connection {
        id,
        transport: Transport::Tcp,
        destination: address.parse().unwrap(),
    }
}

fn host(number: u64, port: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, (number >> 8) as u8, number as u8], port))
}

/// A subject and its detector.
struct Scene {
    detector: Detector,
    told: Vec<Suspicion>,
}

impl Scene {
    fn new() -> Self {
        Self {
            detector: Detector::new(DetectSettings::default()),
            told: Vec::new(),
        }
    }

    fn see(&mut self, seconds: f64, observation: &Observation<'_>) {
        let told = self.detector.observe(&subject(), observation, at(seconds));
        self.told.extend(told);
    }

    fn irc(&mut self, seconds: f64, lines: &[&str], own_chat: bool) {
        let mut facts = IrcFacts::default();
        for line in lines {
            facts.line(Side::Client, line.as_bytes());
        }
        let facts = Facts::Irc(Box::new(facts));
        self.see(
            seconds,
            &Observation::Recognised {
                connection: to(1, "198.51.100.7:8080"),
                app: App::Irc,
                facts: &facts,
                own_chat,
            },
        );
    }

    fn said(&mut self, seconds: f64, side: Side, from: Option<&str>, words: &str) {
        let text = Text {
            side,
            command: Command::Privmsg,
            from: from.map(|from| from.split('@').next().unwrap().to_owned()),
            host: from
                .and_then(|from| from.split_once('@'))
                .map(|(_, host)| host.to_owned()),
            target: "#x".to_owned(),
            text: words.to_owned(),
        };
        let connection = to(1, "198.51.100.7:8080");
        self.see(
            seconds,
            &Observation::Irc {
                connection,
                text: &text,
            },
        );
    }

    fn mail(&mut self, seconds: f64, servers: u64) {
        for number in 0..servers {
            let connection = Connection {
                id: 1000 + number,
                transport: Transport::Tcp,
                destination: host(number, 25),
            };
            self.see(seconds, &Observation::Opened(connection));
        }
    }

    fn lookups(&mut self, seconds: f64, record_type: u16, names: &[&str]) {
        for name in names {
            let name = (*name).to_owned();
            self.see(
                seconds,
                &Observation::Query(&Question { name, record_type }),
            );
        }
    }

    fn asked(&mut self, seconds: f64, host: &str, target: &str, accept: bool) {
        let facts = Facts::Http(Box::new(HttpFacts {
            method: "GET".to_owned(),
            target: target.to_owned(),
            host: Some(host.to_owned()),
            accept,
        }));
        self.see(
            seconds,
            &Observation::Recognised {
                connection: to(2, "203.0.113.80:80"),
                app: App::Http,
                facts: &facts,
                own_chat: false,
            },
        );
    }

    fn signs(&self, seconds: f64) -> Vec<Sign> {
        let state = self.detector.table.get(&subject());
        let evidence = state.map_or_else(Vec::new, |state| state.evidence(at(seconds)));
        evidence.iter().map(|one| one.what).collect()
    }

    fn has(&self, sign: Sign) -> bool {
        self.signs(4000.0).contains(&sign)
    }
}

const EXCHANGERS: [&str; 4] = ["a.example", "b.example", "c.example", "d.example"];

#[test]
fn a_spam_bot_in_irc() {
    let mut scene = Scene::new();
    scene.irc(0.0, &["NICK [DEU|XP|4711]", "JOIN #x key"], false);
    assert!(scene.told.is_empty(), "control alone: {:?}", scene.told);
    scene.lookups(1.0, 15, &EXCHANGERS);
    scene.mail(3.2, 11);
    assert!(!scene.told.is_empty());
    let found = scene.detector.suspicion(&subject(), at(4.0)).unwrap();
    assert_eq!(found.since, scene.told[0].since);
    assert!(found.evidence.is_sorted_by_key(|one| -one.weight));
    let keyed = found
        .evidence
        .iter()
        .find(|one| one.what == Sign::KeyedChannel)
        .unwrap();
    assert_eq!(
        keyed.detail,
        "joined #x with key on 198.51.100.7:8080, 3.2 s before 11 connections to 11 mail servers"
    );
}

#[test]
fn who_chats_and_mails_is_no_bot() {
    let mut scene = Scene::new();
    scene.irc(
        0.0,
        &["NICK alice", "JOIN #rust", "JOIN #friends key"],
        false,
    );
    scene.said(5.0, Side::Server, Some("bob"), "!help");
    scene.said(
        6.0,
        Side::Server,
        Some("bob"),
        "try .download http://a.example/x",
    );
    scene.lookups(7.0, 1, &["smtp.provider.example"]);
    scene.mail(8.0, 2);
    assert_eq!(scene.told, []);
}

#[test]
fn a_registered_chat_program_is_no_evidence() {
    let mut scene = Scene::new();
    scene.irc(0.0, &["NICK [DEU|XP|4711]", "JOIN #x key"], true);
    scene.said(5.0, Side::Server, Some("m"), ".advscan lsass 100 5");
    let connection = to(1, "198.51.100.7:8080");
    for round in 0..4 {
        let seconds = 100.0 * f64::from(round);
        scene.see(
            seconds,
            &Observation::Inbound {
                connection,
                quiet_ns: 90 * SECOND,
            },
        );
        scene.see(seconds + 1.0, &Observation::Refused { destination: None });
    }
    assert_eq!(scene.signs(400.0), [Sign::RefusedMail]);
    assert_eq!(scene.told, []);
}

#[test]
fn orders_and_answers_are_enough_alone() {
    let mut scene = Scene::new();
    scene.irc(0.0, &["NICK alice", "JOIN #x"], false);
    scene.said(10.0, Side::Server, Some("m"), ".advscan lsass 100 5 0 -r");
    assert!(scene.told.is_empty(), "somebody may quote it");
    scene.said(
        11.0,
        Side::Client,
        None,
        "[SCAN]: Random Port Scan started on 10.x.x.x:445",
    );
    assert_eq!(scene.told.len(), 1);
    assert_eq!(scene.told[0].since, at(11.0));
}

#[test]
fn who_gives_orders_is_not_the_bot() {
    let mut scene = Scene::new();
    scene.irc(0.0, &["NICK master", "JOIN #x"], false);
    scene.said(10.0, Side::Client, None, ".advscan lsass 100 5 0 -r");
    scene.said(
        10.5,
        Side::Server,
        Some("fhhhs@192.0.2.99"),
        "[SCAN]: started",
    );
    let bot = Subject::Host("192.0.2.99".parse().unwrap());
    assert_eq!(scene.told.len(), 1);
    assert_eq!(scene.told[0].subject, bot);
    assert!(scene.detector.suspicion(&subject(), at(11.0)).is_none());
}

#[test]
fn live_nobody_is_accused_by_a_server() {
    let mut detector = Detector::new(DetectSettings::default());
    let program = Subject::Lineage {
        program: "/usr/bin/x".into(),
        pid: 7,
    };
    let facts = Facts::Irc(Box::default());
    let connection = to(1, "198.51.100.7:6667");
    let seen = Observation::Recognised {
        connection,
        app: App::Irc,
        facts: &facts,
        own_chat: false,
    };
    assert_eq!(detector.observe(&program, &seen, at(0.0)), []);
    let text = Text {
        side: Side::Server,
        command: Command::Privmsg,
        from: Some("a".into()),
        host: Some("192.0.2.99".into()),
        target: "#x".into(),
        text: "[SCAN]: started".into(),
    };
    detector.observe(
        &program,
        &Observation::Irc {
            connection,
            text: &text,
        },
        at(1.0),
    );
    assert_eq!(detector.subjects(), 1);
}

#[test]
fn command_and_reaction_without_a_protocol() {
    let mut scene = Scene::new();
    let connection = to(1, "198.51.100.7:443");
    for round in 0..3 {
        let seconds = 60.0 * f64::from(round);
        scene.see(
            seconds,
            &Observation::Inbound {
                connection,
                quiet_ns: 50 * SECOND,
            },
        );
        scene.see(
            seconds + 2.0,
            &Observation::Refused {
                destination: Some(host(1, 25)),
            },
        );
        assert_eq!(scene.has(Sign::CommandReaction), round > 0);
    }
    assert_eq!(scene.told.len(), 1);
    assert!(
        scene.told[0].evidence[0]
            .detail
            .contains("2.0 s after bytes from 198.51.100.7:443")
    );
}

#[test]
fn acting_all_the_time_is_no_reaction() {
    let mut scene = Scene::new();
    let connection = to(1, "198.51.100.7:443");
    for second in 0..300 {
        if second % 60 == 0 {
            let came = Observation::Inbound {
                connection,
                quiet_ns: 59 * SECOND,
            };
            scene.see(f64::from(second) + 0.5, &came);
        }
        scene.see(
            f64::from(second),
            &Observation::Refused { destination: None },
        );
    }
    // The first of them could not be known.
    assert!(!scene.has(Sign::CommandReaction));
}

#[test]
fn polling_is_a_control_channel_too() {
    let mut scene = Scene::new();
    for round in 0..30 {
        let seconds = 20.0 * f64::from(round);
        scene.see(
            seconds,
            &Observation::Opened(to(round as u64, "203.0.113.8:80")),
        );
        if round % 10 == 9 {
            for _ in 0..3 {
                scene.see(
                    seconds + 1.0,
                    &Observation::Refused {
                        destination: Some(host(1, 25)),
                    },
                );
            }
        }
    }
    assert!(scene.has(Sign::Beaconing) && scene.has(Sign::CommandReaction));
    assert_eq!(scene.told.len(), 1);
}

#[test]
fn regular_visits_need_a_rhythm() {
    let visits = |seconds: &[f64], address: &str| {
        let mut scene = Scene::new();
        for (id, seconds) in seconds.iter().enumerate() {
            scene.see(*seconds, &Observation::Opened(to(id as u64, address)));
        }
        scene.has(Sign::Beaconing)
    };
    let every: Vec<f64> = (0..8)
        .map(|n| f64::from(n) * 300.0 + f64::from(n % 3))
        .collect();
    let chance = [
        0.0, 40.0, 300.0, 310.0, 900.0, 1000.0, 1700.0, 1800.0, 2500.0,
    ];
    assert!(visits(&every, "203.0.113.8:443"));
    assert!(!visits(&chance, "203.0.113.8:443"));
    assert!(!visits(&every, "203.0.113.8:993"), "asking for mail");
    assert!(!visits(&every[..6], "203.0.113.8:443"), "too few");
}

#[test]
fn a_worm_that_is_told_to_scan() {
    let mut scene = Scene::new();
    scene.irc(0.0, &["NICK a", "JOIN #x"], false);
    scene.said(10.0, Side::Server, Some("m"), "!scan 10.x.x.x");
    for number in 0..40 {
        let failed = Observation::Failed(to(number, &format!("10.0.0.{number}:23")));
        scene.see(12.0 + number as f64 / 10.0, &failed);
    }
    assert!(scene.has(Sign::Scan));
    assert_eq!(scene.told.len(), 1);
}

#[test]
fn a_worm_whose_channel_only_ticks() {
    let scan = |port: u16, ticks: bool, networks: u8| {
        let mut scene = Scene::new();
        let connection = to(1, "198.51.100.7:48101");
        for round in 0..8 {
            if ticks {
                let came = Observation::Inbound {
                    connection,
                    quiet_ns: 60 * SECOND,
                };
                scene.see(60.0 * f64::from(round), &came);
            }
        }
        for number in 0..300 {
            let failed = Observation::Failed(Connection {
                id: number,
                transport: Transport::Tcp,
                destination: SocketAddr::from((
                    [
                        11,
                        number as u8 % networks,
                        (number / 200) as u8,
                        number as u8,
                    ],
                    port,
                )),
            });
            scene.see(500.0, &failed);
        }
        scene.told.len()
    };
    assert_eq!(scan(23, true, 200), 1);
    assert_eq!(scan(23, false, 200), 0, "a scan by hand");
    assert_eq!(scan(8333, true, 200), 0, "peers of a currency");
    assert_eq!(scan(22, true, 4), 0, "a search through a few networks");
}

#[test]
fn a_few_servers_are_always_down() {
    let mut scene = Scene::new();
    scene.irc(0.0, &["NICK rBot-823746", "JOIN #x k"], false);
    for number in 0..60u64 {
        let failed = Observation::Failed(to(number, &format!("10.0.0.{}:443", number % 8)));
        scene.see(number as f64, &failed);
    }
    assert!(!scene.has(Sign::Scan));
    assert_eq!(scene.told, []);
}

#[test]
fn rounds_of_a_dropper() {
    let sites = ["a.example", "b.example", "c.example", "d.example"];
    let rounds = |accept: bool, number: bool, same_name: bool| {
        let mut scene = Scene::new();
        for round in 0..6u32 {
            for (place, site) in sites.iter().enumerate() {
                let query = match (number, same_name) {
                    (true, false) => format!("{:x}={}", 97_460 + round, 292_380 * (round + 1)),
                    (true, true) if round % 2 == 0 => format!("{}", 1_795_000_000 + 13 * round),
                    (true, true) => format!("{}", 48_271 * (round + 1) % 90_001),
                    (false, _) => "292380".to_owned(),
                };
                let seconds = 13.0 * f64::from(round) + place as f64;
                scene.asked(seconds, site, &format!("/logo.gif?{query}"), accept);
            }
        }
        scene
    };
    let dropper = rounds(false, true, false);
    assert_eq!(dropper.told.len(), 1, "{:?}", dropper.signs(100.0));
    assert!(
        dropper.told[0].evidence[0]
            .detail
            .contains("web servers in turn every 13 s")
    );
    assert_eq!(
        rounds(true, true, false).told,
        [],
        "counters in pages of a browser"
    );
    assert_eq!(rounds(false, false, false).told, [], "watching servers");
    assert_eq!(rounds(false, true, true).told, [], "watching, past caches");
}

#[test]
fn dead_peers() {
    let peers = |ports: u16, shares_files: bool, answer: bool| {
        let mut scene = Scene::new();
        if shares_files {
            let connection = to(1, "203.0.113.9:6881");
            let facts = &Facts::None;
            scene.see(
                0.0,
                &Observation::Recognised {
                    connection,
                    app: App::BitTorrent,
                    facts,
                    own_chat: false,
                },
            );
        }
        for number in 0..40u16 {
            let connection = Connection {
                id: u64::from(number),
                transport: Transport::Udp,
                destination: host(u64::from(number), 20_000 + number % ports),
            };
            let bytes_down = u64::from(answer) * 20;
            scene.see(
                1.0,
                &Observation::Closed {
                    connection,
                    bytes_up: 46,
                    bytes_down,
                },
            );
        }
        scene.has(Sign::DeadPeers)
    };
    assert!(peers(30, false, false));
    assert!(!peers(1, false, false), "one service");
    assert!(!peers(30, true, false), "sharing files");
    assert!(!peers(30, false, true), "they answer");
}

#[test]
fn sharing_files_encrypted_is_no_scan_beside() {
    let mut scene = Scene::new();
    for number in 0..60u64 {
        let port = if number % 2 == 0 {
            6881
        } else {
            20_000 + number as u16
        };
        let connection = Connection {
            id: number,
            transport: Transport::Tcp,
            destination: host(number, port),
        };
        scene.see(1.0, &Observation::Failed(connection));
    }
    assert_eq!(scene.signs(2.0), [Sign::DeadPeers]);
    assert_eq!(scene.told, []);
}

#[test]
fn a_server_that_passes_on_is_no_bot() {
    let mut scene = Scene::new();
    scene.irc(0.0, &["NICK hub", "JOIN #x"], false);
    scene.said(1.0, Side::Server, Some("m"), ".advscan lsass 100");
    scene.said(
        2.0,
        Side::Client,
        Some("bot1@198.51.100.99"),
        "[SCAN]: started",
    );
    assert!(!scene.has(Sign::BotReply));
    assert_eq!(scene.told, []);
}
