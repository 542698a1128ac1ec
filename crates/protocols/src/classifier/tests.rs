use proptest::prelude::*;

use super::*;

fn classify(roles: Roles, pieces: &[(Side, &[u8])]) -> Outcome {
    let mut classifier = Classifier::new(roles);
    for (side, bytes) in pieces {
        let _ = classifier.feed(*side, bytes);
    }
    classifier.finish()
}

fn talk(pieces: &[(Side, &str)]) -> Outcome {
    let pieces: Vec<_> = pieces
        .iter()
        .map(|(side, text)| (*side, text.as_bytes()))
        .collect();
    classify(Roles::Known, &pieces)
}

use Side::{Client as C, Server as S};

const IRC_CLIENT: &str = "NICK bot123\r\nUSER bot 0 * :bot\r\nJOIN #x key\r\n";
const IRC_SERVER: &str = ":irc.example NOTICE AUTH :*** Looking up\r\n:irc.example 001 bot123 :Welcome\r\n:bot123!bot@h JOIN :#x\r\n";
const MAIL_CLIENT: &str = "EHLO a.example\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\n";
const MAIL_SERVER: &str =
    "220 mx.b.example ESMTP\r\n250-mx.b.example\r\n250 SIZE\r\n250 2.1.0 Ok\r\n";

#[test]
fn irc_with_its_facts() {
    let found = talk(&[(C, IRC_CLIENT), (S, IRC_SERVER)]);
    assert_eq!(found.app, App::Irc);
    assert!(found.confidence > 0.95);
    let Facts::Irc(facts) = found.facts else {
        panic!("no facts")
    };
    assert_eq!(facts.nick.as_deref(), Some("bot123"));
    assert!(facts.channels[0].with_key);
}

#[test]
fn irc_whose_sides_were_guessed_wrong() {
    let found = classify(
        Roles::Guessed,
        &[(C, IRC_SERVER.as_bytes()), (S, IRC_CLIENT.as_bytes())],
    );
    assert_eq!(found.app, App::Irc);
    assert!(found.swapped);
    let Facts::Irc(facts) = found.facts else {
        panic!("no facts")
    };
    assert_eq!(facts.nick.as_deref(), Some("bot123"));
}

#[test]
fn a_request_between_clients_is_irc_though_nobody_answers() {
    let offer = "PRIVMSG bob :\u{1}DCC SEND hello.txt 167772161 5555 12\u{1}\r\n";
    assert_eq!(talk(&[(C, offer)]).app, App::Irc);
    let plain = offer.replace('\u{1}', "");
    assert_eq!(talk(&[(C, &plain)]).app, App::Unknown);
    // What answers in other words is something else.
    let other = talk(&[(C, offer), (S, "ERR unknown command\r\n"), (C, "QUIT\r\n")]);
    assert_ne!(other.app, App::Irc);
}

#[test]
fn irc_from_the_middle() {
    let found = classify(
        Roles::Guessed,
        &[
            (
                S,
                b"lf a line\r\n:a!b@c PRIVMSG #x :.scan\r\nPING :irc.example\r\n",
            ),
            (C, b"PONG :irc.example\r\nPRIVMSG #x :scanning\r\n"),
        ],
    );
    assert_eq!((found.app, found.swapped), (App::Irc, false));
}

