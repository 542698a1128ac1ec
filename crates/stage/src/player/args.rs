//! Arguments of the stand-in programs: `--name value` pairs, then words.

use std::net::SocketAddr;
use std::time::Duration;

/// Options whose values are all the words that follow, as `--` has them too.
const SWALLOWING: [&str; 2] = ["--", "--start-mailer"];

/// Parsed arguments.
#[derive(Debug, Default)]
pub(super) struct Args {
    options: Vec<(String, String)>,
    /// Words before `--` that belong to no option.
    pub words: Vec<String>,
    /// A program and its arguments.
    pub program: Vec<String>,
}

impl Args {
    pub(super) fn parse(words: Vec<String>) -> Result<Self, String> {
        let mut args = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if SWALLOWING.contains(&word.as_str()) {
                args.program = words.by_ref().collect();
            } else if word.starts_with("--") {
                let value = words
                    .next()
                    .ok_or_else(|| format!("{word} wants a value"))?;
                args.options.push((word, value));
            } else {
                // A role that only starts a program takes its words as they are.
                args.words.push(word);
                if args.options.is_empty()
                    && args.words.len() == 1
                    && args.words[0].starts_with('/')
                {
                    args.words.extend(words.by_ref());
                }
            }
        }
        Ok(args)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.options
            .iter()
            .find(|(option, _)| option == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        self.options
            .iter()
            .filter(|(option, _)| option == name)
            .map(|(_, value)| value.clone())
            .collect()
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| format!("{name} wants a number, not {text}"))
    }

    pub(super) fn duration(&self, name: &str, otherwise_ms: u64) -> Result<Duration, String> {
        Ok(Duration::from_millis(
            self.number(name)?.unwrap_or(otherwise_ms),
        ))
    }

    pub(super) fn address(&self, name: &str) -> Result<Option<SocketAddr>, String> {
        self.text(name)
            .map(|text| parse_address(name, text))
            .transpose()
    }

    pub(super) fn addresses(&self, name: &str) -> Result<Vec<SocketAddr>, String> {
        self.texts(name)
            .iter()
            .map(|text| parse_address(name, text))
            .collect()
    }

    /// All options as words again, for a program of the same kind.
    pub(super) fn option_words(&self) -> Vec<String> {
        self.options
            .iter()
            .flat_map(|(name, value)| [name.clone(), value.clone()])
            .collect()
    }

    pub(super) fn server(&self) -> Result<SocketAddr, String> {
        self.address("--server")?
            .ok_or_else(|| "--server ADDRESS:PORT is missing".to_owned())
    }
}

fn parse_address(name: &str, text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{name} wants ADDRESS:PORT, not {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Args {
        Args::parse(line.split(' ').map(str::to_owned).collect()).unwrap()
    }

    #[test]
    fn options_words_and_the_program_are_told_apart() {
        let args =
            parse("plain --server 127.0.0.1:25 --to a --to b -- /bin/mailer mailer --server x");
        assert_eq!(args.words, ["plain"]);
        assert_eq!(args.server().unwrap().port(), 25);
        assert_eq!(args.texts("--to"), ["a", "b"]);
        assert_eq!(args.program, ["/bin/mailer", "mailer", "--server", "x"]);
    }

    #[test]
    fn a_path_takes_all_that_follows() {
        let args = parse("/bin/sh --c x -- y");
        assert_eq!(args.words, ["/bin/sh", "--c", "x", "--", "y"]);
    }

    #[test]
    fn wrong_values_are_named() {
        assert!(
            parse("--server nowhere")
                .server()
                .unwrap_err()
                .contains("nowhere")
        );
        assert!(Args::parse(vec!["--server".into()]).is_err());
    }
}
