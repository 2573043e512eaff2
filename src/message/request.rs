//! A request as policies see it: parsed once, without the headers that only the gateway may set.

use std::cell::OnceCell;
use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use crate::denial::{Denial, DenialKind};
use crate::http::changes::HeaderChanges;
use crate::http::headers::Headers;
use crate::http::piece::Direction;
use crate::message::body::Body;
use crate::message::grpc;
use crate::message::identity::Identity;
use crate::message::managed_names::ManagedNames;
use crate::message::memory::Memory;
use crate::message::response::{Response, Whole};
use crate::message::target::{check_path, host_of, invalid, is_plain, matched_path};
use crate::seam::{Context, Host, Note, Wait};

/// A request as received. It does not change.
#[derive(Debug)]
pub struct Received {
    headers: Rc<Headers>,
    managed: Arc<ManagedNames>,
    route_name: Option<String>,
    /// Whether a body follows.
    pub has_body: bool,
    /// The host without its port, in lower case.
    pub host: String,
    /// The index of `:method` in the headers.
    method: usize,
    target: usize,
    /// The length of the target before its query, in bytes.
    path_size: usize,
    /// The matched path, if it differs from the path.
    matched_path: Option<String>,
}

/// A request in the policies, with their decisions so far.
#[derive(Debug)]
pub struct Request {
    received: Rc<Received>,
    /// Whether the request may be suspended.
    pub may_wait: bool,
    /// The caller; only the authenticate stage sets it.
    pub identity: Option<Identity>,
    /// Changes of its headers.
    pub changes: HeaderChanges,
    /// Counters, log lines, and filter state for the access log.
    pub notes: Vec<Note>,
    /// What to do with its body.
    pub body: Body,
    /// The whole body, for a policy that has asked for it by [`Stop::Read`].
    pub whole_body: Option<Vec<u8>>,
    /// Hooks for its response, in the order of the policies.
    pub hooks: Vec<Box<dyn OnResponse>>,
    /// Headers for the client, set in every response and refusal.
    pub told: Vec<(&'static str, String)>,
    /// Data of policies.
    pub memory: Memory,
    address: OnceCell<Option<IpAddr>>,
}

/// A policy's hook for the response to an allowed request.
pub trait OnResponse {
    /// Handles the response. Called again after a wait.
    fn on_response(&mut self, response: &mut Response, cx: &Context<'_>) -> Result<(), Stop>;
}

// Not a supertrait: what only `Debug` reaches would be in the plugin.
impl fmt::Debug for dyn OnResponse + '_ {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OnResponse")
    }
}

/// Why a message does not continue.
#[derive(Debug)]
pub enum Stop {
    /// It is refused.
    Deny(Denial),
    /// The decision needs an awaited result: the message is suspended, and the policy runs again after the wake-up.
    Wait(Wait),
    /// The decision needs the whole body: the headers go on, the body is held, and the policy runs again when
    /// [`Request::whole_body`] is there. For a request with a body.
    Read,
    /// The gateway answers in place of an upstream.
    Answer(Box<Answered>),
}

/// The gateway's answer in place of an upstream's. The rule's changes of responses apply to it.
#[derive(Debug)]
pub struct Answered {
    /// The response, or why there is none.
    pub response: Result<Whole, Denial>,
    /// Headers to set after all changes.
    pub told: Vec<(&'static str, String)>,
    /// What access logs say of it, after its code: names of parts that failed.
    pub about: String,
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Deny(denial)
    }
}

