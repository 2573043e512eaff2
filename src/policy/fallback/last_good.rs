//! `last_good`: the last good response to each caller's request.

use std::cell::RefCell;
use std::collections::HashMap;

use super::config::{Anonymous, LastGoodConfig};
use crate::auth::credential::Source;
use crate::clock::Millis;
use crate::http::headers::Headers;
use crate::message::identity::Identity;
use crate::message::request::Request;
use crate::message::response::Whole;
use crate::seam::{Context, Local};
use crate::shared::kept::{Kept, Owner, OwnerHash};

/// The kept responses of one rule.
#[derive(Debug)]
pub(super) struct LastGood {
    table: Kept,
    max_age: Millis,
    max_bytes: usize,
    takes_anonymous: bool,
    /// When this worker last kept a response, by owner.
    kept: Local<RefCell<HashMap<Owner, Millis>>>,
}

/// A response that was found, and its age.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) response: Whole,
    pub(super) age: Millis,
}

/// The owner of the response to a request: a hash of host and port, path, query, `Accept`, and everything that the
/// upstream learns of the caller; `None` if it is unknown, because an anonymous request has a credential, or what may be one.
/// `sources` are the credential sources of the whole configuration.
pub(super) fn owner(request: &Request, sources: &[Source]) -> Option<Owner> {
    let identity = request.identity.as_ref();
    let has = |name: &str| request.header(name).next().is_some();
    let may_have_credential =
        || has("authorization") || has("cookie") || sources.iter().any(|source| source.is_named(request));
    if identity.is_none() && may_have_credential() {
        return None;
    }
    let mut hash = OwnerHash::default();
    let mut part = |part: Option<&[u8]>| hash.add(part);
    // With its port, as another port may be another service.
    let authority = request.headers().first(":authority").unwrap_or_default();
    part(Some(authority.to_ascii_lowercase().as_bytes()));
    part(Some(request.path().as_bytes()));
    part(request.query().map(str::as_bytes));
    request
        .current("accept")
        .into_iter()
        .for_each(|value| part(Some(value)));
    part(None);
    if let Some(identity) = identity {
        describe(identity, &mut |text: Option<&str>| part(text.map(str::as_bytes)));
    }
    Some(hash.finish())
}

/// Adds all about a caller: with fewer rights now, a user must not get an earlier response.
fn describe(identity: &Identity, part: &mut impl FnMut(Option<&str>)) {
    part(Some(identity.method));
    part(identity.issuer.as_deref());
    part(identity.key_id.as_deref());
    part(Some(&identity.user_id));
    part(identity.tenant_id.as_deref());
    part(identity.plan.as_deref());
    let lists = [(ROLES, &identity.roles), (SCOPES, &identity.scopes)];
    let attributes = identity.attributes.iter().map(|(name, values)| (name.as_str(), values));
    for (name, values) in lists.into_iter().chain(attributes) {
        part(Some(name));
        values.iter().for_each(|value| part(Some(value)));
        part(None);
    }
}

impl LastGood {
    /// An empty table for the rule `name`.
    pub(super) fn new(name: &str, config: &LastGoodConfig) -> Self {
        Self {
            table: Kept::new(format!("tollgate.last_good.{name}"), config.entries),
            max_age: config.max_age.millis(),
            max_bytes: usize::try_from(config.max_bytes).unwrap_or(usize::MAX),
            takes_anonymous: config.anonymous != Some(Anonymous::None),
            kept: Local::default(),
        }
    }

    pub(super) fn takes_anonymous(&self) -> bool {
        self.takes_anonymous
    }

    /// Maximum size of a response, in bytes.
    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Whether the last one that this worker kept is older than [`RENEWED`].
    pub(super) fn is_due(&self, owner: &Owner, cx: &Context<'_>) -> bool {
        let now = cx.monotonic();
        let kept = cx.local(&self.kept);
        let kept = kept.borrow();
        kept.get(owner).is_none_or(|kept| now.saturating_sub(*kept) >= RENEWED)
    }

