//! Bindings for the host calls of the proxy-wasm ABI 0.2.1 that Tollgate makes.
//!
//! The SDK's own wrappers panic on an unexpected status, and some of them on header bytes that are not UTF-8: a request
//! could then kill its worker. These bindings return every status as a value, and all data as bytes.

use std::ptr::null_mut;

use proxy_wasm::types::LogLevel;

use crate::clock::Millis;
use crate::http::piece::Direction;

/// The ABI's status of a failed host call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostError(pub(super) u32);

impl HostError {
    /// The key, buffer or queue does not exist.
    pub(super) const NOT_FOUND: Self = Self(1);
}

/// The header maps, by number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Map {
    RequestHeaders = 0,
    RequestTrailers = 1,
    ResponseHeaders = 2,
    CallResponseHeaders = 6,
    CallResponseTrailers = 7,
}

/// The buffers, by number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Buffer {
    Request = 0,
    Response = 1,
    CallResponse = 4,
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_log_level(level: *mut u32) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_set_header_map_pairs(map: u32, data: *const u8, size: usize) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, key: *const u8, key_size: usize) -> u32;
    fn proxy_get_buffer_status(buffer: u32, length: *mut usize, flags: *mut u32) -> u32;
    fn proxy_set_buffer_bytes(buffer: u32, start: usize, length: usize, data: *const u8, size: usize) -> u32;
    fn proxy_get_buffer_bytes(buffer: u32, start: usize, length: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(key: *const u8, key_size: usize, value: *const u8, value_size: usize, cas: u32) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_register_shared_queue(name: *const u8, name_size: usize, queue: *mut u32) -> u32;
    fn proxy_enqueue_shared_queue(queue: u32, value: *const u8, value_size: usize) -> u32;
    fn proxy_dequeue_shared_queue(queue: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_continue_stream(stream: u32) -> u32;
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, value_size: usize) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        arguments: *const u8,
        arguments_size: usize,
        results: *mut *mut u8,
        results_size: *mut usize,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, offset: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_log(level: u32, message: *const u8, message_size: usize) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    /// WASI's clock: the standard library's `Instant` does not expose its value.
    fn clock_time_get(id: u32, precision: u64, time: *mut u64) -> u32;
}

/// Envoy's log level for Wasm; `Trace` if it is unknown.
pub(super) fn log_level() -> LogLevel {
    let mut level = 0;
    // SAFETY: the pointer is to a live local.
    match (unsafe { proxy_get_log_level(&raw mut level) }, level) {
        (OK, 1) => LogLevel::Debug,
        (OK, 2) => LogLevel::Info,
        (OK, 3) => LogLevel::Warn,
        (OK, 4) => LogLevel::Error,
        (OK, 5..) => LogLevel::Critical,
        _ => LogLevel::Trace,
    }
}

/// A whole header map, serialized.
pub(super) fn header_map(map: Map) -> Result<Vec<u8>, HostError> {
    // SAFETY: both pointers are to live locals of `returned`.
    returned(|data, size| unsafe { proxy_get_header_map_pairs(map as u32, data, size) })
}

pub(super) fn set_header_map(map: Map, pairs: &[(&[u8], &[u8])]) -> Result<(), HostError> {
    let bytes = serialize(pairs);
    // SAFETY: pointer and size are those of a live slice.
    checked(unsafe { proxy_set_header_map_pairs(map as u32, bytes.as_ptr(), bytes.len()) })
}

