//! Arguments that make a program run code of somebody else's choice, or obey somebody else.
//!
//! A program in the user's own lineage may still have been started with arguments that a bot chose: in
//! an altered menu entry, by a unit of the user's service manager, by a launcher that anybody can ask.
//! `docs/loaders.md` lists what was looked at, program by program, and why the rest is not here.
//!
//! Left out on purpose is what only names another program to start, such as `xterm -e`, `i3 -c` or
//! `openbox --startup`. Such a program is judged by itself when it starts, and honest desktops use these
//! arguments every day.

use crate::patterns::{Pattern, Table, key};
use crate::{Flaw, Kind, Role, Sign, Tamper};

/// Which arguments of a program count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ArgumentRules {
    /// None. A batch mailer sends whatever it is handed, so that its arguments change nothing.
    None = 0,
    /// Those by which toolkits load code, and those of the program itself.
    Toolkits = 1,
    /// These, and those that put a mailer under remote control.
    Mailer = 2,
}

impl ArgumentRules {
    /// The rules for a program.
    #[inline(always)]
    pub const fn of(role: Role, kind: Kind) -> Self {
        match (role, kind) {
            (Role::Mailer, Kind::Interactive) => Self::Mailer,
            (Role::Session | Role::Launcher | Role::Sandbox, _) => Self::Toolkits,
            _ => Self::None,
        }
    }

    /// Reads a code; an unassigned one is [`ArgumentRules::Mailer`], which looks at most.
    #[inline(always)]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::None,
            1 => Self::Toolkits,
            _ => Self::Mailer,
        }
    }
}

/// Remote control of a mailer, or another program in its place. Written in lower case; capital
/// letters count the same, because Mozilla reads them so.
static CONTROL: Table<512> = Table::of(CONTROL_LISTED);

const CONTROL_LISTED: &[Pattern] = &[
    // Mozilla. It takes one hyphen or two, and a value behind a `=`.
    Pattern::prefix(b"--marion", b"ette\0\0\0\0"),
    Pattern::prefix(b"-marione", b"tte\0\0\0\0\0"),
    Pattern::first(b"--remote"), // --remote-debugging-port, --remote-allow-hosts
    Pattern::first(b"-remote-"),
    Pattern::both(b"--start-", b"debugger"), // --start-debugger-server
    Pattern::prefix(b"-start-d", b"ebugger\0"),
    Pattern::first(b"--jsdebu"), // --jsdebugger: it opens a port for the debugger
    Pattern::first(b"-jsdebug"),
    Pattern::prefix(b"--wait-f", b"or-jsdeb"),
    Pattern::prefix(b"-wait-fo", b"r-jsdebu"),
    // Another application, or other contents, for Mozilla's platform.
    Pattern::first(b"--app\0\0\0"),
    Pattern::first(b"-app\0\0\0\0"),
    Pattern::prefix(b"--xpcshe", b"ll\0\0\0\0\0\0"),
    Pattern::prefix(b"-xpcshel", b"l\0\0\0\0\0\0\0"),
    Pattern::first(b"--greomn"), // --greomni
    Pattern::first(b"-greomni"),
    Pattern::first(b"--appomn"), // --appomni
    Pattern::first(b"-appomni"),
    Pattern::first(b"--overri"), // --override: another description of the application
    Pattern::first(b"-overrid"),
    // Chromium, Electron, Qt WebEngine.
    Pattern::first(b"--inspec"),             // --inspect, --inspect-brk
    Pattern::both(b"--browse", b"r-subpro"), // --browser-subprocess-path
    Pattern::both(b"--render", b"er-cmd-p"), // --renderer-cmd-prefix
    Pattern::both(b"--utilit", b"y-cmd-pr"), // --utility-cmd-prefix
    Pattern::prefix(b"--gpu-la", b"uncher\0\0"),
    Pattern::both(b"--load-e", b"xtension"), // --load-extension
    Pattern::both(b"--zygote", b"-cmd-pre"), // --zygote-cmd-prefix
    // It takes one hyphen as well.
    Pattern::first(b"-inspect"),
    Pattern::both(b"-browser", b"-subproc"),
    Pattern::both(b"-rendere", b"r-cmd-pr"),
    Pattern::both(b"-utility", b"-cmd-pre"),
    Pattern::both(b"-zygote-", b"cmd-pref"),
    Pattern::prefix(b"-gpu-lau", b"ncher\0\0\0"),
    Pattern::prefix(b"-load-ex", b"tension\0"),
];

