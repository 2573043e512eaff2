//! The operator's command line.

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        reason = "a test may fail by panicking"
    )
)]

mod build;
mod check;
mod finding;
mod graphql;
mod import;
#[cfg(feature = "service")]
mod keys;
mod operations;
mod policies;
mod schema;
mod yaml;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tollgate's command line.
#[derive(Parser)]
#[command(
    name = "tollgate",
    version,
    about = "An API gateway for microservices: one plugin inside a stock Envoy"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say everything that is wrong with configurations, wherever they stand.
    Check(check::Check),
    /// Make one configuration of policy files, for Envoy to load.
    Build(build::Build),
    /// Make files for Envoy and Tollgate of another gateway's configuration.
    Import(import::Import),
    /// Print the JSON Schema of a file, for editors.
    Schema(schema::Schema),
    /// Print what tools for clients need of a GraphQL schema.
    Graphql(graphql::Graphql),
    /// Make, change and serve API keys.
    #[cfg(feature = "service")]
    Keys(Box<keys::cli::Keys>),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check(command) => check::run(&command),
        Command::Build(command) => build::run(&command),
        Command::Import(command) => import::run(&command),
        Command::Schema(command) => schema::run(&command),
        Command::Graphql(command) => graphql::run(&command),
        #[cfg(feature = "service")]
        Command::Keys(command) => match keys::run(*command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                finding::complain(&error);
                ExitCode::FAILURE
            }
        },
    }
}
