//! One limit, for Tollgate and for Limitador.

use std::collections::BTreeMap;

use super::tree::{Tree, tree};

pub(super) struct Limit {
    pub(super) name: String,
    /// Whose plugin it is; plugins with one namespace and one meaning share it.
    pub(super) plugins: Vec<usize>,
    pub(super) plans: BTreeMap<String, u64>,
    pub(super) rate: Rate,
}

/// What a limit says, but for its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) key: String,
    pub(super) algorithm: &'static str,
    pub(super) limit: u64,
    pub(super) window: Window,
    pub(super) is_shared: bool,
    pub(super) is_closed_on_fault: bool,
    pub(super) jitter: Option<u64>,
    pub(super) namespace: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Window {
    pub(super) seconds: u64,
}

impl Limit {
    /// As `rate_limits` has it.
    pub(super) fn tree(&self) -> Tree {
        let Rate {
            key,
            algorithm,
            limit,
            window,
            is_shared,
            is_closed_on_fault,
            jitter,
            ..
        } = &self.rate;
        let mut tree = tree! {
            "name": &self.name,
            "key": [key.as_str()],
            "algorithm": *algorithm,
            "limit": *limit,
            "window": format!("{}s", window.seconds),
        };
        let plans = self
            .plans
            .iter()
            .map(|(plan, limit)| (plan.clone(), tree! { "limit": *limit }))
            .collect();
        tree.put_full("plans", Tree::Map(plans));
        tree.put_some("backend", is_shared.then_some("rls"));
        tree.put_some("on_fault", is_closed_on_fault.then_some("deny"));
        tree.put_some("retry_after_jitter", jitter.map(|seconds| format!("{seconds}s")));
        tree
    }

    /// As Limitador's file of limits has it: one entry for each plan, and those who lack the key by their address.
    pub(super) fn limitador(&self) -> Vec<Tree> {
        let Rate {
            key,
            limit,
            window,
            is_shared: true,
            ..
        } = &self.rate
        else {
            return Vec::new();
        };
        let is_of_identity = key != "ip" && key != "route" && !key.starts_with("header:");
        let own = if is_of_identity {
            vec!["issuer", key]
        } else {
            vec![key.as_str()]
        };
        let mut keys = vec![own];
        if key != "ip" && key != "route" {
            keys.push(vec!["ip"]);
        }
        let default = (!self.plans.is_empty()).then(|| "default".to_owned());
        let mut rates = vec![(default, *limit)];
        rates.extend(self.plans.iter().map(|(plan, limit)| (Some(plan.clone()), *limit)));
        let mut entries = Vec::new();
        for (plan, limit) in rates {
            for key in &keys {
                let mut conditions = vec![format!("descriptors[0]['limit'] == '{}'", self.name)];
                conditions.extend(plan.as_ref().map(|plan| format!("descriptors[0]['plan'] == '{plan}'")));
                let variables: Vec<_> = key.iter().map(|part| format!("descriptors[0]['{part}']")).collect();
                entries.push(tree! {
                    "namespace": "tollgate",
                    "max_value": limit,
                    "seconds": window.seconds,
                    "conditions": conditions,
                    "variables": variables,
                });
            }
        }
        entries
    }
}