/// Code that toolkits load because an argument says so. In lower case as above.
static TOOLKITS: Table<64> = Table::of(TOOLKITS_LISTED);

const TOOLKITS_LISTED: &[Pattern] = &[
    Pattern::prefix(b"--gtk-mo", b"dule\0\0\0\0"),
    Pattern::both(b"--platfo", b"rmplugin"), // --platformpluginpath
    Pattern::both(b"-platfor", b"mpluginp"),
    Pattern::prefix(b"--qmljsd", b"ebugger\0"),
    Pattern::prefix(b"-qmljsde", b"bugger\0\0"),
];

/// Arguments of single programs (no two with the same first eight bytes), whose names stand beside them: the first eight bytes of the file's
/// name. A long option has its first four bytes, because `getopt_long` takes it cut short, or its first
/// sixteen. A short one has two, because its value may be glued to it.
static OWN: Table<1024> = Table::of(OWN_LISTED);

const OWN_LISTED: &[Pattern] = &[
    // Desktop shells and window managers that run code from their configuration, or that their
    // configuration makes press keys.
    Pattern::first(b"-c\0\0\0\0\0\0").of(b"awesome\0"),
    Pattern::first(b"--co\0\0\0\0").of(b"awesome\0"), // --config
    Pattern::first(b"-s\0\0\0\0\0\0").of(b"awesome\0"),
    Pattern::first(b"--se\0\0\0\0").of(b"awesome\0"), // --search, where Lua looks for modules
    Pattern::both(b"--automa", b"tion-scr").of(b"gnome-sh"), // --automation-script
    Pattern::prefix(b"--unsafe", b"-mode\0\0\0").of(b"gnome-sh"),
    Pattern::first(b"-c\0\0\0\0\0\0").of(b"fvwm3\0\0\0"),
    Pattern::first(b"-f\0\0\0\0\0\0").of(b"fvwm3\0\0\0"),
    Pattern::first(b"--cm\0\0\0\0").of(b"fvwm3\0\0\0"), // --cmd
    Pattern::first(b"--co\0\0\0\0").of(b"fvwm3\0\0\0"), // --config
    Pattern::first(b"-c\0\0\0\0\0\0").of(b"fvwm2\0\0\0"),
    Pattern::first(b"-f\0\0\0\0\0\0").of(b"fvwm2\0\0\0"),
    Pattern::first(b"--cm\0\0\0\0").of(b"fvwm2\0\0\0"),
    Pattern::first(b"-c\0\0\0\0\0\0").of(b"fvwm\0\0\0\0"),
    Pattern::first(b"-f\0\0\0\0\0\0").of(b"fvwm\0\0\0\0"),
    Pattern::first(b"--cm\0\0\0\0").of(b"fvwm\0\0\0\0"),
    Pattern::first(b"-c\0\0\0\0\0\0").of(b"wayfire\0"), // plugins are libraries
    Pattern::first(b"--co\0\0\0\0").of(b"wayfire\0"),
    Pattern::first(b"-c\0\0\0\0\0\0").of(b"weston\0\0"), // modules are libraries
    Pattern::first(b"--co\0\0\0\0").of(b"weston\0\0"),
    Pattern::first(b"--mo\0\0\0\0").of(b"weston\0\0"), // --modules
    Pattern::prefix(b"--backen", b"d=/\0\0\0\0\0").of(b"weston\0\0"),
    Pattern::prefix(b"--shell=", b"/\0\0\0\0\0\0\0").of(b"weston\0\0"),
    // Terminals with an interpreter inside.
    Pattern::first(b"+\0\0\0\0\0\0\0").of(b"kitty\0\0\0"),
    Pattern::first(b"+r\0\0\0\0\0\0").of(b"kitty\0\0\0"), // +runpy
    Pattern::first(b"+l\0\0\0\0\0\0").of(b"kitty\0\0\0"), // +launch
    Pattern::first(b"+k\0\0\0\0\0\0").of(b"kitty\0\0\0"), // +kitten
    Pattern::first(b"+e\0\0\0\0\0\0").of(b"kitty\0\0\0"), // +edit, +edit-config
    Pattern::first(b"+o\0\0\0\0\0\0").of(b"kitty\0\0\0"), // +open
    Pattern::first(b"-c\0\0\0\0\0\0").of(b"kitty\0\0\0"),
    Pattern::first(b"--co\0\0\0\0").of(b"kitty\0\0\0"), // --config
    Pattern::first(b"--wa\0\0\0\0").of(b"kitty\0\0\0"), // --watcher
    Pattern::first(b"--se\0\0\0\0").of(b"kitty\0\0\0"), // --session: watchers, and text to type
    Pattern::first(b"--li\0\0\0\0").of(b"kitty\0\0\0"), // --listen-on
    // Of what `-o` and `--override` set, that which is code or remote control.
    Pattern::first(b"watcher=").of(b"kitty\0\0\0"),
    Pattern::first(b"allow_re").of(b"kitty\0\0\0"),
    Pattern::first(b"startup_").of(b"kitty\0\0\0"),
    Pattern::first(b"listen_o").of(b"kitty\0\0\0"),
    Pattern::first(b"-owatche").of(b"kitty\0\0\0"),
    Pattern::first(b"-oallow_").of(b"kitty\0\0\0"),
    Pattern::first(b"-ostartu").of(b"kitty\0\0\0"),
    Pattern::first(b"-olisten").of(b"kitty\0\0\0"),
    Pattern::both(b"--overri", b"de=watch").of(b"kitty\0\0\0"),
    Pattern::first(b"--co\0\0\0\0").of(b"wezterm\0"), // --config-file, --config
    Pattern::first(b"--co\0\0\0\0").of(b"wezterm-"),  // wezterm-gui
    Pattern::first(b"-perl-li").of(b"urxvt\0\0\0"),
    Pattern::first(b"--perl-l").of(b"urxvt\0\0\0"),
    Pattern::first(b"-perl-ev").of(b"urxvt\0\0\0"),
    Pattern::prefix(b"--perl-e", b"val\0\0\0\0\0").of(b"urxvt\0\0\0"),
    // Multiplexers type into their own panes.
    Pattern::both(b"send-key", b"s\0\0\0\0\0\0\0").of(b"tmux\0\0\0\0"),
    Pattern::first(b"send\0\0\0\0").of(b"tmux\0\0\0\0"),
    Pattern::first(b"-X\0\0\0\0\0\0").of(b"screen\0\0"),
    // Another program, or other libraries, in the place of what root has deployed.
    Pattern::first(b"--app-pa").of(b"flatpak\0"), // --app-path
    Pattern::first(b"--usr-pa").of(b"flatpak\0"), // --usr-path
    Pattern::prefix(b"--runtim", b"e=\0\0\0\0\0\0").of(b"flatpak\0"),
    // Menus and panels with plugins.
    Pattern::both(b"-plugin-", b"path\0\0\0\0").of(b"rofi\0\0\0\0"),
    Pattern::first(b"-M\0\0\0\0\0\0").of(b"cairo-do"),
    Pattern::both(b"--module", b"s-dir\0\0\0").of(b"cairo-do"),
    // Mailspring, whose own code is a folder of scripts.
    Pattern::first(b"-r\0\0\0\0\0\0").of(b"mailspri"),
    Pattern::first(b"--re\0\0\0\0").of(b"mailspri"), // --resource-path
    Pattern::first(b"-c\0\0\0\0\0\0").of(b"mailspri"),
    Pattern::first(b"--co\0\0\0\0").of(b"mailspri"), // --config-dir-path
    Pattern::first(b"-s\0\0\0\0\0\0").of(b"mailspri"),
    Pattern::first(b"--sp\0\0\0\0").of(b"mailspri"), // --spec-directory
    Pattern::first(b"-t\0\0\0\0\0\0").of(b"mailspri"),
    Pattern::first(b"--te\0\0\0\0").of(b"mailspri"), // --test
    Pattern::first(b"-d\0\0\0\0\0\0").of(b"mailspri"),
    Pattern::first(b"--de\0\0\0\0").of(b"mailspri"), // --dev
];

