//! What tells a shell that a person types into from one that runs a script, and which scripts count as
//! themselves.
//!
//! A shell reads files of the user before it runs a script when it is told to be a login shell or an
//! interactive one, and some shells do so for every script. What those files say then runs as the
//! script. So a script that is handed to a shell counts as itself only when nothing came before its
//! name, and only for the shell that its own first line names.

/// Whether an argument after the shell's own name leaves it interactive. `text` is the
/// argument, padded with zero bytes.
///
/// Everything that is not known to be harmless counts as a script: `-c`, a file, and also what
/// [`names_start_file`] knows, unless the file is root's. Terminals start bash with `--posix`, and
/// put their own start-up file in the place of the user's so.
#[inline(always)]
pub fn keeps_shell_interactive(text: [u8; 8]) -> bool {
    let word = u64::from_ne_bytes(text);
    word == u64::from_ne_bytes(*b"-i\0\0\0\0\0\0")
        || word == u64::from_ne_bytes(*b"-l\0\0\0\0\0\0")
        || word == u64::from_ne_bytes(*b"-il\0\0\0\0\0")
        || word == u64::from_ne_bytes(*b"-li\0\0\0\0\0")
        || word == u64::from_ne_bytes(*b"--login\0")
        || word == u64::from_ne_bytes(*b"--posix\0")
        || word == u64::from_ne_bytes(*b"--norc\0\0")
}

/// Whether an argument has bash read the file that the next argument names, in the place of the user's
/// start-up file: `--init-file`, `--rcfile`. Editors start the shell of their terminal so.
#[inline(always)]
pub fn names_start_file(first: [u8; 8], second: [u8; 8]) -> bool {
    let (first, second) = (u64::from_ne_bytes(first), u64::from_ne_bytes(second));
    (first == u64::from_ne_bytes(*b"--init-f") && second == u64::from_ne_bytes(*b"ile\0\0\0\0\0"))
        || (first == u64::from_ne_bytes(*b"--rcfile") && second == 0)
}

/// Whether an argument says that the next one is a command: `-c`.
#[inline(always)]
pub fn is_command(first: [u8; 8]) -> bool {
    u64::from_ne_bytes(first) == u64::from_ne_bytes(*b"-c\0\0\0\0\0\0")
}

/// Whether a shell, by the first eight bytes of its file's name, reads no file of the user's before a command
/// that it is handed with `-c`. Zsh, fish and the C shells do. `BASH_ENV` is a sign of tampering.
#[inline(always)]
pub fn keeps_to_command(name: u64) -> bool {
    name == u64::from_ne_bytes(*b"bash\0\0\0\0")
        || name == u64::from_ne_bytes(*b"dash\0\0\0\0")
        || name == u64::from_ne_bytes(*b"sh\0\0\0\0\0\0")
        || name == u64::from_ne_bytes(*b"ash\0\0\0\0\0")
        || name == u64::from_ne_bytes(*b"busybox\0")
}

/// 1 when a byte of a shell's command stands for itself, so that a command of such bytes alone is one
/// program with its arguments. Without a branch: the kernel's verifier follows each.
#[inline(always)]
pub const fn is_plain(byte: u64) -> u64 {
    let low = PLAIN[0] >> (byte & 63);
    let high = PLAIN[1] >> (byte & 63);
    let is_high = 0_u64.wrapping_sub((byte >> 6) & 1);
    ((high & is_high) | (low & !is_high)) & 1 & !(byte >> 7)
}

/// A bit for each byte of ASCII that is plain.
const PLAIN: [u64; 2] = {
    let bytes = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 /._-+,:@%=";
    let mut bits = [0; 2];
    let mut index = 0;
    while index < bytes.len() {
        bits[(bytes[index] >> 6) as usize] |= 1 << (bytes[index] & 63);
        index += 1;
    }
    bits
};

/// 1 when a byte is not zero.
#[inline(always)]
const fn is_not_zero(byte: u64) -> u64 {
    0_u64.wrapping_sub(byte) >> 63
}

/// Whether a path begins where root alone installs programs.
#[inline(always)]
pub const fn begins_at_roots(first: [u8; 8]) -> bool {
    let [a, b, c, d, e, f, g, h] = first;
    match [a, b, c, d, e] {
        [b'/', b'u', b's', b'r', b'/'] => !matches!([f, g, h], [b'l', b'o', b'c']),
        [b'/', b'o', b'p', b't', b'/'] => true,
        [b'/', b's', b'n', b'a', b'p'] => f == b'/',
        _ => false,
    }
}

/// 1 when a component of a path begins with a dot between these two bytes: `..` leads elsewhere.
#[inline(always)]
pub const fn is_dot_after_slash(before: u64, byte: u64) -> u64 {
    1 ^ is_not_zero((before ^ b'/' as u64) | (byte ^ b'.' as u64))
}

/// Whether a shell that was started under this name is a login shell, which reads the user's profile:
/// the name begins with a hyphen.
#[inline(always)]
pub const fn is_login_name(text: [u8; 8]) -> bool {
    text[0] == b'-'
}

/// Whether a shell, by the name of its file, reads nothing but the script when it is handed one and no
/// option. Zsh, fish and the C shells read files of the user for every script. A shell that is not
/// known here is not trusted to keep to the script.
pub const fn keeps_to_script(name: &[u8]) -> bool {
    matches!(
        name,
        b"sh"
            | b"bash"
            | b"dash"
            | b"ash"
            | b"busybox"
            | b"ksh"
            | b"ksh93"
            | b"ksh2020"
            | b"mksh"
            | b"mksh-static"
            | b"lksh"
            | b"oksh"
            | b"loksh"
            | b"posh"
            | b"yash"
    )
}

