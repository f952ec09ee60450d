//! Hansa: render.
