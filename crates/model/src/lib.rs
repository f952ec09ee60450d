//! Hansa: model.
