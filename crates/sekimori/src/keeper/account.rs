//! Whom the watcher becomes.

use std::fs::File;
use std::io::Read as _;

use linux::confine::Account;

/// The account that `install` makes.
pub const NAME: &str = "sekimori";
/// Where no account was made: a number that nobody else gives out (systemd's table of users
/// and groups leaves 65520 to 65533 unused, <https://systemd.io/UIDS-GIDS/>), and one that
/// exists in containers with 65,536 of them.
pub const FALLBACK: Account = Account {
    user: 65525,
    group: 65525,
};

const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The account of this machine. Read from the file itself: a directory service is not there
/// yet when the gate is closed at boot.
pub fn find() -> Account {
    let mut text = String::new();
    let read = File::open("/etc/passwd")
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    read.ok().and_then(|_| find_in(&text)).unwrap_or(FALLBACK)
}

/// Root is never taken for it, whatever the file says.
fn find_in(text: &str) -> Option<Account> {
    let line = text
        .lines()
        .find(|line| line.split(':').next() == Some(NAME))?;
    let mut numbers = line.split(':').skip(2).map(str::parse::<u32>);
    let account = Account {
        user: numbers.next()?.ok()?,
        group: numbers.next()?.ok()?,
    };
    (account.user != 0 && account.group != 0).then_some(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_found_and_never_root() {
        let root = "root:x:0:0:root:/root:/bin/sh\n";
        let line = |rest: &str| find_in(&format!("{root}sekimori{rest}\n"));
        let expected = Account {
            user: 990,
            group: 991,
        };
        assert_eq!(line(":x:990:991::/:/bin/false"), Some(expected));
        for rest in [
            "",
            ":x",
            ":x:0:991:",
            ":x:990:0:",
            ":x:a:b:",
            ":x:-1:1:",
            "2:x:990:991:",
        ] {
            assert_eq!(line(rest), None, "{rest}");
        }
        assert_eq!(find_in(""), None);
    }
}
