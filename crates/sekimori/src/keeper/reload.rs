//! The configuration is read again while the gate stands.

use guard::config::Config;

use super::{Keeper, request};
use crate::channel::news::News;

impl Keeper {
    /// Reads the configuration again. A broken one changes nothing.
    pub(super) fn reload(&mut self) {
        let config = match Config::load(self.options.config.as_deref()) {
            Ok(config) => config,
            Err(error) => {
                return self.notice(format!(
                    "configuration not read again, the old one stays in force: {error:#}"
                ));
            }
        };
        // A key that waits for a restart must not change a single setting of the kernel.
        let mut next = self.config.clone();
        let waiting = next.reload(&config);
        let request = request(
            &next,
            &self.options,
            &self.paths,
            &self.cgroup,
            &self.registry,
        );
        match request
            .settings()
            .and_then(|settings| self.gate.apply_settings(&settings))
        {
            Ok(()) => {
                self.config = next;
                self.forward.change(&self.config, &self.options);
                self.follow_presence();
                self.waiting.push(News::Reloaded {
                    retention: self.retention(),
                    mail_ports: self.config.mail_ports.clone(),
                });
                if !waiting.is_empty() {
                    self.notice(restart_words(&waiting));
                }
                self.restart_needed = waiting;
                self.notice("configuration read again".to_owned());
            }
            Err(error) => self.notice(format!(
                "configuration not read again, the old one stays in force: {error}"
            )),
        }
    }
}

/// Which keys of the configuration have no effect yet.
fn restart_words(keys: &[&str]) -> String {
    format!(
        "{} changed in the configuration: the new value takes effect only when the daemon restarts \
         (sudo systemctl restart sekimori); the old value stays in force until then",
        keys.join(" and ")
    )
}
