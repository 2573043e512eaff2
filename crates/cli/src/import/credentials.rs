//! Who may come in: consumers with their credentials become issuers of tokens and API keys.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use p256::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use tollgate::auth::api_key::{Format, Secrets};

use super::access::Methods;
use super::kong::{Consumer, Kong};
use super::members;
use super::names::Names;
use super::node::{META, given, has_placeholder, leave, list, plain, text};
use super::tree::{Tree, tree};
use crate::finding::Findings;
use crate::yaml::{Node, Place};

/// The credentials of a decK file, as Tollgate has them.
#[derive(Default)]
pub(super) struct Credentials {
    pub(super) issuers: Vec<Tree>,
    pub(super) keys: Vec<Tree>,
    /// Environment variables with their values, which stand in no configuration.
    pub(super) secrets: Vec<(String, String)>,
    variables: Names,
}

/// The environment variable of the secret that API keys are hashed with.
pub(super) const KEY_SECRET: &str = "TOLLGATE_KEY_SECRET";

/// What is read of a consumer.
const CARRIED: [&str; 7] = [
    "username",
    "custom_id",
    "groups",
    members::JOINED,
    "jwt_secrets",
    "keyauth_credentials",
    "plugins",
];

impl Credentials {
    /// `own` are the operator's issuers; the secret, with which API keys are hashed, comes as text and ready to hash with.
    pub(super) fn gather(
        kong: &Kong<'_>,
        methods: &Methods<'_>,
        own: Vec<Tree>,
        (key_secret, secrets): &(String, Secrets),
        findings: &mut Findings,
    ) -> Self {
        let mut credentials = Self {
            issuers: unrestricted(own, methods, findings),
            ..Self::default()
        };
        let mut names = Names::default();
        for issuer in &credentials.issuers {
            names.one_of_its_own(issuer.get("name").and_then(Tree::text).unwrap_or_default());
        }
        for consumer in &kong.consumers {
            leave(consumer.node, &CARRIED, META, findings);
            if methods.shut_out.contains(&consumer.name) {
                continue;
            }
            for credential in list(consumer.node, "jwt_secrets")
                .iter()
                .filter(|node| !has_placeholder(node))
            {
                let name = names.one_of_its_own(&consumer.name);
                credentials.token(credential, consumer, name, methods, findings);
            }
            for (index, credential) in list(consumer.node, "keyauth_credentials").iter().enumerate() {
                if has_placeholder(credential) {
                    continue;
                }
                credentials.key(credential, consumer, index, secrets, findings);
            }
        }
        if !credentials.keys.is_empty() || methods.key.is_some() {
            credentials.secrets.push((KEY_SECRET.into(), key_secret.clone()));
        }
        if let Some(place) = methods.jwt.filter(|_| credentials.issuers.is_empty()) {
            credentials.issuers.push(placeholder());
            findings.error(
                place,
                "has no consumer whose tokens it could verify: the issuer `replace-me` of the base file is a placeholder, under which \
                 every token is refused. Give yours with `--issuer FILE`, or replace it",
            );
        }
        credentials.complete_issuers(methods);
        credentials
    }

    /// What Kong's plugins say of all tokens, where an issuer does not say it itself.
    fn complete_issuers(&mut self, methods: &Methods<'_>) {
        for issuer in &mut self.issuers {
            let longest = methods.longest.filter(|_| issuer.get("max_lifetime").is_none());
            issuer.put_some("max_lifetime", longest.map(|seconds| format!("{seconds}s")));
            if issuer.get("from").is_none() && !methods.token_sources.is_empty() {
                issuer.put("from", methods.token_sources.clone());
            }
        }
    }

