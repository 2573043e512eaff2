//! `tollgate import`: the configuration of another gateway becomes files for Envoy and Tollgate.

mod access;
mod credentials;
mod defaults;
mod files;
mod gateway;
mod kong;
mod limit;
mod limits;
mod members;
mod names;
mod node;
mod path;
mod plans;
mod plugin;
mod route;
mod subjects;
mod tracing;
mod transform;
mod tree;
mod upstream;

use std::collections::BTreeMap;
use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use tollgate::auth::api_key::{SecretConfig, Secrets};
use tollgate::config::{Environment, Report};

use crate::build::{self, Build, replace};
use crate::check;
use crate::finding::{Findings, Severity, complain, counted};
use crate::yaml::Node;
use access::Methods;
use credentials::{Credentials, KEY_SECRET};
use files::Teams;
use kong::Kong;
use limits::Limits;

/// Make files for Envoy and Tollgate of another gateway's configuration.
#[derive(Args)]
pub(crate) struct Import {
    #[command(subcommand)]
    from: From,
}

#[derive(Subcommand)]
enum From {
    /// Of a declarative configuration of Kong, as decK writes it.
    Kong(FromKong),
}

/// Services, routes, consumers and upstreams; the plugins jwt, key-auth, rate-limiting, rate-limiting-advanced, request-transformer and
/// opentelemetry. Everything else is named, with its line.
#[derive(Args)]
struct FromKong {
    /// The file, such as kong.yaml.
    file: PathBuf,
    /// The folder that is made: envoy.yaml, policies/, built/ and what else is needed.
    #[arg(long, short, default_value = "tollgate")]
    output: PathBuf,
    /// A file of the issuers whose tokens are taken, as `jwt.issuers` has them: for what Kong keeps elsewhere.
    #[arg(long)]
    issuer: Option<PathBuf>,
    /// What tokens of Kong's consumers name in `aud`. Kong does not look; Tollgate does.
    #[arg(long = "audience")]
    audiences: Vec<String>,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
}

/// The exit status where something waits for the operator.
const UNFINISHED: u8 = 2;

/// Where Envoy finds what is built of the policies, from its working directory on.
pub(super) const BUILT: &str = "built/tollgate.yaml";

pub(crate) fn run(command: &Import) -> ExitCode {
    let From::Kong(command) = &command.from;
    let mut findings = Findings::default();
    let imported = import(command, &mut findings);
    let Some(imported) = imported else {
        findings.print();
        return ExitCode::FAILURE;
    };
    if let Err(error) = imported.write(&command.output, command.force) {
        findings.print();
        complain(&error);
        return ExitCode::FAILURE;
    }
    // What was written is looked at as every other configuration is.
    let policies: Vec<_> = imported.policies().map(|file| command.output.join(file)).collect();
    let mut files = policies.clone();
    files.push(command.output.join("envoy.yaml"));
    if let Ok(documents) = check::load(&files, &mut findings) {
        check::check(&documents, &mut findings);
    }
    findings.print();
    let (errors, warnings) = (findings.count(Severity::Error), findings.count(Severity::Warning));
    let _ = writeln!(io::stdout(), "{}: {}", command.output.display(), imported.summary);
    let output = command.output.join(BUILT);
    let built = build::run(&Build {
        files: policies,
        output,
        operations: Vec::new(),
        native: false,
    });
    let _ = writeln!(
        io::stdout(),
        "{} to do by hand, {} not as before\nnext: {}",
        counted(errors, "thing"),
        counted(warnings, "thing"),
        imported.next(&command.output)
    );
    if errors > 0 { ExitCode::from(UNFINISHED) } else { built }
}

/// Files by name, and what they are.
struct Imported {
    files: BTreeMap<String, String>,
    summary: String,
}

