//! Variables that make a loader, a library or an interpreter run code from elsewhere, by their exact
//! names, and what their values may be.
//!
//! Distributions and desktops set many of them. A plain name, which is looked for where root installs
//! code, is no sign of tampering, and neither is a path below a folder in which only root writes. A path that a
//! user can write is one, and so are options that run code.
//!
//! Left out is what honest desktops have set for other programs, and few mailers obey:
//! `NODE_PATH`, `CLASSPATH`, `ZDOTDIR`, and the functions that bash exports. So are the folders of
//! XDG (`XDG_DATA_DIRS`, `XDG_CONFIG_DIRS`): they hold no code, and Flatpak and Plasma put the user's own
//! folders there. Commands that a shell runs at its prompt (`ENV`, `PROMPT_COMMAND`) are left out like its
//! start-up files.

use crate::hashed::{self, Hashed, Heads};
use crate::options::Family;
use crate::{Kind, Role};

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A sign whatever it is.
    Always,
    /// A sign unless it is empty.
    Set,
    /// A list of paths, each of which has to be root's.
    Paths,
    /// The same, for a path in which the reader replaces `$` and backquotes.
    Sourced,
    /// A list of names and paths.
    NamesOrPaths,
    /// A name, from which a path is made: no slash.
    Name,
    /// Options: see [`crate::options`].
    Options,
    /// Options that are letters.
    Letters,
}

/// What separates elements.
pub(crate) const COLON: u32 = 1;
const SEMICOLON: u32 = 2;
const COMMA: u32 = 4;
pub(crate) const SPACE: u32 = 8;

const SEPARATORS_AT: u32 = 4;
const FAMILY_AT: u32 = 8;
const EMPTY_IS_CURRENT: u32 = 1 << 12;
const INTERPRETED: u32 = 1 << 13;
const SCRIPTS: u32 = 1 << 14;
const KNOWN: u32 = 1 << 15;
const OF_PATHS: u32 = 1 << 16;

/// Which separator each byte is. A table, because the verifier follows each branch.
static SEPARATORS: [u8; 256] = separators();

const fn separators() -> [u8; 256] {
    let mut table = [0; 256];
    table[b':' as usize] = COLON as u8;
    table[b';' as usize] = SEMICOLON as u8;
    table[b',' as usize] = COMMA as u8;
    table[b' ' as usize] = SPACE as u8;
    let mut blank = b'\t';
    while blank <= b'\r' {
        table[blank as usize] = SPACE as u8;
        blank += 1;
    }
    table
}

/// How a variable's value is looked at, in one word. 0 is no variable that counts.
#[derive(Clone, Copy)]
pub(crate) struct Rule(pub(crate) u32);

impl Rule {
    const fn of(class: Class) -> Self {
        let of_paths = match class {
            Class::Paths | Class::Sourced | Class::NamesOrPaths => OF_PATHS,
            _ => 0,
        };
        Self(class as u32 | KNOWN | of_paths)
    }

    /// Elements are separated by these as well.
    const fn separated(self, by: u32) -> Self {
        Self(self.0 | by << SEPARATORS_AT)
    }

    const fn options(family: Family) -> Self {
        let separator = match family {
            Family::Bash => COLON,
            _ => SPACE,
        };
        let class = match family {
            Family::Perl | Family::Ruby => Class::Letters,
            _ => Class::Options,
        };
        Self(Self::of(class).0 | (family as u32) << FAMILY_AT).separated(separator)
    }

    /// An empty element means the current folder.
    const fn with_empty(self) -> Self {
        Self(self.0 | EMPTY_IS_CURRENT)
    }

    /// Only an interpreter reads it.
    const fn interpreted(self) -> Self {
        Self(self.0 | INTERPRETED)
    }

    /// Only an interpreter that runs a script reads it.
    const fn of_scripts(self) -> Self {
        Self(self.0 | SCRIPTS)
    }

    #[inline(always)]
    pub(crate) const fn class(self) -> Class {
        match self.0 & 15 {
            0 => Class::Always,
            1 => Class::Set,
            2 => Class::Paths,
            3 => Class::Sourced,
            4 => Class::NamesOrPaths,
            5 => Class::Name,
            6 => Class::Options,
            _ => Class::Letters,
        }
    }

