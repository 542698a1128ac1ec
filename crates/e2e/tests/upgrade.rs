//! A gate of another version, whose maps are of another layout: what it knows of processes is carried over.

use e2e::{LIMIT, SERVER, Scene, evasions, word};
use rustix::process::Signal;
use stage::Start;

/// Attempts, so many that they last longer than a gate takes to load.
const STORM: u32 = 60_000;

/// The old gate guards until the new one does.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_gate_of_another_layout_is_replaced_without_a_gap() {
    let Some(scene) = Scene::open("") else { return };
    let storm = scene.start_bot(&format!(
        "technique storm --server {SERVER} --count {STORM}"
    ));
    // Asked to end, it would write down first what waits, for as long as the storm lasts.
    scene.theatre.end_daemon(Signal::KILL);
    rename_pins(&scene);

    assert!(scene.theatre.raise());
    // On a busy machine an answer may come too late while the storm lasts.
    let status = || Some(scene.theatre.status()).filter(|status| !status.is_null());
    let status = e2e::wait_until(3 * LIMIT, status).expect("a status");
    assert_eq!(status["daemon"]["adopted"], false);
    let pins = scene.theatre.pins();
    let old = |pin: &&String| pin.contains("maps-1/") || pin.contains("000000000000");
    assert_eq!(pins.iter().find(old), None, "{pins:?}");
    scene.desktop.wait(storm, 3 * LIMIT).unwrap();
    let said = scene.desktop.stdout();
    assert!(said.contains(&format!("\"{STORM} EPERM\"")), "{said}");
    assert_eq!(scene.mail.connection_count(), 0);
    // The new gate counts from nothing: the storm went on under it.
    assert!(scene.theatre.counter("connects_refused") > 0);
    // The person at the desktop need not log in again.
    let mailer = scene.start(&scene.mailer, &format!("mailer --server {SERVER}"));
    assert!(scene.desktop.wait(mailer, LIMIT).unwrap().success());
    assert_eq!(scene.mail.messages().len(), 1);
}

/// Has the pinned gate be one of another version.
fn rename_pins(scene: &Scene) {
    let pins = scene.theatre.state().join("bpf");
    let rename = "mv maps-* maps-1; mv links-* links-000000000000; ls";
    let script = format!("cd {} && {rename}", pins.display());
    let renamed = scene.theatre.crew("sh", &["-c", &script]);
    assert!(renamed.contains("maps-1\n"), "{renamed}");
}

/// Who was tampered with, and whose lineage /proc does not show any more, has it still after the upgrade.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn marks_culprits_and_lineages_outlive_an_upgrade_to_another_layout() {
    /// Longer than a gate takes to load.
    const DELAY: &str = "--delay-ms 15000";
    let Some(scene) = Scene::open("") else { return };
    let sends = format!("mailer --server {SERVER} {DELAY}");
    let traced = scene.start(&scene.mailer, &sends);
    let pid = traced.to_string();
    let words = ["technique", "ptrace-attach", "--pid", &pid];
    let report = scene.theatre.start(Start::new(&scene.bot).args(words));
    let report = report.output(LIMIT).unwrap();
    assert!(report.stdout.contains("\"outcome\":\"done\""), "{report:?}");
    scene.theatre.wait_for("notice of tampering", |entry| {
        word(entry, "text").contains(&format!("(pid {traced})"))
    });
    // Its parent is gone when the new gate comes.
    let mailer = scene.mailer.display();
    scene.start_bot(&format!("technique reparented-exec -- {mailer} {sends}"));
    // Later than the others, whose refusals are looked at first.
    let later = format!("mailer --server {SERVER} --delay-ms 30000");
    let honest = scene.start(&scene.mailer, &later);
    let before = scene.theatre.newest();
    scene.theatre.end_daemon(Signal::KILL);
    rename_pins(&scene);

    assert!(scene.theatre.raise());
    let carried = scene.theatre.wait_after(before, "notice", |entry| {
        word(entry, "text").contains("were carried over from an older gate")
    });
    let refusal = scene
        .theatre
        .wait_after(before, "refusal of the traced mailer", |entry| {
            word(entry, "verdict") == "refuse" && entry["pid"] == traced
        });
    assert_eq!(refusal["reason"], "tampered", "{refusal} {carried}");
    evasions::refused(
        "upgrade-tampered",
        scene.mail.payload_bytes(),
        &refusal,
        &scene.bot,
    );
    let refusal = scene
        .theatre
        .wait_after(before, "refusal of the driven mailer", |entry| {
            word(entry, "verdict") == "refuse" && entry["pid"] != traced
        });
    assert_eq!(refusal["reason"], "foreign-origin", "{refusal}");
    scene.blames_the_bot(&refusal);
    // Neither is the honest one anybody else now.
    assert!(scene.desktop.wait(honest, LIMIT).unwrap().success());
    assert_eq!(scene.mail.messages().len(), 1);
    let names: Vec<_> = scene.theatre.log();
    assert!(
        names
            .iter()
            .any(|entry| word(entry, "program") == scene.mailer.to_str().unwrap())
    );
}
