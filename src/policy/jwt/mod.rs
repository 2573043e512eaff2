//! JSON Web Tokens: which issuers are trusted, and what becomes of their claims.

mod issuer;
mod subject;

use std::rc::Rc;

use serde::Deserialize;

use crate::config::values::{self, Duration};
use crate::config::{Environment, Report};
use crate::credential::Source;
use crate::identity::Subject;
use crate::jose::{Algorithm, Jws, json};
use crate::keys::{RemoteConfig, RemoteKeys};
use crate::world::World;

use issuer::Issuer;
pub use subject::{ClaimPath, ClaimsConfig, TenantConfig};

/// Token issuers and how their tokens are checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct JwtConfig {
    /// The realm in `WWW-Authenticate`. Default `tollgate`.
    #[serde(default = "default_realm")]
    pub realm: String,
    /// The trusted issuers.
    pub issuers: Vec<IssuerConfig>,
}

/// A trusted issuer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct IssuerConfig {
    /// What routes call it.
    pub name: String,
    /// The value of `iss`, compared exactly.
    pub issuer: String,
    /// `aud` must name one of them, exactly.
    pub audiences: Vec<String>,
    /// The algorithms that its tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys come from.
    pub jwks: JwksConfig,
    /// Where in a request its tokens are. Default `Authorization: Bearer`.
    #[serde(default = "default_from")]
    pub from: Vec<Source>,
    /// Which claims say who the caller is.
    #[serde(default)]
    pub claims: ClaimsConfig,
    /// How far clocks may differ. Default `60s`.
    #[serde(default = "default_leeway")]
    pub leeway: Duration,
    /// Accepted values of the header's `typ`, compared without case; a token without `typ` passes. Default `[JWT, at+jwt]`.
    #[serde(default = "default_typ")]
    pub typ: Vec<String>,
    /// Claims that must be there. Default `[exp]`.
    #[serde(default = "default_require")]
    pub require: Vec<String>,
    /// How long a token may still live; no bound where absent.
    #[serde(default, deserialize_with = "values::present")]
    pub max_lifetime: Option<Duration>,
    /// Ties the issuer to its tenants; any tenant where absent.
    #[serde(default, deserialize_with = "values::present")]
    pub tenant: Option<TenantConfig>,
    /// Whether upstreams see the token. Default `false`.
    #[serde(default)]
    pub forward_token: bool,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum JwksConfig {
    /// A JWK set (RFC 7517 section 5) of public keys, as it is: `{ keys: [...] }`.
    Inline(
        #[serde(deserialize_with = "json::strict")]
        #[cfg_attr(
            not(target_arch = "wasm32"),
            schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")
        )]
        serde_json::Value,
    ),
    /// A URL where the issuer publishes its keys.
    Remote(RemoteConfig),
    /// Shared secrets for HS256, HS384 and HS512, from the VM's environment.
    Secrets(Vec<SecretConfig>),
}

/// A shared secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct SecretConfig {
    /// The environment variable that holds it. The variable's bytes are the key, at least as many as the hash has.
    pub env: String,
    /// The `kid` of tokens signed with it; without one it is tried for every token.
    #[serde(default)]
    pub kid: Option<String>,
}

/// All issuers of a configuration.
#[derive(Debug)]
pub struct Issuers {
    realm: Rc<str>,
    all: Vec<Rc<Issuer>>,
}

/// The issuers that one route accepts.
#[derive(Debug)]
pub struct Accept {
    realm: Rc<str>,
    issuers: Vec<Rc<Issuer>>,
    sources: Vec<Source>,
}

/// A token that passed every check.
#[derive(Debug)]
pub struct Verified {
    /// What it says of its holder.
    pub subject: Subject,
    /// Whether upstreams may see it.
    pub forward_token: bool,
}

/// Why a token does not pass.
#[derive(Debug)]
pub enum Failure {
    /// It is not acceptable; the reason, for the log and a metric.
    Invalid(&'static str),
    /// It may be, once these keys are there.
    Wait(Rc<RemoteKeys>),
    /// Its issuer's keys cannot be had; worth another try in this many seconds.
    KeysUnavailable(u64),
}

impl From<&'static str> for Failure {
    fn from(reason: &'static str) -> Self {
        Self::Invalid(reason)
    }
}

