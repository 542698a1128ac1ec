//! Mail that the user sends goes out; the same programs otherwise do not.

use e2e::{LIMIT, SERVER, Theatre, word};

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_mailer_of_the_desktop_delivers() {
    let Some(theatre) = Theatre::open() else { return };
    let server = theatre.smtp();
    let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
    if !theatre.raise() {
        return;
    }
    let desktop = theatre.desktop();
    let exit = desktop.run(&mailer, ["mailer", "--server", SERVER], LIMIT).unwrap();
    assert!(exit.success(), "{}", desktop.stdout());
    assert_eq!(server.wait_for_messages(1, LIMIT).unwrap().len(), 1);
    let verdict = theatre.wait_for("verdict", |entry| entry["type"] == "verdict");
    assert_eq!(word(&verdict, "verdict"), "allow");
}
