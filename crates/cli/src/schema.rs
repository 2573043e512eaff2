//! `tollgate schema`: what editors need to complete and to check while somebody writes.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use schemars::transform::{RecursiveTransform, Transform as _};
use schemars::{Schema as JsonSchema, schema_for};
use serde_json::{Value, json};
use tollgate::gateway::Config;

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
    RecursiveTransform(without_null).transform(&mut schema);
    match print(&schema) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// What may be absent is not `null`: the plugin wants said what is meant.
fn without_null(schema: &mut JsonSchema) {
    let is_null = |value: &Value| *value == "null" || *value == json!({"type": "null"});
    for keyword in ["type", "anyOf"] {
        let Some(Value::Array(choices)) = schema.get_mut(keyword) else {
            continue;
        };
        choices.retain(|choice| !is_null(choice));
        let [only] = choices.as_slice() else { continue };
        match only.clone() {
            Value::Object(members) => {
                schema.remove(keyword);
                for (name, value) in members {
                    schema.ensure_object().entry(name).or_insert(value);
                }
            }
            only => {
                schema.insert(keyword.into(), only);
            }
        }
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
}

fn print(schema: &JsonSchema) -> io::Result<()> {
    let text = serde_json::to_string_pretty(schema)?;
    writeln!(io::stdout(), "{text}")
}
