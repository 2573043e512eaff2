//! `tollgate import`: the configuration of another gateway becomes files for Envoy and Tollgate.

mod access;
mod credentials;
mod gateway;
mod kong;
mod limits;
mod transform;
mod tree;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::build::{self, Build, replace};
use crate::check;
use crate::finding::{Findings, Severity, complain, counted};
use crate::yaml::Node;
use access::{Access, Methods};
use credentials::{Credentials, KEY_SECRET};
use kong::Kong;
use limits::Limits;
use tree::{Tree, tree};
use upstream::Address;

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
    let document = read(&command.file, findings)?;
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
    let tracing = gateway::tracing(&kong, findings);

    let mut files = BTreeMap::new();
    let counts = [
        counted(teams.clusters.len(), "service"),
        counted(teams.names.len(), "route"),
        counted(limits.all.len(), "limit"),
        counted(credentials.issuers.len(), "issuer"),
        counted(credentials.keys.len(), "key"),
    ];
    let shared = teams.shared(&limits);
    for (name, rules) in &teams.rules {
        files.insert(
            format!("policies/{name}.yaml"),
            team_file(name, rules, &teams, &limits, &shared),
        );
    }
    files.insert(
        "policies/gateway.yaml".into(),
        base_file(&teams, &methods, &credentials, &limits, &shared),
    );
    if limits.is_shared() {
        let entries: Vec<_> = limits.all.iter().flat_map(limits::Limit::limitador).collect();
        let redis = limits.redis.as_deref().unwrap_or_default();
        let command = format!(
            "limitador-server --rate-limit-headers DRAFT_VERSION_03 --rls-port 8081 limitador.yaml redis redis://{redis}"
        );
        files.insert(
            "limitador.yaml".into(),
            written(
                &format!("Limits that are counted in Redis:\n#\n#   {command}\n#"),
                &Tree::List(entries),
            ),
        );
    }
    if !credentials.secrets.is_empty() {
        let lines = credentials
            .secrets
            .iter()
            .map(|(name, value)| format!("{name}={}\n", quoted(value)));
        files.insert("secrets.env".into(), lines.collect());
    }
    files.insert("envoy.yaml".into(), envoy_file(teams, &credentials, &limits, tracing));
    Some(Imported {
        files,
        summary: counts.join(", "),
    })
}

/// Each of Kong's services is a team's: its routes, with a policy file of its own.
struct Teams {
    rules: Vec<(String, Vec<Tree>)>,
    /// The names of every service's routes.
    names: Vec<(String, String)>,
    /// The limits of every service's routes.
    limits: BTreeSet<(String, String)>,
    clusters: Vec<Tree>,
    entries: Vec<gateway::Entry>,
}

impl Teams {
    fn gather(kong: &Kong<'_>, credentials: &Credentials, limits: &Limits, findings: &mut Findings) -> Self {
        let mut teams = Self {
            rules: Vec::new(),
            names: Vec::new(),
            limits: BTreeSet::new(),
            clusters: Vec::new(),
            entries: Vec::new(),
        };
        for service in &kong.services {
            let Some((cluster, address)) = upstream::cluster(service, &kong.upstreams, findings) else {
                continue;
            };
            teams.clusters.push(cluster);
            let mut rules = Vec::new();
            for route in &service.routes {
                let plugins = kong.effective(service, route);
                let transformer = plugins.get("request-transformer");
                let upstream = gateway::Upstream {
                    cluster: &service.name,
                    address: &address,
                    service: service.node,
                    uri: transformer
                        .and_then(|plugin| transform::uri(plugin, findings))
                        .map(str::to_owned),
                };
                teams
                    .entries
                    .extend(gateway::entries(route, &upstream, teams.names.len(), findings));
                teams.names.push((service.name.clone(), route.name.clone()));
                let access = Access::of(&plugins, kong);
                let mut rule = tree! { "match": tree! { "route": &route.name } };
                if access.put(&mut rule, &credentials.issuers).is_none() {
                    continue;
                }
                let is_counted = |plugin: &&&kong::Plugin<'_>| plugin.name.starts_with("rate-limiting");
                let counted: Vec<usize> = plugins
                    .values()
                    .filter(is_counted)
                    .filter_map(|plugin| kong.plugins.iter().position(|other| std::ptr::eq(other, *plugin)))
                    .collect();
                let names = limits.of(&counted, matches!(access, Access::Proven { .. }));
                teams
                    .limits
                    .extend(names.iter().map(|name| (service.name.clone(), name.clone())));
                rule.put_full("rate_limits", names);
                rule.put_some(
                    "request",
                    transformer.and_then(|plugin| transform::request(plugin, findings)),
                );
                rules.push(rule);
            }
            teams.rules.push((service.name.clone(), rules));
        }
        teams
    }

    /// The limits that more than one service counts in.
    fn shared(&self, limits: &Limits) -> BTreeSet<String> {
        let users = |name: &str| self.limits.iter().filter(|(_, limit)| limit == name).count();
        limits
            .all
            .iter()
            .map(|limit| limit.name.clone())
            .filter(|name| users(name) > 1)
            .collect()
    }

    fn of<'a>(pairs: impl IntoIterator<Item = &'a (String, String)>, service: &str) -> Vec<String> {
        pairs
            .into_iter()
            .filter(|(own, _)| own == service)
            .map(|(_, name)| name.clone())
            .collect()
    }
}

fn team_file(name: &str, rules: &[Tree], teams: &Teams, limits: &Limits, shared: &BTreeSet<String>) -> String {
    let mut file = tree! {};
    let own = Teams::of(&teams.limits, name);
    let own = limits
        .all
        .iter()
        .filter(|limit| own.contains(&limit.name) && !shared.contains(&limit.name));
    file.put_full("rate_limits", own.map(limits::Limit::tree).collect::<Vec<_>>());
    file.put("routes", rules.to_vec());
    written(&format!("The policy of Kong's service {name}."), &file)
}

