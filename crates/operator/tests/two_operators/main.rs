//! A league of two operators, each behaviour in a module.

mod replaced;
mod sealing;
mod world;
