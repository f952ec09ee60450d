//! A league of two operators, each behaviour in a module.

mod away;
mod cloned;
mod deposed;
mod forged;
mod heard;
mod notes;
mod pairs;
mod plans;
mod releases;
mod replaced;
mod requests;
mod rolled_back;
mod rotation;
mod sealing;
mod throttled;
mod unreadable;
mod validating;
mod waiting;
mod world;
