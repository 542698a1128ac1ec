//! What of root's programs is root's own: which folders only root writes to, and what an interpreter is
//! handed.
//!
//! An interpreter counts as its script. Code in an argument counts as its caller's, who is root's own or
//! the chain would have ended there. Files that a script reads later are not looked at.

/// Folders of scripts where root alone writes, unless a machine is set up otherwise: the keeper says which of
/// them hold. The first that a path lies below decides, so the narrower ones come first.
///
/// The last one is the beginning of the names under which RPM runs the scripts of packages.
pub const ROOTS_FOLDERS: [&[u8]; 16] = [
    b"/usr/local/",
    b"/usr/",
    b"/etc/",
    b"/bin/",
    b"/sbin/",
    b"/lib/",
    b"/lib32/",
    b"/lib64/",
    b"/opt/",
    b"/root/",
    b"/srv/",
    b"/nix/store/",
    b"/gnu/store/",
    b"/var/lib/dpkg/",
    b"/var/lib/pacman/",
    b"/var/tmp/rpm-tmp",
];

/// Whether a path, of which these are the first sixteen bytes, lies below one of [`ROOTS_FOLDERS`] whose
/// bit is set.
#[inline(always)]
pub fn is_below_roots(begin: [u64; 2], folders: u32) -> bool {
    let mut index = 0;
    while index < ROOTS_FOLDERS.len() {
        let (text, mask) = COMPARED[index];
        if begin[0] & mask[0] == text[0] && begin[1] & mask[1] == text[1] {
            return folders >> index & 1 != 0;
        }
        index += 1;
    }
    false
}

/// [`ROOTS_FOLDERS`] as words, and which of their bits count.
const COMPARED: [([u64; 2], [u64; 2]); 16] = {
    let mut all = [([0; 2], [0; 2]); 16];
    let mut index = 0;
    while index < all.len() {
        all[index] = compared(ROOTS_FOLDERS[index]);
        index += 1;
    }
    all
};

const fn compared(text: &[u8]) -> ([u64; 2], [u64; 2]) {
    let (mut bytes, mut mask) = ([[0_u8; 8]; 2], [[0_u8; 8]; 2]);
    let mut index = 0;
    while index < text.len() {
        bytes[index / 8][index % 8] = text[index];
        mask[index / 8][index % 8] = 0xff;
        index += 1;
    }
    (
        [u64::from_ne_bytes(bytes[0]), u64::from_ne_bytes(bytes[1])],
        [u64::from_ne_bytes(mask[0]), u64::from_ne_bytes(mask[1])],
    )
}

/// A family of interpreters that take the same options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Interpreter {
    /// Not one that is known.
    None = 0,
    /// A shell of any kind.
    Shell = 1,
    /// Perl.
    Perl = 2,
    /// Python.
    Python = 3,
    /// PHP.
    Php = 4,
    /// Ruby.
    Ruby = 5,
    /// Node.
    Node = 6,
    /// Lua.
    Lua = 7,
    /// Awk: its first word is its program.
    Awk = 8,
    /// Tcl and what is built on it.
    Tcl = 9,
}

impl Interpreter {
    /// Reads a code; an unassigned one is [`Interpreter::Shell`], of whose arguments least are passed over.
    #[inline(always)]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::None,
            2 => Self::Perl,
            3 => Self::Python,
            4 => Self::Php,
            5 => Self::Ruby,
            6 => Self::Node,
            7 => Self::Lua,
            8 => Self::Awk,
            9 => Self::Tcl,
            _ => Self::Shell,
        }
    }

    /// The one whose file has a name that begins so. The file is root's, so the name is no disguise.
    #[inline(always)]
    pub fn named(name: [u8; 8]) -> Self {
        let word = u64::from_ne_bytes(name);
        let mut index = 0;
        while index < NAMES.len() {
            let (text, mask, family) = NAMES[index];
            if word & mask == text {
                return family;
            }
            index += 1;
        }
        Self::None
    }
}

/// A whole name.
const fn whole(name: &[u8], family: Interpreter) -> (u64, u64, Interpreter) {
    (compared(name).0[0], u64::MAX, family)
}

/// A name that goes on, with a version as a rule.
const fn begins(name: &[u8], family: Interpreter) -> (u64, u64, Interpreter) {
    let (text, mask) = compared(name);
    (text[0], mask[0], family)
}

