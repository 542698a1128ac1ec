//! Nothing that is said before IRC or mail hides it, and no neighbour is taken for either: many
//! beginnings with real sessions behind them, and many other protocols of lines.

mod common;

use common::*;
use protocols::App;

/// One side's words: from the client or not.
type Words = Vec<(bool, String)>;

fn client(text: impl Into<String>) -> (bool, String) {
    (true, text.into())
}

fn server(text: impl Into<String>) -> (bool, String) {
    (false, text.into())
}

/// How a conversation was recognised, each text in packets of 1,400 characters at most.
fn recognised(words: &[(bool, String)]) -> App {
    let mut pieces: Vec<(bool, String)> = Vec::new();
    for (from_client, text) in words {
        let letters: Vec<char> = text.chars().collect();
        for piece in letters.chunks(1400) {
            pieces.push((*from_client, piece.iter().collect()));
        }
    }
    let pieces: Vec<(bool, &str)> = pieces.iter().map(|(from, text)| (*from, &**text)).collect();
    let (flows, _) = replay_packets(&conversation(&pieces));
    assert_eq!(flows.len(), 1);
    flows[0].outcome.app
}

fn irc_session() -> Words {
    vec![
        client("NICK DEU|81233\r\nUSER x 0 * :x\r\n"),
        server(":irc.example 001 DEU|81233 :Welcome\r\n:irc.example 376 DEU|81233 :End\r\n"),
        client("JOIN #x key\r\n"),
        server(":DEU|81233!x@h JOIN :#x\r\n:boss!b@h PRIVMSG #x :.scan 10.0.0.0/8\r\n"),
        client("PRIVMSG #x :scanning\r\n"),
    ]
}

fn mail_session() -> Words {
    vec![
        server("220 mx.example.net ESMTP\r\n"),
        client("EHLO host.example.org\r\n"),
        server("250-mx.example.net\r\n250 SIZE 1000\r\n"),
        client("MAIL FROM:<a@example.org>\r\n"),
        server("250 2.1.0 Ok\r\n"),
        client("RCPT TO:<b@example.net>\r\n"),
        server("250 2.1.5 Ok\r\n"),
        client("DATA\r\n"),
        server("354 go\r\n"),
        client("Subject: x\r\n\r\nx\r\n.\r\nQUIT\r\n"),
        server("250 2.0.0 queued\r\n221 bye\r\n"),
    ]
}

