//! What is used of Envoy's interface for dynamic modules, version 0.1.0 (`source/extensions/dynamic_modules/abi/abi.h`): the callbacks, and safe
//! functions around them. Only this module and the hooks are unsafe.

mod callbacks;
mod configuration;
mod stream;

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use tollgate::http::headers::Headers;

use callbacks::{
    envoy_dynamic_module_callback_is_validation_mode, envoy_dynamic_module_callback_log,
    envoy_dynamic_module_callback_log_enabled,
};
pub(crate) use configuration::{Configuration, Scheduler, counts_on_main};
pub(crate) use stream::Stream;

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

/// Names or values of labels, as Envoy takes them.
fn owned(labels: &[&str]) -> Vec<Own> {
    labels.iter().map(|label| Own::of(label.as_bytes())).collect()
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
