//! Variables by their values: none that distributions set is a sign of tampering, and whatever runs
//! somebody else's code is.

use std::collections::HashSet;

use policy::{
    CODE_FOLDERS, Cause, Flaw, Kind, Readers, Role, Sign, Tamper, VARIABLE_MAX, may_tamper,
    variable_names, variable_sign,
};
use proptest::prelude::*;

/// What packages and distributions set.
const HONEST: &str = include_str!("data/distributions.tsv");
/// What must not pass.
const HOSTILE: &str = include_str!("data/hostile.tsv");

/// Every folder is root's.
const FOLDERS: u64 = u64::MAX;

fn sign_with(variable: &str, folders: u64, readers: Readers) -> Sign {
    let mut first = [0; 8];
    for (slot, byte) in first.iter_mut().zip(variable.bytes()) {
        *slot = byte;
    }
    let sign = variable_sign(variable.as_bytes(), folders, readers.0);
    assert!(
        may_tamper(first) || sign == Sign::NONE,
        "the kernel would never look at {variable}"
    );
    sign
}

fn sign(variable: &str) -> Sign {
    sign_with(variable, FOLDERS, Readers::ALL)
}

fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('\t').collect())
}

#[test]
fn nothing_that_distributions_set_is_a_sign() {
    let mut count = 0;
    for row in rows(HONEST) {
        let [package, place, variable] = row[..] else {
            panic!("{row:?}")
        };
        let found = sign(variable);
        assert_eq!(
            found,
            Sign::NONE,
            "{package} {place}: {variable} {:?}",
            found.cause()
        );
        count += 1;
    }
    assert!(count > 100, "{count}");
}

#[test]
fn hostile_values_are_signs_and_say_what_is_wrong() {
    for row in rows(HOSTILE) {
        let [flaw, variable] = row[..] else {
            panic!("{row:?}")
        };
        let found = sign(variable);
        let cause = found
            .cause()
            .unwrap_or_else(|| panic!("{variable} is no sign"));
        assert_eq!(cause.flaw.word(), flaw, "{variable}");
        assert_eq!(Some(cause.name), variable.split('=').next());
        assert_eq!(found.tamper(), Tamper::ENVIRONMENT, "{variable}");
    }
}

#[test]
fn there_is_a_hostile_value_of_each_variable() {
    let hostile: HashSet<_> = rows(HOSTILE)
        .filter_map(|row| row[1].split('=').next())
        .collect();
    for name in variable_names() {
        assert!(hostile.contains(name), "{name} is missing in hostile.tsv");
        let cause = sign(&format!("{name}=/tmp/a/b --r:c")).cause();
        let not_paths = ["SHELLOPTS", "RUBYOPT", "PERL5OPT", "NODE_OPTIONS"];
        let has_options = name.contains("OPTIONS") || name.contains("FLAGS");
        assert!(
            cause.is_some() || has_options || not_paths.contains(&name),
            "{name}"
        );
    }
}

#[test]
fn a_name_counts_only_whole() {
    for variable in [
        "LD_PRELOADS=/tmp/x.so",
        "XLD_PRELOAD=/tmp/x.so",
        "LD_PRELOA=/tmp/x.so",
        "GTK_MODULES_X=/tmp/x.so",
        "QTWEBENGINE_DICTIONARIES_PATH=/home/anna/dictionaries",
        "QT_QPA_PLATFORMTHEME=gtk3",
        "OPENSSL_CONFIG=/tmp/x",
        "GST_PLUGIN_LOADING_WHITELIST=/tmp",
        "LD_PRELOAD",
        "=LD_PRELOAD=/tmp/x.so",
        "",
    ] {
        assert_eq!(sign(variable), Sign::NONE, "{variable}");
    }
}

/// Any element may be the hostile one, and what is honest before and behind it hides nothing.
#[test]
fn every_element_of_a_list_is_looked_at() {
    for (name, separators) in [
        ("GTK_MODULES", ":"),
        ("LD_PRELOAD", ": "),
        ("LD_LIBRARY_PATH", ":;"),
        ("PYTHONPATH", ":"),
        ("PERL5LIB", ":"),
        ("LUA_PATH", ";"),
        ("LIBGL_DRIVERS_PATH", ":,"),
        ("TCLLIBPATH", " "),
    ] {
        for separator in separators.chars() {
            for bad in [
                "/tmp/evil.so",
                "../evil.so",
                "/usr/../tmp/x",
                "./x",
                "sub/x",
            ] {
                for place in 0..4 {
                    let mut elements = vec!["/usr/lib/a", "/opt/b", "/etc/c"];
                    elements.insert(place, bad);
                    let value = elements.join(&separator.to_string());
                    let found = sign(&format!("{name}={value}"));
                    assert_eq!(found.tamper(), Tamper::ENVIRONMENT, "{name}={value}");
                }
            }
            let value = ["/usr/lib/a", "/opt/b"].join(&separator.to_string());
            assert_eq!(sign(&format!("{name}={value}")), Sign::NONE);
        }
    }
}

