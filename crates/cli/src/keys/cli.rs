//! What can be typed after `tollgate keys`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use tollgate::config::values::Timestamp;
use tollgate_key_service::{Error, NewKey, Result, Rotation, SPAN, Span};

/// Make, change and serve API keys.
#[derive(Args)]
pub(crate) struct Keys {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where keys are kept, and how they are made.
#[derive(Args)]
pub(crate) struct Common {
    /// SQLite (`sqlite:FILE`) or PostgreSQL (`postgres://...`).
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "TOLLGATE_KEYS_DATABASE",
        hide_env_values = true
    )]
    #[arg(default_value = "sqlite:tollgate-keys.db")]
    pub(crate) database: String,
    /// The environment variable with a secret to hash keys with; the newest first.
    #[arg(
        long = "secret",
        global = true,
        value_name = "ID=NAME",
        env = "TOLLGATE_KEY_SECRETS",
        hide_env_values = true
    )]
    #[arg(default_value = "v1=TOLLGATE_KEY_SECRET", value_delimiter = ',')]
    pub(crate) secrets: Vec<String>,
    /// What new keys begin with.
    #[arg(long, global = true, env = "TOLLGATE_KEY_PREFIX", default_value = "tg")]
    pub(crate) prefix: String,
    /// Which gateways take new keys, such as `live` or `test`.
    #[arg(long, global = true, env = "TOLLGATE_KEY_ENVIRONMENT", default_value = "live")]
    pub(crate) environment: String,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve lookups, changes and administration over HTTP, and deliver events.
    Serve(Serve),
    /// Make a key. It is printed once.
    Create {
        #[command(flatten)]
        rights: Rights,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Replace a key by a new one with the same rights. It is printed once.
    Rotate {
        /// The id of the old key.
        id: String,
        /// How long the old key stays valid.
        #[arg(long, default_value = "24h", value_name = "SPAN")]
        overlap: String,
        #[command(flatten)]
        end: End,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// End a key at once, for good.
    Revoke {
        /// The id of the key.
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show keys.
    List {
        /// Only this user's.
        #[arg(long)]
        user: Option<String>,
        /// Only this tenant's.
        #[arg(long)]
        tenant: Option<String>,
        /// Revoked and expired ones too.
        #[arg(long)]
        all: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take in a key that was minted elsewhere.
    Import {
        /// Its hash, as `v1:` and 64 hexadecimal digits.
        #[arg(long, required_unless_present = "stdin", conflicts_with = "stdin")]
        hash: Option<String>,
        /// Read the key itself from standard input; only its hash is stored.
        #[arg(long)]
        stdin: bool,
        /// Its public name; a key of our own format has one already.
        #[arg(long)]
        id: Option<String>,
        #[command(flatten)]
        rights: Rights,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what happened.
    Events {
        /// Go on until interrupted.
        #[arg(long)]
        follow: bool,
    },
}

/// What the service needs.
#[derive(Args)]
pub(crate) struct Serve {
    /// Where to listen.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "TOLLGATE_KEYS_LISTEN",
        default_value = "127.0.0.1:8090"
    )]
    pub(crate) listen: String,
    /// Where to send events to, as CloudEvents.
    #[arg(long, value_name = "URL", env = "TOLLGATE_KEYS_WEBHOOK", hide_env_values = true)]
    pub(crate) webhook: Option<String>,
}

/// Whose a key is, and what they may do.
#[derive(Args)]
pub(crate) struct Rights {
    /// The user whose key it is.
    #[arg(long)]
    user: String,
    /// The tenant that the user belongs to.
    #[arg(long)]
    tenant: Option<String>,
    /// What operators call it.
    #[arg(long)]
    name: Option<String>,
    /// A role of its holder; repeat it for more.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A scope that it grants; repeat it for more.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// The plan that its holder is on.
    #[arg(long)]
    plan: Option<String>,
    /// A further identity header; repeat it for more.
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    attributes: Vec<String>,
    /// From when on it is valid, as 2027-01-01T00:00:00Z.
    #[arg(long, value_name = "MOMENT")]
    not_before: Option<String>,
    #[command(flatten)]
    end: End,
}

/// When a key ends.
#[derive(Args)]
pub(crate) struct End {
    /// When it ends, as 2027-01-01T00:00:00Z.
    #[arg(long, value_name = "MOMENT", conflicts_with = "lifetime")]
    expires: Option<String>,
    /// How long it is valid from now, as 90d.
    #[arg(long, value_name = "SPAN")]
    lifetime: Option<String>,
}

impl Rights {
    /// The key that was asked for.
    pub(crate) fn read(self) -> Result<NewKey> {
        let mut attributes = BTreeMap::<_, Vec<_>>::new();
        for attribute in self.attributes {
            let (name, value) = attribute
                .split_once('=')
                .ok_or_else(|| Error::invalid("--attribute takes NAME=VALUE"))?;
            attributes.entry(name.to_owned()).or_default().push(value.to_owned());
        }
        let (expires_at, lifetime) = self.end.read()?;
        Ok(NewKey {
            id: None,
            hash: None,
            name: self.name,
            user_id: self.user,
            tenant_id: self.tenant,
            roles: self.roles,
            scopes: self.scopes,
            plan: self.plan,
            attributes,
            not_before: moment("--not-before", self.not_before)?,
            expires_at,
            lifetime,
        })
    }
}

impl End {
    fn read(self) -> Result<(Option<Timestamp>, Option<Span>)> {
        let lifetime = self.lifetime.map(|text| span("--lifetime", &text)).transpose()?;
        Ok((moment("--expires", self.expires)?, lifetime))
    }

    /// The rotation that was asked for.
    pub(crate) fn rotation(self, overlap: &str) -> Result<Rotation> {
        let (expires_at, lifetime) = self.read()?;
        Ok(Rotation {
            overlap: Some(span("--overlap", overlap)?),
            expires_at,
            lifetime,
        })
    }
}

fn moment(option: &str, text: Option<String>) -> Result<Option<Timestamp>> {
    text.map(|text| {
        Timestamp::parse(&text)
            .ok_or_else(|| Error::Invalid(format!("{option} is not a moment such as `2027-01-01T00:00:00Z`")))
    })
    .transpose()
}

fn span(option: &str, text: &str) -> Result<Span> {
    Span::parse(text).ok_or_else(|| Error::Invalid(format!("{option}: {SPAN}")))
}
