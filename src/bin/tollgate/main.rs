//! The operator's command line.

#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, reason = "a test may fail by panicking")
)]

mod keys;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tollgate's command line.
#[derive(Parser)]
#[command(name = "tollgate", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make, change and serve API keys.
    Keys(keys::cli::Keys),
}

fn main() -> ExitCode {
    let Command::Keys(command) = Cli::parse().command;
    match keys::run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