    /// Whether its value is a list of paths, or of names and paths.
    #[inline(always)]
    pub(crate) const fn has_paths(self) -> bool {
        self.0 & OF_PATHS != 0
    }

    #[inline(always)]
    pub(crate) const fn family(self) -> u8 {
        (self.0 >> FAMILY_AT & 15) as u8
    }

    #[inline(always)]
    pub(crate) const fn empty_is_current_folder(self) -> bool {
        self.0 & EMPTY_IS_CURRENT != 0
    }

    /// Which separator a byte is; 0 for none. Within an option, paths are separated by colons and
    /// commas too.
    #[inline(always)]
    pub(crate) fn separates(self, byte: u8, in_paths: bool) -> u32 {
        let mut separators = self.0 >> SEPARATORS_AT & 15;
        if in_paths {
            separators |= COLON | COMMA;
        }
        let found = SEPARATORS[byte as usize] as u32;
        found & separators
    }

    /// Whether it counts for a program that reads what `readers` says.
    #[inline(always)]
    pub(crate) const fn counts_for(self, readers: u8) -> bool {
        let needed = ((self.0 / INTERPRETED) & 3) as u8;
        needed & !readers == 0
    }
}

/// Which variables a program reads, beside those of loaders and libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readers(pub u8);

impl Readers {
    const INTERPRETER: u8 = 1;
    const SCRIPT: u8 = (SCRIPTS / INTERPRETED) as u8;

    /// All of them.
    pub const ALL: Self = Self(Self::INTERPRETER | Self::SCRIPT);

    /// What a program of this role reads. Shells, and mailers that send what they are handed, have no
    /// interpreter of another language inside, unless they are a script themselves.
    #[inline(always)]
    #[must_use]
    pub const fn of(role: Role, kind: Kind, is_script: bool) -> Self {
        let plain = match role {
            Role::Shell => true,
            Role::Mailer => matches!(kind, Kind::Batch),
            _ => false,
        };
        if is_script {
            Self::ALL
        } else if plain {
            Self(0)
        } else {
            Self(Self::INTERPRETER)
        }
    }
}

const ALWAYS: Rule = Rule::of(Class::Always);
const SET: Rule = Rule::of(Class::Set);
const PATHS: Rule = Rule::of(Class::Paths).separated(COLON);
const NAMES: Rule = Rule::of(Class::NamesOrPaths).separated(COLON);
const NAME: Rule = Rule::of(Class::Name);
const LUA_PATHS: Rule = Rule::of(Class::Paths).separated(SEMICOLON).interpreted();

static LISTED: &[(&str, Rule)] = &LIST;

