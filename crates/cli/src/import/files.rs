//! The files that are made: a policy file for each service, the platform's, and Envoy's.

use std::collections::BTreeSet;

use super::access::{Access, Methods};
use super::credentials::{Credentials, KEY_SECRET};
use super::kong::Kong;
use super::limit::Limit;
use super::limits::Limits;
use super::subjects::Effective;
use super::tree::{Tree, tree};
use super::upstream::Address;
use super::{BUILT, gateway, route, tracing, transform, upstream};
use crate::finding::Findings;

/// Each of Kong's services is a team's: its routes, with a policy file of its own.
pub(super) struct Teams {
    pub(super) rules: Vec<(String, Vec<Tree>)>,
    /// The names of every service's routes.
    pub(super) names: Vec<(String, String)>,
    /// The limits of every service's routes.
    limits: BTreeSet<(String, String)>,
    pub(super) clusters: Vec<Tree>,
    entries: Vec<route::Entry>,
}

impl Teams {
    pub(super) fn gather(kong: &Kong<'_>, credentials: &Credentials, limits: &Limits, findings: &mut Findings) -> Self {
        let mut teams = Self {
            rules: Vec::new(),
            names: Vec::new(),
            limits: BTreeSet::new(),
            clusters: Vec::new(),
            entries: Vec::new(),
        };
        for service in &kong.services {
            let address = upstream::cluster(service, &kong.upstreams, findings).map(|(cluster, address)| {
                teams.clusters.push(cluster);
                address
            });
            let mut rules = Vec::new();
            for route in &service.routes {
                let plugins = kong.effective(service, route);
                let transformer = plugins.get("request-transformer");
                let upstream = address.as_ref().map(|address| route::Upstream {
                    cluster: &service.name,
                    address,
                    service: service.node,
                    uri: transformer
                        .and_then(|plugin| transform::uri(plugin, findings))
                        .map(str::to_owned),
                });
                let Some(made) = route::entries(route, upstream.as_ref(), kong.is_old, teams.names.len(), findings)
                else {
                    continue;
                };
                teams.entries.extend(made.entries);
                teams.names.push((service.name.clone(), route.name.clone()));
                let access = match made.is_closed {
                    true => Access::Closed,
                    false => Access::of_route(&plugins, service, route, kong),
                };
                let mut rule = tree! { "match": tree! { "route": &route.name } };
                if access.put(&mut rule, &credentials.issuers).is_none() {
                    continue;
                }
                let names = limits.of(&counted(&plugins, kong), matches!(access, Access::Proven { .. }));
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
    pub(super) fn shared(&self, limits: &Limits) -> BTreeSet<String> {
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

/// The plugins of a route that limit, by where they stand among all of the file's.
fn counted(plugins: &Effective<'_, '_>, kong: &Kong<'_>) -> Vec<usize> {
    let limiting = plugins
        .values()
        .filter(|plugin| plugin.name.starts_with("rate-limiting"));
    limiting
        .filter_map(|plugin| kong.plugins.iter().position(|other| std::ptr::eq(other, *plugin)))
        .collect()
}

pub(super) fn team_file(
    name: &str,
    rules: &[Tree],
    teams: &Teams,
    limits: &Limits,
    shared: &BTreeSet<String>,
) -> String {
    let mut file = tree! {};
    let own = Teams::of(&teams.limits, name);
    let own = limits
        .all
        .iter()
        .filter(|limit| own.contains(&limit.name) && !shared.contains(&limit.name));
    file.put_full("rate_limits", own.map(Limit::tree).collect::<Vec<_>>());
    file.put("routes", rules.to_vec());
    written(&format!("The policy of Kong's service {name}."), &file)
}

/// Headers by which Kong tells services who calls.
const CONSUMER: &str = "x-consumer-username";
const USER: &str = "x-authenticated-userid";

/// Further headers of Kong's own, which nobody else may set. Those that nothing fills are taken out.
const ATTRIBUTES: [(&str, &str); 5] = [
    ("anonymous", "x-anonymous-consumer"),
    ("consumer_id", "x-consumer-id"),
    ("credential", "x-credential-identifier"),
    ("custom_id", "x-consumer-custom-id"),
    ("groups", "x-consumer-groups"),
];

pub(super) fn base_file(
    teams: &Teams,
    methods: &Methods<'_>,
    credentials: &Credentials,
    limits: &Limits,
    shared: &BTreeSet<String>,
) -> String {
    let file = tree! {
        "teams": declared(teams, shared),
        "filter": tree! { "name": "tollgate", "failure_policy": "FAIL_RELOAD", "vm_config": machine(credentials) },
        "policy": policy(methods, credentials, limits, shared),
    };
    let about = "The platform's policy file; each service has its own beside it:\n#\n#   tollgate build policies/*.yaml --output";
    written(&format!("{about} {BUILT}\n#"), &file)
}

/// What each team may name.
fn declared(teams: &Teams, shared: &BTreeSet<String>) -> Tree {
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
    declared
}

/// The VM that the plugin runs in, with the variables that it may read.
fn machine(credentials: &Credentials) -> Tree {
    let variables: Vec<_> = credentials.secrets.iter().map(|(name, _)| name.as_str()).collect();
    let mut machine = tree! {
        "vm_id": "tollgate",
        "runtime": "envoy.wasm.runtime.v8",
        "code": tree! { "local": tree! { "filename": "tollgate.wasm" } },
    };
    if !variables.is_empty() {
        machine.put("environment_variables", tree! { "host_env_keys": variables });
    }
    machine
}

/// The plugin's configuration, but for what is a team's.
fn policy(methods: &Methods<'_>, credentials: &Credentials, limits: &Limits, shared: &BTreeSet<String>) -> Tree {
    let mut policy = tree! {
        "version": 1_u64,
        "identity": tree! { "headers": tree! {
            "tenant_id": CONSUMER,
            "user_id": USER,
            "attributes": Tree::Map(ATTRIBUTES.map(|(name, header)| (name.to_owned(), header.into())).into()),
        }, "filter_state": ["tenant_id"] },
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
    policy.put_full("rate_limits", named.map(Limit::tree).collect::<Vec<_>>());
    let open = |route: &str| tree! { "match": tree! { "route": route }, "public": true };
    policy.put("routes", [open(READY), open(UNMATCHED)]);
    policy
}

pub(super) const LIMITER: &str = "rate-limit-service";
pub(super) const READY: &str = "ready";
pub(super) const UNMATCHED: &str = "unmatched";

pub(super) fn envoy_file(
    teams: Teams,
    credentials: &Credentials,
    limits: &Limits,
    tracing: Option<(Tree, Address)>,
) -> String {
    let Teams {
        mut clusters,
        mut entries,
        ..
    } = teams;
    route::sort(&mut entries);
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
        clusters.push(upstream::single(tracing::COLLECTOR, &address, false));
        tracing
    });
    let removed: Vec<&str> = [
        CONSUMER,
        USER,
        "x-user-roles",
        "x-user-scopes",
        "x-user-plan",
        "x-auth-method",
        "x-auth-issuer",
        "x-api-key-id",
    ]
    .into_iter()
    .chain(ATTRIBUTES.map(|(_, header)| header))
    .collect();
    written(
        "Envoy's part: `envoy -c envoy.yaml` in this folder.",
        &gateway::bootstrap(routes, clusters, tracing, &removed),
    )
}

/// Limits that are counted in Redis; `None` where there are none.
pub(super) fn limitador_file(limits: &Limits) -> Option<String> {
    let entries: Vec<_> = limits.all.iter().flat_map(Limit::limitador).collect();
    let redis = limits.redis.as_deref().unwrap_or_default();
    let command = format!(
        "limitador-server --rate-limit-headers DRAFT_VERSION_03 --rls-port 8081 limitador.yaml redis redis://{redis}"
    );
    let about = format!("Limits that are counted in Redis:\n#\n#   {command}\n#");
    limits.is_shared().then(|| written(&about, &Tree::List(entries)))
}

/// Variables of the environment with what they hold; `None` where there are none.
pub(super) fn secrets_file(credentials: &Credentials) -> Option<String> {
    let lines = credentials.secrets.iter();
    let lines = lines.map(|(name, value)| format!("{name}={}\n", quoted(value)));
    (!credentials.secrets.is_empty()).then(|| lines.collect())
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