    /// A secret or public key that tokens are signed with. To Kong, whoever has it is the consumer.
    fn token(
        &mut self,
        node: &Node,
        consumer: &Consumer<'_>,
        name: String,
        methods: &Methods<'_>,
        findings: &mut Findings,
    ) {
        leave(node, &["key", "algorithm", "secret", "rsa_public_key"], META, findings);
        let Some(issuer) = text(node, "key") else {
            findings.error(
                &node.place,
                "has no `key`, which Kong then makes up: say what `iss` of its tokens is",
            );
            return;
        };
        let algorithm = text(node, "algorithm").unwrap_or("HS256");
        let jwks = if algorithm.starts_with("HS") {
            self.shared_secret(node, &name, algorithm, methods, findings)
        } else {
            let pem = given(node, "rsa_public_key");
            let jwk = pem.and_then(|pem| Some((pem, pem.text()?)));
            match jwk.map(|(pem, text)| jwk_of(text).map_err(|()| pem)) {
                Some(Ok(jwk)) => Some(tree! { "inline": tree! { "keys": [jwk] } }),
                Some(Err(pem)) => left(&pem.place, "is no public key in PEM that can be used", findings),
                None => left(&node.place, "has no `rsa_public_key`", findings),
            }
        };
        let Some(jwks) = jwks else { return };
        let mut audiences = methods.audiences.clone();
        if audiences.is_empty() {
            audiences.push("replace-me".into());
            findings.error(
                &node.place,
                "says nothing of `aud`: `replace-me` stands where the base file says which audiences tokens must name; give yours with \
                 `--audience NAME`, or replace it",
            );
        }
        let mut issuer = tree! {
            "name": name,
            "issuer": issuer,
            "audiences": audiences,
            "algorithms": [algorithm],
            "jwks": jwks,
            "claims": tree! { "user_id": "iss" },
            "tenant": tree! { "fixed": &consumer.name },
        };
        issuer.put_some(
            "plan",
            consumer.membership.groups.first().map(|group| tree! { "fixed": group }),
        );
        self.issuers.push(issuer);
    }

    fn shared_secret(
        &mut self,
        node: &Node,
        name: &str,
        algorithm: &str,
        methods: &Methods<'_>,
        findings: &mut Findings,
    ) -> Option<Tree> {
        let Some((place, written)) = given(node, "secret").and_then(|secret| Some((&secret.place, secret.text()?)))
        else {
            return left(
                &node.place,
                "has no `secret`, which Kong then makes up: it is only in Kong's database",
                findings,
            );
        };
        let secret = if methods.secrets_are_base64 {
            STANDARD
                .decode(written)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
        } else {
            Some(written.to_owned())
        };
        let Some(secret) = secret.filter(|secret| !secret.chars().any(char::is_control)) else {
            return left(
                place,
                "is no text, so it cannot be an environment variable: give the consumer another",
                findings,
            );
        };
        let least = algorithm
            .get(2..)
            .and_then(|bits| bits.parse::<usize>().ok())
            .unwrap_or(512)
            / 8;
        if secret.len() < least {
            let message = format!(
                "has {} bytes; {algorithm} needs {least} (RFC 7518 section 3.2): give the consumer another",
                secret.len()
            );
            return left(place, &message, findings);
        }
        // Names that differ by case or by a dash are one to an environment.
        let variable = self
            .variables
            .one_of_its_own(&format!("KONG_JWT_{}", name.to_uppercase().replace('-', "_")));
        let variable = variable.replace('-', "_");
        let tree = tree! { "secrets": [tree! { "env": &variable }] };
        self.secrets.push((variable, secret));
        Some(tree)
    }

    /// An API key, of which only the hash is kept.
    fn key(&mut self, node: &Node, consumer: &Consumer<'_>, index: usize, secrets: &Secrets, findings: &mut Findings) {
        leave(node, &["key"], META, findings);
        let Some((place, key)) = given(node, "key").and_then(|key| Some((&key.place, key.text()?))) else {
            findings.error(
                &node.place,
                "has no `key`, which Kong then makes up: it is only in Kong's database",
            );
            return;
        };
        // What the plugin takes with `opaque`.
        if !Format::new("tg", "live", true).is_ok_and(|format| format.read(key.as_bytes()).is_ok()) {
            findings.error(
                place,
                "is left out: keys are 16 to 256 printable characters without commas; give the consumer another",
            );
            return;
        }
        let Some(hash) = secrets.newest(key.as_bytes()) else {
            return;
        };
        let name = plain(&consumer.name);
        let mut record = tree! {
            "id": format!("{name}-{}", index.saturating_add(1)),
            "hash": hash.to_string(),
            "user_id": &consumer.name,
            "tenant_id": &consumer.name,
        };
        record.put_some("plan", consumer.membership.groups.first());
        let attributes = [
            ("consumer_id", text(consumer.node, "id").map(|id| vec![id.to_owned()])),
            (
                "custom_id",
                text(consumer.node, "custom_id").map(|id| vec![id.to_owned()]),
            ),
            (
                "groups",
                Some(consumer.membership.groups.clone()).filter(|groups| !groups.is_empty()),
            ),
            ("credential", text(node, "id").map(|id| vec![id.to_owned()])),
        ];
        let attributes = attributes
            .into_iter()
            .filter_map(|(name, values)| Some((name.to_owned(), Tree::from(values?))));
        record.put_full("attributes", Tree::Map(attributes.collect()));
        self.keys.push(record);
    }
}

