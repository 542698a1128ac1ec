//! What people have to know of how the gate was loaded, beside that it was.

use linux::load::Loaded;

/// A sentence for each thing.
pub fn words(loaded: &Loaded) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(error) = &loaded.first_error {
        words.push(format!(
            "the gate was loaded at the second attempt; the first one failed: {error}"
        ));
    }
    if loaded.nothing_carried {
        words.push(
            "an older gate guarded, and its records could not be read: nobody who has logged in counts as the user \
             any more; log in again"
                .to_owned(),
        );
    }
    if loaded.without_room > 0 {
        words.push(format!(
            "{} processes that are older than the gate have no record, because the process table has no room for \
             them: they and what they start may not send mail until they are started again",
            loaded.without_room
        ));
    }
    if let Some(why) = &loaded.unwatched_input {
        words.push(format!(
            "the gate does not see all input of terminals, keyboards and mice: {why}"
        ));
    }
    words.extend(loaded.doubtful.iter().cloned());
    let more = (loaded.doubtful_count as usize).saturating_sub(loaded.doubtful.len());
    if more > 0 {
        words.push(format!(
            "{more} more processes that are older than the gate show signs of tampering and count as foreign \
             (sudo sekimori tree shows them)"
        ));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_without_trouble_needs_no_words() {
        assert!(words(&Loaded::default()).is_empty());
    }

    #[test]
    fn each_trouble_has_a_sentence() {
        let words = words(&Loaded {
            first_error: Some("no BTF".to_owned()),
            nothing_carried: true,
            without_room: 5,
            unwatched_input: Some("no trampolines".to_owned()),
            doubtful: vec!["/usr/bin/mutt shows signs".to_owned()],
            doubtful_count: 3,
            ..Loaded::default()
        });
        assert_eq!(words.len(), 6);
        assert!(words[0].contains("no BTF") && words[5].starts_with("2 more processes"));
    }
}
