//! The plugin's root context: takes a configuration or refuses it, begins exchanges, and sends the gateway's own calls.

use std::collections::BTreeMap;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use super::abi::{self, Buffer, Map};
use super::http::{Http, read};
use super::metrics;
use super::waiting::{FAST_TICK, WaitingRoom};
use super::world::{Envoy, begin_callback, now_millis, random, set_clock};
use crate::config::{self, ConfigError, Environment};
use crate::effect::Effect;
use crate::plan::Plan;
use crate::remote::{Answer, Call, Remote};

/// One configured plugin in one VM.
#[derive(Default)]
pub(super) struct Root {
    plan: Option<Rc<Plan>>,
    waiting_room: Rc<WaitingRoom>,
    /// Calls under way, by the token that the host gave.
    calls: BTreeMap<u32, (Rc<dyn Remote>, Call)>,
}

impl Root {
    fn remotes(&self) -> Vec<Rc<dyn Remote>> {
        self.plan.iter().flat_map(|plan| plan.remotes.iter().cloned()).collect()
    }

    fn dispatch(&mut self, remote: &Rc<dyn Remote>, call: Call) {
        let headers = call
            .headers
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_str()))
            .collect();
        let body = (!call.body.is_empty()).then_some(call.body.as_slice());
        match self.dispatch_http_call(&call.cluster, headers, body, Vec::new(), call.timeout) {
            Ok(token) => {
                self.calls.insert(token, (Rc::clone(remote), call));
            }
            Err(_) => self.take(remote, &call, None),
        }
    }

    /// Sends what is to be sent, and looks after those who wait.
    fn attend(&mut self) {
        let now = now_millis();
        let remotes = self.remotes();
        for remote in &remotes {
            remote.synchronize(&Envoy);
            while let Some(call) = remote.call(now, &Envoy) {
                self.dispatch(remote, call);
            }
        }
        self.waiting_room.heard();
        let is_awaited = !self.waiting_room.is_empty() || remotes.iter().any(|remote| remote.is_awaited(now));
        abi::set_tick_period(if is_awaited { FAST_TICK } else { SLOW_TICK });
        self.waiting_room.release();
    }

    fn take(&mut self, remote: &Rc<dyn Remote>, call: &Call, answer: Option<&Answer>) {
        let outcome = remote.answer(call, answer, now_millis(), &Envoy);
        for effect in outcome.effects {
            match effect {
                Effect::Count(name) => metrics::count(name),
                Effect::Log(level, message) => log::log!(level, "{message}"),
                // The others are for requests.
                _ => {}
            }
        }
        if let Some(next) = outcome.next {
            self.dispatch(remote, next);
        }
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, _headers: usize, body_size: usize, trailers: usize) {
        begin_callback();
        let Some((remote, call)) = self.calls.remove(&token) else {
            return;
        };
        // One byte too many is enough to tell that it is too large.
        let body =
            abi::buffer(Buffer::CallResponse, body_size.min(call.max_body.saturating_add(1))).unwrap_or_default();
        let answer = Answer {
            headers: read(Map::CallResponseHeaders).unwrap_or_default(),
            trailers: (trailers > 0)
                .then(|| read(Map::CallResponseTrailers))
                .flatten()
                .unwrap_or_default(),
            body,
        };
        self.take(&remote, &call, Some(&answer));
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
        begin_callback();
        set_clock();
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        match load(&bytes) {
            Ok(plan) => {
                for warning in &plan.warnings {
                    log::warn!("configuration: {warning}");
                }
                plan.prepare(seed(), &Envoy);
                let calls_others = !plan.remotes.is_empty();
                self.plan = Some(Rc::new(plan));
                // Calls begin with the first tick: here, Envoy may be trying the configuration in a VM that it throws
                // away, and whose calls it does not send.
                abi::set_tick_period(if calls_others { FAST_TICK } else { SLOW_TICK });
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
        begin_callback();
        set_clock();
        self.attend();
        metrics::flush();
    }

    /// Somebody has begun to wait.
    fn on_queue_ready(&mut self, _: u32) {
        begin_callback();
        self.attend();
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

fn seed() -> [u8; 16] {
    let mut seed = [0; 16];
    let bytes = random().to_le_bytes().into_iter().chain(random().to_le_bytes());
    seed.iter_mut().zip(bytes).for_each(|(byte, random)| *byte = random);
    seed
}

/// Milliseconds between ticks while nothing happens: how late a worker learns of keys that another has fetched, and how
/// late counters are.
const SLOW_TICK: u32 = 1000;
