//! The key of a limit: what it counts separately.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::config::{KeyPart, OnMissing};
use super::descriptor::{self, Descriptor};
use crate::client_network::ClientNetwork;
use crate::denial::{Denial, DenialKind};
use crate::message::request::Request;
use crate::seam::Context;
use crate::shared::table::Name;

/// The parts of a key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) parts: Vec<KeyPart>,
    pub(super) on_missing: OnMissing,
}

/// A request's values for a key.
#[derive(Debug)]
pub(super) struct Values<'a> {
    /// The issuer, if the key has a part that is unique only within one; empty if the identity has none.
    issuer: Option<&'a [u8]>,
    /// The parts with their values; the address is in `origin`.
    parts: Vec<(&'a KeyPart, Vec<&'a [u8]>)>,
    origin: Option<ClientNetwork>,
}

impl Key {
    /// Whether the key needs an identity.
    pub(super) fn is_of_identity(&self) -> bool {
        self.parts.iter().any(KeyPart::is_of_identity)
    }

    /// A request's values; `None` if it is not counted.
    pub(super) fn values<'a>(
        &'a self,
        route: &'a str,
        request: &'a Request,
        cx: &Context<'_>,
    ) -> Result<Option<Values<'a>>, Denial> {
        let issuer = request
            .identity
            .as_ref()
            .and_then(|identity| identity.issuer.as_deref());
        let mut values = Values {
            issuer: self.is_of_identity().then(|| issuer.unwrap_or_default().as_bytes()),
            parts: Vec::with_capacity(self.parts.len()),
            origin: None,
        };
        for part in &self.parts {
            let found = part.values(route, request);
            let part = match self.on_missing {
                _ if !found.is_empty() => part,
                _ if *part == KeyPart::Ip => part,
                OnMissing::Ip => &KeyPart::Ip,
                OnMissing::Skip => return Ok(None),
                OnMissing::Deny => return Err(Denial::new(DenialKind::Forbidden, "limit_key_missing")),
            };
            if *part == KeyPart::Ip {
                values.origin = Some(request.client_address(cx.host).into());
            }
            values.parts.push((part, found));
        }
        Ok(Some(values))
    }
}

impl Values<'_> {
    /// The values as a hash, for a table.
    pub(super) fn name(&self, secret: &[u8; 16]) -> Name {
        let mut hasher = SipHasher13::new_with_key(secret);
        write(&mut hasher, self.issuer.as_slice());
        for (part, values) in &self.parts {
            hasher.write_u8(part.number());
            match self.origin {
                Some(origin) if **part == KeyPart::Ip => write(&mut hasher, &[&origin.bytes()]),
                _ => write(&mut hasher, values),
            }
        }
        let mut name = finish(&hasher);
        // The last words depend only on the client's network, which gets a limited share of the table.
        let networks = self.origin.map(|origin| origin.networks()).into_iter().flatten();
        for (word, network) in name.chunks_exact_mut(size_of::<u32>()).skip(4).zip(networks) {
            let mut hasher = SipHasher13::new_with_key(secret);
            write(&mut hasher, &[&network]);
            word.iter_mut()
                .zip(hasher.finish().to_le_bytes())
                .for_each(|(byte, hashed)| *byte = hashed);
        }
        name
    }

    /// The values as a descriptor, for a Rate Limit Service. `plan` is the plan whose rate applies, if the limit has
    /// plans.
    pub(super) fn descriptor(&self, limit: &str, plan: Option<&str>) -> Descriptor {
        let entry = |key: &str, value| (key.to_owned(), value);
        let mut entries = vec![entry("limit", limit.to_owned())];
        entries.extend(plan.map(|plan| entry("plan", descriptor::value(&[plan.as_bytes()]))));
        entries.extend(self.issuer.map(|issuer| entry("issuer", descriptor::value(&[issuer]))));
        entries.extend(self.parts.iter().map(|(part, values)| {
            let value = match self.origin {
                Some(origin) if **part == KeyPart::Ip => origin.to_string(),
                _ => descriptor::value(values),
            };
            entry(&part.to_string(), value)
        }));
        entries
    }
}

/// The hash of a descriptor, for a table.
pub(super) fn name(descriptor: &Descriptor, secret: &[u8; 16]) -> Name {
    let mut hasher = SipHasher13::new_with_key(secret);
    for (key, value) in descriptor {
        write(&mut hasher, &[key.as_bytes(), value.as_bytes()]);
    }
    finish(&hasher)
}

impl KeyPart {
    /// Whether the part needs an identity.
    pub(super) fn is_of_identity(&self) -> bool {
        !matches!(self, Self::Ip | Self::Route | Self::Header(_))
    }

    /// A number for the part in the hash.
    fn number(&self) -> u8 {
        match self {
            Self::Ip => 0,
            Self::User => 1,
            Self::Tenant => 2,
            Self::ApiKey => 3,
            Self::Plan => 4,
            Self::Route => 5,
            Self::Header(_) => 6,
            Self::Claim(_) => 7,
        }
    }

    /// A request's values for the part; empty for the address, which is read only if needed.
    fn values<'a>(&self, route: &'a str, request: &'a Request) -> Vec<&'a [u8]> {
        let one = |value: Option<&'a str>| value.map(str::as_bytes).into_iter().collect();
        let identity = request.identity.as_ref();
        match self {
            Self::Ip => Vec::new(),
            Self::User => one(identity.map(|identity| identity.user_id.as_str())),
            Self::Tenant => one(identity.and_then(|identity| identity.tenant_id.as_deref())),
            Self::Plan => one(identity.and_then(|identity| identity.plan.as_deref())),
            Self::ApiKey => one(identity.and_then(|identity| identity.key_id.as_deref())),
            Self::Route => one(Some(route)),
            Self::Header(name) => request.header(name.as_str()).collect(),
            Self::Claim(name) => {
                let attributes = identity.into_iter().flat_map(|identity| &identity.attributes);
                let values = attributes.filter(|(own, _)| own == name).flat_map(|(_, values)| values);
                values.map(String::as_bytes).collect()
            }
        }
    }
}

/// Hashes values with their number and lengths, unambiguously.
fn write(hasher: &mut SipHasher13, values: &[&[u8]]) {
    hasher.write_usize(values.len());
    for value in values {
        hasher.write_usize(value.len());
        hasher.write(value);
    }
}

fn finish(hasher: &SipHasher13) -> Name {
    let hash = hasher.finish128().as_bytes();
    let mut name = Name::default();
    name.iter_mut()
        .zip(hash.iter().chain(&hash))
        .for_each(|(byte, &hashed)| *byte = hashed);
    name
}
