//! Envoy's side of one request with its response.

use std::ffi::c_void;

use super::callbacks::*;
use super::{Attribute, Body, Bytes, Failed, Map, Own, Pair, Scheduler, begin, copied, done, joined, owned};
use tollgate::http::headers::Headers;

/// Envoy's side of one filter. It is used on its worker's thread only, until the filter is destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stream(pub(crate) *mut c_void);

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
        let is_set = unsafe { envoy_dynamic_module_callback_http_set_header(self.0, map as u32, Own::of(name), first) };
        done(is_set)?;
        self.add_header(map, name, values.get(1..).unwrap_or_default())
    }

    /// Adds values of a name to those that are there.
    pub(crate) fn add_header(self, map: Map, name: &[u8], values: &[Vec<u8>]) -> Result<(), Failed> {
        values.iter().try_for_each(|value| {
            // SAFETY: see above.
            done(unsafe {
                envoy_dynamic_module_callback_http_add_header(self.0, map as u32, Own::of(name), Own::of(value))
            })
        })
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
    pub(crate) fn count(self, id: usize, labels: &[&str], by: u64) -> Result<(), Failed> {
        let values = owned(labels);
        // SAFETY: see above.
        let status = unsafe {
            envoy_dynamic_module_callback_http_filter_increment_counter(self.0, id, values.as_ptr(), values.len(), by)
        };
        done(status == 0)
    }

    /// Adds a value to a histogram.
    pub(crate) fn observe(self, id: usize, labels: &[&str], value: u64) {
        let values = owned(labels);
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
