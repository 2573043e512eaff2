//! `tollgate graphql`: what tools for clients need of a schema.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use tollgate::gateway::RouteConfig;
use tollgate::policy::graphql::{GraphqlConfig, introspection, printed};

use crate::check::{UNUSABLE, load, sound};
use crate::finding::{Findings, Severity, complain};

/// Print what tools for clients need of a GraphQL schema.
#[derive(Args)]
pub(crate) struct Graphql {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the answer to the introspection query, for client generators, whether or not the gateway answers it.
    Introspect(Introspect),
}

#[derive(Args)]
struct Introspect {
    /// Configurations, wherever they stand, as for `tollgate check`.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The rule, by its `name`, `match.route` or path, where several have a schema.
    #[arg(long)]
    rule: Option<String>,
    /// Print the schema in its definition language instead.
    #[arg(long)]
    sdl: bool,
}

pub(crate) fn run(command: &Graphql) -> ExitCode {
    let Command::Introspect(command) = &command.command;
    let mut findings = Findings::default();
    let Ok(documents) = load(&command.files, &mut findings) else {
        return ExitCode::from(UNUSABLE);
    };
    let sound = sound(&documents, &mut findings);
    if findings.count(Severity::Error) > 0 {
        findings.print();
        return ExitCode::FAILURE;
    }
    let routes = sound.iter().flat_map(|sound| &sound.config.routes);
    let schemas: Vec<_> = routes
        .filter_map(|route| Some((name(route), route.graphql.as_ref()?)))
        .collect();
    let chosen: Vec<&(&str, &GraphqlConfig)> = schemas
        .iter()
        .filter(|(name, _)| command.rule.as_ref().is_none_or(|rule| rule == name))
        .collect();
    let [(_, config)] = chosen.as_slice() else {
        let names: Vec<_> = schemas.iter().map(|(name, _)| *name).collect();
        complain(&match (&command.rule, names.is_empty()) {
            (_, true) => "no rule has a `graphql`".to_owned(),
            (Some(rule), _) => format!("no rule `{rule}` has a `graphql`; there is {}", names.join(", ")),
            (None, _) => format!(
                "several rules have a `graphql`; choose with --rule: {}",
                names.join(", ")
            ),
        });
        return ExitCode::FAILURE;
    };
    let text = if command.sdl {
        printed(config)
    } else {
        introspection(config)
    };
    match text {
        Some(text) => {
            let _ = writeln!(io::stdout(), "{}", text.trim_end());
            ExitCode::SUCCESS
        }
        None => {
            complain(&"the schema cannot be printed");
            ExitCode::FAILURE
        }
    }
}

/// What a rule is called.
fn name(route: &RouteConfig) -> &str {
    let matched = &route.r#match;
    let names = [&route.name, &matched.route, &matched.path, &matched.path_prefix];
    names.into_iter().flatten().next().map_or("", String::as_str)
}
