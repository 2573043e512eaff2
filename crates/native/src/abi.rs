//! What is used of Envoy's interface for dynamic modules, version 0.1.0 (`source/extensions/dynamic_modules/abi/abi.h`): the callbacks, and safe
//! functions around them. Only this file and the hooks are unsafe.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use tollgate::http::headers::Headers;

/// The version that is told to Envoy, which warns of another one.
pub(crate) const VERSION: &std::ffi::CStr = c"v0.1.0";

/// Bytes of Envoy's: valid until the hook ends, or until what they are of is changed.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Bytes {
    pointer: *const u8,
    length: usize,
}

/// Bytes of ours, valid during a call.
#[repr(C)]
#[derive(Clone, Copy)]
struct Own {
    pointer: *const u8,
    length: usize,
}

/// A header, of Envoy's or of ours.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    name: *const u8,
    name_length: usize,
    value: *const u8,
    value_length: usize,
}

/// `envoy_dynamic_module_type_http_header_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Map {
    RequestHeaders,
    RequestTrailers,
    ResponseHeaders,
}

/// `envoy_dynamic_module_type_http_body_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Body {
    ReceivedRequest,
    BufferedRequest,
    ReceivedResponse,
    BufferedResponse,
}

/// `envoy_dynamic_module_type_attribute_id`, as far as it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Attribute {
    ResponseCodeDetails = 16,
    ResponseFlags = 17,
    SourceAddress = 24,
    RouteName = 61,
}

/// The callback has not done what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed;