fn import(command: &FromKong, findings: &mut Findings) -> Option<Imported> {
    let mut document = read(&command.file, findings)?;
    document.merge();
    defaults::fill(&mut document);
    let own = match &command.issuer {
        Some(file) => credentials::own_issuers(&read(file, findings)?, findings),
        None => Vec::new(),
    };
    let kong = Kong::read(&document, findings)?;
    let methods = Methods::gather(&kong, &command.audiences, findings);
    let key_secret = key_secret().map_err(|error| complain(&error)).ok()?;
    let credentials = Credentials::gather(&kong, &methods, own, &key_secret, findings);
    let limits = Limits::gather(&kong, findings);
    let teams = Teams::gather(&kong, &credentials, &limits, findings);
    let tracing = tracing::tracing(&kong, findings);

    let counts = [
        counted(teams.clusters.len(), "service"),
        counted(teams.names.len(), "route"),
        counted(limits.all.len(), "limit"),
        counted(credentials.issuers.len(), "issuer"),
        counted(credentials.keys.len(), "key"),
    ];
    let mut files = policy_files(&teams, &methods, &credentials, &limits);
    let mut put = |name: &str, text: Option<String>| files.extend(text.map(|text| (name.to_owned(), text)));
    put("limitador.yaml", files::limitador_file(&limits));
    put("secrets.env", files::secrets_file(&credentials));
    put(
        "envoy.yaml",
        Some(files::envoy_file(teams, &credentials, &limits, tracing)),
    );
    Some(Imported {
        files,
        summary: counts.join(", "),
    })
}

/// The platform's policy file, and one for each service.
fn policy_files(
    teams: &Teams,
    methods: &Methods<'_>,
    credentials: &Credentials,
    limits: &Limits,
) -> BTreeMap<String, String> {
    let shared = teams.shared(limits);
    let of_teams = teams.rules.iter().map(|(name, rules)| {
        (
            format!("policies/{name}.yaml"),
            files::team_file(name, rules, teams, limits, &shared),
        )
    });
    let mut files: BTreeMap<_, _> = of_teams.collect();
    files.insert(
        "policies/gateway.yaml".into(),
        files::base_file(teams, methods, credentials, limits, &shared),
    );
    files
}

impl Imported {
    /// What is to be done with them.
    fn next(&self, folder: &Path) -> String {
        let has = |name: &str| self.files.contains_key(name);
        let limiter = if has("limitador.yaml") {
            "run Limitador as limitador.yaml says; "
        } else {
            ""
        };
        let secrets = if has("secrets.env") {
            "set -a; . ./secrets.env; "
        } else {
            ""
        };
        format!(
            "{limiter}put tollgate.wasm into {0}; cd {0}; {secrets}envoy -c envoy.yaml",
            folder.display()
        )
    }

    fn policies(&self) -> impl Iterator<Item = &String> {
        self.files.keys().filter(|name| name.starts_with("policies/"))
    }

    /// Nothing that is there is lost, unless that is asked for.
    fn write(&self, folder: &Path, force: bool) -> io::Result<()> {
        let there = self
            .files
            .keys()
            .map(|name| folder.join(name))
            .find(|path| path.exists());
        if let Some(path) = there.filter(|_| !force) {
            let message = format!(
                "{} is there already: name another folder by --output, or say --force",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        for (name, text) in &self.files {
            let path = folder.join(name);
            let written = replace(
                &path,
                text.as_bytes(),
                if name == "secrets.env" { 0o600 } else { 0o644 },
            );
            written.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        }
        Ok(())
    }
}

fn read(file: &Path, findings: &mut Findings) -> Option<Node> {
    let mut documents = check::load(&[file.to_owned()], findings).ok()?;
    if documents.len() > 1 {
        findings.error(&documents.get(1)?.place, "is a second document; one is expected");
        return None;
    }
    documents.pop()
}

/// What API keys are hashed with: as it is in the environment, so that keys of several imports go together, or a new one.
fn key_secret() -> io::Result<(String, Secrets)> {
    let mut environment = Environment::new();
    let secret = match env::var(KEY_SECRET) {
        Ok(secret) => secret,
        Err(_) => {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        }
    };
    environment.insert(KEY_SECRET.into(), secret.clone());
    let config = SecretConfig {
        id: "v1".into(),
        env: KEY_SECRET.into(),
    };
    let mut report = Report::default();
    let secrets = Secrets::compile(&[config], &environment, &mut report);
    match report.finish() {
        Ok(_) => Ok((secret, secrets)),
        Err(errors) => Err(io::Error::other(
            errors.first().map(|error| error.message.clone()).unwrap_or_default(),
        )),
    }
}