const NAMES: [(u64, u64, Interpreter); 27] = [
    whole(b"sh", Interpreter::Shell),
    whole(b"bash", Interpreter::Shell),
    whole(b"rbash", Interpreter::Shell),
    whole(b"dash", Interpreter::Shell),
    whole(b"ash", Interpreter::Shell),
    begins(b"zsh", Interpreter::Shell),
    begins(b"ksh", Interpreter::Shell),
    begins(b"mksh", Interpreter::Shell),
    whole(b"lksh", Interpreter::Shell),
    whole(b"posh", Interpreter::Shell),
    whole(b"yash", Interpreter::Shell),
    whole(b"fish", Interpreter::Shell),
    whole(b"csh", Interpreter::Shell),
    whole(b"tcsh", Interpreter::Shell),
    begins(b"bsd-csh", Interpreter::Shell),
    begins(b"perl", Interpreter::Perl),
    begins(b"python", Interpreter::Python),
    begins(b"pypy", Interpreter::Python),
    begins(b"php", Interpreter::Php),
    begins(b"ruby", Interpreter::Ruby),
    begins(b"node", Interpreter::Node),
    begins(b"lua", Interpreter::Lua),
    whole(b"awk", Interpreter::Awk),
    whole(b"gawk", Interpreter::Awk),
    whole(b"mawk", Interpreter::Awk),
    begins(b"tclsh", Interpreter::Tcl),
    begins(b"expect", Interpreter::Tcl),
];

/// What an argument of an interpreter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// An option that says nothing of what is run.
    Option,
    /// An option whose value is the next argument, which says nothing of it either.
    Value,
    /// It says that code is given otherwise than by a file: in an argument, or on standard input.
    Code,
    /// The next argument is the script.
    ScriptIsNext,
    /// The script.
    Script,
}

/// Reads an argument that stands before the script, by its first eight bytes.
#[inline(always)]
pub fn word_of(family: Interpreter, text: [u8; 8]) -> Word {
    let alone = text[2] == 0;
    if text[0] != b'-' {
        return match family {
            Interpreter::Awk => Word::Code,
            Interpreter::Shell if text[0] == b'+' && matches!(text[1], b'o' | b'O') => Word::Value,
            Interpreter::Shell if text[0] == b'+' => Word::Option,
            _ => Word::Script,
        };
    }
    match (text[1], family) {
        (0, _) => return Word::Code,
        (b'-', Interpreter::Awk) if alone => return Word::Code,
        (b'-', _) if alone => return Word::ScriptIsNext,
        (b'-', Interpreter::Node) => {
            let word = u64::from_ne_bytes(text);
            let is_code = word & EVAL.1 == EVAL.0 || word & PRINT.1 == PRINT.0;
            return if is_code { Word::Code } else { Word::Option };
        }
        (b'-', Interpreter::Shell) => {
            let word = u64::from_ne_bytes(text);
            let names_file = word & RCFILE.1 == RCFILE.0 || word & INIT_FILE.1 == INIT_FILE.0;
            return if names_file {
                Word::ScriptIsNext
            } else {
                Word::Option
            };
        }
        (b'-', _) => return Word::Option,
        _ => {}
    }
    let takes_value = if alone { Word::Value } else { Word::Option };
    match (family, text[1]) {
        (Interpreter::Shell, _) if has(text, b'c') || has(text, b's') => Word::Code,
        (Interpreter::Shell, _) if has(text, b'o') || has(text, b'O') => Word::Value,
        (Interpreter::Perl, b'I') => takes_value,
        (Interpreter::Perl, b'M' | b'm' | b'C' | b'D' | b'd' | b'F' | b'i' | b'x') => Word::Option,
        (Interpreter::Perl, _) if has(text, b'e') || has(text, b'E') => Word::Code,
        (Interpreter::Python, b'W' | b'X' | b'Q') => takes_value,
        (Interpreter::Python, _) if has(text, b'c') || has(text, b'm') => Word::Code,
        (Interpreter::Php, b'r' | b'R' | b'B' | b'E') => Word::Code,
        (Interpreter::Php, b'f' | b'F') => Word::ScriptIsNext,
        (Interpreter::Php, b'd' | b'c' | b'z') => takes_value,
        (Interpreter::Ruby, b'I' | b'r' | b'C' | b'E') => takes_value,
        (Interpreter::Ruby, b'K' | b'W' | b'T' | b'x' | b'i' | b'F') => Word::Option,
        (Interpreter::Ruby, _) if has(text, b'e') => Word::Code,
        (Interpreter::Node, b'e' | b'p') => Word::Code,
        (Interpreter::Node, b'r') => takes_value,
        (Interpreter::Lua, b'e') => Word::Code,
        (Interpreter::Lua, b'l') => takes_value,
        (Interpreter::Awk, b'f') => Word::ScriptIsNext,
        (Interpreter::Awk, b'F' | b'v') => takes_value,
        (Interpreter::Tcl, b'c') => Word::Code,
        (Interpreter::Tcl, b'f' | b'b') => Word::ScriptIsNext,
        _ => Word::Option,
    }
}

/// The beginning of a long option, and which of its bits count.
const fn long(text: &[u8]) -> (u64, u64) {
    let (text, mask) = compared(text);
    (text[0], mask[0])
}

const EVAL: (u64, u64) = long(b"--eval");
const PRINT: (u64, u64) = long(b"--print");
const RCFILE: (u64, u64) = long(b"--rcfile");
const INIT_FILE: (u64, u64) = long(b"--init-f");

