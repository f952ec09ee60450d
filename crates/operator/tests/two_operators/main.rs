//! A league of two operators, each behaviour in a module.

mod deposed;
mod notes;
mod plans;
mod replaced;
mod sealing;
mod world;
