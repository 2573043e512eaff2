//! Kept answers of a part: for the same call, headers included, so that whatever the service learns of the caller is a
//! part of the key.

use super::call::Received;
use super::config::PartConfig;
use crate::clock::{Millis, Seconds};
use crate::http::cache_control;
use crate::seam::{Call, Context};
use crate::shared::kept::{Kept, Owner, OwnerHash};

/// The kept answers of one part, which all workers share.
#[derive(Debug)]
pub(super) struct Cache {
    kept: Kept,
    max_age: Millis,
    max_bytes: usize,
    is_anonymous: bool,
}

/// The hash of a call, without the headers that differ with every request.
pub(super) fn owner(call: &Call) -> Owner {
    let mut hash = OwnerHash::default();
    hash.add(Some(call.cluster.as_bytes()));
    for (name, value) in &call.headers {
        hash.add(Some(name.as_bytes()));
        hash.add(Some(value.as_bytes()));
    }
    hash.finish()
}

impl Cache {
    pub(super) fn new(name: &str, max_age: Millis, config: &PartConfig) -> Self {
        Self {
            kept: Kept::new(format!("tollgate.part.{name}"), ENTRIES),
            max_age,
            max_bytes: usize::try_from(config.max_bytes).unwrap_or(usize::MAX),
            is_anonymous: config.anonymous,
        }
    }

    /// How long an answer is used again, at most.
    pub(super) const fn max_age(&self) -> Seconds {
        self.max_age.seconds()
    }

    /// The body of a kept answer that is still fresh.
    pub(super) fn find(&self, owner: &Owner, cx: &Context<'_>) -> Option<Vec<u8>> {
        let (since, content) = self.kept.find(owner, cx.store())?;
        let (lifetime, body) = content.split_first_chunk()?;
        let lifetime = Millis::from_le_bytes(*lifetime).min(self.max_age);
        let age = cx.monotonic().saturating_sub(since);
        (age < lifetime && body.len() <= self.max_bytes).then(|| body.to_vec())
    }

    /// Keeps an answer, unless the service forbids it.
    pub(super) fn keep(&self, owner: Owner, received: &Received, cx: &Context<'_>) {
        let Some(lifetime) = self.lifetime(received) else {
            return;
        };
        let mut content = lifetime.to_le_bytes().to_vec();
        content.extend_from_slice(&received.body);
        self.kept.keep(&owner, cx.monotonic(), &content, cx.store());
    }

    /// How long an answer is fresh (RFC 9111 section 5.2.2); `None` if it must not be kept.
    fn lifetime(&self, received: &Received) -> Option<Millis> {
        let headers = &received.headers;
        let says = |directive| cache_control::has(headers, directive);
        let is_private = self.is_anonymous && says("private");
        let has_cookie = headers.all("set-cookie").next().is_some();
        let varies = headers.all("vary").any(|value| value.contains(&b'*'));
        if headers.first(":status") != Some("200")
            || says("no-store")
            || says("no-cache")
            || is_private
            || has_cookie
            || varies
        {
            return None;
        }
        let told = cache_control::seconds(headers, "s-maxage").or_else(|| cache_control::seconds(headers, "max-age"));
        let told = told.map_or(self.max_age, Seconds::millis);
        Some(told.min(self.max_age)).filter(|lifetime| *lifetime > Millis::ZERO)
    }
}

/// The number of answers that are kept of a part.
const ENTRIES: u32 = 256;
