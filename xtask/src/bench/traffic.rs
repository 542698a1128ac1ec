//! A capture of mixed small connections, always the same one: web, mail, chat, names and
//! others, many at a time, each with its handshake and its end.

use std::io::{self, Write};

/// Connections that go on at the same time.
const TOGETHER: usize = 256;
/// From one packet to the next.
const STEP_US: u64 = 60;
/// What fits a packet.
const SEGMENT_BYTES: usize = 1448;
/// 2026-01-01.
const BEGIN_US: u64 = 1_767_225_600_000_000;
const NOISE_BYTES: usize = 64 * 1024;

const FIN: u8 = 1;
const SYN: u8 = 2;
const ACK: u8 = 16;
const PUSH_ACK: u8 = 24;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// How much was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the capture.
    pub bytes: u64,
    /// Connections, and exchanges of datagrams.
    pub connections: u64,
    /// Packets.
    pub packets: u64,
}

/// Writes a capture (pcap, Ethernet, microseconds) of at least so many bytes.
pub fn write(out: &mut impl Write, at_least_bytes: u64) -> io::Result<Written> {
    let mut head = Vec::new();
    for number in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 1] {
        head.extend(u32::to_le_bytes(number));
    }
    out.write_all(&head)?;
    let mut written = Written {
        bytes: head.len() as u64,
        ..Written::default()
    };
    let mut random = Random(0x5eed_1e55_c0ff_ee00);
    let noise: Vec<u8> = (0..NOISE_BYTES).map(|_| random.next() as u8).collect();
    let mut talks = Vec::new();
    let mut packet = Vec::new();
    let mut turn = 0;
    loop {
        while talks.len() < TOGETHER && written.bytes < at_least_bytes {
            talks.push(Talk::new(written.connections, &mut random));
            written.connections += 1;
        }
        if talks.is_empty() {
            return Ok(written);
        }
        turn = (turn + 1 + random.below(3)) % talks.len();
        packet.clear();
        if !talks[turn].packet(&noise, &mut packet) {
            talks.swap_remove(turn);
            continue;
        }
        let now = BEGIN_US + written.packets * STEP_US;
        let length = packet.len() as u32;
        for number in [
            (now / 1_000_000) as u32,
            (now % 1_000_000) as u32,
            length,
            length,
        ] {
            out.write_all(&number.to_le_bytes())?;
        }
        out.write_all(&packet)?;
        written.packets += 1;
        written.bytes += 16 + packet.len() as u64;
    }
}

/// xorshift64: enough to mix, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// What is still to be sent, by one side.
struct Part {
    from_server: bool,
    bytes: Vec<u8>,
    /// So many bytes of noise follow, from this place.
    noise: (usize, usize),
}

/// One connection, or exchange of datagrams.
struct Talk {
    protocol: u8,
    ends: [([u8; 4], u16); 2],
    sequences: [u32; 2],
    /// Parts, the next one last.
    parts: Vec<Part>,
    /// Packets of its beginning or end that were sent.
    handshake: u8,
    ending: u8,
    /// Segments since the other side acknowledged.
    unacknowledged: u8,
    from_server: bool,
}

impl Talk {
    fn new(number: u64, random: &mut Random) -> Self {
        let client = 1 + random.below(2000) as u16;
        let server = 1 + random.below(5000) as u16;
        let (protocol, port, parts) = parts(random);
        let [client_high, client_low] = client.to_be_bytes();
        let [server_high, server_low] = server.to_be_bytes();
        Self {
            protocol,
            ends: [
                // Ports go round, so that the same ends come again late.
                (
                    [10, 0, client_high, client_low],
                    16_384 + (number % 49_000) as u16,
                ),
                ([198, 18 + server_high / 128, server_high, server_low], port),
            ],
            sequences: [random.next() as u32, random.next() as u32],
            parts: parts.into_iter().rev().collect(),
            handshake: 0,
            ending: 0,
            unacknowledged: 0,
            from_server: false,
        }
    }

