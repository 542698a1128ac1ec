//! The stand-in programs: see [`stage::player_main`].

fn main() -> std::process::ExitCode {
    stage::player_main(std::env::args_os().skip(1))
}
