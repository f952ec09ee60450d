//! Hansa: ledger.
