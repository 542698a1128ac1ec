//! A capture that tells a story, the same one every time: half an hour in a small office.
//!
//! One of four machines is a bot. It joins a channel with a key on port 8080, scans when it is
//! told to, and then looks up mail exchangers and tries to send. Around it people read pages,
//! chat, and send a mail. All addresses are those for documentation (RFC 5737).

use std::net::Ipv4Addr;

/// The bot.
pub const BOT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 23);
/// Where it takes its orders.
pub const MASTER: (Ipv4Addr, u16) = (Ipv4Addr::new(203, 0, 113, 66), 8080);
/// The others: two people and the mail server.
pub const INNOCENT: [Ipv4Addr; 3] = [
    Ipv4Addr::new(192, 0, 2, 10),
    Ipv4Addr::new(192, 0, 2, 11),
    Ipv4Addr::new(192, 0, 2, 25),
];
/// How many mails the bot tries to send.
pub const ATTEMPTS: u32 = 42;
/// How many addresses it scans.
pub const SCANNED: u32 = 60;

const RESOLVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
const MS: u64 = 1_000_000;
const S: u64 = 1000 * MS;
const MINUTE: u64 = 60 * S;
/// 2026-11-22T08:00:00Z.
const START: u64 = 1_795_334_400 * S;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;
const A: u16 = 1;
const MX: u16 = 15;

type End = (Ipv4Addr, u16);

/// The whole capture: pcap, raw IP.
pub fn capture() -> Vec<u8> {
    let mut story = Story::default();
    story.bot();
    story.reader(INNOCENT[0]);
    story.chatter(INNOCENT[1]);
    story.mail_server(INNOCENT[2]);
    story.into_pcap()
}

#[derive(Default)]
struct Story {
    packets: Vec<(u64, Vec<u8>)>,
    /// Counts what was asked of chance.
    chance: u64,
    ports: u16,
}

impl Story {
    fn bot(&mut self) {
        let at = START + 4 * S;
        self.lookup(at, BOT, "time.example.net", A);
        self.lookup(at + 700 * MS, BOT, "irc.shop-parts.example", A);
        let nick = "[DEU|XP|SP3]-408173";
        let mut lines: Vec<(u64, bool, String)> = Vec::new();
        let mut say =
            |at: u64, from_client: bool, line: String| lines.push((at, from_client, line));
        let begin = at + S;
        say(
            200 * MS,
            true,
            format!("NICK {nick}\r\nUSER xp 0 * :{nick}\r\n"),
        );
        say(400 * MS, false, format!(":hub.example 001 {nick} :\r\n"));
        say(900 * MS, true, "JOIN #parts s3cr3t\r\n".to_owned());
        say(
            1100 * MS,
            false,
            format!(
                ":{nick}!xp@192.0.2.23 JOIN :#parts\r\n:hub.example 332 {nick} #parts :.keep quiet\r\n"
            ),
        );
        let orders = [
            (6 * MINUTE + 30 * S, ".scan 203.0.113.0/24 445"),
            (
                14 * MINUTE + 12 * S,
                ".spam start http://203.0.113.80/list.txt",
            ),
            (
                23 * MINUTE + 40 * S,
                ".spam start http://203.0.113.80/more.txt",
            ),
        ];
        for ping in 1..20 {
            let at = ping * 90 * S;
            say(at, false, "PING :hub.example\r\n".to_owned());
            say(at + 60 * MS, true, "PONG :hub.example\r\n".to_owned());
        }
        for (at, order) in orders {
            let line = format!(":boss!b@hub.example PRIVMSG #parts :{order}\r\n");
            say(at, false, line);
            let line = format!("PRIVMSG #parts :[{}] started\r\n", &order[1..5]);
            say(at + 400 * MS, true, line);
        }
        lines.sort_by_key(|(at, ..)| *at);
        let client = (BOT, self.port());
        self.talk(begin, client, MASTER, &lines, Some(29 * MINUTE));

        let scan = begin + orders[0].0 + 1200 * MS;
        for number in 0..SCANNED {
            let target = (Ipv4Addr::new(203, 0, 113, 100 + number as u8), 445);
            let after = u64::from(number) * 750 * MS + self.chance_ns(400 * MS);
            self.refused(scan + after, BOT, target, number % 3 == 0);
        }
        self.spam(begin + orders[1].0, 30, 1);
        self.spam(begin + orders[2].0, ATTEMPTS - 30, 31);
    }

