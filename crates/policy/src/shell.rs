//! What tells a shell that a person types into from one that runs a script.

/// Whether an argument after the shell's own name leaves it interactive. `text` is the
/// argument, padded with zero bytes.
///
/// Everything that is not known to be harmless counts as a script: `-c`, a file, and also
/// `--rcfile` or `--init-file`, which run whatever they name.
#[inline(always)]
pub fn keeps_shell_interactive(text: [u8; 8]) -> bool {
    let word = u64::from_ne_bytes(text);
    word == u64::from_ne_bytes(*b"-i\0\0\0\0\0\0")
        || word == u64::from_ne_bytes(*b"-l\0\0\0\0\0\0")
        || word == u64::from_ne_bytes(*b"-il\0\0\0\0\0")
        || word == u64::from_ne_bytes(*b"-li\0\0\0\0\0")
        || word == u64::from_ne_bytes(*b"--login\0")
}

/// Whether a character device is a terminal, by its major number: virtual and serial
/// consoles, the controlling terminal, pseudo-terminals, and the consoles of virtual
/// machines and of ARM boards (Linux `Documentation/admin-guide/devices.txt`).
#[inline(always)]
pub const fn is_terminal(major: u32) -> bool {
    matches!(major, 4 | 5 | 136..=143 | 204 | 229)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_arguments_keep_a_shell_interactive() {
        for text in [b"-i\0\0\0\0\0\0", b"--login\0", b"-l\0\0\0\0\0\0"] {
            assert!(keeps_shell_interactive(*text));
        }
        for text in [
            b"-c\0\0\0\0\0\0",
            b"x.sh\0\0\0\0",
            b"--rcfile",
            b"-s\0\0\0\0\0\0",
            b"\0\0\0\0\0\0\0\0",
        ] {
            assert!(!keeps_shell_interactive(*text));
        }
    }
}
