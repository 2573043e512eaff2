//! A request as policies see it: taken apart once, without the headers that only the gateway may set.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::net::IpAddr;

use crate::body::{Body, Direction};
use crate::denial::{Denial, DenialKind};
use crate::effect::Effect;
use crate::grpc;
use crate::headers::Headers;
use crate::identity::Identity;
use crate::policy::fallback::StandIn;
use crate::policy::identity_headers::ManagedNames;
use crate::policy::rate_limit::{Pending, Quota};
use crate::policy::transform::ResponseChange;
use crate::target::{check_path, host_of, invalid, matched_path};
use crate::world::World;

/// One request on its way through the policies.
#[derive(Debug)]
pub struct Request<'a> {
    /// As sent, `GET`.
    pub method: &'a str,
    /// The host without its port, in lower case.
    pub host: String,
    /// The path without the query, checked to have one meaning; not decoded.
    pub path: &'a str,
    /// The path as rules match it: without path parameters, every character in one spelling.
    pub matched_path: Cow<'a, str>,
    /// The query without its question mark.
    pub query: Option<&'a str>,
    /// Envoy's name of the route that it has chosen, where the plan asks for it.
    pub route_name: Option<&'a str>,
    /// Whether it may be held until keys arrive.
    pub may_wait: bool,
    /// What is left to the client, of the limit of which the least is.
    pub quota: Option<Quota>,
    /// What the limits wait for that it is held by.
    pub pending: Option<Pending>,
    /// Whether its credential is charged as an attempt of its source: while it is looked up, nobody knows better.
    pub is_charged: bool,
    /// Who it is from; set by the authenticate stage alone.
    pub identity: Option<Identity>,
    /// What is to be done to it, in order.
    pub effects: Vec<Effect>,
    /// Whether a body follows.
    pub has_body: bool,
    /// What is to be done with its body.
    pub body: Body,
    /// What is to be done with the response.
    pub response: Option<ResponseChange>,
    /// What stands in for the response if the upstream fails.
    pub stand_in: Option<StandIn>,
    headers: &'a Headers,
    managed: &'a ManagedNames,
    address: OnceCell<Option<IpAddr>>,
}

/// What policies have made of a request, apart from the request.
#[derive(Debug)]
pub struct Progress {
    quota: Option<Quota>,
    pending: Option<Pending>,
    is_charged: bool,
    identity: Option<Identity>,
    effects: Vec<Effect>,
}

impl<'a> Request<'a> {
    /// Whether it asks for another protocol on its connection, as WebSockets do (RFC 6455 section 4.1): what follows is no body then. Envoy has
    /// those of HTTP/2 (RFC 8441) in the same form.
    pub fn is_upgrade(&self) -> bool {
        let has = |name: &str| self.header(name).next().is_some();
        self.method == "GET" && has("upgrade") && !has("content-length") && !has("transfer-encoding")
    }

