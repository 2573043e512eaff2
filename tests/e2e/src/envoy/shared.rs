//! Envoy processes that one test has after the other: to compile the plugin takes Envoy seconds, and it remembers what it
//! has compiled.
//!
//! A shared process gets the listeners and clusters of a test by files (LDS and CDS), its plugin under a `vm_id` of its own,
//! so that nothing is left in shared data; a listener with the same plugin keeps the compiled code. What is given back has
//! lost its listeners and clusters, and its counters are zero.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::comes_to_hold;
use super::process::{Options, Process, Refused};
use crate::bootstrap::{address, direct, is_native, listener, wasm_file, wasm_filter};

/// The listener that keeps the compiled plugin.
pub(super) const KEEPER: &str = "keeper";

/// What is given back with a process.
pub(super) struct Lease {
    concurrency: u32,
    /// Bytes that were logged before.
    pub(super) logged: usize,
    /// VMs of the listener that stays.
    vms: u64,
}

/// What a test wants of a process.
pub(super) struct Parts {
    listeners: Vec<Value>,
    clusters: Vec<Value>,
}

/// Processes that nobody has at the moment, by their workers.
static FREE: Mutex<Vec<(u32, Process)>> = Mutex::new(Vec::new());

/// The listeners and clusters of a bootstrap; `None` where it says more, which a process has for good.
pub(super) fn parts(bootstrap: &Value) -> Option<Parts> {
    let known = |value: &Value, names: &[&str]| {
        let mut members = value.as_object()?.keys();
        members.all(|name| names.contains(&name.as_str())).then_some(())
    };
    let resources = &bootstrap["static_resources"];
    known(bootstrap, &["node", "admin", "static_resources"])?;
    known(resources, &["listeners", "clusters"])?;
    let list = |name: &str| resources[name].as_array().cloned().unwrap_or_default();
    let (listeners, clusters) = (list("listeners"), list("clusters"));
    // Variables of the process itself are the process' own, and so is what it logs to its standard output.
    let text = resources.to_string();
    let is_own = [
        "host_env_keys\":[\"",
        "stdout_access_log",
        "StdoutAccessLog",
        "/dev/std",
    ]
    .iter()
    .any(|part| text.contains(part));
    // The variables that a module wants are the process' own too.
    let is_own = is_own || !bootstrap["node"]["metadata"].is_null();
    (!is_own && !listeners.is_empty()).then_some(Parts { listeners, clusters })
}

/// A process with these parts, ready.
pub(super) fn take(concurrency: u32, parts: Parts) -> Result<(Process, Lease), Refused> {
    let free = {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let place = free.iter().position(|(workers, _)| *workers == concurrency);
        place.map(|place| free.swap_remove(place).1)
    };
    let process = match free {
        Some(process) => process,
        None => blank(concurrency)?,
    };
    let lease = Lease {
        concurrency,
        logged: process.log().len(),
        vms: vms(&process),
    };
    let expected = u64::try_from(parts.listeners.len()).expect("a number") * u64::from(concurrency);
    let mut listeners = Value::from(parts.listeners);
    rename_vms(&mut listeners, &format!("-{}", next()));
    hand_over(&process, "clusters", CLUSTER, parts.clusters);
    let found = |name: &str| found(&process, name);
    let taken = comes_to_hold(PATIENCE, || {
        let answered = found("cluster_manager.cds.update_success") + found("cluster_manager.cds.update_rejected");
        answered > 0 && found("cluster_manager.warming_clusters") == 0
    });
    let listeners = listeners.as_array().cloned().unwrap_or_default();
    hand_over(&process, "listeners", LISTENER, listeners);
    let listens = comes_to_hold(PATIENCE, || {
        let is_ready = found("listener_manager.listener_create_success") >= expected;
        is_ready && found("listener_manager.total_listeners_warming") == 0
            || found("listener_manager.lds.update_rejected") > 0
    });
    let is_refused = [
        "cluster_manager.cds.update_rejected",
        "listener_manager.lds.update_rejected",
    ]
    .iter()
    .any(|name| found(name) > 0);
    if !taken || !listens || is_refused {
        let log = process.log();
        let log = log.get(lease.logged..).unwrap_or_default().to_owned();
        return Err(Refused { log });
    }
    Ok((process, lease))
}

/// Makes it blank again, beside the tests; a process that does not become so ends.
pub(super) fn give_back(process: Process, lease: Lease) {
    thread::spawn(move || {
        if found(&process, "vm_reload") > 0 {
            return;
        }
        hand_over(&process, "listeners", LISTENER, Vec::new());
        let is_alone = || found(&process, "listener_manager.total_listeners_active") <= 1;
        if !comes_to_hold(PATIENCE, || is_alone() && vms(&process) <= lease.vms) {
            return;
        }
        hand_over(&process, "clusters", CLUSTER, Vec::new());
        if !comes_to_hold(PATIENCE, || found(&process, "cluster_manager.active_clusters") == 0) {
            return;
        }
        process.tell("/reset_counters");
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        free.push((lease.concurrency, process));
    });
}

/// A process with nothing but the plugin.
fn blank(concurrency: u32) -> Result<Process, Refused> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = |name: &str, kind: &str| {
        let path = folder.path().join(name);
        fs::write(&path, resources(kind, Vec::new())).expect("a file");
        json!({"path_config_source": {"path": path}, "resource_api_version": "V3"})
    };
    let plugin = json!({"version": 1, "routes": [{"match": {"path_prefix": "/"}, "public": true}]});
    let filters = match is_native() {
        true => Vec::new(),
        false => vec![wasm_filter(KEEPER, &wasm_file(), &plugin)],
    };
    let keeper = listener(KEEPER, filters, vec![direct()]);
    let bootstrap = json!({
        "node": {"id": "gateway", "cluster": "gateway"},
        "admin": {"address": address(0)},
        "dynamic_resources": {"lds_config": source("listeners", LISTENER), "cds_config": source("clusters", CLUSTER)},
        "static_resources": {"listeners": [keeper]},
    });
    let options = Options {
        concurrency,
        ..Options::default()
    };
    let at_once = ["--drain-time-s", "0", "--drain-strategy", "immediate"];
    let process = Process::start_in(folder, &bootstrap, &options, &at_once)?;
    process.tell("/reset_counters");
    Ok(process)
}

fn resources(kind: &str, resources: Vec<Value>) -> String {
    let resources = resources.into_iter().map(|mut resource| {
        resource["@type"] = kind.into();
        resource
    });
    let resources: Vec<_> = resources.collect();
    json!({"version_info": next().to_string(), "resources": resources}).to_string()
}

/// Puts a file in place of the one that the process watches.
fn hand_over(process: &Process, name: &str, kind: &str, list: Vec<Value>) {
    let new = process.file(&format!("{name}.new"));
    fs::write(&new, resources(kind, list)).expect("a file");
    fs::rename(&new, process.file(name)).expect("the same folder");
}

/// Gives every VM of these listeners a name of its own.
fn rename_vms(value: &mut Value, end: &str) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "vm_id" || name == "filter_name" => text.push_str(end),
                    other => rename_vms(other, end),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename_vms(item, end)),
        _ => {}
    }
}

fn vms(process: &Process) -> u64 {
    found(process, "wasm.envoy.wasm.runtime.v8.active")
}

/// The sum of the statistics whose name ends so.
fn found(process: &Process, name: &str) -> u64 {
    let stats = process.stats();
    let fits = stats.iter().filter(|(found, _)| found.ends_with(name));
    fits.map(|(_, value)| value).sum()
}

fn next() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

const PATIENCE: Duration = Duration::from_secs(30);

const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