const LIST: [(&str, Rule); 167] = [
    // The dynamic loader and the C library.
    ("LD_PRELOAD", NAMES.separated(SPACE)),
    ("LD_AUDIT", NAMES),
    ("LD_LIBRARY_PATH", PATHS.separated(SEMICOLON).with_empty()),
    ("GCONV_PATH", PATHS.with_empty()),
    // Desktop toolkits.
    ("GTK_MODULES", NAMES.separated(COMMA)),
    ("GTK3_MODULES", NAMES.separated(COMMA)),
    ("GTK_PATH", PATHS),
    ("GTK_PATH_2_0", PATHS),
    ("GTK_EXE_PREFIX", PATHS),
    ("GTK_IM_MODULE_FILE", PATHS),
    ("UBUNTU_MENUPROXY", NAMES),
    ("GIO_EXTRA_MODULES", PATHS),
    ("GIO_MODULE_DIR", PATHS),
    ("GDK_PIXBUF_MODULE_FILE", PATHS),
    ("GDK_PIXBUF_MODULEDIR", PATHS),
    ("QT_PLUGIN_PATH", PATHS),
    ("QT_QPA_PLATFORM_PLUGIN_PATH", PATHS),
    ("QT_QPA_GENERIC_PLUGINS", NAMES.separated(COMMA)),
    ("QT_QUICK_CONTROLS_STYLE", NAMES),
    ("QT_QUICK_CONTROLS_STYLE_PATH", PATHS),
    ("QT_QUICK_CONTROLS_CONF", PATHS),
    ("QT_LABS_CONTROLS_STYLE", NAMES),
    ("QML2_IMPORT_PATH", PATHS),
    ("QML_IMPORT_PATH", PATHS),
    ("QML_DISK_CACHE_PATH", PATHS),
    // A typelib names its library. Empty elements count from the current folder.
    ("GI_TYPELIB_PATH", PATHS.with_empty()),
    ("GJS_PATH", PATHS.with_empty()),
    ("CJS_PATH", PATHS.with_empty()),
    ("GNOME_SHELL_JS", PATHS),
    ("CINNAMON_JS", PATHS),
    ("XLOCALELIBDIR", PATHS),
    ("PEAS_PLUGIN_LOADERS_DIR", PATHS),
    ("LIBDECOR_PLUGIN_DIR", PATHS),
    ("IMLIB2_LOADER_PATH", PATHS),
    ("IMLIB2_FILTER_PATH", PATHS),
    // Input methods that run inside the program.
    ("LIBUIM_PLUGIN_LIB_DIR", PATHS),
    ("LIBUIM_SYSTEM_SCM_FILES", PATHS),
    ("LIBUIM_USER_SCM_FILES", PATHS),
    ("LIBUIM_SCM_FILES", PATHS),
    // Plugins of libraries that mailers use.
    ("LTDL_LIBRARY_PATH", PATHS),
    ("PKCS11_MODULE_PATH", NAMES),
    ("PKCS11_PROVIDER_MODULE", NAMES),
    ("PKCS11SPY", NAMES),
    ("OPENSC_CONF", PATHS),
    ("SASL_PATH", PATHS),
    ("SASL_CONF_PATH", PATHS),
    ("OPENSSL_CONF", PATHS),
    ("OPENSSL_CONF_INCLUDE", PATHS),
    ("OPENSSL_ENGINES", PATHS),
    ("OPENSSL_MODULES", PATHS),
    ("KRB5_CONFIG", PATHS),
    ("GSS_MECH_CONFIG", PATHS),
    ("EDS_CAMEL_PROVIDER_DIR", PATHS),
    ("EDS_ADDRESS_BOOK_MODULES", PATHS),
    ("EDS_CALENDAR_MODULES", PATHS),
    ("EDS_REGISTRY_MODULES", PATHS),
    ("EDS_EXTRA_PREFIXES", PATHS.separated(SEMICOLON)),
    ("EVOLUTION_MODULEDIR", PATHS),
    ("EVOLUTION_PLUGINDIR", PATHS),
    ("PX_MODULE_PATH", PATHS),
    ("ENCHANT_CONFIG_DIR", PATHS),
    ("LIBHEIF_PLUGIN_PATH", PATHS),
    ("MAGICK_CODER_MODULE_PATH", PATHS),
    ("MAGICK_FILTER_MODULE_PATH", PATHS),
    ("GST_PLUGIN_PATH", PATHS),
    ("GST_PLUGIN_PATH_1_0", PATHS),
    ("GST_PLUGIN_SYSTEM_PATH", PATHS),
    ("GST_PLUGIN_SYSTEM_PATH_1_0", PATHS),
    ("GST_PLUGIN_SCANNER", PATHS),
    ("GST_PLUGIN_SCANNER_1_0", PATHS),
    // The registry says where plugins are.
    ("GST_REGISTRY", PATHS),
    ("GST_REGISTRY_1_0", PATHS),
    ("SPA_PLUGIN_DIR", PATHS),
    ("PIPEWIRE_MODULE_DIR", PATHS),
    ("PIPEWIRE_CONFIG_DIR", PATHS),
    ("PIPEWIRE_CONFIG_FILE", PATHS),
    ("ALSA_CONFIG_PATH", PATHS),
    ("ALSA_CONFIG_DIR", PATHS),
    ("ALSA_PLUGIN_DIR", PATHS),
    ("PULSE_DLPATH", PATHS),
    ("SDL_DYNAMIC_API", NAMES.separated(COMMA)),
    ("SDL3_DYNAMIC_API", NAMES.separated(COMMA)),
    // Drivers of the screen. A path is made of a name.
    ("LIBGL_DRIVERS_PATH", PATHS.separated(COMMA)),
    ("LIBGL_DRIVERS_DIR", PATHS.separated(COMMA)),
    ("EGL_DRIVERS_PATH", PATHS),
    ("MESA_LOADER_DRIVER_OVERRIDE", NAME),
    ("LIBVA_DRIVERS_PATH", PATHS),
    ("LIBVA_DRIVER_NAME", NAME),
    ("VDPAU_DRIVER", NAME),
    ("VDPAU_DRIVER_PATH", PATHS),
    ("GBM_BACKEND", NAME),
    ("GBM_BACKENDS_PATH", PATHS),
    ("__GLX_VENDOR_LIBRARY_NAME", NAME),
    ("__GLX_FORCE_VENDOR_LIBRARY_0", NAME),
    ("__GLX_FORCE_VENDOR_LIBRARY_1", NAME),
    ("__EGL_VENDOR_LIBRARY_FILENAMES", PATHS),
    ("__EGL_VENDOR_LIBRARY_DIRS", PATHS),
    ("__EGL_EXTERNAL_PLATFORM_CONFIG_FILENAMES", PATHS),
    ("__EGL_EXTERNAL_PLATFORM_CONFIG_DIRS", PATHS),
    ("VK_ICD_FILENAMES", PATHS),
    ("VK_DRIVER_FILES", PATHS),
    ("VK_ADD_DRIVER_FILES", PATHS),
    ("VK_LAYER_PATH", PATHS),
    ("VK_ADD_LAYER_PATH", PATHS),
    ("VK_IMPLICIT_LAYER_PATH", PATHS),
    ("VK_ADD_IMPLICIT_LAYER_PATH", PATHS),
    ("OCL_ICD_VENDORS", NAMES),
    ("OCL_ICD_FILENAMES", NAMES),
    ("OPENCL_VENDOR_PATH", PATHS),
    ("OPENCL_LAYERS", NAMES),
    // Remote control, and other code for the same program.
    ("QTWEBENGINE_REMOTE_DEBUGGING", SET),
    (
        "QTWEBENGINE_CHROMIUM_FLAGS",
        Rule::options(Family::Chromium),
    ),
    ("QTWEBENGINEPROCESS_PATH", PATHS),
    ("QTWEBENGINE_RESOURCES_PATH", PATHS),
    ("WEBKIT_INSPECTOR_SERVER", SET),
    ("WEBKIT_INSPECTOR_HTTP_SERVER", SET),
    ("WEBKIT_LEGACY_INSPECTOR_SERVER", SET),
    ("WEBKIT_INJECTED_BUNDLE_PATH", PATHS),
    ("WEBKIT_EXEC_PATH", PATHS),
    ("WEBKIT_WEB_PROCESS_CMD_PREFIX", SET),
    ("WEB_PROCESS_CMD_PREFIX", SET),
    ("NETWORK_PROCESS_CMD_PREFIX", SET),
    ("XUL_APP_FILE", SET),
    ("MOZ_MARIONETTE", ALWAYS),
    ("MOZ_GMP_PATH", PATHS),
    ("MOZ_PLUGIN_PATH", PATHS),
    ("ELECTRON_RUN_AS_NODE", SET),
    // Interpreters of scripts.
    ("PERL5OPT", Rule::options(Family::Perl).interpreted()),
    ("PERL5LIB", PATHS.interpreted()),
    ("PERLLIB", PATHS.interpreted()),
    ("PERL5DB", SET.interpreted()),
    // With it, Perl looks for modules in the current folder too.
    ("PERL_USE_UNSAFE_INC", SET.interpreted()),
    // git send-email, and all of git that is Perl.
    ("GITPERLLIB", PATHS.interpreted()),
    ("PYTHONPATH", PATHS.with_empty().interpreted()),
    ("PYTHONHOME", PATHS.interpreted()),
    // Only a Python without a script reads it, unless PYTHONINSPECT is set.
    ("PYTHONSTARTUP", PATHS.of_scripts()),
    ("PYTHONINSPECT", SET.interpreted()),
    ("PYTHONUSERBASE", PATHS.interpreted()),
    ("PYTHONPYCACHEPREFIX", PATHS.interpreted()),
    ("PYTHONPLATLIBDIR", NAME.interpreted()),
    ("BASH_ENV", Rule::of(Class::Sourced)),
    ("SHELLOPTS", Rule::options(Family::Bash)),
    ("NODE_OPTIONS", Rule::options(Family::Node).interpreted()),
    ("RUBYOPT", Rule::options(Family::Ruby).interpreted()),
    ("RUBYLIB", PATHS.interpreted()),
    ("LUA_INIT", SET.interpreted()),
    ("LUA_INIT_5_2", SET.interpreted()),
    ("LUA_INIT_5_3", SET.interpreted()),
    ("LUA_INIT_5_4", SET.interpreted()),
    ("LUA_PATH", LUA_PATHS),
    ("LUA_PATH_5_1", LUA_PATHS),
    ("LUA_PATH_5_2", LUA_PATHS),
    ("LUA_PATH_5_3", LUA_PATHS),
    ("LUA_PATH_5_4", LUA_PATHS),
    ("LUA_CPATH", LUA_PATHS),
    ("LUA_CPATH_5_1", LUA_PATHS),
    ("LUA_CPATH_5_2", LUA_PATHS),
    ("LUA_CPATH_5_3", LUA_PATHS),
    ("LUA_CPATH_5_4", LUA_PATHS),
    (
        "JAVA_TOOL_OPTIONS",
        Rule::options(Family::Java).interpreted(),
    ),
    ("_JAVA_OPTIONS", Rule::options(Family::Java).interpreted()),
    (
        "JDK_JAVA_OPTIONS",
        Rule::options(Family::Java).interpreted(),
    ),
    ("PHPRC", PATHS.interpreted()),
    ("PHP_INI_SCAN_DIR", PATHS.interpreted()),
    ("TCLLIBPATH", PATHS.separated(SPACE).interpreted()),
    ("TCL_LIBRARY", PATHS.interpreted()),
    ("TK_LIBRARY", PATHS.interpreted()),
];

