//! Signs that a process no longer runs only its own program.
//!
//! The table of variables is here, once, for the kernel and for the seeding from /proc. The table of
//! arguments is in `arguments.rs`.

use crate::patterns::{Pattern, Table};

/// A set of signs of tampering. Signs are only ever added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tamper(pub u8);

impl Tamper {
    /// No sign.
    pub const NONE: Self = Self(0);
    /// A loader or interpreter variable in the environment.
    pub const ENVIRONMENT: Self = Self(1);
    /// Another process traces it, or did.
    pub const TRACED: Self = Self(2);
    /// Another process wrote into its memory.
    pub const MEMORY_WRITTEN: Self = Self(4);
    /// It was started under remote control.
    pub const REMOTE_CONTROL: Self = Self(8);
    /// Its arguments or environment could not be read to the end.
    pub const UNREADABLE: Self = Self(16);
    /// Another process took a file descriptor out of it.
    pub const DESCRIPTOR_TAKEN: Self = Self(32);
    /// It runs code from a file or from memory that others than root can write.
    pub const LOADED_CODE: Self = Self(64);
    /// An argument names code for it to run.
    pub const CODE_ARGUMENT: Self = Self(128);

    const WORDS: [(Self, &'static str); 8] = [
        (
            Self::ENVIRONMENT,
            "a loader or interpreter variable is set in its environment",
        ),
        (Self::TRACED, "another process traced it"),
        (
            Self::MEMORY_WRITTEN,
            "another process wrote into its memory",
        ),
        (Self::REMOTE_CONTROL, "it was started under remote control"),
        (
            Self::UNREADABLE,
            "its arguments, its environment or the files that it has loaded could not be read to the end",
        ),
        (
            Self::DESCRIPTOR_TAKEN,
            "another process took a file descriptor from it",
        ),
        (
            Self::LOADED_CODE,
            "it has loaded code that others than root can write",
        ),
        (
            Self::CODE_ARGUMENT,
            "one of its arguments names code for it to run",
        ),
    ];

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set without these signs.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is any sign.
    pub const fn any(self) -> bool {
        self.0 != 0
    }

    /// Each sign in plain words.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Self::WORDS
            .into_iter()
            .filter(move |(sign, _)| self.0 & sign.0 != 0)
            .map(|(_, words)| words)
    }
}

