//! `tollgate schema`: what editors need to complete and to check while somebody writes.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use schemars::{Schema as JsonSchema, schema_for};
use tollgate::config::Config;

use crate::finding::complain;
use crate::policies::{BaseFile, TeamFile};

/// Print the JSON Schema of a file, for editors.
#[derive(Args)]
pub(crate) struct Schema {
    /// Of which file.
    #[arg(value_enum, default_value_t)]
    of: Of,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Of {
    /// The plugin's configuration by itself.
    #[default]
    Configuration,
    /// A team's policy file.
    Team,
    /// The base of policy files.
    Base,
}

pub(crate) fn run(command: &Schema) -> ExitCode {
    let (mut schema, title) = match command.of {
        Of::Configuration => (schema_for!(Config), "Tollgate's configuration"),
        Of::Team => (schema_for!(TeamFile), "Tollgate's policy of one team"),
        Of::Base => (schema_for!(BaseFile), "Tollgate's base of all teams' policies"),
    };
    schema.insert("title".into(), title.into());
    match print(&schema) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn print(schema: &JsonSchema) -> io::Result<()> {
    let text = serde_json::to_string_pretty(schema)?;
    writeln!(io::stdout(), "{text}")
}
