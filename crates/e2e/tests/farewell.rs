//! The end of an honest delivery: where the mailer closes first, the kernel gives the last
//! answer itself, from a socket of its own that holds no grant. No mail is in it, and nobody is
//! to be accused of it.

use e2e::{LIMIT, SERVER, Scene, word};
use stage::Start;

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_kernels_own_last_answer_is_no_mail() {
    let Some(scene) = Scene::open("") else { return };
    let before = scene.theatre.newest();
    let mailer = scene.start(&scene.mailer, "technique farewell");
    assert!(
        scene.desktop.wait(mailer, LIMIT).unwrap().success(),
        "{}",
        scene.desktop.stdout()
    );
    let mut after = before;
    for _ in 0..2 {
        let closed = scene
            .theatre
            .wait_after(after, "grant", |entry| entry["event"] == "closed");
        after = closed["id"].as_u64().unwrap();
    }
    nothing_was_refused(&scene);
}

/// The same as it looks where the whole machine is guarded: there the kernel's own socket is too,
/// and it is a raw one. What was running when it answered did not send that.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn an_answer_without_a_word_is_no_mail() {
    let Some(scene) = Scene::open("") else { return };
    let words = ["technique", "raw-answer", "--server", SERVER];
    let start = Start::new(&scene.bot).args(words);
    let answer = scene.theatre.sandbox().start(&start).unwrap();
    let answer = answer.output(LIMIT).unwrap();
    assert!(answer.stdout.contains("\"outcome\":\"sent\""), "{answer:?}");
    nothing_was_refused(&scene);
}

fn nothing_was_refused(scene: &Scene) {
    assert_eq!(scene.theatre.counter("packets_refused"), 0);
    let log = scene.theatre.log();
    let mut refusals = log
        .iter()
        .filter(|entry| word(entry, "verdict") == "refuse");
    assert_eq!(refusals.next(), None);
}