/// Variables that make a loader, a library or an interpreter run code from elsewhere.
///
/// Left out is what honest desktops have set for other programs, and few mailers obey:
/// `NODE_PATH`, `CLASSPATH`, `ZDOTDIR`, and the functions that bash exports.
static VARIABLES: Table<2048> = Table::of(&[
    // The dynamic loader and the C library.
    Pattern::first(b"LD_PRELO"), // LD_PRELOAD
    Pattern::first(b"LD_AUDIT"),
    Pattern::first(b"LD_LIBRA"), // LD_LIBRARY_PATH
    Pattern::first(b"GCONV_PA"), // GCONV_PATH
    // Desktop toolkits.
    Pattern::gtk_modules(),
    Pattern::first(b"GTK_PATH"),
    Pattern::first(b"GTK_EXE_"),             // GTK_EXE_PREFIX
    Pattern::both(b"GTK_IM_M", b"ODULE_FI"), // GTK_IM_MODULE_FILE
    Pattern::first(b"GTK3_MOD"),             // GTK3_MODULES
    Pattern::first(b"GIO_EXTR"),             // GIO_EXTRA_MODULES
    Pattern::first(b"GIO_MODU"),             // GIO_MODULE_DIR
    Pattern::first(b"GDK_PIXB"),             // GDK_PIXBUF_MODULE_FILE, GDK_PIXBUF_MODULEDIR
    Pattern::first(b"QT_PLUGI"),             // QT_PLUGIN_PATH
    Pattern::both(b"QT_QPA_P", b"LATFORM_"), // QT_QPA_PLATFORM_PLUGIN_PATH
    Pattern::first(b"QML2_IMP"),             // QML2_IMPORT_PATH
    Pattern::first(b"QML_IMPO"),             // QML_IMPORT_PATH
    Pattern::first(b"QML_DISK"),             // QML_DISK_CACHE_PATH
    Pattern::first(b"GI_TYPEL"),             // GI_TYPELIB_PATH: a typelib names its library
    Pattern::first(b"GJS_PATH"),
    Pattern::prefix(b"GNOME_SH", b"ELL_JS=\0"), // GNOME_SHELL_JS
    Pattern::first(b"XLOCALEL"),                // XLOCALELIBDIR
    Pattern::first(b"PEAS_PLU"),                // PEAS_PLUGIN_LOADERS_DIR
    // Plugins of libraries that mailers use.
    Pattern::first(b"LTDL_LIB"),             // LTDL_LIBRARY_PATH
    Pattern::first(b"PKCS11_M"),             // PKCS11_MODULE_PATH
    Pattern::first(b"PKCS11_P"),             // PKCS11_PROVIDER_MODULE
    Pattern::first(b"PKCS11SP"),             // PKCS11SPY
    Pattern::first(b"OPENSC_C"),             // OPENSC_CONF
    Pattern::first(b"SASL_PAT"),             // SASL_PATH
    Pattern::first(b"SASL_CON"),             // SASL_CONF_PATH
    Pattern::first(b"OPENSSL_"),             // OPENSSL_CONF, OPENSSL_ENGINES, OPENSSL_MODULES
    Pattern::first(b"KRB5_CON"),             // KRB5_CONFIG
    Pattern::first(b"GSS_MECH"),             // GSS_MECH_CONFIG
    Pattern::first(b"EDS_CAME"),             // EDS_CAMEL_PROVIDER_DIR
    Pattern::both(b"EVOLUTIO", b"N_MODULE"), // EVOLUTION_MODULEDIR
    Pattern::first(b"PX_MODUL"),             // PX_MODULE_PATH
    Pattern::first(b"ENCHANT_"),             // ENCHANT_CONFIG_DIR
    Pattern::first(b"LIBHEIF_"),             // LIBHEIF_PLUGIN_PATH
    Pattern::first(b"GST_PLUG"),             // GST_PLUGIN_PATH and its like
    Pattern::first(b"GST_REGI"),             // GST_REGISTRY: it says where plugins are
    Pattern::first(b"SPA_PLUG"),             // SPA_PLUGIN_DIR
    Pattern::both(b"PIPEWIRE", b"_MODULE_"), // PIPEWIRE_MODULE_DIR
    Pattern::first(b"ALSA_CON"),             // ALSA_CONFIG_PATH
    Pattern::first(b"ALSA_PLU"),             // ALSA_PLUGIN_DIR
    Pattern::first(b"PULSE_DL"),             // PULSE_DLPATH
    Pattern::first(b"LIBGL_DR"),             // LIBGL_DRIVERS_PATH
    Pattern::first(b"MESA_LOA"),             // MESA_LOADER_DRIVER_OVERRIDE: takes `../`
    Pattern::both(b"LIBVA_DR", b"IVERS_PA"), // LIBVA_DRIVERS_PATH
    Pattern::first(b"VDPAU_DR"),             // VDPAU_DRIVER_PATH
    Pattern::both(b"GBM_BACK", b"ENDS_PAT"), // GBM_BACKENDS_PATH
    Pattern::first(b"VK_ICD_F"),             // VK_ICD_FILENAMES
    Pattern::first(b"VK_DRIVE"),             // VK_DRIVER_FILES
    Pattern::first(b"VK_LAYER"),             // VK_LAYER_PATH
    Pattern::first(b"VK_ADD_L"),             // VK_ADD_LAYER_PATH
    Pattern::first(b"__EGL_VE"),             // __EGL_VENDOR_LIBRARY_FILENAMES
    Pattern::first(b"__EGL_EX"),             // __EGL_EXTERNAL_PLATFORM_CONFIG_FILENAMES
    // Remote control, and other code for the same program.
    Pattern::first(b"QTWEBENG"), // QTWEBENGINE_REMOTE_DEBUGGING, QTWEBENGINE_CHROMIUM_FLAGS
    Pattern::first(b"WEBKIT_I"), // WEBKIT_INSPECTOR_SERVER, WEBKIT_INJECTED_BUNDLE_PATH
    Pattern::first(b"XUL_APP_"), // XUL_APP_FILE
    Pattern::first(b"MOZ_MARI"), // MOZ_MARIONETTE
    Pattern::first(b"MOZ_GMP_"), // MOZ_GMP_PATH
    Pattern::first(b"MOZ_PLUG"), // MOZ_PLUGIN_PATH
    Pattern::both(b"ELECTRON", b"_RUN_AS_"), // ELECTRON_RUN_AS_NODE
    // Interpreters of scripts.
    Pattern::first(b"PERL5OPT"),
    Pattern::first(b"PERL5LIB"),
    Pattern::first(b"PERL5DB="),
    Pattern::first(b"PERLLIB="),
    Pattern::first(b"GITPERLL"), // GITPERLLIB: git send-email, and all of git that is Perl
    Pattern::first(b"PYTHONPA"), // PYTHONPATH
    Pattern::first(b"PYTHONHO"), // PYTHONHOME
    Pattern::first(b"PYTHONST"), // PYTHONSTARTUP
    Pattern::first(b"PYTHONUS"), // PYTHONUSERBASE
    Pattern::first(b"PYTHONPY"), // PYTHONPYCACHEPREFIX
    Pattern::first(b"PYTHONPL"), // PYTHONPLATLIBDIR
    Pattern::first(b"BASH_ENV"),
    Pattern::first(b"SHELLOPT"), // SHELLOPTS: with xtrace, PS4 is run
    Pattern::first(b"NODE_OPT"), // NODE_OPTIONS
    Pattern::first(b"RUBYOPT="),
    Pattern::first(b"RUBYLIB="),
    Pattern::first(b"LUA_INIT"),
    Pattern::first(b"LUA_PATH"),
    Pattern::first(b"LUA_CPAT"), // LUA_CPATH
    Pattern::first(b"JAVA_TOO"), // JAVA_TOOL_OPTIONS
    Pattern::first(b"_JAVA_OP"), // _JAVA_OPTIONS
    Pattern::first(b"JDK_JAVA"), // JDK_JAVA_OPTIONS
    Pattern::first(b"PHPRC=/h"), // PHPRC in a home; elsewhere it is the system's
    Pattern::first(b"PHP_INI_"), // PHP_INI_SCAN_DIR
    Pattern::first(b"TCLLIBPA"), // TCLLIBPATH
]);

