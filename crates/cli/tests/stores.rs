//! Runs the trials of topology servers with this package's binary.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    hansa_e2e::stores::main(Path::new(env!("CARGO_BIN_EXE_hansa")))
}
