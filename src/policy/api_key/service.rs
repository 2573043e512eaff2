//! The key service: the cache that all workers share, and the circuit breaker.

use std::fmt;

use super::config::LookupConfig;
use crate::auth::api_key::record::MAX_RECORD;
use crate::clock::Millis;
use crate::config::{self, Environment, Report};
use crate::seam::Call;
use crate::shared::breaker::Breaker;
use crate::shared::table::Table;

/// One key service. Points in time are of the wall clock.
#[derive(Debug)]
pub(super) struct Service {
    /// The prefix of its keys in the store, which is unique for each service.
    pub(super) prefix: String,
    pub(super) timeout: Millis,
    pub(super) breaker: Breaker,
    /// Known keys, by digest.
    pub(super) known: Table,
    /// Unknown keys and those being looked up, by digest. A table of its own, so that made-up keys do not evict valid
    /// ones.
    pub(super) unsettled: Table,
    cluster: String,
    authority: String,
    authorization: Option<Authorization>,
}

/// The cache entry of a known key.
pub(super) struct Known<'a> {
    /// When it was fetched, by the wall clock.
    pub(super) fetched_at: Millis,
    /// The version of the service's data at the lookup.
    pub(super) version: u64,
    /// The key's record, as JSON.
    pub(super) record: &'a [u8],
}

/// The cache entry of a key that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsettled {
    /// It is being looked up.
    Pending,
    /// The service did not know the key at this version of its data.
    Unknown(u64),
}

/// The value of `authorization`, which `Debug` does not show.
struct Authorization(String);

impl<'a> Known<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        [
            &self.fetched_at.to_le_bytes()[..],
            &self.version.to_le_bytes(),
            self.record,
        ]
        .concat()
    }

    /// Decodes an entry; `None` if it is malformed.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (fetched_at, rest) = bytes.split_first_chunk()?;
        let (version, record) = rest.split_first_chunk()?;
        Some(Self {
            fetched_at: Millis::from_le_bytes(*fetched_at),
            version: u64::from_le_bytes(*version),
            record,
        })
    }
}

impl Unsettled {
    pub(super) fn encode(self) -> Vec<u8> {
        match self {
            Self::Pending => Vec::new(),
            Self::Unknown(version) => version.to_le_bytes().into(),
        }
    }

    /// Decodes an entry; `None` if it is malformed.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [] => Some(Self::Pending),
            bytes => Some(Self::Unknown(u64::from_le_bytes(bytes.try_into().ok()?))),
        }
    }
}

impl Service {
    pub(super) fn compile(config: &LookupConfig, environment: &Environment, report: &mut Report) -> Self {
        check(config, report);
        let authorization = authorization(config, environment, report);
        // The number is the format's version: plugins of several versions may share an Envoy.
        let prefix = format!("tollgate.keys.2.{}{}", config.cluster, config.path);
        let entries = config.entries.min(MOST_ENTRIES);
        Self {
            timeout: config.timeout.millis(),
            breaker: Breaker::new(&prefix),
            known: Table::new(format!("{prefix}.known"), entries, WAYS, MAX_KNOWN),
            unsettled: Table::new(
                format!("{prefix}.unsettled"),
                entries.div_ceil(4),
                WAYS,
                size_of::<u64>(),
            ),
            cluster: config.cluster.clone(),
            authority: config.authority.clone().unwrap_or_else(|| config.cluster.clone()),
            authorization,
            prefix,
        }
    }

    pub(super) fn call(
        &self,
        method: &str,
        path: String,
        more: &[(&'static str, String)],
        body: Vec<u8>,
        wait: Millis,
    ) -> Call {
        let mut headers = vec![
            (":method", method.to_owned()),
            (":path", path),
            (":authority", self.authority.clone()),
            ("accept", "application/json".into()),
            ("user-agent", "tollgate".into()),
        ];
        if !body.is_empty() {
            headers.push(("content-type", "application/json".into()));
        }
        if let Some(Authorization(value)) = &self.authorization {
            headers.push(("authorization", value.clone()));
        }
        headers.extend_from_slice(more);
        Call {
            cluster: self.cluster.clone(),
            headers: headers.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            body,
            timeout: self.timeout.saturating_add(wait).duration(),
            max_body: MAX_BODY,
            topic: 0,
            ticket: None,
        }
    }
}

fn check(config: &LookupConfig, report: &mut Report) {
    report.not_empty("cluster", config.cluster.is_empty());
    for (name, path) in [("path", &config.path), ("changes", &config.changes)] {
        let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if !path.starts_with('/') || !plain {
            report.error_at(name, format!("\"{path}\" is not a path, which begins with `/`"));
        }
    }
    for (name, span, least) in [
        ("timeout", config.timeout, 1),
        ("cache", config.cache, 1000),
        ("negative_cache", config.negative_cache, 1000),
    ] {
        if span.millis() < Millis::new(least) {
            report.error_at(name, format!("must be at least {least}ms"));
        }
    }
    if config.max_stale < config.cache {
        report.error_at("max_stale", "must be at least as long as `cache`");
    }
    if config.entries == 0 || config.entries > MOST_ENTRIES {
        report.error_at("entries", format!("must be from 1 to {MOST_ENTRIES}"));
    }
}

/// The header that shows the gateway's token; `None` where the configuration names none, or the environment has none.
fn authorization(lookup: &LookupConfig, environment: &Environment, report: &mut Report) -> Option<Authorization> {
    let token = lookup.token.as_ref()?;
    let value = config::secret(environment, &token.env).and_then(|value| {
        let is_printable = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
        let printable = is_printable.then_some(value);
        printable.ok_or_else(|| format!("`{}` is not a token of printable characters", token.env))
    });
    match value {
        Ok(value) => Some(Authorization(format!("Bearer {value}"))),
        Err(message) => {
            report.error_at("token.env", message);
            None
        }
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("...")
    }
}

/// Maximum size of a known key's entry in bytes: the record, the time and the version.
const MAX_KNOWN: usize = MAX_RECORD + 2 * size_of::<u64>();

/// Maximum size of an answer in bytes: a record, or 500 hashes.
const MAX_BODY: usize = 64 * 1024;

/// Entries in a slot of the tables.
const WAYS: u16 = 4;

const MOST_ENTRIES: u32 = 1 << 20;