#[test]
fn irc_that_changes_to_tls() {
    let found = classify(
        Roles::Known,
        &[
            (C, b"STARTTLS\r\n"),
            (S, b":irc.example NOTICE * :*** Looking up\r\n:irc.example 670 * :STARTTLS successful\r\n"),
            (C, b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03\x00\x00"),
            (S, b"\x16\x03\x03\x00\xc8\x02\x00\x00\xc4\x03\x03\x00\x00"),
        ],
    );
    assert_eq!(found.app, App::Irc);
    assert!(found.confidence >= 0.9);
}

#[test]
fn mail_with_its_facts() {
    let found = talk(&[(S, MAIL_SERVER), (C, MAIL_CLIENT)]);
    assert_eq!(found.app, App::Smtp);
    assert!(found.confidence > 0.95);
    let Facts::Smtp(facts) = found.facts else {
        panic!("no facts")
    };
    assert_eq!(facts.helo.as_deref(), Some("a.example"));
    assert_eq!(facts.mail_from.as_deref(), Some("a@a.example"));
}

#[test]
fn mail_through_proxies() {
    let connect = "CONNECT mx.b.example:25 HTTP/1.0\r\n\r\n".to_owned() + MAIL_CLIENT;
    let answer = "HTTP/1.0 200 Connected\r\n\r\n".to_owned() + MAIL_SERVER;
    let found = talk(&[(C, &connect), (S, &answer)]);
    assert_eq!(
        (found.app, found.through),
        (App::Smtp, Some(Tunnel::HttpConnect))
    );
    let request = [
        b"\x05\x01\x00\x05\x01\x00\x01\x01\x02\x03\x04\x00\x19",
        MAIL_CLIENT.as_bytes(),
    ]
    .concat();
    let answer = [
        b"\x05\x00\x05\x00\x00\x01\x01\x02\x03\x04\x00\x19",
        MAIL_SERVER.as_bytes(),
    ]
    .concat();
    let found = classify(Roles::Known, &[(C, &request), (S, &answer)]);
    assert_eq!(
        (found.app, found.through),
        (App::Smtp, Some(Tunnel::Socks5))
    );
    let found = classify(
        Roles::Known,
        &[
            (C, &request[..3]),
            (S, &answer[..2]),
            (C, &request[3..]),
            (S, &answer[2..]),
        ],
    );
    assert_eq!(
        (found.app, found.through),
        (App::Smtp, Some(Tunnel::Socks5))
    );
}

#[test]
fn others_are_not_mistaken() {
    let cases: &[(App, &str, &str)] = &[
        (
            App::Ftp,
            "USER anonymous\r\nPASS a@b\r\nPASV\r\n",
            "220 FTP ready\r\n331 ok\r\n230 in\r\n",
        ),
        (
            App::Ftp,
            "HELP\r\nUSER a\r\nQUIT\r\n",
            "220 ready\r\n214 help\r\n331 pw\r\n221 bye\r\n",
        ),
        (
            App::Pop3,
            "USER a\r\nPASS b\r\nSTAT\r\n",
            "+OK ready\r\n+OK\r\n+OK\r\n+OK 1 2\r\n",
        ),
        (
            App::Imap,
            "a1 LOGIN a b\r\na2 SELECT INBOX\r\n",
            "* OK ready\r\na1 OK done\r\n",
        ),
        (
            App::Nntp,
            "MODE READER\r\nGROUP a.b\r\n",
            "200 ready\r\n200 hi\r\n211 1 2 3 a.b\r\n",
        ),
        (App::Nats, "CONNECT {}\r\nPING\r\n", "INFO {}\r\nPONG\r\n"),
        (App::Redis, "*1\r\n$4\r\nPING\r\n", "+PONG\r\n"),
        (
            App::Http,
            "GET /?q=NICK+a HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
        ),
        (App::Http, "EHLO a\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n"),
        (
            App::Unknown,
            "PING\r\nPING\r\nUSER a\r\n",
            "what?\r\nwhat?\r\n",
        ),
        (App::Unknown, "ls\r\ncat x\r\n", "total 0\r\nNICK a\r\n"),
    ];
    for (app, client, server) in cases {
        let found = talk(&[(S, server), (C, client)]);
        assert_eq!(found.app, *app, "{client:?}");
    }
}

#[test]
fn a_greeting_alone_is_doubtful() {
    let found = talk(&[(S, "220 mx.example ESMTP Postfix\r\n")]);
    assert_eq!(found.app, App::Smtp);
    assert!(found.confidence < 0.7);
    assert_ne!(talk(&[(S, "220 ready\r\n")]).app, App::Smtp);
}

#[test]
fn it_ends_by_itself() {
    let mut classifier = Classifier::new(Roles::Known);
    let mut fed = 0;
    while classifier.feed(C, &[b'x'; 1000]) == Progress::More {
        fed += 1000;
        assert!(fed <= LIMIT_BYTES);
    }
}

#[test]
fn nothing_is_held_once_it_is_decided() {
    let mut classifier = Classifier::new(Roles::Guessed);
    let _ = classifier.feed(C, b"a line without an end");
    while classifier.datagram(C, b"nothing known") == Progress::More {}
    assert_eq!(classifier.held_bytes(), 0);
}

proptest! {
    #[test]
    fn pieces_do_not_matter(cuts in prop::collection::vec(1usize..30, 1..40)) {
        for (client, server, app) in [(IRC_CLIENT, IRC_SERVER, App::Irc), (MAIL_CLIENT, MAIL_SERVER, App::Smtp)] {
            let mut classifier = Classifier::new(Roles::Known);
            let (mut client, mut server) = (client.as_bytes(), server.as_bytes());
            for cut in cuts.iter().chain([1000, 1000].iter()) {
                let (now, later) = server.split_at((*cut).min(server.len()));
                let _ = classifier.feed(S, now);
                server = later;
                let (now, later) = client.split_at((*cut).min(client.len()));
                let _ = classifier.feed(C, now);
                client = later;
            }
            prop_assert_eq!(classifier.finish().app, app);
        }
    }

    #[test]
    fn never_panics_and_is_bounded(pieces in prop::collection::vec(
        (any::<bool>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..200), "([A-Z]{3,5}|[0-9]{3}|:a!b@c|\\x05\\x01)[ #:a-z\r\n]{0,60}"), 0..60))
    {
        let mut classifier = Classifier::new(Roles::Guessed);
        for (client, binary, bytes, text) in &pieces {
            let side = if *client { C } else { S };
            let _ = classifier.feed(side, if *binary { bytes } else { text.as_bytes() });
            if bytes.len() == 7 {
                classifier.gap(side);
            }
            prop_assert!(classifier.held_bytes() < 64 * 1024);
        }
        let found = classifier.finish();
        prop_assert!((0.0..=1.0).contains(&found.confidence));
    }
}

