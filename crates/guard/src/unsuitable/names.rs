//! Names of programs that do whatever they are told. One list for each kind; versions and
//! variants are not listed but recognised: `python3.11`, `perl5.36-x86_64-linux-gnu`,
//! `nc.openbsd`, `x86_64-linux-gnu-python3-dbg`.

use super::Tool;

#[rustfmt::skip]
const INTERPRETERS: &[&str] = &[
    // Languages.
    "python", "pypy", "micropython", "ipython", "jython", "perl", "perl-static", "raku", "rakudo",
    "moar", "ruby", "jruby", "mruby", "irb", "truffleruby", "node", "nodejs", "deno", "bun", "qjs",
    "quickjs", "js", "gjs", "gjs-console", "cjs", "cjs-console", "rhino", "php", "php-cgi", "php-cli",
    "php-fpm", "phpdbg", "hhvm", "lua", "luajit", "texlua", "luatex", "tcl", "tclsh", "jimsh",
    "wish", "expect", "expectk", "guile", "racket", "scheme", "mit-scheme", "chibi-scheme", "gosh",
    "gsi", "csi", "csc", "petite", "chez", "sbcl", "clisp", "ecl", "ccl", "abcl", "clojure", "clj",
    "bb", "java", "javaw", "jshell", "jexec", "scala", "kotlin", "groovy", "mono", "mono-sgen",
    "mono-boehm", "dotnet", "csharp", "fsi", "erl", "escript", "beam.smp", "elixir", "iex",
    "julia", "r", "rscript", "octave", "octave-cli", "gnuplot", "swipl", "swi-prolog", "gprolog",
    "yap", "ocaml", "ocamlrun", "utop", "runghc", "ghci", "runhaskell", "janet", "gforth", "rexx",
    "regina", "awk", "gawk", "mawk", "nawk", "original-awk", "wasmtime", "wasmer", "wasmedge",
    "tcc", "ci", "dart", "pike", "squirrel", "gst", "gambas3", "gbr3", "fbc", "vala", "gdl",
    // Editors, debuggers and tools that run code of their arguments.
    "emacs", "emacsclient", "xemacs", "rvim", "rview", "view", "gvim",
    "nvim", "neovim", "ed", "gdb", "gdbserver", "lldb", "strace", "ltrace", "perf", "bpftrace",
    "make", "gmake", "ninja", "sed", "m4", "dc",
    // Programs for other machines and systems.
    "wine", "wine64", "wine-preloader", "wine64-preloader", "wine-stable", "box64", "box86",
    "fexinterpreter", "dosbox",
    // What loads programs.
    "ld.so", "ld-linux", "rosetta",
];

const EDITORS: &[&str] = &["vi", "vim", "vimdiff"];

#[rustfmt::skip]
const SHELLS: &[&str] = &[
    "sh", "bash", "rbash", "dash", "ash", "zsh", "fish", "ksh", "ksh93", "rksh", "mksh", "lksh",
    "oksh", "loksh", "pdksh", "yash", "posh", "tcsh", "csh", "bsd-csh", "nu", "nushell",
    "elvish", "xonsh", "pwsh", "powershell", "osh", "ysh", "oil", "sash", "static-sh",
];

const MULTICALL: &[&str] = &["busybox", "toybox", "coreutils", "sbase-box", "ubase-box"];

#[rustfmt::skip]
const FETCHERS: &[&str] = &[
    "curl", "curlie", "wget", "wget2", "wcurl", "aria2c", "axel", "httpie", "http", "https", "xh",
    "lftp", "ftp", "tnftp", "netkit-ftp", "inetutils-ftp", "tftp", "sftp", "scp", "rsync", "rclone",
    "puf", "snarf", "lwp-request", "lwp-download", "lwp-mirror",
    "uget", "lynx", "links", "links2", "elinks", "w3m", "transmission-cli", "yt-dlp",
    "gsutil", "websocat",
];

#[rustfmt::skip]
const RELAYS: &[&str] = &[
    "nc", "ncat", "netcat", "nc.openbsd", "nc.traditional", "pnetcat", "cryptcat", "pwncat", "sbd",
    "socat", "socat1", "socat2", "telnet", "telnet-ssl", "inetutils-telnet", "netkit-telnet",
    "openssl", "gnutls-cli", "tstclnt", "ssh", "slogin", "dbclient", "plink", "autossh", "sshuttle",
    "mosh-client", "proxychains", "proxychains-ng", "proxytunnel", "proxifier", "graftcp", "corkscrew", "connect-proxy",
    "tor", "torsocks", "torify", "tsocks", "redsocks", "microsocks", "danted", "sockd", "obfs4proxy",
    "stunnel", "stunnel3", "stunnel4", "stunnel5", "redir", "rinetd", "6tunnel", "simpleproxy",
    "tcpconnect", "httptunnel", "htc", "hts", "iodine", "chisel", "frpc",
    "ngrok", "gost", "sing-box", "v2ray", "xray", "ss-local", "ss-tunnel", "sslocal", "slirp4netns",
    "pasta", "passt", "nmap", "nping", "hping3", "faucet", "netsed", "tcptunnel", "systemd-socket-proxyd",
];

