//! A gate of another version, whose maps are of another layout: nothing of it can be taken over.

use e2e::{LIMIT, SERVER, Scene};
use rustix::process::Signal;

/// Attempts, so many that they last longer than a gate takes to load.
const STORM: u32 = 60_000;

/// The old gate guards until the new one does. Who runs is looked up in /proc, as when there was none.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_gate_of_another_layout_is_replaced_without_a_gap() {
    let Some(scene) = Scene::open("") else { return };
    let storm = scene.start_bot(&format!(
        "technique storm --server {SERVER} --count {STORM}"
    ));
    // Asked to end, it would write down first what waits, for as long as the storm lasts.
    scene.theatre.end_daemon(Signal::KILL);
    // As another version would have called them.
    let pins = scene.theatre.state().join("bpf");
    let rename = "mv maps-* maps-1; mv links-* links-000000000000; ls";
    let script = format!("cd {} && {rename}", pins.display());
    let renamed = scene.theatre.crew("sh", &["-c", &script]);
    assert!(renamed.contains("maps-1\n"), "{renamed}");

    assert!(scene.theatre.raise());
    assert_eq!(scene.theatre.status()["daemon"]["adopted"], false);
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
