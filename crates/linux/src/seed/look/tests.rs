use super::*;

const ALL: Wanted = Wanted {
    environment: Some(Readers::ALL),
    code_folders: u64::MAX,
    arguments: ArgumentRules::Mailer,
    name: [0; 8],
    loose_code: true,
};

#[test]
fn lines_of_mappings_are_read() {
    let line = b"7f3a1c000000-7f3a1c021000 r-xp 00001000 fe:01 4711                       /tmp/a b.so (deleted)";
    let mapping = Mapping::read(line).unwrap();
    assert_eq!((mapping.device, mapping.inode), (&b"fe:01"[..], 4711));
    assert_eq!(mapping.path, "/tmp/a b.so (deleted)");
    let data = b"7f3a1c000000-7f3a1c021000 rw-p 00000000 00:00 0 ";
    assert_eq!(Mapping::read(data), None);
    let loose = |line: &[u8]| Mapping::read(line).unwrap().is_loose();
    assert!(loose(b"7f3a1c000000-7f3a1c021000 rwxp 00000000 00:00 0 "));
    assert!(!loose(
        b"7ffd3a5f2000-7ffd3a5f4000 r-xp 00000000 00:00 0                          [vdso]"
    ));
    assert_eq!(
        trimmed("00400000-00452000".as_ref()),
        Path::new("400000-452000")
    );
    assert_eq!(Mapping::read(b""), None);
}

#[test]
fn file_systems_that_users_mount_are_told_from_roots() {
    let mounts = "36 25 0:31 / /mnt rw,nosuid - fuse.sshfs anna@host: rw,user_id=1000,group_id=1000\n\
                  37 25 0:32 / / rw - virtiofs root rw\n\
                  38 25 0:33 / /win rw - fuseblk /dev/sda1 rw,user_id=0,group_id=0,allow_other\n";
    assert!(!is_roots_fuse(mounts, "0:31"));
    assert!(is_roots_fuse(mounts, "0:32"));
    assert!(is_roots_fuse(mounts, "0:33"));
    assert!(!is_roots_fuse(mounts, "0:34"));
}

#[test]
fn the_first_string_that_counts_is_found() {
    let environment = b"HOME=/home/a\0GTK_MODULES=gail\0LD_PRELOAD=/tmp/x.so\0PATH=/bin\0";
    let sign = |variable: &[u8]| variable_sign(variable, u64::MAX, Readers::ALL.0);
    let (variable, found) = first_of(environment, sign).unwrap();
    assert_eq!(variable, b"LD_PRELOAD=/tmp/x.so");
    assert_eq!(
        in_environment(variable, found.cause()),
        "LD_PRELOAD is set to a path that a user can write in its environment"
    );
    assert_eq!(first_of(b"HOME=/LD_PRELOAD\0\0", sign), None);
    assert_eq!(first_of(b"", sign), None);
}

/// A program of the machine's, with a clean environment.
fn sleeper() -> std::process::Child {
    std::process::Command::new("/bin/sleep")
        .arg("60")
        .env_clear()
        .spawn()
        .unwrap()
}

#[test]
fn a_plain_program_shows_no_signs() {
    let mut child = sleeper();
    std::thread::sleep(std::time::Duration::from_millis(200));
    let signs = look(child.id(), ALL);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(signs, Signs::default());
}

/// A copy of a program at `path`, which is this user's, with these variables.
fn copied(path: &Path, user: u32, variable: (&str, &str)) -> std::process::Child {
    fs::copy("/bin/sleep", path).unwrap();
    std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
    let mut command = std::process::Command::new(path);
    let child = command
        .arg("60")
        .env_clear()
        .env(variable.0, variable.1)
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    child
}

#[test]
fn who_can_write_the_file_decides_and_not_whether_it_is_still_there() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root, to make files of other users");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    let signs_of = |user, remove, variable| {
        let mut child = copied(&path, user, variable);
        if remove {
            fs::remove_file(&path).unwrap();
        }
        let signs = look(child.id(), ALL);
        child.kill().unwrap();
        child.wait().unwrap();
        let _ = fs::remove_file(&path);
        signs.tamper
    };
    let clean = ("LANG", "C");
    // An upgrade has put another file in the place of root's own.
    assert_eq!(signs_of(0, true, clean), Tamper::NONE);
    // A program that is installed in a home, with what lies beside it.
    assert_eq!(signs_of(1000, false, clean), Tamper::NONE);
    assert_eq!(
        signs_of(0, false, ("LD_AUDIT", "/tmp/x.so")),
        Tamper::ENVIRONMENT
    );
}

#[test]
fn a_process_that_is_gone_shows_that_it_cannot_be_read() {
    let mut child = sleeper();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(look(child.id(), ALL).tamper.any());
}

/// A mailer that ends while it is looked at has not loaded anything of a user's.
#[test]
fn a_process_that_ends_meanwhile_has_no_mounts_of_users() {
    let metadata = fs::metadata("/bin/sh").unwrap();
    let gone = Path::new("/proc/0");
    assert_eq!(
        is_users_mount(gone, &gone.join("map_files/1-2"), &metadata),
        None
    );
    let own = Path::new("/proc/self");
    assert_eq!(
        is_users_mount(own, Path::new("/bin/sh"), &metadata),
        Some(false)
    );
}
