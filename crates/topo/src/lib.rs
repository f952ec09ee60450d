//! Hansa: topo.
