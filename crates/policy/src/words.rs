//! The words that the policy is written in, each with a stable one-byte code.
//!
//! The codes travel between the kernel and user space. A code that nobody assigned reads
//! as the value that permits least, so a damaged byte can never open the gate.

/// Whose will a process carries. The order is from best to worst; it only ever gets worse.
///
/// The codes are older than the third word, so they are not in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Origin {
    /// The machine's own: PID 1, service managers, display managers, login programs.
    System = 0,
    /// The person at the keyboard.
    User = 1,
    /// What root's own files do in an unbroken chain: a job of the machine, a hook of a package,
    /// a command of root's. It may hand mail to this machine's mail server.
    Service = 3,
    /// Anything else. There is no way back from here but a new start by the user.
    Foreign = 2,
}

impl Origin {
    /// Every origin from best to worst, for tables and exhaustive tests.
    pub const ALL: [Self; 4] = [Self::System, Self::User, Self::Service, Self::Foreign];

    /// Reads a code; an unassigned one is [`Origin::Foreign`].
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::System,
            1 => Self::User,
            3 => Self::Service,
            _ => Self::Foreign,
        }
    }

    /// The word as users and programs read it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Service => "service",
            Self::Foreign => "foreign",
        }
    }

    /// Its place in the order, from best to worst.
    const fn rank(self) -> u8 {
        match self {
            Self::System => 0,
            Self::User => 1,
            Self::Service => 2,
            Self::Foreign => 3,
        }
    }
}

impl PartialOrd for Origin {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Origin {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// What a rule lets a program do beyond its origin: a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rights(pub u8);

impl Rights {
    /// No rule.
    pub const NONE: Self = Self(0);
    /// A mailer with origin [`Origin::Service`] may connect to mail servers elsewhere: it is the
    /// `sendmail` of a machine without a mail server.
    pub const OUTSIDE: Self = Self(1);

    /// Whether it holds all of these.
    #[must_use]
    #[inline(always)]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What a program is registered as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// Not registered.
    Unknown = 0,
    /// Part of the machine: PID 1, a service manager, a display manager, sshd, login.
    System = 1,
    /// A desktop shell: the paper's `explorer.exe`.
    Session = 2,
    /// Starts programs for the user: a panel, a terminal emulator, a browser.
    Launcher = 3,
    /// A command interpreter that a person can type into.
    Shell = 4,
    /// May send mail.
    Mailer = 5,
    /// Takes mail from local programs and passes it on: `sendmail`, `postdrop`.
    Submitter = 6,
    /// An IRC client that people chat with.
    Chat = 7,
    /// Typed in front of a command: `env`, `nice`, `sudo`. It starts what its command line says.
    Helper = 8,
    /// Runs one program in a sandbox of its own: `flatpak run`, `snap run`.
    Sandbox = 9,
}

impl Role {
    /// Every role, for tables and exhaustive tests.
    pub const ALL: [Self; 10] = [
        Self::Unknown,
        Self::System,
        Self::Session,
        Self::Launcher,
        Self::Shell,
        Self::Mailer,
        Self::Submitter,
        Self::Chat,
        Self::Helper,
        Self::Sandbox,
    ];

    /// Reads a code; an unassigned one is [`Role::Unknown`].
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::System,
            2 => Self::Session,
            3 => Self::Launcher,
            4 => Self::Shell,
            5 => Self::Mailer,
            6 => Self::Submitter,
            7 => Self::Chat,
            8 => Self::Helper,
            9 => Self::Sandbox,
            _ => Self::Unknown,
        }
    }

    /// The word as users and programs read it, and as `--as` takes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::System => "system",
            Self::Session => "session",
            Self::Launcher => "launcher",
            Self::Shell => "shell",
            Self::Mailer => "mailer",
            Self::Submitter => "submitter",
            Self::Chat => "chat",
            Self::Helper => "helper",
            Self::Sandbox => "sandbox",
        }
    }

    /// Whether a program of this role and kind takes mail from whoever starts it. So does a
    /// service mailer, because Exim is daemon and submitter in one file.
    #[must_use]
    #[inline(always)]
    pub const fn takes_mail(self, kind: Kind) -> bool {
        match self {
            Self::Submitter => true,
            Self::Mailer => matches!(kind, Kind::Service),
            _ => false,
        }
    }

    /// Reads the word that [`Role::word`] writes.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }
}

/// How a registered program comes to act.
///
/// For a mailer it says who must have started it. A `system` program of kind
/// [`Kind::Interactive`] is one that logs people in (login, sshd, a display manager), one of kind
/// [`Kind::Batch`] does what it is handed by whoever starts it (a service manager with its units, a
/// session manager): of a process it says that this is a user, and not the machine. What the kinds of
/// a launcher and of a sandbox are, `starters.rs` says. Other roles do not look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Acts only when a person presses a button.
    Interactive = 0,
    /// Sends whatever it is handed: msmtp, mutt, git-send-email.
    Batch = 1,
    /// Runs without a person: Postfix, cron, a service manager.
    Service = 2,
    /// Of a mailer: as [`Kind::Interactive`], and it also sends at times that a person has set before. The
    /// kernel knows it as interactive: its registration has a mark of its own, because each kind doubles what
    /// the verifier follows.
    Scheduled = 3,
}

impl Kind {
    /// Every kind, for tables and exhaustive tests.
    pub const ALL: [Self; 4] = [
        Self::Interactive,
        Self::Batch,
        Self::Service,
        Self::Scheduled,
    ];

    /// Whether a person presses a button for it to act, at that time or before.
    #[must_use]
    #[inline(always)]
    pub const fn is_interactive(self) -> bool {
        matches!(self, Self::Interactive | Self::Scheduled)
    }

    /// Reads a code; an unassigned one is [`Kind::Batch`], the kind with most conditions.
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Interactive,
            2 => Self::Service,
            _ => Self::Batch,
        }
    }

    /// The word as users and programs read it, and as `--kind` takes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
            Self::Service => "service",
            Self::Scheduled => "scheduled",
        }
    }

    /// Reads the word that [`Kind::word`] writes.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// How an image was started, as far as its arguments and standard input tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Invocation {
    /// Neither of the others.
    Plain = 0,
    /// Without a script or command, with a terminal as standard input.
    Terminal = 1,
    /// With a script or command, or fed from a pipe or file; of what takes mail, as the
    /// interpreter that a script names.
    Script = 2,
    /// Like [`Invocation::Terminal`], by a login program for a connection that comes from this
    /// very machine: the program at its other end, and not a person, may hold the terminal.
    LoginFromHere = 3,
}

impl Invocation {
    /// Every invocation, for tables and exhaustive tests.
    pub const ALL: [Self; 4] = [
        Self::Plain,
        Self::Terminal,
        Self::Script,
        Self::LoginFromHere,
    ];
}
