//! Runs the trials of real processes with this package's binary.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    hansa_e2e::processes::main(Path::new(env!("CARGO_BIN_EXE_hansa")))
}