/// The first `BYTES` bytes of a word.
#[inline(always)]
const fn head<const BYTES: usize>(word: u64) -> u64 {
    let mut mask = [0; 8];
    let mut index = 0;
    while index < BYTES {
        mask[index] = 0xff;
        index += 1;
    }
    word & u64::from_ne_bytes(mask)
}

/// Eight bytes with their ASCII capitals made small, all at once.
#[inline(always)]
const fn lowered(text: [u8; 8]) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_ne_bytes(text);
    // Without the uppermost bit no byte overflows into the next.
    let seven = word & (0x7f * ONES);
    let from_a = seven + ((0x80 - b'A' as u64) * ONES);
    let beyond_z = seven + ((0x7f - b'Z' as u64) * ONES);
    let capitals = from_a & !beyond_z & !word & (0x80 * ONES);
    (word | (capitals >> 2)).to_ne_bytes()
}

/// Whether an argument of the program `name` is a sign of tampering, and which. `first` and `second` are
/// its first sixteen bytes, `name` the first eight of the name of the program's file; shorter ones
/// are padded with zero bytes.
#[inline(always)]
pub fn argument_sign(rules: ArgumentRules, name: [u8; 8], first: [u8; 8], second: [u8; 8]) -> Sign {
    if matches!(rules, ArgumentRules::None) {
        return Sign::NONE;
    }
    let (low_first, low_second) = (lowered(first), lowered(second));
    if matches!(rules, ArgumentRules::Mailer) {
        let control = CONTROL.number(low_first, low_second);
        if control != 0 {
            return Sign::by(Tamper::REMOTE_CONTROL, Flaw::Argument, control);
        }
    }
    let own = key(name);
    let word = u64::from_ne_bytes(first);
    let number = |word: u64| OWN.number((word ^ own).to_ne_bytes(), second);
    // Only one of the three can be there, or they say the same.
    let code = TOOLKITS.number(low_first, low_second) | number(word) | number(cut(word));
    if code != 0 {
        return Sign::by(Tamper::CODE_ARGUMENT, Flaw::Argument, code);
    }
    Sign::NONE
}

