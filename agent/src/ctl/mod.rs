//! `agentctl`: what a person types. One module a subcommand; this one reads the command line and prints errors.

mod args;

pub use args::{Args, Color, Command, Format};
