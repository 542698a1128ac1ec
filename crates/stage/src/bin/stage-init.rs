//! The init and the guard of a sandbox: see [`stage::init_main`].

fn main() -> std::process::ExitCode {
    stage::init_main(std::env::args_os().skip(1))
}