// === impl Issuers ===

impl Issuers {
    /// Checks a `jwt` section.
    pub fn compile(config: &JwtConfig, environment: &Environment, report: &mut Report) -> Self {
        if config.realm.is_empty()
            || !config
                .realm
                .bytes()
                .all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\')
        {
            report.error_at("realm", "must be printable ASCII without quotes");
        }
        if config.issuers.is_empty() {
            report.error_at("issuers", "is empty; name at least one issuer, or leave `jwt` out");
        }
        let mut all: Vec<Rc<Issuer>> = Vec::new();
        for (index, issuer) in config.issuers.iter().enumerate() {
            let issuer = report.within(format!("issuers[{index}]"), |report| {
                if all.iter().any(|other| other.name == issuer.name) {
                    report.error_at("name", format!("\"{}\" is there twice", issuer.name));
                }
                if all.iter().any(|other| other.issuer == issuer.issuer) {
                    report.error_at(
                        "issuer",
                        format!("\"{}\" is there twice; a token could not be told apart", issuer.issuer),
                    );
                }
                Issuer::compile(issuer, environment, report)
            });
            all.push(Rc::new(issuer));
        }
        Self {
            realm: config.realm.as_str().into(),
            all,
        }
    }

    /// The issuers that a route names, or the only one there is.
    pub fn accept(&self, names: Option<&[String]>, report: &mut Report) -> Option<Accept> {
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
        let mut sources = Vec::new();
        for source in issuers.iter().flat_map(|issuer| &issuer.from) {
            if !sources.contains(source) {
                sources.push(source.clone());
            }
        }
        Some(Accept {
            realm: Rc::clone(&self.realm),
            issuers,
            sources,
        })
    }

    /// The keys that are to be fetched.
    pub fn remote_keys(&self) -> impl Iterator<Item = &Rc<RemoteKeys>> {
        self.all.iter().filter_map(|issuer| issuer.remote_keys())
    }

    /// Every place where a token is looked for, and the path of the setting that names it.
    pub fn sources(&self) -> impl Iterator<Item = (String, &Source)> {
        self.all.iter().enumerate().flat_map(|(index, issuer)| {
            let sources = issuer.from.iter().enumerate();
            sources.map(move |(place, source)| (format!("jwt.issuers[{index}].from[{place}]"), source))
        })
    }

    /// Every attribute that a token fills, and the path of the setting that names it.
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

// === impl Accept ===

impl Accept {
    /// Where tokens are looked for.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Checks a token. The issuer that it names, among those accepted here and looked for in this place, says how.
    pub fn verify(
        &self,
        token: &[u8],
        source: &Source,
        may_wait: bool,
        world: &dyn World,
    ) -> Result<Verified, Failure> {
        let jws = Jws::parse(token)?;
        let Ok(serde_json::Value::Object(claims)) = json::parse(&jws.payload) else {
            return Err("payload_not_an_object".into());
        };
        let name = claims
            .get("iss")
            .and_then(serde_json::Value::as_str)
            .ok_or("issuer_missing")?;
        let issuer = self
            .issuers
            .iter()
            .find(|issuer| issuer.issuer == name && issuer.from.contains(source))
            .ok_or("issuer_not_accepted")?;
        let subject = issuer.verify(&jws, &claims, may_wait, world)?;
        Ok(Verified {
            subject,
            forward_token: issuer.forward_token,
        })
    }

    /// The value of `WWW-Authenticate` (RFC 6750 section 3): no `error` where no token was sent.
    pub fn challenge(&self, error: Option<&str>) -> String {
        let realm = &self.realm;
        match error {
            None => format!("Bearer realm=\"{realm}\""),
            Some(error) => format!("Bearer realm=\"{realm}\", error=\"{error}\""),
        }
    }
}

// === defaults ===

fn default_realm() -> String {
    "tollgate".into()
}

fn default_from() -> Vec<Source> {
    vec![Source::bearer()]
}

fn default_leeway() -> Duration {
    Duration::from_secs(60)
}

fn default_typ() -> Vec<String> {
    vec!["JWT".into(), "at+jwt".into()]
}

fn default_require() -> Vec<String> {
    vec!["exp".into()]
}
