//! The signs of tampering in words, with the variable or argument that was one of them.

use policy::{Flaw, Tamper};

use crate::printable::printable;

/// The variable or argument that was the first sign of tampering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TamperedBy<'a> {
    /// The variable's name, or how the argument begins.
    pub name: &'a str,
    /// What was wrong with it.
    pub flaw: Flaw,
}

impl<'a> TamperedBy<'a> {
    /// Of what an entry keeps; none when a half is missing.
    pub fn of(name: Option<&'a str>, flaw: Option<Flaw>) -> Option<Self> {
        Some(Self {
            name: name?,
            flaw: flaw?,
        })
    }

    /// In words, without a full stop.
    pub fn words(&self) -> String {
        let name = printable(self.name);
        let variable = format!("the variable {name} in its environment");
        match self.flaw {
            Flaw::UsersPath => format!("{variable} names a path that a user can write"),
            Flaw::CurrentFolder => {
                format!("{variable} names a path that depends on the current folder")
            }
            Flaw::Switch => format!("the variable {name} is set in its environment"),
            Flaw::Option => {
                format!("{variable} has an option that runs other code or gives others control")
            }
            Flaw::PathForName => format!("{variable} has a path where a name is expected"),
            Flaw::TooLong => format!("{variable} is too long to be checked"),
            Flaw::Argument => format!("it was started with an argument that begins with {name}"),
        }
    }

    /// These words in the place of those of the sign that this made.
    pub fn in_place_of(&self, sign: &str) -> Option<String> {
        (0..u8::BITS)
            .map(|bit| Tamper(1 << bit))
            .find(|tamper| tamper.words().next() == Some(sign))
            .filter(|tamper| self.made(*tamper))
            .map(|_| self.words())
    }

    /// Whether this is what made that sign.
    fn made(&self, sign: Tamper) -> bool {
        match self.flaw {
            Flaw::Argument => matches!(sign, Tamper::REMOTE_CONTROL | Tamper::CODE_ARGUMENT),
            Flaw::TooLong => sign == Tamper::UNREADABLE,
            _ => sign == Tamper::ENVIRONMENT,
        }
    }
}

/// The signs, separated by semicolons.
pub fn tamper_words(tampered: Tamper, by: Option<TamperedBy<'_>>) -> String {
    let words = (0..u8::BITS)
        .map(|bit| Tamper(1 << bit))
        .filter(|sign| tampered.0 & sign.0 != 0)
        .flat_map(|sign| match by.filter(|by| by.made(sign)) {
            Some(by) => vec![by.words()],
            None => sign.words().map(str::to_owned).collect(),
        });
    words.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_stands_in_the_place_of_its_sign() {
        let by = TamperedBy::of(Some("GTK_MODULES"), Some(Flaw::UsersPath));
        assert_eq!(
            tamper_words(Tamper::TRACED.with(Tamper::ENVIRONMENT), by),
            "the variable GTK_MODULES in its environment names a path that a user can write; \
             another process traced it"
        );
        // What a process inherited from an older gate has no name.
        assert_eq!(
            tamper_words(Tamper::ENVIRONMENT, None),
            "a loader or interpreter variable is set in its environment"
        );
        let by = TamperedBy::of(Some("--marionette"), Some(Flaw::Argument));
        assert_eq!(
            tamper_words(Tamper::REMOTE_CONTROL, by),
            "it was started with an argument that begins with --marionette"
        );
        assert_eq!(tamper_words(Tamper::NONE, by), "");
        let by = by.unwrap();
        assert_eq!(
            by.in_place_of("it was started under remote control"),
            Some(by.words())
        );
        assert_eq!(by.in_place_of("another process traced it"), None);
    }

    #[test]
    fn every_flaw_has_words_of_its_own() {
        let words = Flaw::ALL.map(|flaw| {
            TamperedBy {
                name: "\u{1b}X",
                flaw,
            }
            .words()
        });
        for (index, one) in words.iter().enumerate() {
            assert!(!words[..index].contains(one), "{one}");
            assert!(!one.contains('\u{1b}'), "{one}");
        }
    }
}