impl Received {
    /// Parses the pseudo-headers. Refuses a request that an upstream could interpret differently.
    pub fn new(
        headers: Rc<Headers>,
        route_name: Option<String>,
        has_body: bool,
        managed: &Arc<ManagedNames>,
    ) -> Result<Self, Denial> {
        let place = |name: &str| headers.place(name).filter(|_| headers.first(name).is_some());
        let method = place(":method").ok_or_else(|| invalid("method_missing"))?;
        let text = headers.value(method);
        // Methods are case-sensitive (RFC 9110 section 9.1), but many servers read `trace` as TRACE.
        if !text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_lowercase())
        {
            return Err(invalid("method_malformed"));
        }
        if REFUSED_METHODS.contains(&text) {
            let denial = Denial::new(DenialKind::MethodNotAllowed, "method_refused");
            return Err(denial.with_header("allow", COMMON_METHODS.into()));
        }
        let authority = headers.first(":authority").ok_or_else(|| invalid("host_missing"))?;
        let target = place(":path").ok_or_else(|| invalid("path_missing"))?;
        let path = headers.value(target);
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let mut matched = None;
        if !is_plain(path) {
            check_path(path)?;
            matched = Some(matched_path(path).into_owned()).filter(|matched| *matched != *path);
        }
        Ok(Self {
            host: host_of(authority)?,
            path_size: path.len(),
            matched_path: matched,
            headers,
            managed: Arc::clone(managed),
            route_name,
            has_body,
            method,
            target,
        })
    }

    /// The method as sent.
    pub fn method(&self) -> &str {
        self.headers.value(self.method)
    }

    /// The path without the query, checked to be unambiguous; not decoded.
    pub fn path(&self) -> &str {
        self.headers
            .value(self.target)
            .get(..self.path_size)
            .unwrap_or_default()
    }

    /// The query without its question mark.
    pub fn query(&self) -> Option<&str> {
        let rest = self.headers.value(self.target).get(self.path_size..)?;
        rest.strip_prefix('?')
    }

    /// The path as rules match it: without path parameters, and in one encoding.
    pub fn matched_path(&self) -> &str {
        self.matched_path.as_deref().unwrap_or_else(|| self.path())
    }

    /// The name of the route that Envoy selected, if the plan needs it.
    pub fn route_name(&self) -> Option<&str> {
        self.route_name.as_deref()
    }

    /// All headers as received.
    pub fn headers(&self) -> &Rc<Headers> {
        &self.headers
    }

    /// All values of a header; managed names appear absent.
    pub fn header<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let hidden = self.managed.contains(name.as_bytes());
        self.headers.all(name).filter(move |_| !hidden)
    }

    /// Whether the client speaks gRPC.
    pub fn speaks_grpc(&self) -> bool {
        grpc::is_spoken(&self.headers)
    }

    /// Whether the request asks for an upgrade of its connection, such as WebSockets (RFC 6455 section 4.1): it then
    /// has no body. Envoy presents those of HTTP/2 (RFC 8441) in the same form.
    pub fn is_upgrade(&self) -> bool {
        let has = |name: &str| self.header(name).next().is_some();
        self.method() == "GET" && has("upgrade") && !has("content-length") && !has("transfer-encoding")
    }

    /// The tracing headers, for calls on behalf of the request.
    pub fn trace(&self) -> Vec<(&'static str, String)> {
        let header = |name| {
            let value = self.header(name).next()?;
            Some((name, std::str::from_utf8(value).ok()?.to_owned()))
        };
        TRACE.into_iter().filter_map(header).collect()
    }
}

impl Request {
    /// A request without decisions.
    pub fn new(received: Received) -> Self {
        Self {
            received: Rc::new(received),
            may_wait: false,
            identity: None,
            changes: HeaderChanges::with_capacity(USUAL_CHANGES),
            notes: Vec::new(),
            body: Body::new(Direction::Request),
            whole_body: None,
            hooks: Vec::new(),
            told: Vec::new(),
            memory: Memory::default(),
            address: OnceCell::new(),
        }
    }

    /// A request with these headers, for tests.
    #[cfg(test)]
    pub(crate) fn simulated(headers: Headers, managed: ManagedNames) -> Self {
        Self::new(Received::new(Rc::new(headers), None, false, &Arc::new(managed)).unwrap())
    }

    /// The request as received.
    pub fn received(&self) -> &Rc<Received> {
        &self.received
    }

    /// The client's address, read from the host once.
    pub fn client_address(&self, host: &dyn Host) -> Option<IpAddr> {
        *self.address.get_or_init(|| host.client_address())
    }

    /// A header's values as the upstream would get them now.
    pub fn current(&self, name: &str) -> Vec<&[u8]> {
        self.changes.current(&self.headers, name).collect()
    }
}

impl Deref for Request {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.received
    }
}

/// The usual number of changed headers.
const USUAL_CHANGES: usize = 8;

const TRACE: [&str; 3] = ["x-request-id", "traceparent", "tracestate"];

/// Refused methods: TRACE would echo credentials, CONNECT would open a tunnel.
const REFUSED_METHODS: [&str; 2] = ["TRACE", "CONNECT"];

const COMMON_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, authority: &str, path: &str) -> Result<(String, String), &'static str> {
        let headers: Headers = [(":method", method), (":authority", authority), (":path", path)]
            .into_iter()
            .collect();
        Received::new(Rc::new(headers), None, false, &Arc::default())
            .map(|request| (request.host.clone(), request.path().to_owned()))
            .map_err(|denial| denial.reason)
    }

    #[test]
    fn a_request_is_taken_apart() {
        let ok = |host: &str, path: &str| Ok((host.to_owned(), path.to_owned()));
        assert_eq!(check("GET", "A.example:8080", "/a/b?c=/../d"), ok("a.example", "/a/b"));
        assert_eq!(check("GET", "[::1]:80", "/a..b/.c/%40"), ok("[::1]", "/a..b/.c/%40"));
        assert_eq!(check("GET", "h", "/"), ok("h", "/"));
        let query = |path: &str| {
            let pairs = [(":method", "GET"), (":authority", "h"), (":path", path)];
            let received = Received::new(Rc::new(pairs.into_iter().collect()), None, false, &Arc::default()).unwrap();
            received.query().map(str::to_owned)
        };
        assert_eq!(
            [query("/a"), query("/a?"), query("/a?b?c")],
            [None, Some(String::new()), Some("b?c".into())]
        );
    }

    #[test]
    fn managed_names_look_absent_to_policies() {
        let managed = Arc::new(ManagedNames::of(&["x-user-id"]));
        let pairs = [
            (":method", "GET"),
            (":authority", "h"),
            (":path", "/"),
            ("x-user-id", "forged"),
            ("x-other", "kept"),
        ];
        let headers: Headers = pairs.into_iter().collect();
        let request = Received::new(Rc::new(headers), None, false, &managed).unwrap();
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
