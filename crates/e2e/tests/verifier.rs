//! How much of the gate the kernel's verifier has to follow before it accepts it.

use e2e::Theatre;

/// The verifier gives up at a million instructions. That of Linux 6.1 knows fewer states as ones that it
/// has seen than that of 6.18: it followed 211,917 of `connect4` where this followed 37,554. So a newer
/// kernel has to be content with a sixth of the limit.
const MOST: u32 = 160_000;

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
