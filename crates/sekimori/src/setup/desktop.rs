//! Reads desktop entries and lists of default applications, as the Desktop Entry and the
//! MIME Applications Associations Specifications have them. Pure: text in, facts out.

/// The MIME type under which mailers announce themselves.
pub const MAILTO: &str = "x-scheme-handler/mailto";

/// What a `.desktop` file says, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesktopEntry {
    /// Its name, in the language asked for where it has one.
    pub name: String,
    /// The command with its arguments, field codes taken out.
    pub command: Vec<String>,
    /// A program whose absence means that the entry is to be ignored.
    pub try_exec: Option<String>,
    /// It was deleted by a file of the same name.
    pub hidden: bool,
    /// It stands in no menu.
    pub no_display: bool,
    /// It runs in a terminal.
    pub terminal: bool,
    /// What it opens.
    pub mime_types: Vec<String>,
    /// It calls itself a web browser, or opens web addresses.
    pub browser: bool,
    /// It calls itself a program for mail.
    pub email: bool,
    /// Its categories.
    pub categories: Vec<String>,
}

impl DesktopEntry {
    /// Reads a file. `None` when it describes no application. `locale` is as in LANG.
    pub fn parse(text: &str, locale: &str) -> Option<Self> {
        let mut entry = Self::default();
        let mut application = false;
        let mut name_rank = 0;
        let wanted = locale_ranks(locale);
        for (key, value) in group(text, "Desktop Entry") {
            let (key, language) = match key.split_once('[') {
                Some((key, rest)) => (key, Some(rest.strip_suffix(']')?)),
                None => (key, None),
            };
            match (key, language) {
                ("Name", language) => {
                    let rank = match language {
                        None => 1,
                        Some(language) => wanted
                            .iter()
                            .position(|it| it == language)
                            .map_or(0, |at| 9 - at),
                    };
                    if rank > name_rank {
                        name_rank = rank;
                        entry.name = unescape(value);
                    }
                }
                (_, Some(_)) => {}
                ("Type", None) => application = value == "Application",
                ("Exec", None) => entry.command = command(&unescape(value))?,
                ("TryExec", None) => entry.try_exec = Some(unescape(value)),
                ("Hidden", None) => entry.hidden = value == "true",
                ("NoDisplay", None) => entry.no_display = value == "true",
                ("Terminal", None) => entry.terminal = value == "true",
                ("MimeType", None) => entry.mime_types = list(value),
                ("Categories", None) => {
                    entry.categories = list(value);
                    let has = |wanted: &str| entry.categories.iter().any(|it| it == wanted);
                    let (browser, email) = (has("WebBrowser"), has("Email"));
                    entry.browser |= browser;
                    entry.email = email;
                }
                _ => {}
            }
        }
        let web = ["x-scheme-handler/http", "x-scheme-handler/https"];
        entry.browser |= entry
            .mime_types
            .iter()
            .any(|mime| web.contains(&mime.as_str()));
        let usable = entry.hidden || (!entry.command.is_empty() && !entry.name.is_empty());
        (application && usable).then_some(entry)
    }

    /// Whether it opens mail addresses.
    pub fn opens_mailto(&self) -> bool {
        self.mime_types.iter().any(|mime| mime == MAILTO)
    }
}

/// The desktop files that a mimeapps.list names for mail addresses, best first.
pub fn mailto_defaults(text: &str) -> Vec<String> {
    group(text, "Default Applications")
        .filter(|(key, _)| *key == MAILTO)
        .flat_map(|(_, value)| list(value))
        .collect()
}

/// The keys and values of one group. A line that is neither comment, header nor key is
/// passed over, as every desktop does.
pub(super) fn group<'a>(text: &'a str, wanted: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut inside = false;
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            inside = header.strip_suffix(']') == Some(wanted);
            return None;
        }
        if !inside || line.starts_with('#') {
            return None;
        }
        let (key, value) = line.split_once('=')?;
        Some((key.trim_end(), value.trim_start()))
    })
}

/// The names under which a translation may stand, best first: `ja_JP.UTF-8@x` is looked
/// for as `ja_JP@x`, `ja_JP`, `ja@x`, `ja`.
fn locale_ranks(locale: &str) -> Vec<String> {
    let (rest, modifier) = locale.split_once('@').unwrap_or((locale, ""));
    let rest = rest.split('.').next().unwrap_or_default();
    let language = rest.split('_').next().unwrap_or_default();
    let mut ranks = Vec::new();
    for base in [rest, language] {
        if !modifier.is_empty() {
            ranks.push(format!("{base}@{modifier}"));
        }
        ranks.push(base.to_owned());
    }
    ranks
}

/// A value of type string: `\s`, `\n`, `\t`, `\r` and `\\`.
fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('s') => out.push(' '),
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('\\') => out.push('\\'),
            // What else stands behind a backslash is for the next reader, such as `\"` in Exec.
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

/// A value of type strings: parts closed by `;`, with `\;` for the character itself.
fn list(value: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        let last = parts.len() - 1;
        match c {
            '\\' if chars.peek() == Some(&';') => parts[last].extend(chars.next()),
            ';' => parts.push(String::new()),
            c => parts[last].push(c),
        }
    }
    parts
        .iter()
        .map(|part| unescape(part.trim()))
        .filter(|part| !part.is_empty())
        .collect()
}

