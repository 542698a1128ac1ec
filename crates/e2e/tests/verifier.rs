//! How much of the gate the kernel's verifier has to follow before it accepts it.

use e2e::Theatre;

/// The verifier gives up at a million instructions. That of Linux 6.1 followed 548,038 of the exec
/// hook where that of 6.12 followed 283,106; it knows fewer states as ones that it has seen. So
/// this kernel has to be content with less than half of the limit.
const MOST: u32 = 300_000;

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn older_kernels_have_room_for_each_program() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    if !theatre.raise() {
        return;
    }
    let verified = theatre.verified();
    println!("{verified:?}");
    for hook in ["exec", "connect4", "egress"] {
        assert!(
            verified.iter().any(|(name, _)| name == hook),
            "{hook} is not there: {verified:?}"
        );
    }
    for (name, count) in &verified {
        assert!(
            *count < MOST,
            "{name}: {count} of {MOST} instructions; boot Linux 6.1 with `cargo xtask boot --release bookworm`"
        );
    }
}
