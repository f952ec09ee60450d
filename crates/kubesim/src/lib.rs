//! Hansa: kubesim.