    /// Fetches a list, and tries to send to `count` domains.
    fn spam(&mut self, order: u64, count: u32, first: u32) {
        let client = (BOT, self.port());
        let list = (Ipv4Addr::new(203, 0, 113, 80), 80);
        let page = [
            (
                20 * MS,
                true,
                "GET /list.txt HTTP/1.0\r\nHost: 203.0.113.80\r\n\r\n".to_owned(),
            ),
            (
                90 * MS,
                false,
                format!("HTTP/1.0 200 OK\r\n\r\n{}", "info@example.com\n".repeat(40)),
            ),
        ];
        self.talk(order + 600 * MS, client, list, &page, None);
        for number in first..first + count {
            let domain = format!("customer-{number:02}.example");
            let at =
                order + 2 * S + u64::from(number - first) * 4500 * MS + self.chance_ns(1500 * MS);
            self.lookup(at, BOT, &domain, MX);
            self.lookup(at + 80 * MS, BOT, &format!("mx.{domain}"), A);
            let server = (Ipv4Addr::new(198, 51, 100, number as u8), 25);
            // Most networks shut port 25 for everybody but the mail server.
            if number % 10 == 7 {
                let client = (BOT, self.port());
                let lines = [
                    (120 * MS, false, format!("220 mx.{domain} ESMTP\r\n")),
                    (180 * MS, true, "HELO friend\r\n".to_owned()),
                    (260 * MS, false, format!("250 mx.{domain}\r\n")),
                    (
                        300 * MS,
                        true,
                        format!("MAIL FROM:<offers@customer-{:02}.example>\r\n", number + 1),
                    ),
                    (420 * MS, false, "250 2.1.0 Ok\r\n".to_owned()),
                    (460 * MS, true, format!("RCPT TO:<info@{domain}>\r\n")),
                    (
                        600 * MS,
                        false,
                        "554 5.7.1 Client host is on a block list\r\n".to_owned(),
                    ),
                ];
                self.talk(at + 160 * MS, client, server, &lines, None);
            } else {
                self.refused(at + 160 * MS, BOT, server, number % 4 == 0);
            }
        }
    }

    /// A person who reads pages and sends one mail.
    fn reader(&mut self, host: Ipv4Addr) {
        for number in 0..38 {
            let at = START + 20 * S + number * 44 * S + self.chance_ns(20 * S);
            let name = format!("www{}.example.org", number % 7);
            self.lookup(at, host, &name, A);
            self.page(at + 30 * MS, host, &name, 4 + number as u8 % 7);
        }
        let at = START + 11 * MINUTE;
        self.lookup(at, host, "mail.example.org", A);
        let client = (host, self.port());
        let lines = [
            (40 * MS, false, "220 mail.example.org ESMTP\r\n".to_owned()),
            (60 * MS, true, "EHLO desk.example.org\r\n".to_owned()),
            (
                90 * MS,
                false,
                "250-mail.example.org\r\n250 STARTTLS\r\n".to_owned(),
            ),
            (110 * MS, true, "STARTTLS\r\n".to_owned()),
            (140 * MS, false, "220 2.0.0 Ready\r\n".to_owned()),
        ];
        self.talk(at + 50 * MS, client, (INNOCENT[2], 587), &lines, None);
    }

