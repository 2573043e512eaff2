//! Envoy's side of a configuration, and what makes hooks be called on their own thread.

use std::ffi::c_void;
use std::sync::LazyLock;

use super::callbacks::*;
use super::{Failed, Own, begin, done, owned};

/// Envoy's side of a configuration. It is used on the main thread only, but for what its name says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Configuration(pub(crate) *mut c_void);

// Every `unsafe` below is a call of Envoy with its own pointer, alive as said above, and with pointers to values that outlive the call.
impl Configuration {
    /// Calls a cluster; the configuration's hooks get the answer with this number.
    pub(crate) fn call(
        self,
        cluster: &str,
        headers: &[(&[u8], &[u8])],
        body: &[u8],
        timeout: u64,
    ) -> Result<u64, Failed> {
        let start = envoy_dynamic_module_callback_http_filter_config_start_http_stream;
        // SAFETY: see above.
        unsafe { begin(start, self.0, cluster, headers, body, timeout) }
    }

    /// Gives up a call. The configuration's hook for calls that are reset may be called before this returns.
    pub(crate) fn give_up(self, call: u64) {
        // SAFETY: see above.
        unsafe { envoy_dynamic_module_callback_http_filter_config_reset_http_stream(self.0, call) }
    }

    /// Defines a counter, or a histogram; `None` if Envoy does not take it.
    pub(crate) fn define(self, name: &str, labels: &[&str], is_histogram: bool) -> Option<usize> {
        let labels = owned(labels);
        let mut id = 0;
        let define = match is_histogram {
            true => envoy_dynamic_module_callback_http_filter_config_define_histogram,
            false => envoy_dynamic_module_callback_http_filter_config_define_counter,
        };
        // SAFETY: see above.
        let status = unsafe {
            define(
                self.0,
                Own::of(name.as_bytes()),
                labels.as_ptr(),
                labels.len(),
                &raw mut id,
            )
        };
        (status == 0).then_some(id)
    }

    /// Adds to a counter; an Envoy before 1.39 cannot.
    pub(crate) fn count(self, id: usize, labels: &[&str], by: u64) -> Result<(), Failed> {
        let increment = INCREMENT.ok_or(Failed)?;
        let values = owned(labels);
        // SAFETY: see above.
        let status = unsafe { increment(self.0, id, values.as_ptr(), values.len(), by) };
        done(status == 0)
    }

    /// What makes the configuration's hook be called on the main thread, from any thread.
    pub(crate) fn scheduler(self) -> Scheduler {
        // SAFETY: see above.
        Scheduler::Configuration(unsafe { envoy_dynamic_module_callback_http_filter_config_scheduler_new(self.0) })
    }
}

/// What makes a hook be called on its own thread.
#[derive(Debug)]
pub(crate) enum Scheduler {
    Stream(*mut c_void),
    Configuration(*mut c_void),
}

// SAFETY: Envoy says that a scheduler may be used from any thread.
unsafe impl Send for Scheduler {}

impl Scheduler {
    /// Has the hook called soon. Nothing happens if its filter or configuration is over.
    pub(crate) fn call(&self) {
        // SAFETY: the scheduler lives until it is dropped.
        unsafe {
            match self {
                Self::Stream(scheduler) => envoy_dynamic_module_callback_http_filter_scheduler_commit(*scheduler, 0),
                Self::Configuration(scheduler) => {
                    envoy_dynamic_module_callback_http_filter_config_scheduler_commit(*scheduler, 0);
                }
            }
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // SAFETY: it is deleted once, by its only owner.
        unsafe {
            match self {
                Self::Stream(scheduler) => envoy_dynamic_module_callback_http_filter_scheduler_delete(*scheduler),
                Self::Configuration(scheduler) => {
                    envoy_dynamic_module_callback_http_filter_config_scheduler_delete(*scheduler);
                }
            }
        }
    }
}

/// Whether Envoy can count on the main thread.
pub(crate) fn counts_on_main() -> bool {
    INCREMENT.is_some()
}

type Increment = unsafe extern "C" fn(*mut c_void, usize, *const Own, usize, u64) -> u32;

/// `envoy_dynamic_module_callback_http_filter_config_increment_counter`, which an Envoy before 1.39 does not have: a module that names it outright is
/// not loaded there.
static INCREMENT: LazyLock<Option<Increment>> = LazyLock::new(|| {
    let name = c"envoy_dynamic_module_callback_http_filter_config_increment_counter";
    // SAFETY: the name is a C string, and what Envoy exports by it has this type.
    unsafe {
        let symbol = libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr());
        (!symbol.is_null()).then(|| std::mem::transmute::<*mut c_void, Increment>(symbol))
    }
});
