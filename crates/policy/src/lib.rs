//! Who may send mail: the policy of the gate, as pure functions over plain data.
//!
//! The same source is compiled into the kernel programs, the daemon and every other
//! edition. It must not allocate, do I/O, read a clock or know any other crate.
//!
//! A process has a [`Standing`]. It is carried along by fork (a plain copy), changed by
//! [`Standing::after_exec`], and judged by [`may_send`] and [`may_submit`].

#![no_std]
#![forbid(unsafe_code)]

mod arguments;
mod cause;
mod folders;
mod greeting;
mod hashed;
mod judge;
mod lineage;
mod options;
mod patterns;
mod presence;
mod questions;
mod roots;
mod shell;
mod starters;
mod tamper;
mod value;
mod variables;
mod word;
mod words;

pub use arguments::{ArgumentRules, argument_sign, name_of};
pub use cause::{Cause, Flaw, Sign};
pub use folders::CODE_FOLDERS;
pub use greeting::{ClientLine, has_line_end, is_mail_server};
pub use judge::{
    Attempt, Rate, Reason, Verdict, is_loopback, is_read_for_mail, may_send, may_submit,
};
pub use lineage::{Blame, Program, Standing};
pub use presence::{
    Begun, Piece, PresenceRule, TERMINAL_BUFFER, arrived_since, awaits_typing, depends_on_typing,
    is_asked_for_presence, is_enter, typed_since, without_typing,
};
pub use questions::Asked;
pub use roots::{Interpreter, ROOTS_FOLDERS, Word, is_below_roots, word_of};
pub use shell::{
    begins_at_roots, is_command, is_dot_after_slash, is_login_name, is_plain, is_pseudo_terminal,
    is_terminal, keeps_shell_interactive, keeps_to_command, keeps_to_script, names_start_file,
    script_reads_users_files,
};
pub use tamper::Tamper;
pub use value::{Look, Stage, VARIABLE_MAX, variable_sign};
pub use variables::{Readers, may_tamper, variable_names};
pub use word::{
    BY_USER, IS_ROOTS, Parts, TAMPER_AT, is_activated, is_guarded, is_vouched, kind_of, origin_of,
    standing_of_parts,
};
pub use words::{Invocation, Kind, Origin, Rights, Role};