/// The part of an argument by which [`OWN`] knows options whose rest may vary.
#[inline(always)]
const fn cut(word: u64) -> u64 {
    let two = head::<2>(word);
    if two == u64::from_ne_bytes(*b"--\0\0\0\0\0\0") {
        head::<4>(word)
    } else {
        two
    }
}

/// How the argument begins that a record keeps by this number.
pub(crate) fn name_of_number(number: u16) -> Option<&'static str> {
    [CONTROL_LISTED, TOOLKITS_LISTED, OWN_LISTED]
        .into_iter()
        .flatten()
        .find(|pattern| pattern.number() == number)
        .map(Pattern::text)
}

/// The first eight bytes of a program's name, as [`argument_sign`] takes it.
pub fn name_of(file: &[u8]) -> [u8; 8] {
    let mut name = [0; 8];
    for (slot, byte) in name.iter_mut().zip(file) {
        *slot = *byte;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(rules: ArgumentRules, program: &str, argument: &str) -> Tamper {
        found(rules, program, argument).tamper()
    }

    fn found(rules: ArgumentRules, program: &str, argument: &str) -> Sign {
        let mut bytes = [0; 16];
        for (slot, byte) in bytes.iter_mut().zip(argument.bytes()) {
            *slot = byte;
        }
        let (first, second) = bytes.split_at(8);
        let name = name_of(program.as_bytes());
        argument_sign(
            rules,
            name,
            first.try_into().unwrap(),
            second.try_into().unwrap(),
        )
    }

    #[test]
    fn remote_control_is_told_from_other_arguments() {
        for text in [
            "--marionette",
            "-marionette",
            "--Marionette",
            "-MARIONETTE",
            "--marionette=1",
            "--remote-debugging-port=9222",
            "--REMOTE-debugging-port",
            "-remote-debugging-port",
            "--start-debugger-server",
            "-Start-Debugger-Server",
            "--jsdebugger",
            "-wait-for-jsdebugger",
            "--inspect-brk=9229",
            "-app",
            "--APP",
            "-xpcshell",
            "--XPCShell",
            "-greomni",
            "--appomni",
            "--gpu-launcher=/tmp/x",
            "--renderer-cmd-prefix=/tmp/x",
            "--load-extension=/tmp/x",
            "-gpu-launcher=/tmp/x",
            "-load-extension=/tmp/x",
            "--zygote-cmd-prefix=/tmp/x",
            "-renderer-cmd-prefix=/tmp/x",
        ] {
            let found = sign(ArgumentRules::Mailer, "thunderbird", text);
            assert_eq!(found, Tamper::REMOTE_CONTROL, "{text}");
        }
        for text in [
            "--compose",
            "-compose",
            "-Compose",
            "-marion",
            "--mar",
            "mail@example.org",
            "--apply",
            "--profile",
            "-P",
            "--start-minimized",
            "--gtk-version",
            "-platform",
            "",
        ] {
            let found = sign(ArgumentRules::Mailer, "thunderbird", text);
            assert_eq!(found, Tamper::NONE, "{text}");
        }
    }

    #[test]
    fn toolkits_load_no_code_by_argument() {
        for rules in [ArgumentRules::Toolkits, ArgumentRules::Mailer] {
            for text in [
                "--gtk-module=/tmp/evil.so",
                "--gtk-module",
                "-platformpluginpath",
                "--platformpluginpath",
                "-qmljsdebugger=port:1",
            ] {
                assert_eq!(sign(rules, "any", text), Tamper::CODE_ARGUMENT, "{text}");
            }
        }
        let none = sign(ArgumentRules::None, "any", "--gtk-module=/tmp/evil.so");
        assert_eq!(none, Tamper::NONE);
    }

    #[test]
    fn programs_are_judged_by_their_own_arguments() {
        for (program, argument) in [
            ("kitty", "+runpy"),
            ("kitty", "+launch"),
            ("kitty", "+"),
            ("kitty", "--config=/tmp/x"),
            ("kitty", "watcher=/tmp/x.py"),
            ("kitty", "-oallow_remote_control=yes"),
            ("kitty", "--override=watcher=/tmp/x.py"),
            ("wezterm", "--config-file"),
            ("wezterm", "--config"),
            ("wezterm-gui", "--config-file=/tmp/x"),
            ("awesome", "-c"),
            ("awesome", "-c/tmp/evil.lua"),
            ("awesome", "--config"),
            ("awesome", "--conf"),
            ("tmux", "send-keys"),
            ("flatpak", "--usr-path=/home/anna/evil"),
            ("flatpak", "--app-path=/home/anna/evil"),
            ("flatpak", "--runtime=org.evil.Platform"),
            ("mailspring", "--resource-path=/tmp"),
            ("gnome-shell", "--automation-script=/tmp/x.js"),
            ("weston", "--modules=/tmp/evil.so"),
            ("urxvt", "--perl-eval"),
        ] {
            let found = sign(ArgumentRules::Toolkits, program, argument);
            assert_eq!(found, Tamper::CODE_ARGUMENT, "{program} {argument}");
        }
        for (program, argument) in [
            ("kitty", "-e"),
            ("kitty", "--single-instance"),
            ("kitty", "--class"),
            ("kitty", "-o"),
            ("kitty", "font_size=14"),
            ("waybar", "-c"),
            ("rofi", "-config"),
            ("kitty", "mutt"),
            ("wezterm", "start"),
            ("awesome", "-k"),
            ("tmux", "new-session"),
            ("flatpak", "run"),
            ("flatpak", "--command=thunderbird"),
            ("flatpak", "--file-forwarding"),
            ("flatpak", "--user"),
            ("tmux", "-c"),
            ("openbox", "--config-file"),
            ("openbox", "--startup"),
            ("i3", "-c"),
            ("sway", "-c"),
            ("xterm", "-class"),
            ("bash", "-c"),
            ("gnome-shell", "--wayland"),
        ] {
            let found = sign(ArgumentRules::Toolkits, program, argument);
            assert_eq!(found, Tamper::NONE, "{program} {argument}");
        }
    }

    #[test]
    fn a_sign_says_which_argument_it_was() {
        for (program, argument, name) in [
            ("thunderbird", "--Marionette=1", "--marionette"),
            ("thunderbird", "--remote-debugging-port=1", "--remote"),
            ("thunderbird", "--gtk-module=/tmp/x", "--gtk-module"),
            ("kitty", "+runpy", "+r"),
            ("kitty", "watcher=/tmp/x.py", "watcher="),
            ("awesome", "-c/tmp/evil.lua", "-c"),
        ] {
            let cause = found(ArgumentRules::Mailer, program, argument).cause();
            let cause = cause.unwrap_or_else(|| panic!("{argument}"));
            assert_eq!((cause.name, cause.flaw), (name, Flaw::Argument));
        }
    }

    #[test]
    fn only_capitals_are_made_small() {
        let mut byte = 0_u8;
        loop {
            let expected = [byte.to_ascii_lowercase(); 8];
            assert_eq!(lowered([byte; 8]), expected, "{byte}");
            byte = match byte.checked_add(1) {
                Some(next) => next,
                None => break,
            };
        }
    }
}
