//! Writes the seeds, `fuzz/seeds/TARGET/NAME`, from the same fixtures that the tests use:
//! `cargo run --example make_seeds` in the folder `fuzz`. Seeds that a finding left
//! (`found-…`) are not touched.

#[path = "../../crates/replay/tests/common/mod.rs"]
mod fixtures;

use std::fs;
use std::io::Write;
use std::path::Path;

use abi::{
    EventTag, FlowEvent, ProgramEvent, SampleHead, TamperEvent, VerdictEvent, VerdictOrigin,
};
use bytemuck::Zeroable;
use sekimori_fuzz::{DATAGRAM, FROM_SERVER, GAP, put_step};

const IRC_CLIENT: &str = "CAP LS 302\r\nPASS secret\r\nNICK bot4711\r\nUSER bot 0 * :a bot\r\nJOIN #x,#y key\r\nPRIVMSG #x :hello\r\nPONG :irc.example\r\n";
const IRC_SERVER: &str = ":irc.example NOTICE AUTH :*** Looking up\r\n:irc.example 001 bot4711 :Welcome\r\n@time=2026-01-01T00:00:00Z :bot4711!bot@192.0.2.1 JOIN :#x\r\n:irc.example 332 bot4711 #x :.scan 192.0.2.0/24\r\n:boss!b@198.51.100.9 PRIVMSG #x :!ddos 203.0.113.5\r\nPING :irc.example\r\n";
const IRC_SASL: &str =
    "CAP REQ :sasl\r\nAUTHENTICATE PLAIN\r\nAUTHENTICATE AGEAYgBj\r\nCAP END\r\nSTARTTLS\r\n";
const MAIL_CLIENT: &str = "EHLO a.example\r\nAUTH LOGIN\r\nMAIL FROM:<a@a.example> SIZE=100\r\nRCPT TO:<b@b.example>\r\nDATA\r\nSubject: hi\r\n\r\nhi\r\n.\r\nQUIT\r\n";
const MAIL_SERVER: &str = "220 mx.b.example ESMTP\r\n250-mx.b.example\r\n250-STARTTLS\r\n250 SIZE\r\n334 VXNlcm5hbWU6\r\n235 2.7.0 Ok\r\n250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data\r\n250 2.0.0 Ok\r\n221 bye\r\n";
const LMTP: &str =
    "LHLO a.example\r\nMAIL FROM:<>\r\nRCPT TO:<b@b.example>\r\nBDAT 5 LAST\r\nhello";
const STARTTLS: &str = "EHLO a.example\r\nSTARTTLS\r\n";
const HTTP_CLIENT: &str = "GET /?q=NICK+a HTTP/1.1\r\nHost: www.example\r\n\r\n";
const HTTP_SERVER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const OTHERS: [(&str, &str, &str); 6] = [
    (
        "ftp",
        "USER anonymous\r\nPASS a@b\r\nPASV\r\n",
        "220 FTP ready\r\n331 ok\r\n230 in\r\n",
    ),
    (
        "pop3",
        "USER a\r\nPASS b\r\nSTAT\r\n",
        "+OK ready\r\n+OK\r\n+OK\r\n+OK 1 2\r\n",
    ),
    (
        "imap",
        "a1 LOGIN a b\r\na2 SELECT INBOX\r\n",
        "* OK ready\r\na1 OK done\r\n",
    ),
    (
        "nntp",
        "MODE READER\r\nGROUP a.b\r\n",
        "200 ready\r\n200 hi\r\n211 1 2 3 a.b\r\n",
    ),
    ("redis", "*1\r\n$4\r\nPING\r\n", "+PONG\r\n"),
    ("ssh", "SSH-2.0-client\r\n", "SSH-2.0-server\r\n"),
];

