//! Bots that hide the channel by which they get their orders.

use e2e::{Herd, SERVER, Scene, detail};
use rustix::process::Signal;
use serde_json::Value;

const AT: &str = "127.0.0.1:8080";

/// The finding is what it would be without the disguise.
fn is_a_bot(scene: &Scene, finding: &Value) {
    assert_eq!(finding["finding"], "bot-suspected", "{finding}");
    let irc = detail(finding, "irc-same-lineage").unwrap_or_default();
    assert!(irc.contains(AT), "{finding}");
    scene.blames_the_bot(finding);
}

/// Each byte in a packet of its own: the server's answers give it away, if nothing else.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_bot_that_writes_byte_by_byte() {
    let Some((scene, herd)) = Herd::open("", &[8080]) else {
        return;
    };
    let then = format!("--in-pieces yes --smtp {SERVER}");
    let (_, finding) = herd.is_obeyed(&scene, AT, &then);
    is_a_bot(&scene, &finding);
}

/// A connection outlives the daemon that knew it. The next one hears what is said on it, and
/// knows it by that.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_channel_that_is_older_than_the_daemon() {
    let Some((scene, herd)) = Herd::open("", &[8080]) else {
        return;
    };
    let words = Herd::bot(AT, &format!("--rounds 2 --smtp {SERVER}"));
    let bot = scene.start_bot(&words);
    herd.wait_for_join(Herd::NICK);
    scene.wait_for_irc(AT);
    scene.theatre.end_daemon(Signal::TERM);
    assert!(scene.theatre.raise());
    let before = scene.theatre.newest();
    for _ in 0..5 {
        herd.order("hello");
    }
    scene.wait_for_irc(AT);
    herd.order(Herd::ORDER);
    let finding = scene.finding_after(before);
    is_a_bot(&scene, &finding);
    herd.order(Herd::ORDER);
    herd.order("!die");
    scene.fails(bot);
}

/// So many connections first that nobody looks at one more.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_bot_that_opens_many_connections_first() {
    let Some((scene, herd)) = Herd::open("", &[8080]) else {
        return;
    };
    let _server = scene.theatre.web("127.0.0.1:80");
    let then = format!("--decoys 127.0.0.1:80 --smtp {SERVER}");
    let (_, finding) = herd.is_obeyed(&scene, AT, &then);
    is_a_bot(&scene, &finding);
}
