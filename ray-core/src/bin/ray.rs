//! The `ray` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ray_core::cli::main()
}
