//! The plugin's root context: takes a configuration or refuses it, and begins exchanges.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use super::abi;
use super::http::Http;
use crate::config::{self, ConfigError, Environment};
use crate::plan::Plan;

/// One configured plugin in one VM.
#[derive(Default)]
pub(super) struct Root {
    plan: Option<Rc<Plan>>,
}

impl Context for Root {}

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

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http::new(self.plan.clone())))
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
