//! The program that users install holds none of the attacks that the tests play.

/// Techniques with shorter names are left out: their names may be parts of ordinary words.
const SHORTEST_NAME: usize = 10;
/// Debug builds also hold the deeds of a watcher that was taken over, for the tests. Release
/// builds don't.
const DEED_OF_DEBUG_BUILDS: &str = "ptrace-attach";

#[test]
fn the_program_holds_no_attack() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_sekimori")).unwrap();
    let program = String::from_utf8_lossy(&program);
    let holds = |text: &str| program.contains(text);
    // The search works: this is the hidden command of the demo.
    assert!(holds("demo-part"));
    let names: Vec<&str> = stage::TECHNIQUES
        .iter()
        .copied()
        .filter(|name| name.len() >= SHORTEST_NAME && name.contains('-'))
        .filter(|name| *name != DEED_OF_DEBUG_BUILDS)
        .collect();
    assert!(names.len() > 20, "{names:?}");
    let found: Vec<&str> = names.into_iter().filter(|name| holds(name)).collect();
    assert!(found.is_empty(), "the program holds attacks: {found:?}");
    // The usage text of the players that only the tests have.
    assert!(!holds("usage: ROLE"));
}
