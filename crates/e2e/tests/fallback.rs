//! Mail ports stay closed when the gate cannot be loaded: firewall rules take its place, in the
//! network namespace of the stage.

use e2e::{Theatre, is_missing};
use stage::Place;

const POSTFIX: &str = "/usr/lib/postfix/sbin/smtp";

/// Whether a message by this user arrives.
fn delivers(theatre: &Theatre, user: Option<(u32, u32)>) -> bool {
    let player = theatre.player("sender");
    let status = theatre
        .sandbox()
        .command(player, Place::Crew, user)
        .expect("the crew's group")
        .args(["mailer", "--server", "127.0.0.1:25", "--timeout-ms", "3000"])
        .stdout(std::process::Stdio::null())
        .status()
        .expect("the sender");
    status.success()
}

/// The number of a user of this machine.
fn number_of(name: &str) -> u32 {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd
        .lines()
        .find(|line| line.starts_with(&format!("{name}:")));
    let number = line.and_then(|line| line.split(':').nth(2));
    number.unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn without_a_gate_firewall_rules_close_the_mail_ports() {
    if is_missing(&["/usr/sbin/nft", POSTFIX]) {
        return;
    }
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let server = theatre.smtp();
    theatre.register_as(POSTFIX.as_ref(), "mailer", Some("service"));
    let (person, postfix) = (Some(e2e::PERSON), number_of("postfix"));
    assert!(delivers(&theatre, person), "open before");

    let ran = theatre.sekimori(&["boot-fallback", "close"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stderr.contains("nftables"), "{ran:?}");
    // Twice: the service manager may try again and again.
    let again = theatre.sekimori(&["boot-fallback", "close"]);
    assert_eq!(again.status, 0, "{again:?}");
    let before = server.payload_bytes();
    assert!(!delivers(&theatre, person));
    assert_eq!(server.payload_bytes(), before);
    assert!(delivers(&theatre, None), "root");
    assert!(delivers(&theatre, Some((postfix, postfix))), "postfix");

    let status = theatre.sekimori(&["status"]);
    assert_eq!(status.status, 1, "{status:?}");
    assert!(status.stderr.contains("root, postfix"), "{status:?}");
    let found = theatre.status();
    assert_eq!(found["fallback"]["by"], "nftables", "{found}");
    assert_eq!(found["fallback"]["mail_ports"][0], 25, "{found}");

    let ran = theatre.sekimori(&["boot-fallback", "open"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(delivers(&theatre, person), "open again");
    assert!(theatre.status().get("fallback").is_none());
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn beside_a_gate_no_firewall_rules_are_set() {
    if is_missing(&["/usr/sbin/nft"]) {
        return;
    }
    let Some(theatre) = Theatre::open() else {
        return;
    };
    if !theatre.raise() {
        return;
    }
    let ran = theatre.sekimori(&["boot-fallback", "close"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let table = theatre
        .sandbox()
        .command("/usr/sbin/nft", Place::Crew, None)
        .expect("the crew's group")
        .args(["list", "tables"])
        .output()
        .expect("nft");
    let tables = String::from_utf8_lossy(&table.stdout);
    assert!(!tables.contains("sekimori_fallback"), "{tables}");
}
