//! The real cron on the stage, with one user's table and none of the machine's own jobs.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use rustix::mount::{MountFlags, mount, mount_bind};
use stage::{Process, Start};

use crate::PERSON;
use crate::theatre::Theatre;

/// Debian's.
pub const CRON: &str = "/usr/sbin/cron";

impl Theatre {
    /// Lays a file or folder over another, for the sandbox alone.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn lay_over(&self, what: &Path, place: &str) {
        self.sandbox()
            .run_inside(|| mount_bind(what, place))
            .expect("the sandbox's namespaces")
            .unwrap_or_else(|error| panic!("{place}: {error}"));
    }

    /// An empty `/run`, for the sandbox alone: what servers leave there is not the machine's.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn own_run_folder(&self) {
        self.sandbox()
            .run_inside(|| mount("none", "/run", "tmpfs", MountFlags::empty(), c"mode=0755"))
            .expect("the sandbox's namespaces")
            .expect("a folder in the place of /run");
    }

    /// Lays copies of the folders of cron and at over the machine's, without its jobs.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn own_job_folders(&self) {
        let folder = self.sandbox().folder().join("jobs");
        let (spool, none) = (folder.join("spool"), folder.join("none"));
        fs::create_dir_all(&none).expect("a folder for jobs");
        self.crew("cp", &["-a", "/var/spool/cron", &spool.to_string_lossy()]);
        let nothing = self.write("jobs/nothing", "");
        self.own_run_folder();
        self.lay_over(&nothing, "/etc/crontab");
        self.lay_over(&none, "/etc/cron.d");
        self.lay_over(&spool, "/var/spool/cron");
        if Path::new("/etc/at.deny").exists() {
            self.lay_over(&nothing, "/etc/at.deny");
        }
    }

    /// Starts cron as the system does, with this table of the person's. The folders must be
    /// the sandbox's own.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn cron(&self, table: &str) -> Process {
        let table = self.write("jobs/spool/crontabs/nobody", table);
        chown(&table, Some(PERSON.0), Some(PERSON.1)).expect("a table of the person's");
        fs::set_permissions(&table, fs::Permissions::from_mode(0o600)).expect("a private table");
        // It has been started before for all it knows, and `@reboot` would be over.
        let marker = || fs::remove_file("/run/crond.reboot");
        let _ = self.sandbox().run_inside(marker);
        self.sandbox()
            .start(&Start::new(CRON).arg("-f"))
            .expect(CRON)
    }
}