#[test]
fn a_watch_goes_on_within_a_line() {
    for (roles, [a, b]) in [(Roles::Known, [C, S]), (Roles::Guessed, [S, C])] {
        let mut classifier = Classifier::new(roles);
        let _ = classifier.feed(a, b"NICK bot123\r\nUSER bot 0 * :bot\r\n");
        assert!(!classifier.is_surely_irc());
        let _ = classifier.feed(b, b":irc.example 001 bot123 :Welcome\r\n:m!u@h PRIV");
        assert!(classifier.is_surely_irc());
        let (outcome, watch) = classifier.finish_watching();
        assert_eq!((outcome.app, outcome.swapped), (App::Irc, a == S));
        let mut watch = watch.unwrap();
        assert_eq!(watch.facts().nick.as_deref(), Some("bot123"));
        let mut texts = 0;
        watch.feed(S, b"MSG bot123 :.login\r\n", |heard| {
            texts += u32::from(matches!(heard, irc::Heard::Text(text) if text.text == ".login"));
        });
        assert_eq!(texts, 1);
    }
}

#[test]
fn what_is_no_irc_is_not_watched() {
    let mut classifier = Classifier::new(Roles::Known);
    let _ = classifier.feed(C, MAIL_CLIENT.as_bytes());
    let _ = classifier.feed(S, MAIL_SERVER.as_bytes());
    assert!(!classifier.is_surely_irc());
    let (outcome, watch) = classifier.finish_watching();
    assert_eq!(outcome.app, App::Smtp);
    assert!(watch.is_none());
}

#[test]
fn a_server_of_irc_needs_no_client() {
    let said = b":master!~m@192.0.2.1 PRIVMSG #x :hello\r\n";
    let mut classifier = Classifier::new(Roles::Known);
    // From the middle: the client's side was never seen.
    let _ = classifier.feed(Side::Server, said);
    let _ = classifier.feed(Side::Server, said);
    assert!(!classifier.is_surely_irc() && classifier.is_irc_by_server());
    // A few letters, and the rest not seen.
    let mut classifier = Classifier::new(Roles::Known);
    let _ = classifier.feed(Side::Client, b"NICK [");
    classifier.gap(Side::Client);
    let _ = classifier.feed(Side::Server, said);
    let _ = classifier.feed(Side::Server, said);
    assert!(classifier.is_irc_by_server());
    // Asked was something else.
    let mut classifier = Classifier::new(Roles::Known);
    let _ = classifier.feed(
        Side::Client,
        b"GET /log HTTP/1.1\r\nHost: a.example\r\n\r\n",
    );
    let _ = classifier.feed(Side::Server, said);
    let _ = classifier.feed(Side::Server, said);
    assert!(!classifier.is_irc_by_server());
    // Nor is it enough when it is not known who the server is.
    let mut classifier = Classifier::new(Roles::Guessed);
    let _ = classifier.feed(Side::Server, said);
    let _ = classifier.feed(Side::Server, said);
    assert!(!classifier.is_irc_by_server());
}