#[rustfmt::skip]
const STARTERS: &[&str] = &[
    "env", "setsid", "setpriv", "setarch", "linux32", "linux64", "uname26", "timeout", "nohup",
    "nice", "ionice", "chrt", "taskset", "numactl", "stdbuf", "time", "watch", "xargs", "parallel",
    "find", "fd", "fdfind", "sudo", "sudo-rs", "sudo.ws", "sudoedit", "su", "su-rs", "doas", "opendoas", "pkexec",
    "runuser", "run0", "sg", "newgrp", "gosu", "su-exec", "systemd-run", "systemd-inhibit", "systemd-nspawn",
    "systemd-cat", "systemd-socket-activate", "unshare", "nsenter", "chroot", "schroot", "dchroot",
    "fakeroot", "fakechroot", "bwrap", "bubblewrap", "firejail", "flatpak", "snap", "docker", "podman", "nerdctl",
    "crun", "runc", "lxc-execute", "lxc-attach", "machinectl", "minijail0", "nsjail", "flock", "script", "unbuffer",
    "dbus-run-session", "dbus-launch", "start-stop-daemon", "daemonize", "setlock",
    "chpst", "softlimit", "setuidgid", "envdir", "envuidgid", "argv0", "prlimit", "choom", "catchsegv",
    "capsh", "pivot_root", "switch_root", "busctl", "xvfb-run", "xinit", "startx",
    "entr", "inotifywait", "incron", "run-parts", "run-one", "eatmydata", "faketime", "cpulimit",
    "cgexec", "cgrun", "primusrun", "optirun", "prime-run", "gamemoderun", "mangohud", "valgrind", "ssh-agent",
    "pipexec", "tcpserver", "tcpclient", "ts", "tsp", "screen", "tmux",
];

/// Ways in which a name continues without being another program's.
#[rustfmt::skip]
const VARIANTS: &[&str] = &[
    "dbg", "debug", "static", "full", "min", "minimal", "basic", "tiny", "nox", "gtk", "gtk2",
    "gtk3", "athena", "lucid", "pgtk", "openbsd", "traditional", "bsd", "gnu", "netkit", "headless",
    "cgi", "cli", "real", "wrapped", "distrib", "bin", "original", "orig", "stable", "development", "static-pie",
];

/// What kind of tool has this name.
pub(super) fn tool(name: &str) -> Option<Tool> {
    let name = name.to_ascii_lowercase();
    let name = name.trim_start_matches('.');
    let name = without_target(name);
    // Linux names them so: `ld-linux-x86-64.so.2`, `ld-musl-x86_64.so.1`, `ld-2.31.so`.
    let loads = name.starts_with("ld") && (name.ends_with(".so") || name.contains(".so."));
    // qemu-x86_64, qemu-arm-static; qemu-system-* and qemu-img run no program of this machine.
    let emulates = name.strip_prefix("qemu-").is_some_and(|rest| {
        ![
            "system", "img", "nbd", "io", "ga", "pr", "storage", "bridge", "kvm",
        ]
        .iter()
        .any(|other| rest.starts_with(other))
    });
    if loads || emulates {
        return Some(Tool::Interpreter);
    }
    let lists = [
        (INTERPRETERS, Tool::Interpreter),
        (EDITORS, Tool::Editor),
        (SHELLS, Tool::Shell),
        (MULTICALL, Tool::Multicall),
        (FETCHERS, Tool::Fetcher),
        (RELAYS, Tool::Relay),
        (STARTERS, Tool::Starter),
    ];
    lists
        .into_iter()
        .find(|(names, _)| names.iter().any(|known| is_variant(name, known)))
        .map(|(_, tool)| tool)
}

/// A compiler's target in front of a name says for which machine it is.
fn without_target(name: &str) -> &str {
    [
        "-linux-gnu-",
        "-linux-gnueabihf-",
        "-linux-musl-",
        "-linux-gnux32-",
    ]
    .iter()
    .find_map(|target| Some(name.split_once(target)?.1))
    .unwrap_or(name)
}

/// Whether a name is `known`, perhaps with a version and the name of a variant behind it.
fn is_variant(name: &str, known: &str) -> bool {
    let Some(rest) = name.strip_prefix(known) else {
        return false;
    };
    // A name of one or two letters has too many neighbours.
    if known.len() <= 2 && known != "nc" && known != "vi" {
        return rest.is_empty();
    }
    let unversioned = without_version(rest);
    // Builds of Python with other options are called python3.11m or python3.11d; sshd is not ssh.
    let is_build = unversioned.len() < rest.len() && ["m", "d", "dm", "t"].contains(&unversioned);
    let rest = unversioned;
    let separated = rest.strip_prefix(['-', '.', '_']);
    rest.is_empty()
        || is_build
        || VARIANTS.contains(&rest)
        || separated.is_some_and(|rest| {
            VARIANTS.contains(&rest) || rest.contains("linux") || without_version(rest).is_empty()
        })
}

/// `3.11`, `-2.1.0-beta3`, `5.36`: what is left behind a version.
fn without_version(text: &str) -> &str {
    let digits = text.trim_start_matches(['-', '.', '_']);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return text;
    }
    let rest = digits.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    match rest.trim_start_matches('-') {
        pre if ["alpha", "beta", "rc"].iter().any(|it| pre.starts_with(it)) => pre
            .trim_start_matches(char::is_alphabetic)
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.'),
        _ => rest,
    }
}
