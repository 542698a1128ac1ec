//! Mail on another port, where what is on the wire is not what the server reads, or does not
//! lie where it usually does.

use e2e::{LIMIT, Scene, evasions, word};

const OTHER: &str = "127.0.0.1:2525";

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_greeting_is_known_in_whatever_it_is_wrapped() {
    let Some(scene) = Scene::open("") else { return };
    let server = scene.theatre.smtp_at(&[OTHER]);
    for way in evasions::WRAPPED {
        let (before, bytes) = (scene.theatre.newest(), server.payload_bytes());
        let words = format!("technique {way} --server {OTHER} --timeout-ms 1000");
        let pid = scene.start_bot(&words);
        scene.desktop.wait(pid, LIMIT).unwrap();
        let refusal = scene
            .theatre
            .wait_after(before, way, |entry| word(entry, "verdict") == "refuse");
        let bytes = server.payload_bytes() - bytes;
        evasions::refused(&format!("port-{way}"), bytes, &refusal, &scene.bot);
    }
}
