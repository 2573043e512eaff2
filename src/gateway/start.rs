//! What every shell does first: it reads its configuration, and seeds what workers share.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use super::decode;
use super::plan::Plan;
use crate::config::{ConfigError, Environment};

/// Reads a configuration with the variables of this process. Whatever is wrong with it is logged, and so are warnings; `None` refuses it.
pub fn load(bytes: &[u8]) -> Option<Plan> {
    match read(bytes) {
        Ok(plan) => {
            for warning in &plan.warnings {
                log::warn!("configuration: {warning}");
            }
            Some(plan)
        }
        Err(errors) => {
            for error in &errors {
                log::error!("configuration refused: {error}");
            }
            None
        }
    }
}

fn read(bytes: &[u8]) -> Result<Plan, Vec<ConfigError>> {
    let config = decode(bytes).map_err(|error| vec![error])?;
    let environment: Environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Plan::compile(&config, &environment)
}

/// An unpredictable seed for [`Worker::prepare`](super::worker::Worker::prepare).
pub fn seed() -> [u8; 16] {
    let mut seed = [0; 16];
    let bytes = random().to_le_bytes().into_iter().chain(random().to_le_bytes());
    seed.iter_mut().zip(bytes).for_each(|(byte, random)| *byte = random);
    seed
}

/// A number that cannot be guessed, by the standard library's hash keys.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
