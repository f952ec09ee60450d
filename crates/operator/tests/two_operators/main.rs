//! A league of two operators, each behaviour in a module.

mod notes;
mod replaced;
mod sealing;
mod world;
