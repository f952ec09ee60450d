//! Hansa: api.
