//! Names that Envoy, files and metrics take, each once.

use super::node::plain;

/// Those that are taken.
#[derive(Default)]
pub(super) struct Names(Vec<String>);

impl Names {
    /// Nobody gets one of these.
    pub(super) fn without(taken: &[&str]) -> Self {
        Self(taken.iter().map(ToString::to_string).collect())
    }

    pub(super) fn one_of_its_own(&mut self, wanted: &str) -> String {
        let plain = plain(wanted);
        let mut name = plain.clone();
        for number in 2_u32.. {
            if !self.0.contains(&name) {
                break;
            }
            name = format!("{plain}-{number}");
        }
        self.0.push(name.clone());
        name
    }
}

/// Those of services and routes, beside what the import makes of its own.
pub(super) struct EntityNames {
    pub(super) services: Names,
    pub(super) routes: Names,
}

impl Default for EntityNames {
    fn default() -> Self {
        Self {
            services: Names::without(&["gateway", super::files::LIMITER, super::tracing::COLLECTOR]),
            routes: Names::without(&[super::files::READY, super::files::UNMATCHED]),
        }
    }
}
