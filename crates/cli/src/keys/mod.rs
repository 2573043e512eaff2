//! `tollgate keys`: what was typed becomes what the key service does, and what came of it is printed.

pub(crate) mod cli;
mod settings;
mod show;

use std::io::Read as _;
use std::time::Duration;

use cli::{Command, Common, Keys, Serve};
use serde::Serialize;
use tollgate_key_service::{
    Error, Filter, Made, NewKey, Registry, Result, Shown, Store, StoredKey, Tokens, Webhook, now, revoke, serve,
};

/// Does what was typed.
pub(crate) fn run(keys: Keys) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::failed("the runtime does not start", error))?;
    runtime.block_on(dispatch(keys))
}

async fn dispatch(Keys { common, command }: Keys) -> Result<()> {
    match command {
        Command::Serve(Serve { listen, webhook }) => {
            let tokens = Tokens::from_environment(|name| std::env::var(name).ok())?;
            let webhook = webhook.as_deref().map(Webhook::new).transpose()?;
            serve(&listen, tokens, registry(&common).await?, webhook).await
        }
        Command::Create { rights, json } => {
            let new = rights.read()?;
            let made = registry(&common).await?.create(new).await?;
            show_made(&made, json)
        }
        Command::Rotate { id, overlap, end, json } => {
            let rotation = end.rotation(&overlap)?;
            let made = registry(&common).await?.rotate(&id, rotation).await?;
            show_made(&made, json)
        }
        Command::Revoke { id, json } => revoke_key(&common, &id, json).await,
        Command::List {
            user,
            tenant,
            all,
            json,
        } => {
            let store = Store::open(&common.database).await?;
            list(&store, user, tenant, all, json).await
        }
        Command::Import {
            hash,
            stdin,
            id,
            rights,
            json,
        } => {
            let mut new = rights.read()?;
            new.id = id;
            let hash = (!stdin).then(|| hash.unwrap_or_default());
            import(&common, new, hash.as_deref(), json).await
        }
        Command::Events { follow } => {
            let store = Store::open(&common.database).await?;
            events(&store, follow).await
        }
    }
}

async fn revoke_key(common: &Common, id: &str, json: bool) -> Result<()> {
    let store = Store::open(&common.database).await?;
    let (key, at_once) = revoke(&store, id).await?;
    if json {
        return show_json(&key.view(now()));
    }
    let id = &key.record.id;
    match key.revoked_at {
        Some(at) if !at_once => show::line(&format!("the key {id} was already revoked at {at}")),
        _ => show::line(&format!("the key {id} is revoked")),
    }
}

/// Takes a key in by its hash. Where none is given, the key itself comes from standard input.
async fn import(common: &Common, mut new: NewKey, hash: Option<&str>, json: bool) -> Result<()> {
    let registry = registry(common).await?;
    match hash {
        None => read_key(common, &registry, &mut new)?,
        Some(hash) => {
            let hash = hash.parse();
            new.hash = Some(hash.map_err(|problem| Error::Invalid(format!("--hash: {problem}")))?);
        }
    }
    if new.id.is_none() {
        return Err(Error::invalid(
            "--id is missing: the name by which logs and upstreams know the key",
        ));
    }
    let key = registry.import(new).await?;
    if json {
        show_json(&key.view(now()))
    } else {
        show::line(&format!("the key {} is imported", key.record.id))
    }
}

async fn registry(common: &Common) -> Result<Registry> {
    // First what needs no database, so that a mistake leaves none behind.
    let secrets = common.secrets()?;
    let format = common.format(false)?;
    Ok(Registry {
        store: Store::open(&common.database).await?,
        secrets,
        format,
    })
}

fn show_made(Made { key, stored }: &Made, json: bool) -> Result<()> {
    let id = &stored.record.id;
    let shown = if json {
        show_json(&Shown {
            key,
            record: stored.view(now()),
        })
    } else {
        show::line(key)
    };
    shown.map_err(|error| Error::Failed(format!("the key {id} was made but not shown, so revoke it: {error}")))?;
    show::note(&format!("The key has the id {id}; this key is shown once."));
    Ok(())
}

fn show_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::failed("JSON", error))?;
    show::line(&text)
}

/// Takes the key itself from standard input, and forgets it once it is hashed.
fn read_key(common: &Common, registry: &Registry, new: &mut NewKey) -> Result<()> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(MAX_INPUT)
        .read_to_string(&mut text)
        .map_err(|error| Error::failed("standard input", error))?;
    let format = common.format(true)?;
    let presented = format
        .read(text.trim_end_matches(['\r', '\n']).as_bytes())
        .map_err(|_| {
            Error::invalid(
                "standard input is not a key: one line of 16 to 256 characters without spaces; \
             one that begins like a key of ours must be whole",
            )
        })?;
    if let Some(own) = presented.id {
        if new.id.as_deref().is_some_and(|id| id != own) {
            return Err(Error::Invalid(format!(
                "the key has an id of its own: leave --id out, or give {own}"
            )));
        }
        new.id = Some(own.to_owned());
    }
    new.hash = registry.secrets.newest(presented.key);
    Ok(())
}

async fn list(store: &Store, user_id: Option<String>, tenant_id: Option<String>, all: bool, json: bool) -> Result<()> {
    for (option, value) in [("--user", &user_id), ("--tenant", &tenant_id)] {
        if value.as_ref().is_some_and(String::is_empty) {
            return Err(Error::invalid(format!(
                "{option} is empty; leave it out to list the keys of all"
            )));
        }
    }
    let now = now();
    let mut filter = Filter {
        user_id,
        tenant_id,
        all,
        after: None,
        limit: 500,
    };
    let mut keys: Vec<StoredKey> = Vec::new();
    loop {
        let page = store.list(&filter, now).await?;
        let Some(last) = page.last() else { break };
        filter.after = Some(last.record.id.clone());
        keys.extend(page);
    }
    keys.sort_by(|one, other| (one.created_at, &one.record.id).cmp(&(other.created_at, &other.record.id)));
    if json {
        return show_json(&keys.iter().map(|key| key.view(now)).collect::<Vec<_>>());
    }
    show::table(&keys, now).iter().try_for_each(|line| show::line(line))
}

async fn events(store: &Store, follow: bool) -> Result<()> {
    let mut after = 0;
    loop {
        let page = store.events(after).await?;
        for event in &page {
            show::line(&event.to_string())?;
            after = event.version;
        }
        if page.is_empty() {
            if !follow {
                return Ok(());
            }
            tokio::time::sleep(FOLLOW_EVERY).await;
        }
    }
}

/// Bytes read of a key: more than any may have.
const MAX_INPUT: u64 = 1024;

const FOLLOW_EVERY: Duration = Duration::from_millis(500);