static TABLE: Hashed<16384> = table();
static HEADS: Heads = heads();

const fn table() -> Hashed<16384> {
    let mut hashes = [0; LIST.len()];
    let mut numbers = [0; LIST.len()];
    let mut index = 0;
    while index < LIST.len() {
        let hash = hashed::of(hashed::EMPTY, LIST[index].0.as_bytes());
        let mut other = 0;
        while other < index {
            assert!(
                hashed::short(hash) != hashed::short(hashes[other]),
                "two names have the same short number"
            );
            other += 1;
        }
        hashes[index] = hash;
        numbers[index] = LIST[index].1.0;
        index += 1;
    }
    Hashed::of(&hashes, &numbers, LIST.len())
}

const fn heads() -> Heads {
    let mut heads = Heads::NONE;
    let mut index = 0;
    while index < LIST.len() {
        heads = heads.with(LIST[index].0.as_bytes());
        index += 1;
    }
    heads
}

/// The rule for the variable whose name has this hash.
#[inline(always)]
pub(crate) fn rule(hash: u64) -> Rule {
    Rule(TABLE.number(hash))
}

/// Whether a variable may count, by the first eight bytes of `NAME=value`; shorter ones are padded with zero
/// bytes. What may, [`crate::Look`] looks at.
#[inline(always)]
pub fn may_tamper(first: [u8; 8]) -> bool {
    HEADS.may_have(first)
}

/// The name by which a record keeps a variable.
pub(crate) fn name_of_number(number: u16) -> Option<&'static str> {
    let is_it = |name: &str| hashed::short(hashed::of(hashed::EMPTY, name.as_bytes())) == number;
    LISTED
        .iter()
        .map(|(name, _)| *name)
        .find(|name| is_it(name))
}

/// The names of all variables that count.
pub fn variable_names() -> impl Iterator<Item = &'static str> {
    LISTED.iter().map(|(name, _)| *name)
}
