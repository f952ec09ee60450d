//! Hansa: operator.
