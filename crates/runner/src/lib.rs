//! Hansa: runner.
