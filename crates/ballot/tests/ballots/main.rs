//! The control document, from outside: what others may leave in it, and a league's course.

mod document;
mod eras;
mod league;
mod support;