fn main() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let put = |target: &str, name: &str, bytes: &[u8]| {
        let folder = seeds.join(target);
        fs::create_dir_all(&folder).expect("a folder for the seeds");
        fs::write(folder.join(name), bytes).expect("a seed");
    };
    for (name, text) in [
        ("client", IRC_CLIENT),
        ("server", IRC_SERVER),
        ("sasl", IRC_SASL),
    ] {
        put("irc", name, text.as_bytes());
    }
    for (name, text) in [
        ("client", MAIL_CLIENT),
        ("server", MAIL_SERVER),
        ("lmtp", LMTP),
        ("starttls", STARTTLS),
    ] {
        put("smtp", name, text.as_bytes());
    }
    for (name, bytes) in dns() {
        put("dns", &name, &bytes);
        let framed = [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat();
        put("dns", &format!("{name}-tcp"), &framed);
    }
    put(
        "tls",
        "client-hello",
        &client_hello(b"www.example", &[b"h2", b"irc"]),
    );
    put("tls", "client-hello-bare", &client_hello(b"", &[]));
    put(
        "tls",
        "server-hello",
        b"\x16\x03\x03\x00\x04\x02\x00\x00\x00",
    );
    for (name, story) in proxies() {
        put("proxies", name, &story);
        put("classifier", name, &[&[0], &story[..]].concat());
    }
    for (name, input) in stories() {
        put("classifier", &name, &input);
    }
    for (name, input) in packets() {
        put("packets", name, &input);
    }
    for (name, bytes) in captures() {
        put("captures", name, &bytes);
    }
    for (name, bytes) in kernel_events() {
        put("kernel_events", name, &bytes);
    }
    for (name, bytes) in kernel_samples() {
        put("kernel_samples", &name, &bytes);
    }
    for (name, line) in CONTROL {
        put("control", name, line.as_bytes());
    }
    for (name, request) in channel() {
        put("channel", name, &request);
    }
    for (name, text) in CONFIGURATIONS {
        put("configuration", name, text.as_bytes());
    }
    for (name, steps) in JOURNAL_QUERIES {
        put("journal_queries", name, steps);
    }
    for (name, bytes) in journal_files() {
        put("journal_files", name, &bytes);
    }
}