unsafe extern "C" {
    fn envoy_dynamic_module_callback_log(level: u32, message: Own);
    fn envoy_dynamic_module_callback_log_enabled(level: u32) -> bool;
    fn envoy_dynamic_module_callback_is_validation_mode() -> bool;

    fn envoy_dynamic_module_callback_http_get_headers_size(filter: *mut c_void, map: u32) -> usize;
    fn envoy_dynamic_module_callback_http_get_headers(filter: *mut c_void, map: u32, result: *mut Pair) -> bool;
    fn envoy_dynamic_module_callback_http_add_header(filter: *mut c_void, map: u32, name: Own, value: Own) -> bool;
    fn envoy_dynamic_module_callback_http_set_header(filter: *mut c_void, map: u32, name: Own, value: Own) -> bool;
    fn envoy_dynamic_module_callback_http_send_response(
        filter: *mut c_void,
        status: u32,
        headers: *const Pair,
        count: usize,
        body: Own,
        details: Own,
    );
    fn envoy_dynamic_module_callback_http_get_body_size(filter: *mut c_void, body: u32) -> usize;
    fn envoy_dynamic_module_callback_http_get_body_chunks(filter: *mut c_void, body: u32, result: *mut Bytes) -> bool;
    fn envoy_dynamic_module_callback_http_get_body_chunks_size(filter: *mut c_void, body: u32) -> usize;
    fn envoy_dynamic_module_callback_http_append_body(filter: *mut c_void, body: u32, bytes: Own) -> bool;
    fn envoy_dynamic_module_callback_http_drain_body(filter: *mut c_void, body: u32, count: usize) -> bool;
    fn envoy_dynamic_module_callback_http_received_buffered_request_body(filter: *mut c_void) -> bool;
    fn envoy_dynamic_module_callback_http_received_buffered_response_body(filter: *mut c_void) -> bool;
    fn envoy_dynamic_module_callback_http_set_filter_state_bytes(filter: *mut c_void, key: Own, value: Own) -> bool;
    fn envoy_dynamic_module_callback_http_clear_route_cache(filter: *mut c_void);
    fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
        filter: *mut c_void,
        attribute: u32,
        result: *mut Bytes,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_filter_get_attribute_int(
        filter: *mut c_void,
        attribute: u32,
        result: *mut u64,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_filter_start_http_stream(
        filter: *mut c_void,
        id: *mut u64,
        cluster: Own,
        headers: *const Pair,
        count: usize,
        body: Own,
        ends: bool,
        timeout: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_config_start_http_stream(
        configuration: *mut c_void,
        id: *mut u64,
        cluster: Own,
        headers: *const Pair,
        count: usize,
        body: Own,
        ends: bool,
        timeout: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_reset_http_stream(filter: *mut c_void, id: u64);
    fn envoy_dynamic_module_callback_http_filter_config_reset_http_stream(configuration: *mut c_void, id: u64);
    fn envoy_dynamic_module_callback_http_filter_continue_decoding(filter: *mut c_void);
    fn envoy_dynamic_module_callback_http_filter_continue_encoding(filter: *mut c_void);
    fn envoy_dynamic_module_callback_http_filter_scheduler_new(filter: *mut c_void) -> *mut c_void;
    fn envoy_dynamic_module_callback_http_filter_scheduler_commit(scheduler: *mut c_void, event: u64);
    fn envoy_dynamic_module_callback_http_filter_scheduler_delete(scheduler: *mut c_void);
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_new(configuration: *mut c_void) -> *mut c_void;
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_commit(scheduler: *mut c_void, event: u64);
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_delete(scheduler: *mut c_void);

    fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        configuration: *mut c_void,
        name: Own,
        labels: *const Own,
        count: usize,
        id: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_config_define_histogram(
        configuration: *mut c_void,
        name: Own,
        labels: *const Own,
        count: usize,
        id: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_increment_counter(
        filter: *mut c_void,
        id: usize,
        values: *const Own,
        count: usize,
        by: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_record_histogram_value(
        filter: *mut c_void,
        id: usize,
        values: *const Own,
        count: usize,
        value: u64,
    ) -> u32;
}

impl Bytes {
    pub(crate) const fn none() -> Self {
        Self {
            pointer: null(),
            length: 0,
        }
    }

    /// A copy.
    pub(crate) fn to_vec(self) -> Vec<u8> {
        // SAFETY: the pointer and the length are Envoy's own, of bytes that live as long as the hook.
        unsafe { slice(self.pointer, self.length) }.to_vec()
    }
}

impl Own {
    const fn of(bytes: &[u8]) -> Self {
        Self {
            pointer: bytes.as_ptr(),
            length: bytes.len(),
        }
    }

    const NONE: Self = Self {
        pointer: null(),
        length: 0,
    };
}

impl Pair {
    const EMPTY: Self = Self {
        name: null(),
        name_length: 0,
        value: null(),
        value_length: 0,
    };

    fn of((name, value): (&[u8], &[u8])) -> Self {
        Self {
            name: name.as_ptr(),
            name_length: name.len(),
            value: value.as_ptr(),
            value_length: value.len(),
        }
    }
}

/// # Safety
/// The bytes live as long as the result is used; a null pointer stands for none.
unsafe fn slice<'a>(pointer: *const u8, length: usize) -> &'a [u8] {
    match pointer.is_null() || length == 0 {
        true => &[],
        // SAFETY: the caller's promise.
        false => unsafe { std::slice::from_raw_parts(pointer, length) },
    }
}

/// Copies of headers that Envoy passes to a hook.
///
/// # Safety
/// `pairs` and `count` are those of a hook.
pub(crate) unsafe fn headers_of(pairs: *const Pair, count: usize) -> Headers {
    // SAFETY: the caller's promise, for the array and for what each entry points to.
    let pairs = match pairs.is_null() || count == 0 {
        true => &[],
        false => unsafe { std::slice::from_raw_parts(pairs, count) },
    };
    copied(pairs)
}

/// Copies of a body that Envoy passes to a hook.
///
/// # Safety
/// `chunks` and `count` are those of a hook.
pub(crate) unsafe fn body_of(chunks: *const Bytes, count: usize) -> Vec<u8> {
    // SAFETY: the caller's promise.
    let chunks = match chunks.is_null() || count == 0 {
        true => &[],
        false => unsafe { std::slice::from_raw_parts(chunks, count) },
    };
    joined(chunks)
}

fn copied(pairs: &[Pair]) -> Headers {
    let pairs = pairs.iter().map(|pair| {
        // SAFETY: Envoy's pointers of this hook; they are copied at once.
        unsafe { (slice(pair.name, pair.name_length), slice(pair.value, pair.value_length)) }
    });
    pairs.collect()
}

fn joined(chunks: &[Bytes]) -> Vec<u8> {
    let mut all = Vec::new();
    for chunk in chunks {
        // SAFETY: Envoy's pointers of this hook; they are copied at once.
        all.extend_from_slice(unsafe { slice(chunk.pointer, chunk.length) });
    }
    all
}

/// Envoy's side of one filter. It is used on its worker's thread only, until the filter is destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stream(pub(crate) *mut c_void);

/// Envoy's side of a configuration. It is used on the main thread only, but for what its name says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Configuration(pub(crate) *mut c_void);

// Every `unsafe` below is a call of Envoy with its own pointer, alive as said above, and with pointers to values that outlive the call.
impl Stream {
    /// All headers of a map.
    pub(crate) fn headers(self, map: Map) -> Option<Headers> {
        // SAFETY: see above.
        let count = unsafe { envoy_dynamic_module_callback_http_get_headers_size(self.0, map as u32) };
        let mut pairs = vec![Pair::EMPTY; count];
        // SAFETY: see above; there is room for `count` entries.
        let is_read = unsafe { envoy_dynamic_module_callback_http_get_headers(self.0, map as u32, pairs.as_mut_ptr()) };
        is_read.then(|| copied(&pairs))
    }

    /// Replaces all values of a name by these; none removes it.
    pub(crate) fn set_header(self, map: Map, name: &[u8], values: &[Vec<u8>]) -> Result<(), Failed> {
        let first = values.first().map_or(Own::NONE, |value| Own::of(value));
        // SAFETY: see above.
        let mut is_done =
            unsafe { envoy_dynamic_module_callback_http_set_header(self.0, map as u32, Own::of(name), first) };
        for value in values.iter().skip(1) {
            // SAFETY: see above.
            is_done &= unsafe {
                envoy_dynamic_module_callback_http_add_header(self.0, map as u32, Own::of(name), Own::of(value))
            };
        }
        done(is_done)
    }

    /// Makes Envoy select the route again.
    pub(crate) fn clear_route(self) {
        // SAFETY: see above.
        unsafe { envoy_dynamic_module_callback_http_clear_route_cache(self.0) }
    }

    /// Answers in place of the upstream. The filter's own hooks may be called before this returns.
    pub(crate) fn respond(self, status: u16, headers: &[(&[u8], &[u8])], body: &[u8], details: &str) {
        let pairs: Vec<_> = headers.iter().map(|pair| Pair::of(*pair)).collect();
        // SAFETY: see above.
        unsafe {
            envoy_dynamic_module_callback_http_send_response(
                self.0,
                status.into(),
                pairs.as_ptr(),
                pairs.len(),
                Own::of(body),
                Own::of(details.as_bytes()),
            );
        }
    }

    /// The size of a body, in bytes.
    pub(crate) fn body_size(self, body: Body) -> usize {
        // SAFETY: see above.
        unsafe { envoy_dynamic_module_callback_http_get_body_size(self.0, body as u32) }
    }

    /// The bytes of a body.
    pub(crate) fn body(self, body: Body) -> Option<Vec<u8>> {
        // SAFETY: see above.
        let count = unsafe { envoy_dynamic_module_callback_http_get_body_chunks_size(self.0, body as u32) };
        if count == 0 {
            return Some(Vec::new());
        }
        let mut chunks = vec![Bytes::none(); count];
        // SAFETY: see above; there is room for `count` entries.
        let is_read =
            unsafe { envoy_dynamic_module_callback_http_get_body_chunks(self.0, body as u32, chunks.as_mut_ptr()) };
        is_read.then(|| joined(&chunks))
    }

    /// Removes the bytes of a body.
    pub(crate) fn drain(self, body: Body) {
        let size = self.body_size(body);
        if size > 0 {
            // SAFETY: see above.
            unsafe { envoy_dynamic_module_callback_http_drain_body(self.0, body as u32, size) };
        }
    }

    /// Adds bytes to a body.
    pub(crate) fn append(self, body: Body, bytes: &[u8]) -> Result<(), Failed> {
        // SAFETY: see above.
        done(unsafe { envoy_dynamic_module_callback_http_append_body(self.0, body as u32, Own::of(bytes)) })
    }

    /// Whether what has come with this event is what a filter before has buffered.
    pub(crate) fn is_buffered(self, body: Body) -> bool {
        // SAFETY: see above.
        unsafe {
            match body {
                Body::ReceivedRequest | Body::BufferedRequest => {
                    envoy_dynamic_module_callback_http_received_buffered_request_body(self.0)
                }
                _ => envoy_dynamic_module_callback_http_received_buffered_response_body(self.0),
            }
        }
    }

    /// Sets filter state for access logs.
    pub(crate) fn set_state(self, key: &str, value: &[u8]) -> Result<(), Failed> {
        // SAFETY: see above.
        done(unsafe {
            envoy_dynamic_module_callback_http_set_filter_state_bytes(self.0, Own::of(key.as_bytes()), Own::of(value))
        })
    }

    /// An attribute that is text.
    pub(crate) fn text(self, attribute: Attribute) -> Option<String> {
        let mut bytes = Bytes::none();
        // SAFETY: see above.
        let is_there = unsafe {
            envoy_dynamic_module_callback_http_filter_get_attribute_string(self.0, attribute as u32, &raw mut bytes)
        };
        let text = is_there.then(|| String::from_utf8(bytes.to_vec()).ok()).flatten();
        text.filter(|text| !text.is_empty())
    }

    /// An attribute that is a number.
    pub(crate) fn number(self, attribute: Attribute) -> Option<u64> {
        let mut number = 0;
        // SAFETY: see above.
        let is_there = unsafe {
            envoy_dynamic_module_callback_http_filter_get_attribute_int(self.0, attribute as u32, &raw mut number)
        };
        is_there.then_some(number)
    }

    /// Lets a request go on that was held.
    pub(crate) fn continue_request(self) {
        // SAFETY: see above.
        unsafe { envoy_dynamic_module_callback_http_filter_continue_decoding(self.0) }
    }

    /// Lets a response go on that was held.
    pub(crate) fn continue_response(self) {
        // SAFETY: see above.
        unsafe { envoy_dynamic_module_callback_http_filter_continue_encoding(self.0) }
    }

    /// Calls a cluster; the filter's hooks get the answer with this number.
    pub(crate) fn call(
        self,
        cluster: &str,
        headers: &[(&[u8], &[u8])],
        body: &[u8],
        timeout: u64,
    ) -> Result<u64, Failed> {
        let start = envoy_dynamic_module_callback_http_filter_start_http_stream;
        // SAFETY: see above.
        unsafe { begin(start, self.0, cluster, headers, body, timeout) }
    }

    /// Gives up a call. The filter's hook for calls that are reset may be called before this returns.
    pub(crate) fn give_up(self, call: u64) {
        // SAFETY: see above.
        unsafe { envoy_dynamic_module_callback_http_filter_reset_http_stream(self.0, call) }
    }

    /// Adds to a counter.
    pub(crate) fn count(self, id: usize, labels: &[&str]) {
        let values: Vec<_> = labels.iter().map(|label| Own::of(label.as_bytes())).collect();
        // SAFETY: see above.
        unsafe {
            envoy_dynamic_module_callback_http_filter_increment_counter(self.0, id, values.as_ptr(), values.len(), 1)
        };
    }

    /// Adds a value to a histogram.
    pub(crate) fn observe(self, id: usize, labels: &[&str], value: u64) {
        let values: Vec<_> = labels.iter().map(|label| Own::of(label.as_bytes())).collect();
        // SAFETY: see above.
        unsafe {
            envoy_dynamic_module_callback_http_filter_record_histogram_value(
                self.0,
                id,
                values.as_ptr(),
                values.len(),
                value,
            )
        };
    }

    /// What makes the filter's hook be called on its worker, from any thread.
    pub(crate) fn scheduler(self) -> Scheduler {
        // SAFETY: see above.
        Scheduler::Stream(unsafe { envoy_dynamic_module_callback_http_filter_scheduler_new(self.0) })
    }
}

/// A callback that begins a call.
type Start = unsafe extern "C" fn(*mut c_void, *mut u64, Own, *const Pair, usize, Own, bool, u64) -> u32;

/// # Safety
/// The callback is for what the pointer points to, which is alive.
unsafe fn begin(
    start: Start,
    of: *mut c_void,
    cluster: &str,
    headers: &[(&[u8], &[u8])],
    body: &[u8],
    timeout: u64,
) -> Result<u64, Failed> {
    let pairs: Vec<_> = headers.iter().map(|pair| Pair::of(*pair)).collect();
    let mut id = 0;
    // SAFETY: the caller's promise, and values that outlive the call.
    let status = unsafe {
        start(
            of,
            &raw mut id,
            Own::of(cluster.as_bytes()),
            pairs.as_ptr(),
            pairs.len(),
            Own::of(body),
            true,
            timeout,
        )
    };
    done(status == 0).map(|()| id)
}

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
        let labels: Vec<_> = labels.iter().map(|label| Own::of(label.as_bytes())).collect();
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

/// Whether Envoy only checks its configuration.
pub(crate) fn only_validates() -> bool {
    // SAFETY: it takes nothing.
    unsafe { envoy_dynamic_module_callback_is_validation_mode() }
}

/// Whether lines of this level are logged.
pub(crate) fn logs(level: u32) -> bool {
    // SAFETY: it takes a number.
    unsafe { envoy_dynamic_module_callback_log_enabled(level) }
}

/// Writes a line to Envoy's log.
pub(crate) fn log_line(level: u32, line: &str) {
    // SAFETY: the line outlives the call.
    unsafe { envoy_dynamic_module_callback_log(level, Own::of(line.as_bytes())) }
}

const fn done(is_done: bool) -> Result<(), Failed> {
    match is_done {
        true => Ok(()),
        false => Err(Failed),
    }
}

/// A null pointer, for a hook that makes nothing.
pub(crate) const NOTHING: *const c_void = null_mut();