/// Whether an environment string that begins with these sixteen bytes is a sign of
/// tampering. Shorter strings are padded with zero bytes.
#[inline(always)]
pub fn variable_tampers(first: [u8; 8], second: [u8; 8]) -> bool {
    VARIABLES.has(first, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves(text: &str) -> ([u8; 8], [u8; 8]) {
        let mut bytes = [0; 16];
        for (slot, byte) in bytes.iter_mut().zip(text.bytes()) {
            *slot = byte;
        }
        let (first, second) = bytes.split_at(8);
        (first.try_into().unwrap(), second.try_into().unwrap())
    }

    #[test]
    fn loader_and_interpreter_variables_are_signs() {
        for text in [
            "LD_PRELOAD=/tmp/evil.so",
            "LD_AUDIT=x",
            "LD_LIBRARY_PATH=/tmp",
            "GTK_MODULES=/tmp/evil.so",
            "PERL5OPT=-Mevil",
            "PYTHONPATH=/tmp",
            "BASH_ENV=/tmp/x",
            "NODE_OPTIONS=--require=/tmp/x",
            "GTK_IM_MODULE_FILE=/tmp/x",
            "QT_QPA_PLATFORM_PLUGIN_PATH=/tmp",
            "LIBVA_DRIVERS_PATH=/tmp",
            "GBM_BACKENDS_PATH=/tmp",
            "ELECTRON_RUN_AS_NODE=1",
            "OPENSSL_CONF=/tmp/x",
            "SASL_PATH=/tmp",
            "MOZ_MARIONETTE=1",
            "EDS_CAMEL_PROVIDER_DIR=/tmp",
            "EVOLUTION_MODULEDIR=/tmp",
            "GI_TYPELIB_PATH=/tmp",
            "GST_REGISTRY=/tmp/x",
            "PIPEWIRE_MODULE_DIR=/tmp",
            "MESA_LOADER_DRIVER_OVERRIDE=../../tmp/x",
            "PYTHONPYCACHEPREFIX=/tmp",
            "PYTHONUSERBASE=/tmp",
            "GITPERLLIB=/tmp",
            "GJS_PATH=/tmp",
            "GNOME_SHELL_JS=/tmp",
            "LTDL_LIBRARY_PATH=/tmp",
            "PKCS11_MODULE_PATH=/tmp/evil.so",
            "PKCS11_PROVIDER_MODULE=/tmp/evil.so",
            "PKCS11SPY=/tmp/evil.so",
            "OPENSC_CONF=/tmp/evil.conf",
            "XLOCALELIBDIR=/tmp",
        ] {
            let (first, second) = halves(text);
            assert!(variable_tampers(first, second), "{text}");
        }
    }

    #[test]
    fn usual_variables_are_not() {
        for text in [
            "PATH=/usr/bin",
            "LANG=C",
            "GTK_MODULES=gail:atk-bridge",
            "LDFLAGS=-O2",
            "HOME=/root",
            "GTK_IM_MODULE=ibus",
            "QT_QPA_PLATFORMTHEME=gtk3",
            "QT_QPA_PLATFORM=wayland",
            "LIBVA_DRIVER_NAME=iHD",
            "GBM_BACKEND=nvidia-drm",
            "ELECTRON_OZONE_PLATFORM_HINT=auto",
            "MOZ_ENABLE_WAYLAND=1",
            "_JAVA_AWT_WM_NONREPARENTING=1",
            "PHPRC=/etc/php",
            "NODE_PATH=/usr/lib/node_modules",
            "PIPEWIRE_LATENCY=256/48000",
            "PIPEWIRE_RUNTIME_DIR=/run/user/1000",
            "GST_DEBUG=2",
            "EDS_TESTING=1",
            "PYTHONUNBUFFERED=1",
            "PYTHONDONTWRITEBYTECODE=1",
            "PYTHONIOENCODING=utf-8",
            "MESA_GL_VERSION_OVERRIDE=4.5",
            "VDPAU_TRACE=0",
            "BASH_FUNC_which%%=() {",
            "GIT_EDITOR=vim",
            "GNOME_SHELL_SESSION_MODE=ubuntu",
            "WEZTERM_CONFIG_FILE=/home/anna/.wezterm.lua",
            "KITTY_LISTEN_ON=unix:@kitty-1",
            "",
        ] {
            let (first, second) = halves(text);
            assert!(!variable_tampers(first, second), "{text}");
        }
    }
}
