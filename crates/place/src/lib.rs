//! Hansa: place.
