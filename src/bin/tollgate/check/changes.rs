//! What the gateway changes of requests, which no route may match on.

use tollgate::config::Config;
use tollgate::credential::Source;
use tollgate::policy::transform::RequestConfig;

use super::configuration::Sound;

/// Changes of a configuration.
pub(super) struct Changes<'a> {
    sound: &'a Sound,
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
        Self {
            sound,
            headers,
            parameters,
        }
    }

    /// Who changes a header, if somebody does.
    pub(super) fn of_header(&self, name: &str) -> Option<&str> {
        let is_identity = self.sound.plan.identity.managed.contains(name.as_bytes());
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
            Source::Header { name, .. } => headers.push(change(name.as_str(), "a credential, which is taken out")),
            Source::Cookie(_) => headers.push(change("cookie", "a credential in it is taken out")),
            Source::Query(name) => parameters.push(change(name, "a credential, which is taken out")),
        }
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