/// Whether a script reads files of the user each time it is started, because its own first line names a
/// shell that does so. `name` is the file's name of the interpreter, `options` what follows it in
/// the line.
pub fn script_reads_users_files(name: &[u8], options: &[u8]) -> bool {
    let mut words = options
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty());
    let has = |word: &[u8], letter: u8| {
        word.len() > 1 && word[0] == b'-' && word[1] != b'-' && word[1..].contains(&letter)
    };
    match name {
        // Without files of the user only when told so.
        b"zsh" | b"zsh5" | b"zsh-static" | b"tcsh" | b"csh" | b"bsd-csh" => {
            !words.any(|word| has(word, b'f') || word == b"--no-rcs")
        }
        b"fish" => !words.any(|word| has(word, b'N') || word == b"--no-config"),
        _ if keeps_to_script(name) => words.any(|word| {
            has(word, b'l')
                || has(word, b'i')
                || has(word, b'E')
                || matches!(
                    word,
                    b"--login" | b"--interactive" | b"--rcfile" | b"--init-file"
                )
        }),
        // Not a shell that is known.
        _ => false,
    }
}

/// Whether a character device is a terminal, by its major number: virtual and serial
/// consoles, the controlling terminal, pseudo-terminals, and the consoles of virtual
/// machines and of ARM boards (Linux `Documentation/admin-guide/devices.txt`).
#[inline(always)]
pub const fn is_terminal(major: u32) -> bool {
    matches!(major, 4 | 5 | 136..=143 | 204 | 229)
}

/// Whether it is a pseudo-terminal: another program holds its other end and types there.
#[inline(always)]
pub const fn is_pseudo_terminal(major: u32) -> bool {
    matches!(major, 136..=143)
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

    #[test]
    fn a_start_file_counts_where_root_alone_installs() {
        assert!(names_start_file(*b"--init-f", *b"ile\0\0\0\0\0"));
        assert!(names_start_file(*b"--rcfile", [0; 8]));
        assert!(!names_start_file(*b"--rcfile", *b"s\0\0\0\0\0\0\0"));
        assert!(!names_start_file(*b"--init-f", *b"iles\0\0\0\0"));
        for path in [b"/usr/sha", b"/opt/ide", b"/snap/co"] {
            assert!(begins_at_roots(*path));
        }
        for path in [
            b"/usr/loc",
            b"/usrx/sh",
            b"/home/an",
            b"/tmp/x\0\0",
            b"/snapx/a",
            b"usr/shar",
        ] {
            assert!(!begins_at_roots(*path));
        }
        let is_hidden = |before: u8, byte: u8| is_dot_after_slash(before.into(), byte.into()) == 1;
        assert!(is_hidden(b'/', b'.') && !is_hidden(b'n', b'.') && !is_hidden(b'/', b'a'));
    }

    /// `.zshenv`, `config.fish` and `.tcshrc` are read before each command.
    #[test]
    fn a_shell_that_reads_the_users_files_first_is_no_helper() {
        for name in [
            b"bash\0\0\0\0",
            b"dash\0\0\0\0",
            b"sh\0\0\0\0\0\0",
            b"busybox\0",
        ] {
            assert!(keeps_to_command(u64::from_ne_bytes(*name)));
        }
        for name in [
            b"zsh\0\0\0\0\0",
            b"fish\0\0\0\0",
            b"tcsh\0\0\0\0",
            b"bashful\0",
            &[0; 8],
        ] {
            assert!(!keeps_to_command(u64::from_ne_bytes(*name)));
        }
    }

    #[test]
    fn plain_bytes_stand_for_themselves() {
        for byte in 0..=u8::MAX {
            let plain = byte.is_ascii_alphanumeric() || b" /._-+,:@%=".contains(&byte);
            assert_eq!(is_plain(byte.into()) == 1, plain, "{byte}");
            assert_eq!(is_not_zero(byte.into()) == 1, byte != 0);
        }
    }

    #[test]
    fn a_script_that_reads_the_users_files_is_known_by_its_first_line() {
        let reads = |name: &str, options: &str| {
            script_reads_users_files(name.as_bytes(), options.as_bytes())
        };
        for (name, options) in [
            ("bash", "-l"),
            ("bash", "--login"),
            ("bash", "-ei"),
            ("dash", "-l"),
            ("zsh", ""),
            ("zsh", "-e"),
            ("tcsh", ""),
            ("fish", ""),
        ] {
            assert!(reads(name, options), "{name} {options}");
        }
        for (name, options) in [
            ("bash", ""),
            ("bash", "-e"),
            ("bash", "--norc"),
            ("dash", "-eu"),
            ("zsh", "-f"),
            ("csh", "-f"),
            ("fish", "--no-config"),
            ("perl", "-wl"),
            ("python3", "-i"),
        ] {
            assert!(!reads(name, options), "{name} {options}");
        }
    }

    #[test]
    fn shells_that_read_files_for_every_script_are_not_trusted_with_one() {
        for name in ["zsh", "fish", "tcsh", "csh", "nu", "elvish", "python3"] {
            assert!(!keeps_to_script(name.as_bytes()), "{name}");
        }
        assert!(is_login_name(*b"-bash\0\0\0") && !is_login_name(*b"bash\0\0\0\0"));
    }
}
