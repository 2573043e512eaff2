//! Delivers events in order, each at least once: to the log and, if one is configured, to a webhook.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tollgate::clock::{Millis, Seconds};
use ureq::Agent;

use crate::cloud_event::{MEDIA_TYPE, cloud_event};
use crate::error::{Error, Result};
use crate::log;
use crate::model::wall;
use crate::store::{Claim, Event, Store};

/// An HTTP endpoint that receives events.
#[derive(Clone)]
pub struct Webhook {
    agent: Agent,
    url: Arc<str>,
}

/// Delivers events until `stopping` is true; `changed` signals new events.
pub(crate) async fn run(
    store: Store,
    webhook: Option<Webhook>,
    mut changed: watch::Receiver<u64>,
    mut stopping: watch::Receiver<bool>,
) {
    while !*stopping.borrow() {
        changed.mark_unchanged();
        let pause = match deliver_next(&store, webhook.as_ref()).await {
            Ok(pause) => pause,
            Err(error) => {
                log::line(&format!("events are not delivered: {error}; next attempt in 1 s"));
                LOOK_EVERY
            }
        };
        if pause.is_zero() {
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(pause.min(LOOK_EVERY)) => {}
            _ = changed.changed() => {}
            _ = stopping.changed() => {}
        }
    }
}

/// Delivers the oldest event if it is due. Returns how long to wait before the next call.
async fn deliver_next(store: &Store, webhook: Option<&Webhook>) -> Result<Duration> {
    let now = wall();
    // A read first: a claim locks the database, and usually no event is due.
    let Some(due) = store.next_delivery().await? else {
        return Ok(LOOK_EVERY);
    };
    if due > now {
        return Ok(due.saturating_sub(now).duration());
    }
    let Some(Claim { event, attempts }) = store.claim(now, now.saturating_add(LEASE)).await? else {
        return Ok(Duration::from_millis(50));
    };
    if let Some(webhook) = webhook
        && let Err(problem) = webhook.send(&event).await
    {
        let pause = pause(attempts);
        store
            .postpone(event.version, wall().saturating_add(pause.millis()))
            .await?;
        log::line(&format!(
            "webhook failed ({problem}): event key {} id={} is sent again in {} s",
            event.kind,
            event.key_id,
            pause.get()
        ));
        return Ok(pause.duration());
    }
    log::line(&event.to_string());
    store.delivered(event.version, wall()).await?;
    Ok(Duration::ZERO)
}

/// The pause after failed attempts: 1, 2, 4 seconds and so on, up to 60.
fn pause(attempts: u64) -> Seconds {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    let seconds = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
    Seconds::new(seconds).clamp(Seconds::new(1), MAX_PAUSE)
}

impl Webhook {
    /// `Err` if `url` is not an http or https URL.
    pub fn new(url: &str) -> Result<Self> {
        // The URL may hold a token: no error repeats it.
        let wrong = || Error::invalid("--webhook is not a URL such as https://example.com/tollgate");
        let uri: ureq::http::Uri = url.parse().map_err(|_| wrong())?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(wrong());
        }
        let tls = ureq::tls::TlsConfig::builder()
            .root_certs(ureq::tls::RootCerts::PlatformVerifier)
            .build();
        let agent = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            // Following a redirect would turn POST into GET.
            .max_redirects(0)
            .tls_config(tls)
            .user_agent("tollgate-keys")
            .build()
            .into();
        Ok(Self { agent, url: url.into() })
    }

    async fn send(&self, event: &Event) -> std::result::Result<(), String> {
        let body = cloud_event(event).to_string();
        let Self { agent, url } = self.clone();
        let sent = tokio::task::spawn_blocking(move || {
            let request = agent.post(&*url).header("content-type", MEDIA_TYPE);
            request.send(body).map(|response| response.status())
        });
        match sent.await {
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(status)) => Err(format!("status {}", status.as_u16())),
            Ok(Err(ureq::Error::Timeout(_))) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the attempt was aborted".into()),
        }
    }
}

/// How often to look for events that another instance wrote or left undelivered.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a claim lasts: longer than an attempt takes.
const LEASE: Millis = Millis::new(15_000);

const TIMEOUT: Duration = Duration::from_secs(5);

const MAX_PAUSE: Seconds = Seconds::new(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let pause = |attempts| pause(attempts).get();
        let pauses: Vec<_> = (1..=8).map(pause).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause(u64::MAX), 60);
        assert_eq!(pause(64), 60);
    }

    #[test]
    fn errors_do_not_repeat_the_url() {
        for bad in ["ftp://s3cr3t", "s3cr3t", "http://", "http://s3cr3t /"] {
            let error = Webhook::new(bad).err().unwrap().to_string();
            assert!(error.starts_with("--webhook") && !error.contains("s3cr3t"), "{error}");
        }
    }
}
