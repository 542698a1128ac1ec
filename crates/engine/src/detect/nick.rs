//! Is a nickname made by a machine? After Rishi (J. Goebel, T. Holz: "Rishi: Identify Bot
//! Contaminated Hosts by IRC Nickname Evaluation", HotBots 2007): points for what bots put
//! into their names so that no two are the same and their herder sees where they are.

/// Points from which on a name counts as made by a machine. One or two of the habits below
/// are common among people (`neo|4`, `Nickname2359`, `[USA]John99`), three are not.
const MACHINE: u32 = 7;

/// Countries as bots abbreviate them (ISO 3166, two and three letters).
const COUNTRIES: [&str; 48] = [
    "USA", "US", "DEU", "DE", "GER", "GBR", "GB", "UK", "FRA", "FR", "ITA", "IT", "ESP", "ES",
    "NLD", "NL", "BRA", "BR", "CHN", "CN", "KOR", "KR", "JPN", "JP", "TWN", "TW", "IND", "IN",
    "RUS", "RU", "POL", "PL", "TUR", "TR", "CAN", "CA", "MEX", "MX", "AUS", "AU", "SWE", "SE",
    "ARG", "AR", "ROU", "RO", "VNM", "VN",
];
/// Systems and machines.
const SYSTEMS: [&str; 28] = [
    "XP", "WIN", "WINXP", "W2K", "2K", "2K3", "2K8", "W7", "WIN7", "W8", "W10", "VISTA", "VIS",
    "NT", "98", "LNX", "LINUX", "UNIX", "X86", "X64", "X86_64", "MIPS", "MIPSEL", "ARM", "ARM7",
    "PPC", "SH4", "ANDROID",
];
/// What herders call their machines.
const FAMILIES: [&str; 24] = [
    "BOT", "RBOT", "SDBOT", "URX", "URXBOT", "XBOT", "MBOT", "IBOT", "SPYBOT", "AGOBOT", "PHATBOT",
    "KAITEN", "TSUNAMI", "ZOMBIE", "DRONE", "SLAVE", "DDOS", "SCAN", "SPAM", "PWNED", "OWNED",
    "INFECTED", "ROOTED", "IOT",
];

/// Does it look made by a machine? Says by what.
pub(super) fn machine_made(nick: &str) -> Option<String> {
    let mut points = 0;
    let mut reasons: Vec<&str> = Vec::new();
    let fences = nick
        .chars()
        .filter(|letter| "[]{}|".contains(*letter))
        .count();
    let mut give = |some: u32, why: &'static str| {
        if some > 0 {
            points += some;
            reasons.push(why);
        }
    };
    // Fences around tags, as in [DEU|XP|4711]; people have one pair or one bar.
    give(
        match fences {
            0 => 0,
            1 | 2 => 2,
            _ => 3,
        },
        "brackets and bars",
    );
    let tokens: Vec<String> = nick
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|token| !token.is_empty())
        .map(str::to_owned)
        .collect();
    // A country stands in capitals and behind fences, or it is a word of many languages.
    let is = |list: &[&str], token: &String| list.contains(&token.to_ascii_uppercase().as_str());
    let capitals = |token: &String| !token.chars().any(|letter| letter.is_ascii_lowercase());
    let country = tokens
        .iter()
        .any(|token| capitals(token) && is(&COUNTRIES, token) && (fences > 0 || token.len() == 3));
    give(3 * u32::from(country && tokens.len() > 1), "a country");
    let system = tokens
        .iter()
        .any(|token| is(&SYSTEMS, token) && (fences > 0 || capitals(token)));
    give(3 * u32::from(system && tokens.len() > 1), "a system");
    let family = tokens.iter().any(|token| is(&FAMILIES, token));
    give(3 * u32::from(family), "a word for bots");
    give(digits(nick), "digits");
    let letters = tokens.iter().filter(|token| !is(&FAMILIES, token));
    let random = letters.clone().any(|token| is_random(token));
    give(3 * u32::from(random), "random letters");
    (points >= MACHINE).then(|| reasons.join(", "))
}

/// Points for the longest run of digits. Years and ages are short.
fn digits(nick: &str) -> u32 {
    let longest = nick
        .split(|letter: char| !letter.is_ascii_digit())
        .map(str::len)
        .max();
    match longest.unwrap_or(0) {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 3,
        _ => 4,
    }
}

/// Letters that no language puts together: six or more with hardly a vowel.
fn is_random(token: &str) -> bool {
    let letters = token.chars().filter(char::is_ascii_alphabetic).count();
    let vowels = token
        .chars()
        .filter(|letter| "aeiouyAEIOUY".contains(*letter))
        .count();
    letters == token.len() && letters >= 6 && vowels * 7 <= letters
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_bots() {
        for nick in [
            "[DEU|XP|4711]",
            "USA|00|XP|0394812",
            "[00|USA|XP|12345]",
            "rBot-823746",
            "{US}-XP-48213",
            "[MIPS]XKJQWPLM",
            "n[DEU|2K|P]1234567",
            "BOT|LNX|88213",
            "DEU|4711",
        ] {
            assert!(machine_made(nick).is_some(), "{nick}");
        }
    }

    #[test]
    fn names_of_people() {
        for nick in [
            "heck",
            "neo|4",
            "Nickname2359",
            "[USA]John99",
            "XS4-210",
            "w~",
            "|servers|",
            "[TRANCE]",
            "bot_",
            "IRPGbot",
            "nick-2128",
            "826HAAAJD",
            "monrad-3342",
            "Luc-SVK",
            "guest263",
            "^Nanook^",
            "",
            "[m]",
            "in",
            "alice_2024",
        ] {
            assert_eq!(machine_made(nick), None, "{nick}");
        }
    }

    /// Real names, where they are there: those of people in a public network, and those that
    /// gave orders or answered in control channels of IoT malware.
    #[test]
    fn real_names() {
        let folder = std::env::var_os("SEKIMORI_CAPTURES").map_or_else(
            || concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/captures").into(),
            std::path::PathBuf::from,
        );
        let names = |file: &str| -> Option<Vec<String>> {
            let path = folder.join("flows/irc-iot-malware").join(file);
            let text = std::fs::read_to_string(path).ok()?;
            let nick = |line: &str| line.split(',').nth(2)?.split('!').next().map(str::to_owned);
            Some(text.lines().skip(1).filter_map(nick).collect())
        };
        let (Some(people), Some(herd)) = (
            names("irc_user_features_benign.csv"),
            names("irc_user_features_malicious.csv"),
        ) else {
            eprintln!("skipped: no real names in {}", folder.display());
            return;
        };
        let flagged = |names: &[String]| -> Vec<String> {
            let flagged = names.iter().filter(|nick| machine_made(nick).is_some());
            flagged.cloned().collect()
        };
        let wrong = flagged(&people);
        eprintln!(
            "people: {} of {} look machine-made: {wrong:?}",
            wrong.len(),
            people.len()
        );
        eprintln!(
            "herd: {} of {} look machine-made",
            flagged(&herd).len(),
            herd.len()
        );
        assert!(
            wrong.len() * 100 <= people.len(),
            "more than one in a hundred: {wrong:?}"
        );
    }

    proptest! {
        #[test]
        fn never_panics(nick in ".{0,64}") {
            let _ = machine_made(&nick);
        }
    }
}
