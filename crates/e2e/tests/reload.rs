//! The configuration is read again while a mailer sends.

use e2e::{LIMIT, SERVER, Scene, evasions, wait_until, word};
use rustix::process::Signal;

/// Again and again, with other ports each time: the port that is guarded before and after is
/// closed in between, and a grant lives on.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_reload_in_the_middle_of_a_send_opens_nothing() {
    const RELOADS: usize = 4;
    let Some(scene) = Scene::open("") else { return };
    let words = format!("mailer --server {SERVER} --linger-ms 8000 --timeout-ms 20000");
    let mailer = scene.start(&scene.mailer, &words);
    let connected = || (scene.mail.connection_count() == 1).then_some(());
    wait_until(LIMIT, connected).expect("a connected mailer");
    let before = scene.theatre.newest();
    for round in 0..RELOADS {
        let ports = if round % 2 == 0 {
            "25, 26"
        } else {
            "25, 465, 587"
        };
        let text = format!("notify = false\nmail_ports = [{ports}]\n");
        scene.theatre.write("config.toml", &text);
        let newest = scene.theatre.newest();
        let bot = scene.start_bot(&format!(
            "bot --smtp {SERVER} --count 1000 --timeout-ms 1000"
        ));
        scene.theatre.signal_daemon(Signal::HUP);
        scene.theatre.wait_after(newest, "reload", |entry| {
            word(entry, "text") == "configuration read again"
        });
        scene.fails(bot);
        if round == 0 {
            assert_eq!(scene.mail.payload_bytes(), 0, "the mailer waits still");
        }
    }
    assert!(scene.desktop.wait(mailer, LIMIT).unwrap().success());
    assert_eq!(scene.mail.wait_for_messages(1, LIMIT).unwrap().len(), 1);
    assert_eq!(scene.mail.connection_count(), 1);
    let refusal = scene.theatre.wait_after(before, "refusal", |entry| {
        word(entry, "verdict") == "refuse"
    });
    let bytes = evasions::beyond(&scene.mail, 1);
    evasions::refused("reload", bytes, &refusal, &scene.bot);
}
