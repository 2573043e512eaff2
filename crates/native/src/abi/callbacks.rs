//! The callbacks: functions that Envoy exports for modules.

use std::ffi::c_void;

use super::{Bytes, Own, Pair};

unsafe extern "C" {
    pub(super) fn envoy_dynamic_module_callback_log(level: u32, message: Own);
    pub(super) fn envoy_dynamic_module_callback_log_enabled(level: u32) -> bool;
    pub(super) fn envoy_dynamic_module_callback_is_validation_mode() -> bool;

    pub(super) fn envoy_dynamic_module_callback_http_get_headers_size(filter: *mut c_void, map: u32) -> usize;
    pub(super) fn envoy_dynamic_module_callback_http_get_headers(
        filter: *mut c_void,
        map: u32,
        result: *mut Pair,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_add_header(
        filter: *mut c_void,
        map: u32,
        name: Own,
        value: Own,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_set_header(
        filter: *mut c_void,
        map: u32,
        name: Own,
        value: Own,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_send_response(
        filter: *mut c_void,
        status: u32,
        headers: *const Pair,
        count: usize,
        body: Own,
        details: Own,
    );
    pub(super) fn envoy_dynamic_module_callback_http_get_body_size(filter: *mut c_void, body: u32) -> usize;
    pub(super) fn envoy_dynamic_module_callback_http_get_body_chunks(
        filter: *mut c_void,
        body: u32,
        result: *mut Bytes,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_get_body_chunks_size(filter: *mut c_void, body: u32) -> usize;
    pub(super) fn envoy_dynamic_module_callback_http_append_body(filter: *mut c_void, body: u32, bytes: Own) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_drain_body(filter: *mut c_void, body: u32, count: usize) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_received_buffered_request_body(filter: *mut c_void) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_received_buffered_response_body(filter: *mut c_void) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_set_filter_state_bytes(
        filter: *mut c_void,
        key: Own,
        value: Own,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_clear_route_cache(filter: *mut c_void);
    pub(super) fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
        filter: *mut c_void,
        attribute: u32,
        result: *mut Bytes,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_filter_get_attribute_int(
        filter: *mut c_void,
        attribute: u32,
        result: *mut u64,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_filter_start_http_stream(
        filter: *mut c_void,
        id: *mut u64,
        cluster: Own,
        headers: *const Pair,
        count: usize,
        body: Own,
        ends: bool,
        timeout: u64,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_start_http_stream(
        configuration: *mut c_void,
        id: *mut u64,
        cluster: Own,
        headers: *const Pair,
        count: usize,
        body: Own,
        ends: bool,
        timeout: u64,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_reset_http_stream(filter: *mut c_void, id: u64);
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_reset_http_stream(
        configuration: *mut c_void,
        id: u64,
    );
    pub(super) fn envoy_dynamic_module_callback_http_filter_continue_decoding(filter: *mut c_void);
    pub(super) fn envoy_dynamic_module_callback_http_filter_continue_encoding(filter: *mut c_void);
    pub(super) fn envoy_dynamic_module_callback_http_filter_scheduler_new(filter: *mut c_void) -> *mut c_void;
    pub(super) fn envoy_dynamic_module_callback_http_filter_scheduler_commit(scheduler: *mut c_void, event: u64);
    pub(super) fn envoy_dynamic_module_callback_http_filter_scheduler_delete(scheduler: *mut c_void);
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_scheduler_new(
        configuration: *mut c_void,
    ) -> *mut c_void;
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_scheduler_commit(scheduler: *mut c_void, event: u64);
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_scheduler_delete(scheduler: *mut c_void);

    pub(super) fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        configuration: *mut c_void,
        name: Own,
        labels: *const Own,
        count: usize,
        id: *mut usize,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_define_histogram(
        configuration: *mut c_void,
        name: Own,
        labels: *const Own,
        count: usize,
        id: *mut usize,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_increment_counter(
        filter: *mut c_void,
        id: usize,
        values: *const Own,
        count: usize,
        by: u64,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_record_histogram_value(
        filter: *mut c_void,
        id: usize,
        values: *const Own,
        count: usize,
        value: u64,
    ) -> u32;
}