/// Makes `value` the only value of a header.
pub(super) fn set_header(map: Map, name: &[u8], value: &[u8]) -> Result<(), HostError> {
    // SAFETY: pointers and sizes are those of live slices.
    checked(unsafe {
        proxy_replace_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// Removes every value of a header.
pub(super) fn remove_header(map: Map, name: &[u8]) -> Result<(), HostError> {
    // SAFETY: pointer and size are those of a live slice.
    checked(unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) })
}

/// The first bytes of a buffer, at most `length`.
pub(super) fn buffer(buffer: Buffer, length: usize) -> Result<Vec<u8>, HostError> {
    // SAFETY: the pointers are to live locals of `returned`.
    returned(|data, size| unsafe { proxy_get_buffer_bytes(buffer as u32, 0, length, data, size) })
}

/// The size of a buffer in bytes.
pub(super) fn buffer_size(buffer: Buffer) -> Result<usize, HostError> {
    let (mut length, mut flags) = (0, 0);
    // SAFETY: both pointers are to live locals.
    checked(unsafe { proxy_get_buffer_status(buffer as u32, &raw mut length, &raw mut flags) })?;
    Ok(length)
}

/// Replaces the whole content of a buffer.
pub(super) fn set_buffer(buffer: Buffer, bytes: &[u8]) -> Result<(), HostError> {
    // SAFETY: pointer and size are those of a live slice. A length beyond the end means the whole buffer.
    checked(unsafe { proxy_set_buffer_bytes(buffer as u32, 0, usize::MAX, bytes.as_ptr(), bytes.len()) })
}

/// A value that all VMs share, and its CAS number; `None` if it does not exist.
pub(super) fn shared_data(key: &str) -> Option<(Vec<u8>, u32)> {
    let mut cas = 0;
    // SAFETY: pointer and size are those of a live string; the others are to live locals.
    let value =
        returned(|data, size| unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &raw mut cas) });
    value.ok().map(|value| (value, cas))
}

/// Writes a value that all VMs share if its CAS number is `cas`; 0 always writes.
pub(super) fn set_shared_data(key: &str, value: &[u8], cas: u32) -> Result<(), HostError> {
    // SAFETY: pointers and sizes are those of live slices.
    checked(unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) })
}

/// Sets how often the root context's `on_tick` runs.
pub(super) fn set_tick_period(period: Millis) {
    let period = u32::try_from(period.get()).unwrap_or(u32::MAX);
    // SAFETY: a plain number. The call cannot fail.
    let _ = unsafe { proxy_set_tick_period_milliseconds(period) };
}

/// Creates a queue, or finds the one of this name. Its `on_queue_ready` runs in the root context.
pub(super) fn register_queue(name: &str) -> Result<u32, HostError> {
    let mut queue = 0;
    // SAFETY: pointer and size are those of a live string; the last pointer is to a live local.
    checked(unsafe { proxy_register_shared_queue(name.as_ptr(), name.len(), &raw mut queue) })?;
    Ok(queue)
}

/// Appends an empty message.
pub(super) fn enqueue(queue: u32) -> Result<(), HostError> {
    // SAFETY: an empty message is not read.
    checked(unsafe { proxy_enqueue_shared_queue(queue, [].as_ptr(), 0) })
}

/// Takes the first message; `Err` if there is none.
pub(super) fn dequeue(queue: u32) -> Result<Vec<u8>, HostError> {
    // SAFETY: both pointers are to live locals of `returned`.
    returned(|data, size| unsafe { proxy_dequeue_shared_queue(queue, data, size) })
}

/// Makes the following calls act on another context; `Err` if that does not exist any more.
pub(super) fn set_effective_context(context: u32) -> Result<(), HostError> {
    // SAFETY: a plain number.
    checked(unsafe { proxy_set_effective_context(context) })
}

/// Continues the effective context's request or response.
pub(super) fn continue_stream(direction: Direction) -> Result<(), HostError> {
    let stream = match direction {
        Direction::Request => 0,
        Direction::Response => 1,
    };
    // SAFETY: a plain number.
    checked(unsafe { proxy_continue_stream(stream) })
}

/// The monotonic clock in nanoseconds, which all VMs of a process share; 0 if it is unavailable.
pub(super) fn monotonic_nanos() -> u64 {
    let mut time = 0;
    // SAFETY: the pointer is to a live local.
    match unsafe { clock_time_get(MONOTONIC, 1, &raw mut time) } {
        0 => time,
        _ => 0,
    }
}

/// A property by its path; `None` if it has no value in this context.
pub(super) fn property(path: &[&str]) -> Option<Vec<u8>> {
    let path = path.join("\0");
    // SAFETY: pointer and size are those of a live string; the others are live locals of `returned`.
    returned(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) }).ok()
}

