//! The configuration. What is wrong with it is said in one line that names the file.
#![no_main]

use std::path::Path;

use guard::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let path = Path::new("/etc/sekimori/config.toml");
    match Config::parse(text, path) {
        Ok(config) => {
            assert!(!config.mail_ports.is_empty() && config.mail_ports.len() <= 16);
            assert!(config.journal_keep_days > 0 && config.journal_max_entries > 0);
        }
        Err(error) => {
            let said = format!("{error:#}");
            assert!(said.starts_with("/etc/sekimori/config.toml"), "{said}");
            assert!(!said.contains('\n'), "{said}");
        }
    }
});
