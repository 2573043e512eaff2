//! Verification of the tokens that one route accepts.

use std::rc::Rc;
use std::sync::Arc;

use super::cache::{Hashed, Known, TokenCache, Verdict};
use super::issuer::Issuer;
use crate::auth::credential::Source;
use crate::auth::jose::Jws;
use crate::json;
use crate::policy::verdict::{Failure, Verified};
use crate::seam::{Context, Local};

/// The accepted issuers of one route.
#[derive(Debug)]
pub struct Accept {
    realm: Arc<str>,
    /// Maximum length of a token, in bytes.
    max_token: usize,
    issuers: Vec<Arc<Issuer>>,
    /// The route's audiences, of which a token must name one too; empty for none.
    audiences: Vec<String>,
    sources: Vec<Source>,
    cache: Arc<Local<TokenCache>>,
}

impl Accept {
    pub(super) fn new(
        realm: Arc<str>,
        max_token: usize,
        issuers: Vec<Arc<Issuer>>,
        audiences: Vec<String>,
        cache: Arc<Local<TokenCache>>,
    ) -> Self {
        let mut sources = Vec::new();
        for source in issuers.iter().flat_map(|issuer| &issuer.from) {
            if !sources.contains(source) {
                sources.push(source.clone());
            }
        }
        Self {
            realm,
            max_token,
            issuers,
            audiences,
            sources,
            cache,
        }
    }

    /// The credential sources for tokens.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Verifies a token by its issuer, which must be accepted here and use this source. A cached token needs no
    /// signature check; everything that can change is checked every time.
    pub fn verify(&self, token: &[u8], source: &Source, may_wait: bool, cx: &Context<'_>) -> Result<Verified, Failure> {
        let now = cx.wall_seconds();
        let cache = cx.local(&self.cache);
        let hashed = cache.hashed(token);
        let known = match cache.find(hashed, now) {
            Some(Verdict::Known(known)) => {
                self.accepted(|issuer| Arc::ptr_eq(issuer, &known.issuer), source)?;
                let keys = known.issuer.keys.current(may_wait, cx)?;
                keys.contains(&known.key).then_some(known)
            }
            Some(Verdict::Refused(invalid)) => return Err(invalid.into()),
            None => None,
        };
        let known = match known {
            Some(known) => known,
            None => {
                let known = Rc::new(self.learn(&cache, hashed, source, may_wait, cx)?);
                cache.know(hashed, &known);
                known
            }
        };
        known.issuer.claims.check(&known.claims, now)?;
        if !self.audiences.is_empty() && !known.claims.names_audience(&self.audiences) {
            return Err("audience_not_of_route".into());
        }
        Ok(Verified {
            subject: Arc::clone(&known.subject),
            forward: known.issuer.forward_token,
            payload: known.issuer.payload_header.clone().zip(known.payload.clone()),
        })
    }

    /// Verifies what does not change about a token: its signature and its claims.
    fn learn(
        &self,
        cache: &TokenCache,
        hashed: Hashed<'_>,
        source: &Source,
        may_wait: bool,
        cx: &Context<'_>,
    ) -> Result<Known, Failure> {
        if hashed.token.len() > self.max_token {
            return Err("too_long".into());
        }
        let jws = Jws::parse(hashed.token)?;
        let Ok(serde_json::Value::Object(claims)) = json::parse(&jws.payload) else {
            return Err("payload_not_an_object".into());
        };
        let name = claims
            .get("iss")
            .and_then(serde_json::Value::as_str)
            .ok_or("issuer_missing")?;
        let issuer = self.accepted(|issuer| issuer.issuer == name, source)?;
        let key = issuer.verify_signature(&jws, may_wait, cx)?;
        let Some(key) = key else {
            cache.refuse(hashed, SIGNATURE_MISMATCH.into(), cx.wall_seconds());
            return Err(SIGNATURE_MISMATCH.into());
        };
        issuer.read(&claims, &jws, key).map_err(|invalid| {
            cache.refuse(hashed, invalid.clone(), cx.wall_seconds());
            invalid.into()
        })
    }

    fn accepted(&self, is_meant: impl Fn(&Arc<Issuer>) -> bool, source: &Source) -> Result<&Arc<Issuer>, &'static str> {
        let mut issuers = self.issuers.iter();
        issuers
            .find(|issuer| is_meant(issuer) && issuer.from.contains(source))
            .ok_or("issuer_not_accepted")
    }

    /// The value of `WWW-Authenticate` (RFC 6750 section 3), without `error` if no token was sent.
    pub fn challenge(&self, error: Option<&str>) -> String {
        let realm = &self.realm;
        match error {
            None => format!("Bearer realm=\"{realm}\""),
            Some(error) => format!("Bearer realm=\"{realm}\", error=\"{error}\""),
        }
    }
}

const SIGNATURE_MISMATCH: &str = "signature_mismatch";

#[cfg(test)]
mod tests;
