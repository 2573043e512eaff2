//! The issuers of a configuration, by name.

use std::sync::Arc;

use super::JwtConfig;
use super::accept::Accept;
use super::cache::TokenCache;
use super::issuer::Issuer;
use crate::auth::credential::Source;
use crate::auth::jwks::RemoteKeys;
use crate::config::values::{HeaderName, is_realm};
use crate::config::{Environment, Report};
use crate::seam::Local;

/// All issuers of a configuration.
#[derive(Debug)]
pub struct Issuers {
    realm: Arc<str>,
    max_token: usize,
    all: Vec<Arc<Issuer>>,
    /// The worker's cache, which all routes share: a token is verified once.
    cache: Arc<Local<TokenCache>>,
}

impl Issuers {
    /// Compiles a `jwt` section.
    pub fn compile(config: &JwtConfig, environment: &Environment, report: &mut Report) -> Self {
        if !is_realm(&config.realm) {
            report.error_at("realm", "must be printable ASCII without quotes");
        }
        let bounds = [
            ("max_token", config.max_token, LONGEST_TOKEN),
            ("max_claim", config.max_claim, LONGEST_CLAIM),
        ];
        for (key, bytes, most) in bounds {
            if !(LEAST_BYTES..=most).contains(&bytes) {
                report.error_at(key, format!("must be from {LEAST_BYTES} to {most} bytes"));
            }
        }
        if config.issuers.is_empty() {
            report.error_at("issuers", "is empty; name at least one issuer, or leave `jwt` out");
        }
        let mut all: Vec<Arc<Issuer>> = Vec::new();
        for (index, issuer) in config.issuers.iter().enumerate() {
            let issuer = report.within(format!("issuers[{index}]"), |report| {
                if all.iter().any(|other| other.name == issuer.name) {
                    report.error_at("name", format!("\"{}\" is there twice", issuer.name));
                }
                if all.iter().any(|other| other.issuer == issuer.issuer) {
                    report.error_at(
                        "issuer",
                        format!("\"{}\" is there twice; its tokens would be ambiguous", issuer.issuer),
                    );
                }
                Issuer::compile(issuer, size(config.max_claim), environment, report)
            });
            all.push(Arc::new(issuer));
        }
        let bytes = size(config.cache_bytes);
        let cache = Arc::new(Local::new(move || TokenCache::new(bytes)));
        Self {
            max_token: size(config.max_token),
            realm: config.realm.as_str().into(),
            all,
            cache,
        }
    }

    /// The issuers that a route names, or the only one.
    pub fn accept(&self, names: Option<&[String]>, audiences: &[String], report: &mut Report) -> Option<Accept> {
        let issuers = match names {
            None if self.all.len() > 1 => {
                report.error(format!(
                    "`jwt` means one of {} issuers; say which: `{{ jwt: [{}] }}`",
                    self.all.len(),
                    self.names()
                ));
                return None;
            }
            None => self.all.clone(),
            Some(names) => {
                if names.is_empty() {
                    report.error_at("jwt", "is empty; name at least one issuer");
                }
                let find = |(index, name): (usize, &String)| {
                    let found = self.all.iter().find(|issuer| issuer.name == *name);
                    if found.is_none() {
                        report.error_at(
                            format!("jwt[{index}]"),
                            format!("no issuer is called \"{name}\"; there is {}", self.names()),
                        );
                    }
                    found.cloned()
                };
                names.iter().enumerate().filter_map(find).collect()
            }
        };
        Some(Accept::new(
            Arc::clone(&self.realm),
            self.max_token,
            issuers,
            audiences.to_vec(),
            Arc::clone(&self.cache),
        ))
    }

    /// Whether an issuer's tokens are forwarded to upstreams.
    pub fn forward_tokens(&self) -> bool {
        self.all.iter().any(|issuer| issuer.forward_token)
    }

    /// The keys of all issuers that publish them.
    pub fn remote_keys(&self) -> impl Iterator<Item = &Arc<RemoteKeys>> {
        self.all.iter().filter_map(|issuer| issuer.remote_keys())
    }

    /// Every credential source for tokens, with the path of its setting.
    pub fn sources(&self) -> impl Iterator<Item = (String, &Source)> {
        self.all.iter().enumerate().flat_map(|(index, issuer)| {
            let sources = issuer.from.iter().enumerate();
            sources.map(move |(place, source)| (format!("jwt.issuers[{index}].from[{place}]"), source))
        })
    }

    /// Every header for payloads, with the path of its setting.
    pub fn payload_headers(config: &JwtConfig) -> impl Iterator<Item = (String, &HeaderName)> {
        let issuers = config.issuers.iter().enumerate();
        issuers.filter_map(|(index, issuer)| {
            let name = issuer.payload_header.as_ref()?;
            Some((format!("jwt.issuers[{index}].payload_header"), name))
        })
    }

    /// Every attribute that a token fills, with the path of its setting.
    pub fn attributes(config: &JwtConfig) -> impl Iterator<Item = (String, &str)> {
        config.issuers.iter().enumerate().flat_map(|(index, issuer)| {
            let names = issuer.claims.attributes.keys();
            names.map(move |name| (format!("jwt.issuers[{index}].claims.attributes.{name}"), name.as_str()))
        })
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.all.iter().map(|issuer| issuer.name.as_str()).collect();
        names.join(", ")
    }
}

fn size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The smallest limits for tokens and claims, in bytes.
const LEAST_BYTES: u32 = 256;

/// In bytes. Envoy accepts at most 8192 KiB of headers.
const LONGEST_TOKEN: u32 = 1 << 20;

/// In bytes. Most servers refuse longer headers.
const LONGEST_CLAIM: u32 = 1 << 16;