    /// Writes the next packet. `false` when all has been said.
    fn packet(&mut self, noise: &[u8], packet: &mut Vec<u8>) -> bool {
        if self.protocol == UDP {
            let Some(part) = self.parts.pop() else {
                return false;
            };
            self.put(packet, part.from_server, 0, &part.bytes);
            return true;
        }
        match self.handshake {
            0 => self.put(packet, false, SYN, b""),
            1 => self.put(packet, true, SYN | ACK, b""),
            2 => self.put(packet, false, ACK, b""),
            _ => return self.later(noise, packet),
        }
        self.handshake += 1;
        true
    }

    fn later(&mut self, noise: &[u8], packet: &mut Vec<u8>) -> bool {
        if self.unacknowledged == 2 {
            self.unacknowledged = 0;
            self.put(packet, !self.from_server, ACK, b"");
            return true;
        }
        if let Some(mut part) = self.parts.pop() {
            self.unacknowledged += 1;
            self.from_server = part.from_server;
            let (start, left) = part.noise;
            let fill = left.min(SEGMENT_BYTES.saturating_sub(part.bytes.len()));
            part.bytes.extend_from_slice(&noise[start..start + fill]);
            part.noise = (start + fill, left - fill);
            let length = part.bytes.len().min(SEGMENT_BYTES);
            self.put(packet, part.from_server, PUSH_ACK, &part.bytes[..length]);
            part.bytes.drain(..length);
            if !part.bytes.is_empty() || part.noise.1 > 0 {
                self.parts.push(part);
            }
            return true;
        }
        match self.ending {
            0 => self.put(packet, false, FIN | ACK, b""),
            1 => self.put(packet, true, FIN | ACK, b""),
            2 => self.put(packet, false, ACK, b""),
            _ => return false,
        }
        self.ending += 1;
        true
    }

    /// Ethernet, IPv4, and TCP or UDP. Checksums are left to the device, as captures of the
    /// sender have it.
    fn put(&mut self, packet: &mut Vec<u8>, from_server: bool, flags: u8, payload: &[u8]) {
        let (from, to) = (usize::from(from_server), usize::from(!from_server));
        let (source, destination) = (self.ends[from], self.ends[to]);
        packet.extend([2, 0, 0, 0, 0, to as u8, 2, 0, 0, 0, 0, from as u8, 8, 0]);
        let head = if self.protocol == UDP { 8 } else { 20 };
        let length = (20 + head + payload.len()) as u16;
        packet.extend([0x45, 0]);
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, self.protocol, 0, 0]);
        packet.extend(source.0);
        packet.extend(destination.0);
        packet.extend(source.1.to_be_bytes());
        packet.extend(destination.1.to_be_bytes());
        if self.protocol == UDP {
            packet.extend((length - 20).to_be_bytes());
            packet.extend([0, 0]);
        } else {
            let acknowledged = if flags & ACK == 0 {
                0
            } else {
                self.sequences[to]
            };
            packet.extend(self.sequences[from].to_be_bytes());
            packet.extend(acknowledged.to_be_bytes());
            packet.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
            let step = payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
            self.sequences[from] = self.sequences[from].wrapping_add(step);
        }
        packet.extend(payload);
    }
}

/// What is said: the protocol, the server's port and the parts in their order.
fn parts(random: &mut Random) -> (u8, u16, Vec<Part>) {
    let name = format!("host{}.example", random.below(3000));
    let some = random.next();
    match random.below(100) {
        0..34 => (TCP, 80, web(random, &name)),
        34..70 => (TCP, 443, tls(random, &name)),
        70..80 => (TCP, 25, mail(random, &name)),
        80..83 => (TCP, 6667, chat(random, some % 10_000)),
        83..85 => (TCP, 110, mailbox(random)),
        85..87 => (TCP, 22, shell(random)),
        _ => (UDP, 53, question(&name, some as u16)),
    }
}

fn client(text: impl AsRef<[u8]>) -> Part {
    said(false, text, (0, 0))
}