#[test]
fn a_path_is_roots_only_below_a_folder_that_is() {
    let bit = |folder| 1 << CODE_FOLDERS.iter().position(|one| *one == folder).unwrap();
    let usr: u64 = bit("/usr");
    let is_sign = |path: &str, folders| {
        sign_with(&format!("LD_PRELOAD={path}"), folders, Readers::ALL) != Sign::NONE
    };
    for good in [
        "/usr/lib/x.so",
        "/usr",
        "/usr/",
        "//usr//lib/x.so",
        "/usr/lib/.../x",
        "/usr/.x",
    ] {
        assert!(!is_sign(good, usr), "{good}");
        assert!(is_sign(good, 0), "{good} where /usr is not root's");
    }
    for bad in [
        "/usr/local/lib/x.so",
        "/usr//local/x.so",
        "/usr/./local/x.so",
        "/usr/lib/..",
        "/usrx/x.so",
        "/us/r/x.so",
        "/opt/x.so",
        "/home/anna/usr/lib/x.so",
        "/tmp/usr/x.so",
        "/",
        "usr/lib/x.so",
    ] {
        assert!(is_sign(bad, usr), "{bad}");
    }
    assert!(!is_sign("/usr/local/lib/x.so", usr | bit("/usr/local")));
    // A folder of root's in one that is not.
    assert!(!is_sign("/usr/local/x.so", bit("/usr/local")));
}

#[test]
fn what_only_interpreters_read_does_not_count_for_other_programs() {
    let readers = |role, kind, is_script| Readers::of(role, kind, is_script);
    let batch = readers(Role::Mailer, Kind::Batch, false);
    let script = readers(Role::Mailer, Kind::Batch, true);
    let shell = readers(Role::Shell, Kind::Interactive, false);
    let desktop = readers(Role::Launcher, Kind::Interactive, false);
    let mailer = readers(Role::Mailer, Kind::Interactive, false);
    for variable in [
        "PERL5LIB=/home/anna/perl5",
        "PYTHONPATH=/home/anna/lib",
        "NODE_OPTIONS=-r x",
    ] {
        for (readers, counts) in [
            (batch, false),
            (shell, false),
            (script, true),
            (desktop, true),
            (mailer, true),
        ] {
            let found = sign_with(variable, FOLDERS, readers);
            assert_eq!(found != Sign::NONE, counts, "{variable} {readers:?}");
        }
    }
    // A script never reads what an interactive Python starts with, but for PYTHONINSPECT.
    let start = "PYTHONSTARTUP=/home/anna/.pythonrc";
    assert_eq!(sign_with(start, FOLDERS, mailer), Sign::NONE);
    assert_ne!(sign_with(start, FOLDERS, script), Sign::NONE);
    for readers in [batch, shell] {
        for variable in [
            "LD_PRELOAD=/tmp/x.so",
            "BASH_ENV=/tmp/x",
            "OPENSSL_CONF=/tmp/x",
        ] {
            assert_ne!(
                sign_with(variable, FOLDERS, readers),
                Sign::NONE,
                "{variable}"
            );
        }
    }
}

#[test]
fn a_value_without_an_end_is_a_sign() {
    let path = format!("LD_LIBRARY_PATH=/usr/{}", "a".repeat(VARIABLE_MAX));
    let found = sign(&path);
    assert_eq!(found.tamper(), Tamper::UNREADABLE);
    assert_eq!(
        found.cause(),
        Some(Cause {
            name: "LD_LIBRARY_PATH",
            flaw: Flaw::TooLong
        })
    );
    // What was seen before counts as what it is.
    let path = format!("LD_LIBRARY_PATH=/tmp:/usr/{}", "a".repeat(VARIABLE_MAX));
    assert_eq!(sign(&path).tamper(), Tamper::ENVIRONMENT);
    let fits = format!("LD_LIBRARY_PATH=/usr/{}", "a".repeat(4000));
    assert_eq!(sign(&fits), Sign::NONE);
    let other = format!("LANGUAGE=/usr/{}", "a".repeat(VARIABLE_MAX));
    assert_eq!(sign(&other), Sign::NONE);
}

proptest! {
    /// However a value looks, an element outside root's folders is found.
    #[test]
    fn a_users_path_is_never_hidden(
        before in "(/usr/[a-z.]{0,5}:|[a-z]{1,5}:|:){0,4}",
        part in "[a-z$`\"' .]{0,6}",
        behind in "(:/usr/[a-z]{1,5}|:[a-z]{1,5}){0,3}",
    ) {
        for name in ["GTK_MODULES", "LD_AUDIT", "PKCS11_MODULE_PATH"] {
            let variable = format!("{name}={before}/home/{part}{behind}");
            prop_assert_ne!(sign(&variable), Sign::NONE, "{}", variable);
        }
    }

    /// The look at any bytes comes to an end and never panics.
    #[test]
    fn any_bytes_can_be_looked_at(
        index in 0..150_usize,
        value in prop::collection::vec(any::<u8>(), 0..200),
        folders in any::<u64>(),
        readers in 0..4_u8,
    ) {
        let name = variable_names().nth(index).unwrap();
        let mut variable = format!("{name}=").into_bytes();
        variable.extend(value);
        let found = variable_sign(&variable, folders, readers);
        prop_assert!(found == Sign::NONE || found.cause().is_some());
    }
}