/// Splits a value of Exec into words and takes the field codes out. `None` when a quote is
/// not closed.
fn command(value: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = value.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Some(words);
        }
        let mut word = String::new();
        let mut code_only = false;
        let mut quoted = false;
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted => quoted = false,
                '"' => quoted = true,
                '\\' if quoted => word.push(chars.next()?),
                '%' if !quoted => match chars.next()? {
                    '%' => word.push('%'),
                    _ => code_only = word.is_empty(),
                },
                c if c.is_ascii_whitespace() && !quoted => break,
                c => word.push(c),
            }
        }
        if quoted {
            return None;
        }
        if !(code_only && word.is_empty()) {
            words.push(word);
        }
    }
}

/// Of each line of a script that has an `exec`, the words behind it.
pub fn behind_exec(script: &str) -> impl Iterator<Item = impl Iterator<Item = &str>> {
    script.lines().map(str::trim).map(|line| {
        line.split_ascii_whitespace()
            .skip_while(|word| *word != "exec")
            .skip(1)
    })
}

/// The programs that a launch script ends in: the absolute paths behind `exec`. What stands
/// in a variable cannot be known from here.
pub fn exec_targets(script: &str) -> Vec<String> {
    let mut targets = Vec::new();
    for mut words in behind_exec(script) {
        while let Some(word) = words.next() {
            let word = word.trim_matches(['"', '\'', ';']);
            if word == "-a" {
                words.next();
            } else if word.starts_with('/') && !word.contains(['$', '`', '*', '?']) {
                targets.push(word.to_owned());
                break;
            } else if !word.starts_with('-') && !word.contains('=') {
                break;
            }
        }
    }
    targets.sort();
    targets.dedup();
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAILER: &str = "\
# a comment
[Desktop Entry]
Type=Application
Name=Mail
Name[ja]=メール
Name[ja_JP]=メーラー
Exec=\"/opt/my mailer/run\" --compose %u --icon=%i \"100%\" %%
TryExec=/opt/my\\smailer/run
MimeType=message/rfc822;x-scheme-handler/mailto;
Terminal=false

[Desktop Action compose]
Name=Write
Exec=other
";

    #[test]
    fn only_the_entrys_own_group_counts() {
        let entry = DesktopEntry::parse(MAILER, "C").unwrap();
        assert_eq!(entry.name, "Mail");
        assert_eq!(
            entry.command,
            ["/opt/my mailer/run", "--compose", "--icon=", "100%", "%"]
        );
        assert_eq!(entry.try_exec.as_deref(), Some("/opt/my mailer/run"));
        assert!(entry.opens_mailto() && !entry.browser && !entry.hidden && !entry.terminal);
    }

    #[test]
    fn the_name_is_in_the_language_asked_for() {
        let name = |locale| DesktopEntry::parse(MAILER, locale).unwrap().name;
        assert_eq!(name("ja_JP.UTF-8"), "メーラー");
        assert_eq!(name("ja_XX"), "メール");
        assert_eq!(name("de_DE.UTF-8@euro"), "Mail");
        assert_eq!(name(""), "Mail");
    }

    #[test]
    fn what_is_no_application_is_passed_over() {
        for text in [
            "",
            "[Desktop Entry]\nType=Link\nName=x\nExec=x\n",
            "[Desktop Entry]\nType=Application\nName=x\n",
            "[Desktop Entry]\nType=Application\nName=x\nExec=\"unclosed\n",
            "Type=Application\nName=x\nExec=x\n",
        ] {
            assert_eq!(DesktopEntry::parse(text, "C"), None, "{text}");
        }
        let hidden =
            DesktopEntry::parse("[Desktop Entry]\nType=Application\nHidden=true\n", "C").unwrap();
        assert!(hidden.hidden);
    }

    #[test]
    fn browsers_are_told_apart() {
        let entry = |more: &str| {
            let text = format!("[Desktop Entry]\nType=Application\nName=x\nExec=x\n{more}\n");
            DesktopEntry::parse(&text, "C").unwrap()
        };
        assert!(entry("MimeType=x-scheme-handler/https;x-scheme-handler/mailto;").browser);
        assert!(entry("Categories=Network;WebBrowser;").browser);
        assert!(!entry("Categories=Network;Email;").browser);
    }

    #[test]
    fn quoting_in_exec() {
        let words = |text: &str| command(text).unwrap();
        assert_eq!(words(r#"a "b c" d"#), ["a", "b c", "d"]);
        assert_eq!(words(r#""a\"b\\c\$" """#), [r#"a"b\c$"#, ""]);
        assert_eq!(words("  a\t%U %f"), ["a"]);
        assert_eq!(words(""), Vec::<String>::new());
        assert_eq!(command("\"a"), None);
        assert_eq!(command("a %"), None);
        assert_eq!(command("\"a\\"), None);
    }

    #[test]
    fn defaults_are_read_from_their_group() {
        let text = "[Added Associations]\nx-scheme-handler/mailto=a.desktop\n\
                    [Default Applications]\ntext/plain=b.desktop\nx-scheme-handler/mailto=c.desktop;d.desktop;\n";
        assert_eq!(mailto_defaults(text), ["c.desktop", "d.desktop"]);
        assert!(mailto_defaults("garbage\n[").is_empty());
    }

    #[test]
    fn launch_scripts_tell_what_they_start() {
        let script = "#!/bin/sh\nMOZ=1\nexec /usr/lib/mailer/mailer-bin \"$@\"\n";
        assert_eq!(exec_targets(script), ["/usr/lib/mailer/mailer-bin"]);
        assert_eq!(
            exec_targets("[ -x a ] && exec -a mail \"/opt/m/m\" $*;\n"),
            ["/opt/m/m"]
        );
        assert!(exec_targets("exec $HOME/x\nexec \"$0\"\nexecute /x\nexec x /y").is_empty());
    }
}