fn server(text: impl AsRef<[u8]>) -> Part {
    said(true, text, (0, 0))
}

fn said(from_server: bool, text: impl AsRef<[u8]>, noise: (usize, usize)) -> Part {
    Part {
        from_server,
        bytes: text.as_ref().to_vec(),
        noise,
    }
}

/// So many bytes of noise, from anywhere.
fn noise(random: &mut Random, least: usize, most: usize) -> (usize, usize) {
    let length = least + random.below(most - least);
    (random.below(NOISE_BYTES - length), length)
}

fn web(random: &mut Random, name: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    for _ in 0..=random.below(3) {
        let page = random.next();
        parts.push(client(format!(
            "GET /page/{page} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\n\r\n"
        )));
        let body = noise(random, 400, 15_000);
        let length = body.1;
        let head = format!(
            "HTTP/1.1 200 OK\r\nServer: example\r\nContent-Type: image/webp\r\nContent-Length: {length}\r\n\r\n"
        );
        parts.push(said(true, head, body));
    }
    parts
}

fn tls(random: &mut Random, name: &str) -> Vec<Part> {
    let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let record = |kind: u8, length: usize| {
        let [high, low] = (length as u16).to_be_bytes();
        [kind, 3, 3, high, low]
    };
    let entry = [&[0], &sized(name.as_bytes())[..]].concat();
    let extensions = [
        &[0, 0][..],
        &sized(&sized(&entry)),
        &[0, 16],
        &sized(&sized(b"\x02h2\x08http/1.1")),
        &[0, 43, 0, 3, 2, 3, 4],
    ]
    .concat();
    let mut hello = vec![3, 3];
    (0..32).for_each(|_| hello.push(random.next() as u8));
    hello.extend([0, 0, 4, 0x13, 0x01, 0x13, 0x02, 1, 0]);
    hello.extend(sized(&extensions));
    let hello = [&[1, 0], &sized(&hello)[..]].concat();
    let first = [&[22, 3, 1], &sized(&hello)[..]].concat();
    let answer = [
        &record(22, 90)[..],
        &[2, 0, 0, 86, 3, 3],
        &[random.next() as u8; 32],
        &[
            0, 0x13, 0x01, 0, 0, 46, 0, 43, 0, 2, 3, 4, 0, 51, 0, 36, 0, 29, 0, 32,
        ],
        &[random.next() as u8; 32],
        &[20, 3, 3, 0, 1, 1],
    ]
    .concat();
    let mut parts = vec![client(first)];
    let certificates = noise(random, 2000, 4500);
    let answer = [&answer[..], &record(23, certificates.1)].concat();
    parts.push(said(true, answer, certificates));
    for _ in 0..=random.below(2) {
        let (asked, told) = (noise(random, 60, 800), noise(random, 300, 14_000));
        parts.push(said(false, record(23, asked.1), asked));
        parts.push(said(true, record(23, told.1), told));
    }
    parts
}

fn mail(random: &mut Random, name: &str) -> Vec<Part> {
    let (from, to) = (random.below(900), random.below(900));
    let mut letter =
        format!("From: u{from}@{name}\r\nTo: u{to}@example.org\r\nSubject: hello\r\n\r\n");
    for line in 0..40 + random.below(120) {
        letter += &format!("This is line {line} of a letter that nobody reads, as most are.\r\n");
    }
    vec![
        server(format!("220 {name} ESMTP ready\r\n")),
        client("EHLO client.example\r\n"),
        server(format!(
            "250-{name}\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250 8BITMIME\r\n"
        )),
        client(format!("MAIL FROM:<u{from}@{name}>\r\n")),
        server("250 2.1.0 Ok\r\n"),
        client(format!("RCPT TO:<u{to}@example.org>\r\n")),
        server("250 2.1.5 Ok\r\n"),
        client("DATA\r\n"),
        server("354 End data with <CR><LF>.<CR><LF>\r\n"),
        client(letter + ".\r\n"),
        server("250 2.0.0 Ok: queued\r\n"),
        client("QUIT\r\n"),
        server("221 2.0.0 Bye\r\n"),
    ]
}