/// Sets a value of Envoy's filter state, under the name `wasm.NAME`.
pub(super) fn set_property(name: &str, value: &[u8]) -> Result<(), HostError> {
    // SAFETY: pointers and sizes are those of live slices.
    checked(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// Sends a local reply. `grpc_status` is negative for clients that do not speak gRPC.
pub(super) fn reply(
    status: u16,
    details: &str,
    headers: &[(&[u8], &[u8])],
    body: &[u8],
    grpc_status: i32,
) -> Result<(), HostError> {
    let headers = serialize(headers);
    // SAFETY: pointers and sizes are those of live slices.
    checked(unsafe {
        proxy_send_local_response(
            status.into(),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            grpc_status,
        )
    })
}

/// Calls one of Envoy's foreign functions.
pub(super) fn call(name: &str, arguments: &[u8]) -> Result<Vec<u8>, HostError> {
    returned(|data, size| {
        // SAFETY: pointers and sizes are those of live slices; the others are live locals of `returned`.
        unsafe {
            proxy_call_foreign_function(
                name.as_ptr(),
                name.len(),
                arguments.as_ptr(),
                arguments.len(),
                data,
                size,
            )
        }
    })
}

/// Creates a counter, or finds the one of this name; returns its id.
pub(super) fn counter(name: &str) -> Result<u32, HostError> {
    metric(COUNTER, name)
}

/// Creates a histogram, or finds the one of this name; returns its id.
pub(super) fn histogram(name: &str) -> Result<u32, HostError> {
    metric(HISTOGRAM, name)
}

fn metric(kind: u32, name: &str) -> Result<u32, HostError> {
    let mut id = 0;
    // SAFETY: pointer and size are those of a live string; the last pointer is to a live local.
    checked(unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut id) })?;
    Ok(id)
}

/// Adds a value to a histogram.
pub(super) fn record(id: u32, value: u64) -> Result<(), HostError> {
    // SAFETY: plain numbers.
    checked(unsafe { proxy_record_metric(id, value) })
}

pub(super) fn increment(id: u32, amount: i64) -> Result<(), HostError> {
    // SAFETY: plain numbers.
    checked(unsafe { proxy_increment_metric(id, amount) })
}

pub(super) fn log(level: log::Level, message: &str) {
    let level = match level {
        log::Level::Trace => 0,
        log::Level::Debug => 1,
        log::Level::Info => 2,
        log::Level::Warn => 3,
        log::Level::Error => 4,
    };
    // SAFETY: pointer and size are those of a live string. A failure to log cannot be reported.
    let _ = unsafe { proxy_log(level, message.as_ptr(), message.len()) };
}

/// Runs a call that returns bytes, and takes ownership of them.
fn returned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>, HostError> {
    let (mut data, mut size) = (null_mut(), 0);
    checked(call(&raw mut data, &raw mut size))?;
    if data.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the host allocated exactly `size` bytes through this module's own allocator
    // (`proxy_on_memory_allocate`) and gave them away.
    Ok(unsafe { Vec::from_raw_parts(data, size, size) })
}

fn checked(status: u32) -> Result<(), HostError> {
    if status == OK { Ok(()) } else { Err(HostError(status)) }
}

/// Serializes a header map: see `Headers::decode`.
fn serialize(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let word = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    let size = pairs.iter().fold(4_usize, |size, (name, value)| {
        size.saturating_add(name.len())
            .saturating_add(value.len())
            .saturating_add(10)
    });
    let mut bytes = Vec::with_capacity(size);
    bytes.extend(word(pairs.len()));
    for (name, value) in pairs {
        bytes.extend(word(name.len()));
        bytes.extend(word(value.len()));
    }
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend_from_slice(text);
        bytes.push(0);
    }
    bytes
}

const OK: u32 = 0;
const MONOTONIC: u32 = 1;
const COUNTER: u32 = 0;
const HISTOGRAM: u32 = 2;
