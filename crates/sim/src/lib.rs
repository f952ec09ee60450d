//! Hansa: sim.