fn chat(random: &mut Random, number: u64) -> Vec<Part> {
    let nick = format!("guest{number}");
    let mut parts = vec![
        client(format!("NICK {nick}\r\nUSER {nick} 0 * :A Guest\r\n")),
        server(format!(
            ":irc.example NOTICE AUTH :*** Looking up your hostname\r\n:irc.example 001 {nick} :Welcome\r\n:irc.example 376 {nick} :End of MOTD\r\n"
        )),
        client("JOIN #garden\r\n"),
        server(format!(":{nick}!{nick}@10.0.0.1 JOIN :#garden\r\n")),
    ];
    for line in 0..10 + random.below(60) {
        parts.push(match line % 5 {
            0 => client(format!("PRIVMSG #garden :what about row {line}?\r\n")),
            _ => server(format!(
                ":other{line}!o@192.0.2.7 PRIVMSG #garden :I planted tomatoes there, number {line}\r\n"
            )),
        });
    }
    parts.push(client("QUIT :bye\r\n"));
    parts
}

fn mailbox(random: &mut Random) -> Vec<Part> {
    let letter = noise(random, 500, 9000);
    vec![
        server("+OK ready\r\n"),
        client("USER someone\r\n"),
        server("+OK\r\n"),
        client("PASS something\r\n"),
        server("+OK 1 message\r\n"),
        client("RETR 1\r\n"),
        said(true, format!("+OK {} octets\r\n", letter.1), letter),
        server("\r\n.\r\n"),
        client("QUIT\r\n"),
        server("+OK bye\r\n"),
    ]
}

fn shell(random: &mut Random) -> Vec<Part> {
    let mut parts = vec![
        server("SSH-2.0-OpenSSH_9.2p1\r\n"),
        client("SSH-2.0-OpenSSH_9.6\r\n"),
    ];
    for turn in 0..40 {
        let keys = noise(random, 36, 300);
        parts.push(said(turn % 2 == 0, b"", keys));
    }
    parts
}

fn question(name: &str, id: u16) -> Vec<Part> {
    let message = |flags: u16, answers: u8| {
        let mut bytes = id.to_be_bytes().to_vec();
        bytes.extend(flags.to_be_bytes());
        bytes.extend([0, 1, 0, answers, 0, 0, 0, 0]);
        for label in name.split('.') {
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
        }
        bytes.extend([0, 0, 1, 0, 1]);
        bytes
    };
    let mut answer = message(0x8180, 1);
    answer.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01");
    vec![client(message(0x0100, 0)), server(answer)]
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::Cursor;

    use protocols::App;
    use replay::{Input, Settings};

    use super::*;

    #[test]
    fn it_is_always_the_same_and_what_it_says_it_is() {
        let (mut capture, mut again) = (Vec::new(), Vec::new());
        let written = write(&mut capture, 4_000_000).unwrap();
        assert_eq!(write(&mut again, 4_000_000).unwrap(), written);
        assert!(capture == again);
        assert_eq!(capture.len() as u64, written.bytes);

        let mut apps: HashMap<App, u64> = HashMap::new();
        let input = Input::new(Cursor::new(capture));
        let summary = replay::replay(input, &Settings::default(), |flow| {
            *apps.entry(flow.outcome.app).or_default() += 1;
        })
        .unwrap();
        assert!(summary.is_complete());
        assert_eq!(
            (summary.flows, summary.packets),
            (written.connections, written.packets)
        );
        for app in [
            App::Http,
            App::Tls,
            App::Smtp,
            App::Irc,
            App::Dns,
            App::Pop3,
            App::Ssh,
        ] {
            assert!(apps.contains_key(&app), "{app:?} in {apps:?}");
        }
        assert!(!apps.contains_key(&App::Unknown), "{apps:?}");
    }
}