    /// A person who chats on IRC where everybody does.
    fn chatter(&mut self, host: Ipv4Addr) {
        let at = START + 90 * S;
        self.lookup(at, host, "irc.example.net", A);
        let mut lines = vec![
            (
                100 * MS,
                true,
                "NICK hanna\r\nUSER hanna 0 * :Hanna\r\n".to_owned(),
            ),
            (
                300 * MS,
                false,
                ":irc.example.net 001 hanna :Welcome to the network\r\n".to_owned(),
            ),
            (2 * S, true, "JOIN #gardening\r\n".to_owned()),
            (
                2100 * MS,
                false,
                ":hanna!h@192.0.2.11 JOIN :#gardening\r\n".to_owned(),
            ),
        ];
        let talk = [
            "are the tomatoes in yet?",
            "frost on Tuesday, they say",
            "I'll wait a week then",
            "the seedlings look fine otherwise",
        ];
        for (number, words) in talk.into_iter().enumerate() {
            let at = 3 * MINUTE + number as u64 * 4 * MINUTE;
            let line = format!("PRIVMSG #gardening :{words}\r\n");
            let from_client = number % 2 == 1;
            let prefix = if from_client {
                ""
            } else {
                ":olli!o@192.0.2.200 "
            };
            lines.push((at, from_client, format!("{prefix}{line}")));
        }
        let client = (host, self.port());
        let server = (Ipv4Addr::new(203, 0, 113, 7), 6667);
        self.talk(at + 100 * MS, client, server, &lines, Some(25 * MINUTE));
        for number in 0..9 {
            let at = START + 3 * MINUTE + number * 170 * S;
            self.page(at, host, "www0.example.org", 4);
        }
    }

    /// The office's own mail server: three mails leave.
    fn mail_server(&mut self, host: Ipv4Addr) {
        for number in 0..3_u64 {
            let at = START + (5 + 7 * number) * MINUTE;
            let domain = format!("partner-{number}.example");
            self.lookup(at, host, &domain, MX);
            let client = (host, self.port());
            let server = (Ipv4Addr::new(198, 51, 100, 200 + number as u8), 25);
            let lines = [
                (80 * MS, false, format!("220 mx.{domain} ESMTP\r\n")),
                (100 * MS, true, "EHLO mail.example.org\r\n".to_owned()),
                (150 * MS, false, format!("250 mx.{domain}\r\n")),
                (
                    170 * MS,
                    true,
                    "MAIL FROM:<hanna@example.org>\r\n".to_owned(),
                ),
                (220 * MS, false, "250 2.1.0 Ok\r\n".to_owned()),
                (240 * MS, true, format!("RCPT TO:<orders@{domain}>\r\n")),
                (300 * MS, false, "250 2.1.5 Ok\r\n".to_owned()),
                (320 * MS, true, "DATA\r\n".to_owned()),
                (380 * MS, false, "354 Go ahead\r\n".to_owned()),
                (
                    400 * MS,
                    true,
                    "Subject: order\r\n\r\nTwo crates, please.\r\n.\r\nQUIT\r\n".to_owned(),
                ),
                (
                    500 * MS,
                    false,
                    "250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n".to_owned(),
                ),
            ];
            self.talk(at + 90 * MS, client, server, &lines, None);
        }
    }