/// Beginnings of a client that are no line of IRC or mail.
fn beginnings() -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = [
        ("ssh", "SSH-2.0-x\r\n"),
        ("http", "GET / HTTP/1.0\r\n\r\n"),
        ("http-1.1", "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("http-line", "GET / HTTP/1.0\r\n"),
        ("post", "POST /x HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
        ("connect", "CONNECT a.example:443 HTTP/1.1\r\n\r\n"),
        ("nats", "CONNECT {\"verbose\":false}\r\nPING\r\n"),
        ("nats-info", "INFO {\"server_id\":\"x\"}\r\n"),
        ("rfb", "RFB 003.008\n"),
        ("redis", "*1\r\n$4\r\nPING\r\n"),
        ("redis-inline", "PING\r\n"),
        ("tls-like", "\u{16}\u{3}\u{1}\u{0}\u{5}hello"),
        (
            "socks4-like",
            "\u{4}\u{1}\u{0}\u{50}\u{1}\u{1}\u{1}\u{1}x\u{0}",
        ),
        ("socks5-like", "\u{5}\u{1}\u{0}"),
        ("telnet", "\u{7f}\u{1}\u{3}\u{7f}\u{1}\u{18}\r\n"),
        (
            "binary",
            "\u{0}\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\u{0}\u{0}",
        ),
        ("ftp-words", "USER anonymous\r\nPASS x\r\n"),
        ("pop3-words", "CAPA\r\n"),
        ("imap-words", "a1 CAPABILITY\r\n"),
        ("stomp", "CONNECT\naccept-version:1.2\n\n\u{0}\n"),
        ("memcached", "version\r\n"),
        ("mysql-like", "J\u{0}\u{0}\u{0}\u{a}5.7.1\u{0}"),
        ("xmpp", "<?xml version='1.0'?><stream:stream to='x'>"),
        ("json", "{\"type\":\"hello\"}\n"),
        (
            "rtsp",
            "OPTIONS rtsp://a.example/ RTSP/1.0\r\nCSeq: 1\r\n\r\n",
        ),
        ("sip", "OPTIONS sip:a@example.org SIP/2.0\r\n\r\n"),
        ("blank", "\r\n\r\n"),
        ("word", "hello\r\n"),
    ]
    .map(|(name, text)| (name.to_owned(), text.to_owned()))
    .into();
    for lines in [12, 40, 200] {
        let text = "a line of a banner\r\n".repeat(lines);
        found.push((format!("{lines} lines"), text));
    }
    for kib in [1, 4, 5, 8, 16, 64] {
        found.push((
            format!("{kib} KiB in one line"),
            format!("{}\r\n", "x".repeat(kib * 1024)),
        ));
        let lines = "some text of no meaning at all, in a line of its own\r\n";
        found.push((
            format!("{kib} KiB of lines"),
            lines.repeat(kib * 1024 / lines.len() + 1),
        ));
    }
    found
}

/// The beginning by the client, by the server, by both; in packets of its own and together with
/// what follows.
fn with_beginning(text: &str, session: &Words) -> Vec<(&'static str, Words)> {
    let before = |first: Vec<(bool, String)>| [first, session.clone()].concat();
    let mut together = session.clone();
    if let Some(first) = together.iter_mut().find(|(from_client, _)| *from_client) {
        first.1.insert_str(0, text);
    }
    vec![
        ("client", before(vec![client(text)])),
        ("server", before(vec![server(text)])),
        ("both", before(vec![client(text), server(text)])),
        ("together", together),
    ]
}

fn missed(session: &Words, wanted: App) -> Vec<String> {
    let mut missed = Vec::new();
    for (name, text) in beginnings() {
        for (by, words) in with_beginning(&text, session) {
            let found = recognised(&words);
            if found != wanted {
                missed.push(format!("{name} by {by}: {found:?}"));
            }
        }
    }
    missed
}

#[test]
fn nothing_before_it_hides_irc() {
    assert_eq!(missed(&irc_session(), App::Irc), Vec::<String>::new());
}

#[test]
fn nothing_before_it_hides_mail() {
    assert_eq!(missed(&mail_session(), App::Smtp), Vec::<String>::new());
}

/// Protocols of lines that share words or numbers with IRC or mail, by name.
fn neighbours() -> Vec<(&'static str, Words)> {
    let turns = |turn: Words| -> Words { vec![turn; 12].concat() };
    vec![
        (
            "speed test",
            [
                vec![
                    client("HI 12345\r\n"),
                    server("HELLO 2.7 (2.7.4) 2021-01-01\r\n"),
                ],
                turns(vec![
                    client("PING 1600000000000\n"),
                    server("PONG 1600000000001\n"),
                ]),
            ]
            .concat(),
        ),
        (
            "I2P SAM",
            [
                vec![
                    client("HELLO VERSION MIN=3.0 MAX=3.3\n"),
                    server("HELLO REPLY RESULT=OK VERSION=3.3\n"),
                ],
                turns(vec![server("PING 1\n"), client("PONG 1\n")]),
            ]
            .concat(),
        ),
        (
            "JSON heartbeat",
            turns(vec![
                client("{\"op\":\"PING\",\"n\":1}\n"),
                server("{\"op\":\"PONG\",\"n\":1}\n"),
            ]),
        ),
        (
            "bare heartbeat",
            turns(vec![client("PING\n"), server("PONG\n")]),
        ),
        (
            "numbered heartbeat",
            turns(vec![client("PING :7\r\n"), server("PONG :7\r\n")]),
        ),
        (
            "keepalive numbers",
            turns(vec![client("001 alive\r\n"), server("002 alive\r\n")]),
        ),
        (
            "numerics behind a colon",
            turns(vec![server(":001 ok\r\n"), client(":002 ok\r\n")]),
        ),
        (
            "log words",
            turns(vec![client(
                "NOTICE disk is full\nERROR no such file\nNOTICE job 12 ended\n",
            )]),
        ),
        (
            "log words with colons",
            turns(vec![client("ERROR :disk 1\nNOTICE web :started\n")]),
        ),
        ("user and silence", vec![client("USER a b c d\r\n")]),
        ("nick and silence", vec![client("NICK bob\r\n")]),
        ("server and silence", vec![client("SERVER h 1 2 3\r\n")]),
        ("cap list and silence", vec![client("CAP LIST\r\n")]),
        (
            "server list",
            vec![
                client("SERVER a 1 2 :x\r\nSERVER b 1 2 :y\r\n"),
                server("OK\r\n"),
            ],
        ),
        (
            "NATS",
            [
                vec![
                    server("INFO {\"server_id\":\"x\"}\r\n"),
                    client("CONNECT {}\r\n"),
                ],
                turns(vec![client("PING\r\n"), server("PONG\r\n")]),
            ]
            .concat(),
        ),
        (
            "redis",
            turns(vec![client("PING\r\n"), server("+PONG\r\n")]),
        ),
        (
            "STOMP",
            vec![
                client("CONNECT\naccept-version:1.2\n\n\0\n"),
                server("CONNECTED\nversion:1.2\n\n\0\n"),
                client("SEND\ndestination:/a\n\nx\0\n"),
                server("ERROR\nmessage:no\n\n\0\n"),
            ],
        ),
        (
            "POP3",
            vec![
                server("+OK ready\r\n"),
                client("USER bob\r\n"),
                server("+OK\r\n"),
                client("PASS x\r\n"),
                server("+OK\r\n"),
                client("LIST\r\n"),
                server("+OK\r\n.\r\n"),
                client("QUIT\r\n"),
                server("+OK bye\r\n"),
            ],
        ),
        (
            "FTP",
            vec![
                server("220 ftp.example FTP server ready\r\n"),
                client("USER bob\r\n"),
                server("331 Password\r\n"),
                client("PASS x\r\n"),
                server("230 in\r\n"),
                client("LIST\r\n"),
                server("150 here\r\n226 done\r\n"),
                client("QUIT\r\n"),
                server("221 bye\r\n"),
            ],
        ),
        (
            "FTP on a host named smtp",
            vec![
                server("220 smtp.example.net FTP server (Version 6.4) ready.\r\n"),
                client("USER bob\r\n"),
                server("331 Password required for bob.\r\n"),
                client("PASS x\r\n"),
                server("230 in\r\n"),
                client("HELP\r\n"),
                server("214 help\r\n"),
                client("QUIT\r\n"),
                server("221 bye\r\n"),
            ],
        ),
        (
            "FTP on a host named postfix",
            vec![
                server("220-postfix.example.net\r\n220 ProFTPD ESMTP-free Server\r\n"),
                client("FEAT\r\n"),
                server("211-Features:\r\n MDTM\r\n211 End\r\n"),
                client("USER x\r\n"),
                server("331 x\r\n"),
                client("QUIT\r\n"),
                server("221 2.0.0 bye\r\n"),
            ],
        ),
        (
            "NNTP",
            vec![
                server("200 news.example ready\r\n"),
                client("MODE READER\r\n"),
                server("200 ok\r\n"),
                client("LIST\r\n"),
                server("215 list\r\n.\r\n"),
                client("QUIT\r\n"),
                server("205 bye\r\n"),
            ],
        ),
        (
            "Tor control",
            vec![
                client("AUTHENTICATE \"x\"\r\n"),
                server("250 OK\r\n"),
                client("GETINFO version\r\n"),
                server("250-version=0.4\r\n250 OK\r\n"),
                client("QUIT\r\n"),
                server("250 closing connection\r\n"),
            ],
        ),
        (
            "TS3 query",
            vec![
                server("TS3\n\rWelcome\n\r"),
                client("login client_login_name=a client_login_password=b\n"),
                server("error id=0 msg=ok\n\r"),
                client("version\n"),
                server("version=3\n\rerror id=0 msg=ok\n\r"),
            ],
        ),
        ("MPD", turns(vec![client("ping\n"), server("OK\n")])),
        (
            "Icecast",
            vec![
                client("SOURCE /x HTTP/1.0\r\n\r\n"),
                server("HTTP/1.0 200 OK\r\n\r\n"),
            ],
        ),
        (
            "Asterisk manager",
            vec![
                server("Asterisk Call Manager/5.0\r\n"),
                client("Action: Ping\r\n\r\n"),
                server("Response: Success\r\nPing: Pong\r\n\r\n"),
            ],
        ),
        ("Gearman", turns(vec![client("status\n"), server(".\n")])),
        (
            "beanstalk",
            vec![
                client("use jobs\r\n"),
                server("USING jobs\r\n"),
                client("put 0 0 9 2\r\nhi\r\n"),
                server("INSERTED 1\r\n"),
            ],
        ),
        (
            "DICT",
            vec![
                server("220 dict.example dictd 1.12\r\n"),
                client("CLIENT x\r\n"),
                server("250 ok\r\n"),
                client("QUIT\r\n"),
                server("221 bye\r\n"),
            ],
        ),
        (
            "NCPA",
            vec![client("GET\n"), server("ERROR: no such check\n")],
        ),
        (
            "chat with NICK alone",
            turns(vec![
                client("NICK bob\n"),
                server("hello bob\n"),
                client("hi all\n"),
                server("ann: hi\n"),
            ]),
        ),
        (
            "error answers",
            turns(vec![
                client("USER a b c d\r\n"),
                server("ERR unknown command\r\n"),
            ]),
        ),
    ]
}

#[test]
fn other_protocols_of_lines_are_neither() {
    let wrong: Vec<_> = neighbours()
        .into_iter()
        .map(|(name, words)| (name, recognised(&words)))
        .filter(|(_, found)| matches!(found, App::Irc | App::Smtp))
        .collect();
    assert_eq!(wrong, []);
}

/// IRC in other forms than a client's with prefixes on everything.
#[test]
fn irc_in_other_forms() {
    let forms: [(&str, Words); 4] = [
        (
            "without prefixes",
            vec![
                client("NICK bob\r\nUSER b 0 * :b\r\n"),
                server("001 bob :Welcome\r\n376 bob :End\r\n"),
                client("JOIN #x\r\n"),
                server("JOIN #x\r\n353 bob = #x :bob\r\n"),
            ],
        ),
        (
            "between servers",
            vec![
                client("PASS secret TS 6 :0AA\r\nCAPAB :QS EX IE\r\nSERVER a.example 1 :a\r\n"),
                server(
                    "PASS secret TS 6 :0BB\r\nCAPAB :QS EX IE\r\nSERVER b.example 1 :b\r\nSVINFO 6 6 0 :1600000000\r\n",
                ),
                client(
                    "SVINFO 6 6 0 :1600000000\r\n:0AA UID bob 1 1600000000 +i b h 10.0.0.1 0AAAAAAAA :b\r\nPING a.example\r\n",
                ),
                server(":b.example PONG b.example :a.example\r\n"),
            ],
        ),
        (
            "ended at once",
            vec![
                client("NICK bob\r\nUSER b 0 * :b\r\n"),
                server("ERROR :Closing Link: bob by irc.example (Banned)\r\n"),
            ],
        ),
        (
            "refused by a numeric",
            vec![
                client("NICK bob\r\nUSER b 0 * :b\r\n"),
                server(
                    ":irc.example 465 bob :You are banned from this server\r\nERROR :Closing Link\r\n",
                ),
            ],
        ),
    ];
    for (name, words) in forms {
        assert_eq!(recognised(&words), App::Irc, "{name}");
    }
}