/// The issuers of an operator's file: one, a list, or as `jwt.issuers` has them. Where such an issuer says nothing of tenants, whoever
/// its token is about is the consumer.
pub(super) fn own_issuers(document: &Node, findings: &mut Findings) -> Vec<Tree> {
    let nodes = match document.select("jwt.issuers[]") {
        found if !found.is_empty() => found,
        _ if document.get("issuer").is_some() => vec![document],
        _ => document.items().iter().collect(),
    };
    if nodes.is_empty() {
        findings.error(
            &document.place,
            "is no issuer: it is a map with `name`, `issuer`, `audiences`, `algorithms` and `jwks`, or a list of such maps",
        );
    }
    let mut issuers = Vec::new();
    for node in nodes {
        let mut issuer = Tree::from(node);
        if node.get("tenant").is_none() && node.select("claims.tenant_id").is_empty() {
            let subject = node
                .select("claims.user_id")
                .first()
                .map_or_else(|| "sub".into(), |path| Tree::from(*path));
            issuer.put_below("claims", "tenant_id", subject);
        }
        issuers.push(issuer);
    }
    issuers
}

/// The operator's issuers, or none where Kong restricts consumers by what is not carried over: any of the tokens may be such a consumer's.
fn unrestricted(own: Vec<Tree>, methods: &Methods<'_>, findings: &mut Findings) -> Vec<Tree> {
    let Some(plugin) = methods.restriction.filter(|_| !own.is_empty()) else {
        return own;
    };
    findings.error(
        &plugin.node.place,
        format!(
            "the plugin `{}` restricts consumers whose tokens may be of the issuers of `--issuer`, which are left out therefore: take the plugin \
             out of the file, if those consumers may do what the others may",
            plugin.name
        ),
    );
    Vec::new()
}

/// An issuer under which no token is good.
fn placeholder() -> Tree {
    tree! {
        "name": "replace-me",
        "issuer": "https://replace-me.example",
        "audiences": ["replace-me"],
        "algorithms": ["RS256"],
        "jwks": tree! { "remote": tree! { "cluster": "replace-me", "discovery": true } },
        "claims": tree! { "tenant_id": "sub" },
    }
}

/// A public key as a JWK (RFC 7518 section 6, RFC 8037 section 2).
fn jwk_of(pem: &str) -> Result<Tree, ()> {
    let body: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .flat_map(|line| line.trim().chars())
        .collect();
    let der = STANDARD.decode(body).map_err(drop)?;
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    if let Ok(key) = rsa::PublicKey::from_public_key_der(&der) {
        let (n, e) = (
            key.n().to_be_bytes_trimmed_vartime(),
            key.e().to_be_bytes_trimmed_vartime(),
        );
        return Ok(tree! { "kty": "RSA", "n": encode(&n), "e": encode(&e) });
    }
    if let Ok(key) = ed25519_compact::PublicKey::from_der(&der) {
        return Ok(tree! { "kty": "OKP", "crv": "Ed25519", "x": encode(&*key) });
    }
    macro_rules! curve {
        ($curve:ident, $name:literal) => {
            if let Ok(key) = $curve::PublicKey::from_public_key_der(&der) {
                let point = $curve::elliptic_curve::sec1::ToSec1Point::to_sec1_point(&key, false);
                if let (Some(x), Some(y)) = (point.x(), point.y()) {
                    return Ok(tree! { "kty": "EC", "crv": $name, "x": encode(x), "y": encode(y) });
                }
            }
        };
    }
    curve!(p256, "P-256");
    curve!(p384, "P-384");
    curve!(p521, "P-521");
    Err(())
}

fn left<T>(place: &Place, message: &str, findings: &mut Findings) -> Option<T> {
    findings.error(place, format!("is left out: it {message}"));
    None
}