    /// Keeps a response in place of the owner's previous one, or of the oldest. `varies` has the request's values of
    /// the headers that the response varies by.
    pub(super) fn keep(&self, owner: Owner, varies: &Varies, response: &Whole, cx: &Context<'_>) {
        let now = cx.monotonic();
        // The limit is for the whole entry.
        let most = self.max_bytes.saturating_sub(ENTRY_HEADER);
        let Some(entry) = encode(varies, response).filter(|entry| entry.len() <= most) else {
            return;
        };
        if !self.table.keep(&owner, now, &entry, cx.store()) {
            return;
        }
        let kept = cx.local(&self.kept);
        let mut kept = kept.borrow_mut();
        if kept.len() >= MOST_REMEMBERED {
            kept.clear();
        }
        kept.insert(owner, now);
    }

    /// The kept response, if it is young enough and of the same variant. `request` is what the upstream would get.
    pub(super) fn find(&self, owner: &Owner, request: &Headers, cx: &Context<'_>) -> Option<Found> {
        let (since, entry) = self.table.find(owner, cx.store())?;
        let (varies, response) = decode(&entry)?;
        let age = cx.monotonic().saturating_sub(since);
        let is_same = varies.iter().all(|(name, values)| *values == values_of(request, name));
        (age <= self.max_age && is_same).then_some(Found { response, age })
    }

    /// Drops a response that is outdated.
    pub(super) fn forget(&self, owner: &Owner, cx: &Context<'_>) {
        if self.table.forget(owner, cx.store()) {
            cx.local(&self.kept).borrow_mut().remove(owner);
        }
    }
}

/// Headers that a response varies by, with the request's values.
pub(super) type Varies = Vec<(String, Vec<u8>)>;

/// The headers that a response varies by (RFC 9110 section 12.5.5); `None` for `*` and for malformed names.
pub(super) fn varies(response: &Headers, request: &Headers) -> Option<Varies> {
    let mut names = Vec::new();
    for line in response.all("vary") {
        let names_of_line = std::str::from_utf8(line).ok()?.split(',').map(str::trim);
        names.extend(
            names_of_line
                .filter(|name| !name.is_empty())
                .map(str::to_ascii_lowercase),
        );
    }
    if names.iter().any(|name| name == "*") {
        return None;
    }
    // A compressed response varies by this, whatever its `vary`.
    if response.all("content-encoding").next().is_some() {
        names.push("accept-encoding".into());
    }
    names.sort_unstable();
    names.dedup();
    let values = names.into_iter().map(|name| {
        let values = values_of(request, &name);
        (name, values)
    });
    Some(values.collect())
}

fn values_of(headers: &Headers, name: &str) -> Vec<u8> {
    headers.all(name).collect::<Vec<_>>().join(&b'\n')
}

// === the format in the store ===

/// Encodes an entry: `varies`, headers and body, each part with its length.
fn encode(varies: &Varies, response: &Whole) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut put = |part: &[u8]| {
        bytes.extend(u32::try_from(part.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(part);
        Some(())
    };
    let count = |count: usize| u32::try_from(count).ok().map(u32::to_le_bytes);
    put(&count(varies.len())?)?;
    for (name, value) in varies {
        put(name.as_bytes())?;
        put(value)?;
    }
    put(&count(response.headers.iter().count())?)?;
    for (name, value) in response.headers.iter() {
        put(name)?;
        put(value)?;
    }
    put(&response.body)?;
    Some(bytes)
}

fn decode(bytes: &[u8]) -> Option<(Varies, Whole)> {
    let mut rest = bytes;
    let mut take = || {
        let (length, after) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (part, after) = after.split_at_checked(length)?;
        rest = after;
        Some(part)
    };
    let mut varies = Varies::new();
    for _ in 0..u32::from_le_bytes(*take()?.first_chunk()?) {
        varies.push((String::from_utf8(take()?.to_vec()).ok()?, take()?.to_vec()));
    }
    let mut headers = Vec::new();
    for _ in 0..u32::from_le_bytes(*take()?.first_chunk()?) {
        headers.push((take()?, take()?));
    }
    let body = take()?.to_vec();
    let headers = headers.into_iter().collect();
    Some((varies, Whole { headers, body }))
}

/// What the table adds to an entry, in bytes: the owner and the time.
const ENTRY_HEADER: usize = 24;

/// How long a worker keeps no other response of an owner, as each costs memory and time.
const RENEWED: Millis = Millis::new(1000);

/// Maximum number of owners in `kept`.
const MOST_REMEMBERED: usize = 4096;

const ROLES: &str = "roles ";
const SCOPES: &str = "scopes ";

#[cfg(test)]
mod tests;
