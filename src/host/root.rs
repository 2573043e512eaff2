//! The plugin's root context: takes a configuration or refuses it, begins exchanges, and fetches keys.

use std::collections::BTreeMap;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use super::abi::{self, Map};
use super::http::Http;
use super::metrics;
use super::waiting::{FAST_TICK, WaitingRoom};
use super::world::{Envoy, now_millis};
use crate::config::{self, ConfigError, Environment};
use crate::headers::Headers;
use crate::keys::{Fetch, Fetched, MAX_BODY, RemoteKeys};
use crate::plan::Plan;

/// One configured plugin in one VM.
#[derive(Default)]
pub(super) struct Root {
    plan: Option<Rc<Plan>>,
    waiting_room: Rc<WaitingRoom>,
    /// Fetches under way, by the token of their call.
    fetches: BTreeMap<u32, (Rc<RemoteKeys>, Fetch)>,
}

impl Root {
    fn remote_keys(&self) -> Vec<Rc<RemoteKeys>> {
        self.plan
            .iter()
            .flat_map(|plan| plan.remote_keys.iter().cloned())
            .collect()
    }

    fn dispatch(&mut self, keys: &Rc<RemoteKeys>, fetch: Fetch) {
        let headers = vec![
            (":method", "GET"),
            (":path", fetch.path.as_str()),
            (":authority", fetch.authority.as_str()),
            ("accept", "application/json"),
            ("user-agent", "tollgate"),
        ];
        match self.dispatch_http_call(&fetch.cluster, headers, None, Vec::new(), fetch.timeout) {
            Ok(token) => {
                self.fetches.insert(token, (Rc::clone(keys), fetch));
            }
            Err(_) => {
                let outcome = keys.fail("cluster", now_millis(), &Envoy);
                self.report(keys, outcome);
            }
        }
    }

    fn report(&mut self, keys: &Rc<RemoteKeys>, outcome: Fetched) {
        let name = &keys.name;
        let count = |outcome, reason| {
            metrics::count(
                format!("tollgate_jwks_fetch_total;issuer={name};outcome={outcome};reason={reason};").into(),
            );
        };
        match outcome {
            Fetched::Published(warnings) => {
                count("ok", "ok");
                log::info!("issuer {name}: keys fetched");
                for warning in warnings {
                    log::warn!("issuer {name}: a published key is not used: {warning}");
                }
            }
            Fetched::Next(fetch) => self.dispatch(keys, fetch),
            Fetched::Failed(reason) => {
                count("failed", reason);
                log::warn!("issuer {name}: keys could not be fetched ({reason}); the old ones stay");
            }
        }
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, _headers: usize, body_size: usize, _trailers: usize) {
        let Some((keys, fetch)) = self.fetches.remove(&token) else {
            return;
        };
        let headers = abi::header_map(Map::CallResponseHeaders)
            .ok()
            .and_then(|bytes| Headers::decode(bytes).ok());
        // One byte too many is enough to tell that it is too large.
        let body = abi::call_response_body(body_size.min(MAX_BODY.saturating_add(1))).unwrap_or_default();
        let outcome = keys.end(&fetch, now_millis(), &headers.unwrap_or_default(), &body, &Envoy);
        self.report(&keys, outcome);
        self.waiting_room.release();
    }
}

impl RootContext for Root {
    /// Messages that Envoy would drop are not worth a host call.
    fn on_vm_start(&mut self, _size: usize) -> bool {
        proxy_wasm::set_log_level(abi::log_level());
        true
    }

    /// `false` refuses the configuration: Envoy does not start with it, or keeps the one that it has.
    fn on_configure(&mut self, _size: usize) -> bool {
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        match load(&bytes) {
            Ok(plan) => {
                self.plan = Some(Rc::new(plan));
                let remote_keys = self.remote_keys();
                for keys in &remote_keys {
                    keys.prepare(&Envoy);
                }
                // Fetching begins with the first tick: here, Envoy may be trying the configuration in a VM that it
                // throws away, and whose calls it does not send.
                abi::set_tick_period(if remote_keys.is_empty() { SLOW_TICK } else { FAST_TICK });
                true
            }
            Err(errors) => {
                for error in &errors {
                    log::error!("configuration refused: {error}");
                }
                false
            }
        }
    }

    fn on_tick(&mut self) {
        let now = now_millis();
        let remote_keys = self.remote_keys();
        for keys in &remote_keys {
            keys.synchronize(&Envoy);
            if let Some(fetch) = keys.begin(now, &Envoy) {
                self.dispatch(keys, fetch);
            }
        }
        let is_awaited = !self.waiting_room.is_empty() || remote_keys.iter().any(|keys| keys.is_awaited(now));
        abi::set_tick_period(if is_awaited { FAST_TICK } else { SLOW_TICK });
        self.waiting_room.release();
        metrics::flush();
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http::new(
            id,
            self.plan.clone(),
            Rc::clone(&self.waiting_room),
        )))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

fn load(bytes: &[u8]) -> Result<Plan, Vec<ConfigError>> {
    let config = config::decode(bytes).map_err(|error| vec![error])?;
    let environment: Environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Plan::compile(&config, &environment)
}

/// Milliseconds between ticks while nothing happens: how late a worker learns of keys that another has fetched, and how
/// late counters are.
const SLOW_TICK: u32 = 1000;