    fn page(&mut self, at: u64, host: Ipv4Addr, name: &str, server: u8) {
        let client = (host, self.port());
        let lines = [
            (
                30 * MS,
                true,
                format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n"),
            ),
            (
                80 * MS,
                false,
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{}",
                    "a".repeat(900)
                ),
            ),
        ];
        self.talk(
            at,
            client,
            (Ipv4Addr::new(203, 0, 113, server), 80),
            &lines,
            None,
        );
    }

    /// A connection with these lines at these times after its beginning.
    fn talk(
        &mut self,
        at: u64,
        client: End,
        server: End,
        lines: &[(u64, bool, String)],
        ends: Option<u64>,
    ) {
        let mut sequences = [1_000_u32, 900_000];
        let mut send = |at: u64, from_client: bool, flags: u8, payload: &[u8]| {
            let (from, to) = if from_client {
                (client, server)
            } else {
                (server, client)
            };
            let mine = usize::from(!from_client);
            let packet = tcp(
                from,
                to,
                [sequences[mine], sequences[1 - mine]],
                flags,
                payload,
            );
            sequences[mine] += payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
            self.packets.push((at, packet));
        };
        send(at, true, SYN, b"");
        send(at + 9 * MS, false, SYN | ACK, b"");
        send(at + 10 * MS, true, ACK, b"");
        let mut last = 10 * MS;
        for (after, from_client, line) in lines {
            send(at + after, *from_client, PSH | ACK, line.as_bytes());
            last = *after;
        }
        let end = at + ends.unwrap_or(last + 30 * MS);
        send(end, true, FIN | ACK, b"");
        send(end + 9 * MS, false, FIN | ACK, b"");
        send(end + 10 * MS, true, ACK, b"");
    }

    /// A connection that comes to nothing: reset at once, or no answer at all.
    fn refused(&mut self, at: u64, host: Ipv4Addr, server: End, reset: bool) {
        let client = (host, self.port());
        self.packets
            .push((at, tcp(client, server, [7000, 0], SYN, b"")));
        if reset {
            let packet = tcp(server, client, [0, 7001], RST | ACK, b"");
            self.packets.push((at + 12 * MS, packet));
        } else {
            self.packets
                .push((at + S, tcp(client, server, [7000, 0], SYN, b"")));
        }
    }

    fn lookup(&mut self, at: u64, host: Ipv4Addr, name: &str, record_type: u16) {
        let client = (host, self.port());
        let mut query = client.1.to_be_bytes().to_vec();
        query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        for label in name.split('.') {
            query.push(label.len() as u8);
            query.extend(label.bytes());
        }
        query.push(0);
        query.extend(record_type.to_be_bytes());
        query.extend([0, 1]);
        let mut answer = query.clone();
        answer[2..4].copy_from_slice(&[0x81, 0x80]);
        answer[7] = 1;
        answer.extend([0xc0, 12]);
        answer.extend(record_type.to_be_bytes());
        answer.extend([0, 1, 0, 0, 14, 16]);
        match record_type {
            MX => answer.extend([0, 7, 0, 10, 2, b'm', b'x', 0xc0, 12]),
            _ => answer.extend([0, 4, 203, 0, 113, 9]),
        }
        self.packets.push((at, udp(client, (RESOLVER, 53), &query)));
        self.packets
            .push((at + 14 * MS, udp((RESOLVER, 53), client, &answer)));
    }

    fn port(&mut self) -> u16 {
        self.ports += 1;
        40_000 + self.ports
    }

    /// Something below `most`, the same in every run (Weyl sequence).
    fn chance_ns(&mut self, most: u64) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (self.chance >> 40) % (most / MS) * MS
    }

    fn into_pcap(mut self) -> Vec<u8> {
        self.packets.sort_by_key(|(at, _)| *at);
        let mut bytes = Vec::new();
        // Little-endian, microseconds, version 2.4, link type 101: raw IP.
        for number in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
            bytes.extend(number.to_le_bytes());
        }
        for (at, packet) in &self.packets {
            let length = packet.len() as u32;
            let (seconds, micros) = ((at / S) as u32, (at % S / 1000) as u32);
            for number in [seconds, micros, length, length] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.extend(packet);
        }
        bytes
    }
}

fn tcp(from: End, to: End, numbers: [u32; 2], flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    bytes.extend(numbers[0].to_be_bytes());
    bytes.extend(numbers[1].to_be_bytes());
    bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(payload);
    ipv4(from.0, to.0, 6, &bytes)
}

fn udp(from: End, to: End, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    bytes.extend((payload.len() as u16 + 8).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    ipv4(from.0, to.0, 17, &bytes)
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0];
    bytes.extend((payload.len() as u16 + 20).to_be_bytes());
    bytes.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    bytes.extend(payload);
    bytes
}