const CONTROL: [(&str, &str); 8] = [
    ("status", r#"{"request":"status"}"#),
    ("programs", r#"{"request":"programs"}"#),
    ("entries", r#"{"request":"entries","since":1,"after":2}"#),
    ("entry", r#"{"request":"entry","id":7}"#),
    (
        "register",
        r#"{"request":"register","path":"/usr/bin/mutt","role":"mailer","kind":"batch"}"#,
    ),
    (
        "unregister",
        r#"{"request":"unregister","path":"/usr/bin/mutt"}"#,
    ),
    ("answer", r#"{"item":{"id":1,"type":"notice"}}"#),
    ("role-and-kind", "mailer interactive"),
];

const CONFIGURATIONS: [(&str, &str); 4] = [
    (
        "all",
        "mail_ports = [25, 465, 587]\nirc_ports = \"6660-6669\"\npacket_watch = \"full\"\ncall_watch = \"auto\"\nrate_per_minute = 120\nguard_submitters = true\nnotify = true\njournal_keep_days = 90\njournal_max_entries = 1000000\n",
    ),
    ("unknown-key", "# a comment\nmail-ports = [25]\n"),
    ("wrong-type", "mail_ports = \"25\"\n"),
    ("syntax", "mail_ports = [25\nnotify = yes\n"),
];

/// As the target reads them: append, append, query, prune.
const JOURNAL_QUERIES: [(&str, &[u8]); 3] = [
    (
        "append-and-query",
        &[0, 5, 0, 0, 0, 9, 1, 1, 7, 2, 1, 6, 0, 0, 0, 0],
    ),
    (
        "prune",
        &[
            0, 1, 0, 0, 0, 2, 2, 0, 0, 200, 3, 0, 3, 100, 50, 1, 2, 0, 0, 0, 0, 0,
        ],
    ),
    (
        "end-of-time",
        &[
            0, 254, 1, 0, 2, 1, 254, 1, 254, 1, 3, 1, 0, 1, 1, 3, 254, 254, 0,
        ],
    ),
];

fn channel() -> Vec<(&'static str, Vec<u8>)> {
    use sekimori::channel::request::Request;
    vec![
        ("process", Request::Process { pid: 1 }.encode()),
        ("programs", Request::Programs { skip: 3 }.encode()),
        (
            "owner",
            Request::Owner {
                own_port: 4000,
                remote: ([192, 0, 2, 1], 25).into(),
            }
            .encode(),
        ),
        ("counters", Request::Counters.encode()),
        (
            "open",
            Request::Open {
                inodes: vec![1, 2, 3],
            }
            .encode(),
        ),
        (
            "warn",
            Request::Warn {
                uid: 1000,
                urgent: true,
                title: "A heading".to_owned(),
                body: "A text.".to_owned(),
            }
            .encode(),
        ),
    ]
}

fn kernel_samples() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    // The codes are told by what they do, so each is tried.
    for kind in 0..8_u8 {
        let mut head = SampleHead::zeroed();
        head.header.tag = EventTag::Sample as u32;
        head.header.pid = 4711;
        head.cookie = 5;
        head.family = 4;
        head.port = 6667;
        head.program = 3;
        head.what = kind;
        head.length = IRC_CLIENT.len() as u32;
        head.wire_bytes = IRC_CLIENT.len() as u32;
        let mut bytes = bytemuck::bytes_of(&head).to_vec();
        bytes.extend(IRC_CLIENT.as_bytes());
        all.push((format!("code-{kind}"), bytes));
    }
    all
}

/// A journal with some entries, and its log: the two parts of a story.
fn journal_files() -> Vec<(&'static str, Vec<u8>)> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.db");
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap_or_default();
    let mut journal = journal::Journal::open(&path).expect("a journal").journal;
    let entry = journal::NewEntry {
        time_ns: 1,
        kind: "notice",
        uid: None,
        body: "{}",
    };
    journal.append(&[entry; 3]).expect("entries");
    let (file, log) = (read("journal.db"), read("journal.db-wal"));
    // As a process leaves it that was killed.
    let open = story(&[(0, &file), (0, &log)]);
    drop(journal);
    let closed = story(&[(0, &read("journal.db"))]);
    vec![
        ("closed", closed),
        ("open", open),
        ("nonsense", story(&[(0, &[0x5a; 600])])),
    ]
}

fn story(pieces: &[(u8, &[u8])]) -> Vec<u8> {
    let mut story = Vec::new();
    for (kind, bytes) in pieces {
        put_step(&mut story, *kind, bytes);
    }
    story
}

fn dns() -> Vec<(String, Vec<u8>)> {
    let message = |flags: u16, counts: [u16; 4], record_type: u16, rest: &[u8]| {
        let mut bytes = vec![0x12, 0x34];
        bytes.extend(flags.to_be_bytes());
        bytes.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        if counts[0] > 0 {
            bytes.extend(b"\x04mail\x07example\x00");
            bytes.extend(record_type.to_be_bytes());
            bytes.extend([0, 1]);
        }
        bytes.extend(rest);
        bytes
    };
    let address = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01";
    let exchange = b"\xc0\x0c\x00\x0f\x00\x01\x00\x00\x00\x3c\x00\x09\x00\x0a\x04mx01\xc0\x0c";
    vec![
        ("query-a".into(), message(0x0100, [1, 0, 0, 0], 1, b"")),
        ("query-mx".into(), message(0x0100, [1, 0, 0, 0], 15, b"")),
        ("answer-a".into(), message(0x8180, [1, 1, 0, 0], 1, address)),
        (
            "answer-mx".into(),
            message(0x8180, [1, 1, 0, 0], 15, exchange),
        ),
        (
            "no-such-name".into(),
            message(0x8183, [1, 0, 0, 0], 28, b""),
        ),
        (
            "edns".into(),
            message(0x0100, [1, 0, 0, 1], 28, b"\0\0\x29\x10\0\0\0\0\0\0\0"),
        ),
    ]
}

fn client_hello(name: &[u8], protocols: &[&[u8]]) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let mut extensions = Vec::new();
    if !name.is_empty() {
        extensions.extend([0, 0]);
        extensions.extend(sized(&sized(&[&[0], &sized(name)[..]].concat())));
    }
    if !protocols.is_empty() {
        let list: Vec<u8> = protocols
            .iter()
            .flat_map(|name| [&[name.len() as u8], *name].concat())
            .collect();
        extensions.extend([0, 16]);
        extensions.extend(sized(&sized(&list)));
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend(sized(&extensions));
    let message = [&[1, 0], &sized(&body)[..]].concat();
    [&[22, 3, 1], &sized(&message)[..]].concat()
}

fn proxies() -> Vec<(&'static str, Vec<u8>)> {
    let connect = [
        "CONNECT mx.b.example:25 HTTP/1.0\r\nHost: mx\r\n\r\n",
        MAIL_CLIENT,
    ]
    .concat();
    let connected = ["HTTP/1.0 200 Connected\r\n\r\n", MAIL_SERVER].concat();
    let socks5 = b"\x05\x01\x00\x05\x01\x00\x01\x01\x02\x03\x04\x00\x19";
    let socks5_answer = b"\x05\x00\x05\x00\x00\x01\x01\x02\x03\x04\x00\x19";
    let socks5_name = b"\x05\x01\x02\x01\x01u\x01p\x05\x01\x00\x03\x0birc.example\x1a\x0b";
    let socks5_name_answer = b"\x05\x02\x01\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00";
    let socks4 = b"\x04\x01\x1a\x0b\x00\x00\x00\x01user\x00irc.example\x00";
    let socks4_answer = b"\x00\x5a\x00\x00\x00\x00\x00\x00";
    let (irc, irc_answer) = (IRC_CLIENT.as_bytes(), IRC_SERVER.as_bytes());
    let both = |client: &[u8], server: &[u8]| story(&[(0, client), (FROM_SERVER, server)]);
    vec![
        ("http", both(HTTP_CLIENT.as_bytes(), HTTP_SERVER.as_bytes())),
        (
            "connect-mail",
            both(connect.as_bytes(), connected.as_bytes()),
        ),
        (
            "connect-refused",
            both(connect.as_bytes(), b"HTTP/1.0 403 No\r\n\r\n"),
        ),
        (
            "socks5-mail",
            story(&[
                (0, &socks5[..3]),
                (FROM_SERVER, &socks5_answer[..2]),
                (0, &socks5[3..]),
                (FROM_SERVER, &socks5_answer[2..]),
                (FROM_SERVER, MAIL_SERVER.as_bytes()),
                (0, MAIL_CLIENT.as_bytes()),
            ]),
        ),
        (
            "socks5-name-password-irc",
            both(
                &[&socks5_name[..], irc].concat(),
                &[&socks5_name_answer[..], irc_answer].concat(),
            ),
        ),
        (
            "socks4a-irc",
            both(
                &[&socks4[..], irc].concat(),
                &[&socks4_answer[..], irc_answer].concat(),
            ),
        ),
    ]
}

fn stories() -> Vec<(String, Vec<u8>)> {
    let input = |guessed: u8, pieces: &[(u8, &[u8])]| [&[guessed], &story(pieces)[..]].concat();
    let (client, server) = (IRC_CLIENT.as_bytes(), IRC_SERVER.as_bytes());
    let (mail, answers) = (MAIL_CLIENT.as_bytes(), MAIL_SERVER.as_bytes());
    let hello = client_hello(b"www.example", &[b"h2"]);
    let mut all = vec![
        (
            "irc".to_owned(),
            input(0, &[(0, client), (FROM_SERVER, server)]),
        ),
        (
            "irc-turned-around".to_owned(),
            input(1, &[(0, server), (FROM_SERVER, client)]),
        ),
        (
            "irc-with-a-gap".to_owned(),
            input(
                1,
                &[
                    (0, &client[..20]),
                    (GAP, b""),
                    (0, &client[40..]),
                    (FROM_SERVER, server),
                ],
            ),
        ),
        (
            "mail".to_owned(),
            input(0, &[(FROM_SERVER, answers), (0, mail)]),
        ),
        (
            "mail-starttls".to_owned(),
            input(
                0,
                &[
                    (FROM_SERVER, answers),
                    (0, STARTTLS.as_bytes()),
                    (0, &hello),
                ],
            ),
        ),
        (
            "tls".to_owned(),
            input(
                0,
                &[
                    (0, &hello),
                    (FROM_SERVER, b"\x16\x03\x03\x00\x04\x02\x00\x00\x00"),
                ],
            ),
        ),
        (
            "tls-in-pieces".to_owned(),
            input(0, &[(0, &hello[..1]), (0, &hello[1..9]), (0, &hello[9..])]),
        ),
    ];
    for (name, client, server) in OTHERS {
        let pieces = [(FROM_SERVER, server.as_bytes()), (0, client.as_bytes())];
        all.push((name.to_owned(), input(0, &pieces)));
    }
    for (name, bytes) in dns() {
        all.push((format!("dns-{name}"), input(1, &[(DATAGRAM, &bytes)])));
    }
    all
}

/// Small, because a mutation has to hit something.
fn packets() -> Vec<(&'static str, Vec<u8>)> {
    let input = |link: u8, packets: &[Vec<u8>]| {
        let pieces: Vec<(u8, &[u8])> = packets.iter().map(|packet| (1, &packet[..])).collect();
        [&[link], &story(&pieces)[..]].concat()
    };
    let irc = fixtures::irc();
    let ethernet: Vec<_> = irc
        .iter()
        .map(|packet| [&[2u8, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0][..], packet].concat())
        .collect();
    let vlan: Vec<_> = irc
        .iter()
        .map(|packet| {
            [
                &[2u8, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 5, 8, 0][..],
                packet,
            ]
            .concat()
        })
        .collect();
    let mut turned = irc.clone();
    turned.swap(4, 5);
    let mut missing = irc.clone();
    missing.remove(4);
    let query = &dns()[1].1;
    let datagram = fixtures::udp(40_001, 53, query);
    let (from, to) = ([192, 0, 2, 1], [192, 0, 2, 53]);
    let v6 = fixtures::ipv6(1, 2, 17, &datagram);
    let first = fixtures::ipv4(from, to, 17, 7, 0x2000, &datagram[..16]);
    let second = fixtures::ipv4(from, to, 17, 7, 2, &datagram[16..]);
    let whole = fixtures::ipv4(from, to, 17, 8, 0, &datagram);
    vec![
        ("irc-raw", input(1, &irc)),
        ("irc-ethernet", input(0, &ethernet)),
        ("irc-vlan", input(0, &vlan)),
        ("irc-reordered", input(1, &turned)),
        ("irc-with-a-gap", input(1, &missing)),
        ("dns", input(1, &[whole])),
        ("dns-ipv6", input(1, &[v6])),
        ("dns-fragments", input(1, &[second, first])),
    ]
}

fn captures() -> Vec<(&'static str, Vec<u8>)> {
    let irc = fixtures::irc();
    let pcap = fixtures::pcap(101, false, false, &irc);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&pcap).expect("into memory");
    vec![
        ("pcap-swapped-ns", fixtures::pcap(101, true, true, &irc)),
        ("pcap-cut-off", pcap[..pcap.len() - 7].to_vec()),
        ("pcapng", fixtures::pcapng(101, false, &irc)),
        ("pcapng-swapped", fixtures::pcapng(101, true, &irc)),
        ("gzip", gzip.finish().expect("into memory")),
        (
            "zstd",
            zstd::encode_all(&pcap[..], 19).expect("into memory"),
        ),
        ("pcap", pcap),
    ]
}

fn kernel_events() -> Vec<(&'static str, Vec<u8>)> {
    let mut verdict = VerdictEvent::zeroed();
    verdict.header.tag = EventTag::Verdict as u32;
    verdict.header.pid = 4_000_000_000;
    verdict.judged = VerdictOrigin::Connect as u8;
    verdict.family = 4;
    verdict.port = 25;
    verdict.record.depth = 2;
    verdict.record.program = 5;
    let mut packet = verdict;
    packet.judged = VerdictOrigin::Packet as u8;
    packet.family = 6;
    let mut opened = FlowEvent::zeroed();
    opened.header.tag = EventTag::FlowOpened as u32;
    let mut closed = opened;
    closed.header.tag = EventTag::FlowClosed as u32;
    let mut program = ProgramEvent::zeroed();
    program.header.tag = EventTag::Program as u32;
    let mut tamper = TamperEvent::zeroed();
    tamper.header.tag = EventTag::Tamper as u32;
    vec![
        ("verdict", bytemuck::bytes_of(&verdict).to_vec()),
        ("verdict-packet", bytemuck::bytes_of(&packet).to_vec()),
        ("flow-opened", bytemuck::bytes_of(&opened).to_vec()),
        ("flow-closed", bytemuck::bytes_of(&closed).to_vec()),
        ("program", bytemuck::bytes_of(&program).to_vec()),
        ("tamper", bytemuck::bytes_of(&tamper).to_vec()),
    ]
}
