//! Hansa: kubesim.

pub mod apply;
pub mod patch;
pub mod schema;
pub mod value;
