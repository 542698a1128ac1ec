//! How the policy's words are written to and read from the journal. They stand there as
//! words, not as codes, so that `log --json` can be read without this program.

use policy::Tamper;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A module for `#[serde(with = …)]` for one of the policy's enums.
macro_rules! word {
    ($module:ident, $name:ty) => {
        pub(crate) mod $module {
            use serde::{Deserialize, Deserializer, Serializer, de::Error};
            use std::borrow::Cow;

            pub(crate) fn serialize<S: Serializer>(
                value: &$name,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(value.word())
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<$name, D::Error> {
                let word = Cow::<str>::deserialize(deserializer)?;
                <$name>::ALL
                    .into_iter()
                    .find(|value| value.word() == word)
                    .ok_or_else(|| {
                        D::Error::custom(format_args!("unknown {} '{word}'", stringify!($module)))
                    })
            }
        }
    };
}

word!(role, policy::Role);
word!(kind, policy::Kind);
word!(origin, policy::Origin);
word!(reason, policy::Reason);
word!(flaw, policy::Flaw);

/// A reason where there is one.
pub(crate) mod reason_if_any {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Word(#[serde(with = "super::reason")] policy::Reason);

    pub(crate) fn serialize<S: Serializer>(
        reason: &Option<policy::Reason>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        reason.map(Word).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<policy::Reason>, D::Error> {
        Ok(Option::<Word>::deserialize(deserializer)?.map(|word| word.0))
    }
}

/// What was wrong with a variable, where there was one.
pub(crate) mod flaw_if_any {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Word(#[serde(with = "super::flaw")] policy::Flaw);

    pub(crate) fn serialize<S: Serializer>(
        flaw: &Option<policy::Flaw>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        flaw.map(Word).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<policy::Flaw>, D::Error> {
        Ok(Option::<Word>::deserialize(deserializer)?.map(|word| word.0))
    }
}

/// Signs of tampering as a list of their words.
pub(crate) mod tamper {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        signs: &Tamper,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        signs.words().collect::<Vec<_>>().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Tamper, D::Error> {
        let mut signs = Tamper::NONE;
        for word in Vec::<String>::deserialize(deserializer)? {
            let sign = sign_of(&word).ok_or_else(|| {
                D::Error::custom(format_args!("unknown sign of tampering '{word}'"))
            })?;
            signs = signs.with(sign);
        }
        Ok(signs)
    }

    fn sign_of(word: &str) -> Option<Tamper> {
        (0..u8::BITS)
            .map(|bit| Tamper(1 << bit))
            .find(|sign| sign.words().next() == Some(word))
    }
}