/// Headers by which Kong tells services who calls.
const CONSUMER: &str = "x-consumer-username";
const USER: &str = "x-authenticated-userid";

fn base_file(
    teams: &Teams,
    methods: &Methods<'_>,
    credentials: &Credentials,
    limits: &Limits,
    shared: &BTreeSet<String>,
) -> String {
    let mut declared = tree! {};
    for (name, _) in &teams.rules {
        let mut team = tree! { "routes": Teams::of(&teams.names, name) };
        let named: Vec<_> = Teams::of(&teams.limits, name)
            .into_iter()
            .filter(|limit| shared.contains(limit))
            .collect();
        team.put_full("rate_limits", named);
        declared.put(name, team);
    }
    let variables: Vec<_> = credentials.secrets.iter().map(|(name, _)| name.as_str()).collect();
    let mut machine = tree! {
        "vm_id": "tollgate",
        "runtime": "envoy.wasm.runtime.v8",
        "code": tree! { "local": tree! { "filename": "tollgate.wasm" } },
    };
    if !variables.is_empty() {
        machine.put("environment_variables", tree! { "host_env_keys": variables });
    }
    let mut policy = tree! {
        "version": 1_u64,
        "identity": tree! { "headers": tree! { "tenant_id": CONSUMER, "user_id": USER } },
    };
    if !credentials.issuers.is_empty() {
        policy.put("jwt", tree! { "issuers": credentials.issuers.clone() });
    }
    if methods.key.is_some() || !credentials.keys.is_empty() {
        let mut keys = tree! {};
        keys.put_full("from", methods.key_sources.clone());
        keys.put("opaque", true);
        keys.put("secrets", [tree! { "id": "v1", "env": KEY_SECRET }]);
        keys.put_full("keys", credentials.keys.clone());
        policy.put("api_keys", keys);
    }
    if limits.is_shared() {
        policy.put("rate_limit_service", tree! { "cluster": LIMITER });
    }
    if !limits.all.is_empty() {
        policy.put("quota_headers", if limits.are_hidden { "none" } else { "x_ratelimit" });
    }
    let named = limits.all.iter().filter(|limit| shared.contains(&limit.name));
    policy.put_full("rate_limits", named.map(limits::Limit::tree).collect::<Vec<_>>());
    let open = |route: &str| tree! { "match": tree! { "route": route }, "public": true };
    policy.put("routes", [open(READY), open(UNMATCHED)]);
    let file = tree! {
        "teams": declared,
        "filter": tree! { "name": "tollgate", "failure_policy": "FAIL_RELOAD", "vm_config": machine },
        "policy": policy,
    };
    let about = "The platform's policy file; each service has its own beside it:\n#\n#   tollgate build policies/*.yaml --output";
    written(&format!("{about} {BUILT}\n#"), &file)
}

const LIMITER: &str = "rate-limit-service";
const READY: &str = "ready";
const UNMATCHED: &str = "unmatched";

fn envoy_file(teams: Teams, credentials: &Credentials, limits: &Limits, tracing: Option<(Tree, Address)>) -> String {
    let Teams {
        mut clusters,
        mut entries,
        ..
    } = teams;
    gateway::sort(&mut entries);
    let answer = |name: &str, matched: Tree, status: u64| {
        tree! { "name": name, "match": matched, "direct_response": tree! { "status": status } }
    };
    let mut routes = vec![answer(READY, tree! { "path": "/ready" }, 200)];
    routes.extend(entries.into_iter().map(|entry| entry.tree));
    routes.push(answer(UNMATCHED, tree! { "prefix": "/" }, 404));
    for issuer in &credentials.issuers {
        clusters.extend(key_cluster(issuer));
    }
    if limits.is_shared() {
        let address = Address {
            protocol: "http".into(),
            host: "limitador".into(),
            port: 8081,
            path: String::new(),
        };
        clusters.push(upstream::single(LIMITER, &address, true));
    }
    let tracing = tracing.map(|(tracing, address)| {
        clusters.push(upstream::single(gateway::COLLECTOR, &address, false));
        tracing
    });
    let removed = [
        CONSUMER,
        USER,
        "x-user-roles",
        "x-user-scopes",
        "x-user-plan",
        "x-auth-method",
        "x-auth-issuer",
        "x-api-key-id",
    ];
    written(
        "Envoy's part: `envoy -c envoy.yaml` in this folder.",
        &gateway::bootstrap(routes, clusters, tracing, &removed),
    )
}

/// The cluster of an issuer whose keys are fetched.
fn key_cluster(issuer: &Tree) -> Option<Tree> {
    let remote = issuer.get("jwks")?.get("remote")?;
    let url = remote.get("url").or(issuer.get("issuer"))?.text()?;
    Some(upstream::single(
        remote.get("cluster")?.text()?,
        &Address::parse(url)?,
        false,
    ))
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
fn key_secret() -> io::Result<String> {
    if let Ok(secret) = env::var(KEY_SECRET) {
        return Ok(secret);
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn written(about: &str, tree: &Tree) -> String {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let yaml = serde_saphyr::to_string_with_options(tree, options).unwrap_or_default();
    let end = if yaml.ends_with('\n') { "" } else { "\n" };
    format!("# {about}\n# Made by `tollgate import kong`; it is yours now.\n{yaml}{end}")
}

/// For a shell, and for those who read such files.
fn quoted(value: &str) -> String {
    let is_plain = value
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte));
    if is_plain {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', "'\\''"))
    }
}
