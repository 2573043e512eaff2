//! What the gateway changes of requests, which no route may match on.

use tollgate::auth::credential::Source;
use tollgate::gateway::Config;
use tollgate::gateway::route::MethodOverride;
use tollgate::policy::transform::RequestConfig;

use super::configuration::Sound;

/// Changes of a configuration.
pub(super) struct Changes<'a> {
    sound: &'a Sound,
    removes_overrides: bool,
    headers: Vec<Change>,
    parameters: Vec<Change>,
}

/// Something that changes, and who says so.
struct Change {
    name: String,
    by: String,
}

impl<'a> Changes<'a> {
    pub(super) fn of(sound: &'a Sound) -> Self {
        let (headers, parameters) = changes(&sound.config);
        let config = &sound.config;
        let keeps =
            |rule: Option<MethodOverride>| rule.unwrap_or(config.defaults.method_override) == MethodOverride::Keep;
        Self {
            removes_overrides: !config.routes.iter().all(|rule| keeps(rule.method_override)),
            sound,
            headers,
            parameters,
        }
    }

    /// Who changes a header, if somebody does.
    pub(super) fn of_header(&self, name: &str) -> Option<&str> {
        let (plan, own) = (&self.sound.plan, name.as_bytes());
        if plan.method_overrides.contains(own) && self.removes_overrides {
            return Some("it names another method, and is removed");
        }
        let is_identity = plan.managed.contains(own);
        let by = self
            .headers
            .iter()
            .find(|change| change.name.eq_ignore_ascii_case(name));
        is_identity
            .then_some("an identity header")
            .or(by.map(|change| change.by.as_str()))
    }

    /// The same of a query parameter.
    pub(super) fn of_parameter(&self, name: &str) -> Option<&str> {
        let change = self.parameters.iter().find(|change| change.name == name);
        change.map(|change| change.by.as_str())
    }
}

/// Headers and query parameters that are not at the upstream as the client sent them, besides identity headers.
fn changes(config: &Config) -> (Vec<Change>, Vec<Change>) {
    let change = |name: &str, by: &str| Change {
        name: name.to_owned(),
        by: by.to_owned(),
    };
    let mut headers = Vec::new();
    let mut parameters = Vec::new();
    let tokens = config
        .jwt
        .iter()
        .flat_map(|jwt| &jwt.issuers)
        .filter(|issuer| !issuer.forward_token);
    let tokens = tokens.flat_map(|issuer| &issuer.from);
    for source in tokens.chain(config.api_keys.iter().flat_map(|keys| &keys.from)) {
        match source {
            Source::Header { name, .. } => headers.push(change(name.as_str(), "a credential, which is removed")),
            Source::Cookie(_) => headers.push(change("cookie", "a credential in it is removed")),
            Source::Query(name) => {
                parameters.push(change(name, "a credential, which is removed"));
                headers.push(change(":path", "a credential in its query is removed"));
            }
        }
    }
    // What clients name there is taken out of it where it is something else's.
    headers.push(change("connection", "names of headers are removed from it"));
    let responses = config
        .routes
        .iter()
        .map(|rule| rule.response.as_ref())
        .chain([config.defaults.response.as_ref()]);
    if responses.flatten().any(|response| !response.body.is_empty()) {
        let whole = ["accept-encoding", "if-range", "range"];
        headers.extend(whole.map(|name| change(name, "removed if the body of a response changes")));
    }
    let rules = config.routes.iter().enumerate();
    let rules = rules.filter_map(|(index, rule)| Some((format!("routes[{index}].request"), rule.request.as_ref()?)));
    let defaults = config
        .defaults
        .request
        .as_ref()
        .map(|request| ("defaults.request".to_owned(), request));
    for (by, RequestConfig { headers: of, query, .. }) in rules.chain(defaults).filter(|(_, request)| !request.reroute)
    {
        if query.names().next().is_some() {
            headers.push(change(":path", &format!("{by}.query")));
        }
        headers.extend(
            of.names()
                .map(|(at, name)| change(name.as_str(), &format!("{by}.headers.{at}"))),
        );
        parameters.extend(
            query
                .names()
                .map(|(at, name)| change(name, &format!("{by}.query.{at}"))),
        );
    }
    (headers, parameters)
}
