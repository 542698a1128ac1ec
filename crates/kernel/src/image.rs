//! What an exec has just put in place: which program it is and how it was started.

mod identity;
mod login;
mod roots;
mod shell;
mod start;

pub use identity::Image;
pub use login::logs_in_from_here;
pub use roots::is_roots;
pub use shell::{ShellStart, shell_start};
pub use start::{only_asks, signs, stdin_file};
