//! The stock answers of bots: what they say when they have carried out an order.

/// Modules that SDBot, RBot, Agobot and their kin name before an answer: `[SCAN]: ...`.
const MODULES: [&str; 40] = [
    "MAIN",
    "SCAN",
    "SCANNER",
    "ADVSCAN",
    "EXPLOIT",
    "EXSCAN",
    "DOWNLOAD",
    "DOWNLOADED",
    "UPDATE",
    "HTTP",
    "HTTPD",
    "FTP",
    "TFTP",
    "DDOS",
    "SYN",
    "SYNFLOOD",
    "UDP",
    "UDPFLOOD",
    "TCP",
    "ICMP",
    "PING",
    "FLOOD",
    "KEYLOG",
    "KEYLOGGER",
    "SYSINFO",
    "NETINFO",
    "EXEC",
    "EXECUTE",
    "CMD",
    "SOCKS4",
    "SOCKS5",
    "REDIRECT",
    "CLONE",
    "CLONES",
    "THREADS",
    "PROCS",
    "LSASS",
    "ASN1",
    "PSNIFF",
    "VISIT",
];

/// Beginnings and parts of answers that are hardly anybody's own words.
const PHRASES: [&str; 34] = [
    "password accepted.",
    "sdbot ",
    "rxbot ",
    "rbot v",
    "agobot",
    "phatbot",
    "urxbot",
    "spybot ",
    "downloading http://",
    "downloading update from",
    "couldn't execute file",
    "bot installed on:",
    "bot uptime:",
    "bot started.",
    "exploiting ip:",
    "exploited ip:",
    "scanning started",
    "portscan started",
    "random port scan started",
    "sequential port scan started",
    "sending packets to",
    "udp flooding",
    "syn flooding",
    "flooding: (",
    "done with flood",
    "packeting ",
    "tsunami heading for",
    "panning ",
    "unknowning ",
    "kaiten wa goraku",
    "removing bot",
    "keylogger logging to",
    "attempting to login to",
    "user logged in.",
];

/// Is it an answer of a bot?
pub(super) fn is_reply(text: &str) -> bool {
    let plain: String = text
        .chars()
        .filter(|letter| !letter.is_control())
        .take(160)
        .collect();
    // A colour leaves its number behind.
    let plain =
        plain.trim_start_matches(|letter: char| letter.is_ascii_digit() || " ,".contains(letter));
    // In capitals: robots that tell people of changes write `[main]`.
    if let Some((module, rest)) = plain
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        && MODULES.contains(&module.trim())
        && (rest.starts_with(':') || rest.trim_start().starts_with("//") || rest.starts_with(" -"))
    {
        return true;
    }
    let plain = &plain.to_ascii_lowercase();
    PHRASES.iter().any(|phrase| plain.starts_with(phrase)) || is_inventory(plain)
}

/// What it runs on: `cpu: ... ram: ... os: ... uptime: ...`, or where it is connected.
fn is_inventory(plain: &str) -> bool {
    let has = |words: &[&str]| words.iter().all(|word| plain.contains(word));
    has(&["cpu:", "ram:", "uptime:"])
        || has(&["connection type:", "local ip address:"])
        || (plain.starts_with("downloaded ") && has(&[" kb to ", "kb/sec"]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn answers_of_bots() {
        for text in [
            "[SCAN]: Port scan started on 10.x.x.x:445",
            "[MAIN]: Uptime: 0d 1h",
            "\x02[DOWNLOAD]\x02: Downloading URL",
            "sdbot 0.5b ready. Up 0d 0h 0m.",
            "cpu: 0MHz. ram: 196080KB total. os: Windows XP. uptime: 0d 0h 4m",
            "connection type: LAN. local IP address: 192.0.2.2. connected from: 192.0.2.2",
            "downloaded 1805.9 kb to E:\\x.exe @ 1805.9 kb/sec.",
            "password accepted.",
            "Packeting 192.0.2.1.",
        ] {
            assert!(is_reply(text), "{text}");
        }
    }

    #[test]
    fn words_of_people() {
        for text in [
            "[m] hello",
            "[main] is my branch",
            "downloading the file now",
            "my cpu: hot",
            "[http] error",
            "password accepted, finally",
            "[scan] nothing found",
            "[main]: alice pushed 3 commits",
            "",
            "[",
        ] {
            assert!(!is_reply(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,200}") {
            let _ = is_reply(&text);
        }
    }
}