/// Whether a group of short options has this letter. What follows the end of the text is zero. All bytes at
/// once, because the kernel's verifier would follow each of them.
#[inline(always)]
const fn has(text: [u8; 8], letter: u8) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let apart = u64::from_ne_bytes(text) ^ (letter as u64).wrapping_mul(ONES);
    apart.wrapping_sub(ONES) & !apart & (ONES << 7) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded<const N: usize>(text: &[u8]) -> [u8; N] {
        let mut bytes = [0; N];
        for (slot, byte) in bytes.iter_mut().zip(text) {
            *slot = *byte;
        }
        bytes
    }

    fn below(path: &str, folders: u32) -> bool {
        let bytes: [u8; 16] = padded(path.as_bytes());
        let (first, second) = bytes.split_at(8);
        let word = |half: &[u8]| u64::from_ne_bytes(half.try_into().unwrap());
        is_below_roots([word(first), word(second)], folders)
    }

    /// What is run, as the arguments of a whole command line say it: the number of the script's
    /// argument, or none for code.
    fn script(line: &[&str]) -> Option<usize> {
        let family = Interpreter::named(padded(line[0].as_bytes()));
        assert_ne!(family, Interpreter::None, "{line:?}");
        let mut index = 1;
        loop {
            let text = line.get(index)?;
            match word_of(family, padded(text.as_bytes())) {
                Word::Option => index += 1,
                Word::Value => index += 2,
                Word::Code => return None,
                Word::ScriptIsNext => return Some(index + 1),
                Word::Script => return Some(index),
            }
        }
    }

    #[test]
    fn folders_are_roots_as_far_as_the_keeper_says() {
        assert!(below("/usr/sbin/logwatch", u32::MAX));
        assert!(below("/etc/cron.daily/man-db", u32::MAX));
        assert!(below("/var/lib/dpkg/info/x.postinst", u32::MAX));
        assert!(below("/var/tmp/rpm-tmp.Xy12Zz", u32::MAX));
        for path in [
            "/home/a/x.sh",
            "/var/www/x.php",
            "/tmp/x",
            "usr/bin/x",
            "./x",
            "",
            "/usrx",
        ] {
            assert!(!below(path, u32::MAX), "{path}");
        }
        // Debian lets the group `staff` write to /usr/local.
        assert!(!below("/usr/local/sbin/x", !1));
        assert!(below("/usr/sbin/x", !1));
        assert!(!below("/usr/sbin/x", 0));
    }

    #[test]
    fn the_script_of_a_command_line_is_found() {
        for (line, expected) in [
            (&["sh", "/x"][..], Some(1)),
            (&["bash", "-e", "/x"], Some(2)),
            (&["bash", "-o", "pipefail", "/x"], Some(3)),
            (&["bash", "+x", "/x"], Some(2)),
            (&["bash", "-euo", "pipefail", "-c", "true"], None),
            (&["dash", "-c", "true"], None),
            (&["dash", "-ec", "true"], None),
            (&["bash", "--norc", "/x"], Some(2)),
            (&["bash", "--rcfile", "/x"], Some(2)),
            (&["bash", "--", "/x"], Some(2)),
            (&["sh"], None),
            (&["sh", "-s", "a"], None),
            (&["ksh93", "/x"], Some(1)),
            (&["perl", "-w", "/x"], Some(2)),
            (&["perl", "-I", "/lib", "/x"], Some(3)),
            (&["perl", "-I/lib", "-MPOSIX", "/x"], Some(3)),
            (&["perl", "-ne", "print"], None),
            (&["perl", "-i.save", "-pe", "s/a/b/"], None),
            (&["perl", "-Mre", "/x"], Some(2)),
            (&["python3.11", "-u", "/x"], Some(2)),
            (&["python3", "-W", "ignore", "/x"], Some(3)),
            (&["python3", "-m", "smtplib"], None),
            (&["python3", "-Ic", "pass"], None),
            (&["php8.2", "-d", "a=b", "-f", "/x"], Some(4)),
            (&["php", "-q", "/x"], Some(2)),
            (&["php", "-r", "mail();"], None),
            (&["ruby", "-rjson", "/x"], Some(2)),
            (&["ruby", "-ne", "p"], None),
            (&["nodejs", "--max-old-space-size=9", "/x"], Some(2)),
            (&["node", "--eval", "1"], None),
            (&["node", "-e", "1"], None),
            (&["lua5.4", "/x"], Some(1)),
            (&["gawk", "{print}", "/x"], None),
            (&["awk", "-F", ":", "-f", "/x"], Some(4)),
            (&["awk", "-v", "a=1", "{print}"], None),
            (&["expect", "-c", "spawn"], None),
            (&["expect", "-f", "/x"], Some(2)),
            (&["tclsh8.6", "/x"], Some(1)),
        ] {
            assert_eq!(script(line), expected, "{line:?}");
        }
    }

    #[test]
    fn other_programs_are_no_interpreters() {
        for name in [
            "cron", "shred", "bashful", "apt-get", "awkward", "sshd", "mail",
        ] {
            let family = Interpreter::named(padded(name.as_bytes()));
            assert_eq!(family, Interpreter::None, "{name}");
        }
        for code in 0..=9 {
            assert_eq!(Interpreter::from_code(code) as u8, code);
        }
    }
}