    /// Takes the pseudo-headers apart. Refuses what an upstream could read otherwise than the policies do.
    pub fn new(headers: &'a Headers, route_name: Option<&'a str>, managed: &'a ManagedNames) -> Result<Self, Denial> {
        let method = headers.first(":method").ok_or(invalid("method_missing"))?;
        // Methods are compared as they are (RFC 9110 section 9.1), but many a server reads `trace` as TRACE.
        if !method
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_lowercase())
        {
            return Err(invalid("method_malformed"));
        }
        if REFUSED_METHODS.contains(&method) {
            let denial = Denial::new(DenialKind::MethodNotAllowed, "method_refused");
            return Err(denial.with_header("allow", COMMON_METHODS.into()));
        }
        let authority = headers.first(":authority").ok_or(invalid("host_missing"))?;
        let target = headers.first(":path").ok_or(invalid("path_missing"))?;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        check_path(path)?;
        Ok(Self {
            method,
            host: host_of(authority)?,
            path,
            matched_path: matched_path(path),
            query,
            route_name,
            may_wait: false,
            quota: None,
            pending: None,
            is_charged: false,
            identity: None,
            effects: Vec::with_capacity(USUAL_EFFECTS),
            has_body: false,
            body: Body::new(Direction::Request),
            response: None,
            stand_in: None,
            headers,
            managed,
            address: OnceCell::new(),
        })
    }

    /// What policies have made of it so far, to be held.
    pub fn suspend(self) -> Progress {
        Progress {
            quota: self.quota,
            pending: self.pending,
            is_charged: self.is_charged,
            identity: self.identity,
            effects: self.effects,
        }
    }

    /// Goes on from there.
    pub fn resume(&mut self, progress: Progress) {
        (self.quota, self.pending) = (progress.quota, progress.pending);
        self.is_charged = progress.is_charged;
        (self.identity, self.effects) = (progress.identity, progress.effects);
    }

    /// The headers that tell its trace, to be sent along with what is asked for it.
    pub fn trace(&self) -> Vec<(&'static str, String)> {
        let header = |name| {
            let value = self.header(name).next()?;
            Some((name, std::str::from_utf8(value).ok()?.to_owned()))
        };
        TRACE.into_iter().filter_map(header).collect()
    }

    /// Where it comes from, asked for once.
    pub fn client_address(&self, world: &dyn World) -> Option<IpAddr> {
        *self.address.get_or_init(|| world.client_address())
    }

    /// A header's values as the upstream would get them now.
    pub fn now(&self, name: &str) -> Vec<&[u8]> {
        let last = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::RemoveHeader(own) if own == name.as_bytes() => Some(Vec::new()),
            Effect::SetHeader(own, value) if own == name => Some(vec![value.as_slice()]),
            Effect::SetHeaders(own, values) if **own == *name => Some(values.iter().map(Vec::as_slice).collect()),
            _ => None,
        });
        last.unwrap_or_else(|| self.headers.all(name).collect())
    }

    /// All headers, as they came.
    pub fn headers(&self) -> &'a Headers {
        self.headers
    }

    /// Whether its sender speaks gRPC.
    pub fn speaks_grpc(&self) -> bool {
        grpc::is_spoken(self.headers)
    }

    /// Every value of a header that the client may set; managed names look absent.
    pub fn header<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let hidden = self.managed.contains(name.as_bytes());
        self.headers.all(name).filter(move |_| !hidden)
    }
}

/// Effects of a request that passes.
const USUAL_EFFECTS: usize = 8;

/// What tells the trace of a request.
const TRACE: [&str; 3] = ["x-request-id", "traceparent", "tracestate"];

/// TRACE would echo credentials; CONNECT would make a tunnel of an API.
const REFUSED_METHODS: [&str; 2] = ["TRACE", "CONNECT"];

const COMMON_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Report;
    use crate::policy::identity_headers::{IdentityConfig, IdentityHeaders};

    fn check(method: &str, authority: &str, path: &str) -> Result<(String, String), &'static str> {
        let headers: Headers = [(":method", method), (":authority", authority), (":path", path)]
            .into_iter()
            .collect();
        let managed = ManagedNames::default();
        Request::new(&headers, None, &managed)
            .map(|request| (request.host, request.path.to_owned()))
            .map_err(|denial| denial.reason)
    }

    #[test]
    fn a_request_is_taken_apart() {
        let ok = |host: &str, path: &str| Ok((host.to_owned(), path.to_owned()));
        assert_eq!(check("GET", "A.example:8080", "/a/b?c=/../d"), ok("a.example", "/a/b"));
        assert_eq!(check("GET", "[::1]:80", "/a..b/.c/%40"), ok("[::1]", "/a..b/.c/%40"));
        assert_eq!(check("GET", "h", "/"), ok("h", "/"));
    }

    #[test]
    fn managed_names_look_absent_to_policies() {
        let managed =
            IdentityHeaders::compile(&IdentityConfig::default(), std::iter::empty(), &mut Report::default()).managed;
        let pairs = [
            (":method", "GET"),
            (":authority", "h"),
            (":path", "/"),
            ("x-user-id", "forged"),
            ("x-other", "kept"),
        ];
        let headers: Headers = pairs.into_iter().collect();
        let request = Request::new(&headers, None, &managed).unwrap();
        assert_eq!(request.header("x-user-id").count(), 0);
        assert_eq!(request.header("x-other").count(), 1);
    }

    #[test]
    fn trace_and_connect_are_refused_before_anything_else() {
        assert_eq!(check("TRACE", "", ""), Err("method_refused"));
        assert_eq!(check("CONNECT", "h:1", ""), Err("method_refused"));
        assert_eq!(check("trace", "h", "/"), Err("method_malformed"));
        assert_eq!(check("Get", "h", "/"), Err("method_malformed"));
    }
}
