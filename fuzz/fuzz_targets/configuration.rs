//! Any bytes as a configuration: refused with errors or compiled, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::config::Environment;
use tollgate::gateway::decode;
use tollgate::gateway::plan::Plan;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(config) = decode(bytes) {
        let _ = Plan::compile(&config, &Environment::new());
    }
});
