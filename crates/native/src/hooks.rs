//! The functions that Envoy calls, by the names of its interface. A panic in one is caught: the request is answered with 503, and the process lives.

#![allow(
    clippy::missing_safety_doc,
    reason = "only Envoy calls them, with pointers of its own and of ours"
)]

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tollgate::http::headers::Headers;
use tollgate::http::piece::Direction;

use crate::abi::{self, Bytes, Configuration, NOTHING, Pair, Stream};
use crate::crew::{Crew, Via};
use crate::filter::{Applied, Filter, Phase};
use crate::gateway::Gateway;
use crate::logger;

/// `envoy_dynamic_module_type_on_http_filter_*_status`.
const CONTINUE: u32 = 0;
const STOP: u32 = 1;
const STOP_ALL: u32 = 4;

/// The version of the interface.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    logger::begin();
    abi::VERSION.as_ptr()
}

/// Reads a configuration; null refuses it.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    configuration: *mut c_void,
    name: Bytes,
    bytes: Bytes,
) -> *const c_void {
    let load = || {
        let gateway = Arc::new(Gateway::load(
            Configuration(configuration),
            name.to_vec(),
            &bytes.to_vec(),
        )?);
        Crew::of_main(&gateway).prepare();
        Some(Box::into_raw(Box::new(gateway)).cast_const().cast())
    };
    caught(load).flatten().unwrap_or(NOTHING)
}

/// Ends a configuration.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(gateway: *const c_void) {
    // SAFETY: it was made by the hook above, and Envoy gives it back once.
    let gateway = unsafe { Box::from_raw(gateway.cast_mut().cast::<Arc<Gateway>>()) };
    caught(|| gateway.end());
}

/// There are no configurations of routes.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_new(_: Bytes, _: Bytes) -> *const c_void {
    log::error!("configuration refused: Tollgate has no configuration by route of Envoy's; rules match routes by name");
    NOTHING
}

/// There are none.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_destroy(_: *const c_void) {}

/// Begins a request.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_new(
    gateway: *const c_void,
    stream: *mut c_void,
) -> *const c_void {
    // SAFETY: it is the configuration's of above, alive while it has filters made.
    let gateway = unsafe { &*gateway.cast::<Arc<Gateway>>() };
    let filter = caught(|| Box::into_raw(Box::new(Filter::new(gateway, Stream(stream)))));
    filter.map_or(NOTHING, |filter| filter.cast_const().cast())
}

/// Ends a request.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_destroy(filter: *const c_void) {
    // SAFETY: it was made by the hook above, and Envoy gives it back once.
    let filter = unsafe { Box::from_raw(filter.cast_mut().cast::<Filter>()) };
    caught(|| filter.crew.leave(&filter.seat));
}

/// The hooks about a message, each with what Envoy is told where the message stops.
macro_rules! messages {
    ($($name:ident($($ends:ident)?) $stop:ident $handle:expr;)*) => {
        $(
            /// A part of the message has come.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name(_: *mut c_void, filter: *const c_void $(, $ends: bool)?) -> u32 {
                // SAFETY: a filter of ours.
                unsafe { on(filter, $stop, $handle) }
            }
        )*
    };
}

messages! {
    envoy_dynamic_module_on_http_filter_request_headers(ends) STOP_ALL |filter| filter.on_request_headers(ends);
    envoy_dynamic_module_on_http_filter_request_body(ends) STOP |filter| filter.on_body(Direction::Request, ends, Phase::Body);
    envoy_dynamic_module_on_http_filter_request_trailers() STOP Filter::on_request_trailers;
    envoy_dynamic_module_on_http_filter_response_headers(ends) STOP_ALL |filter| filter.on_response_headers(ends);
    envoy_dynamic_module_on_http_filter_response_body(ends) STOP |filter| filter.on_body(Direction::Response, ends, Phase::Body);
    envoy_dynamic_module_on_http_filter_response_trailers() STOP |filter| filter.on_body(Direction::Response, true, Phase::Trailers);
}

/// A stream that is suspended, or another of its worker, has something to do.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_scheduled(_: *mut c_void, filter: *const c_void, _: u64) {
    // SAFETY: a filter of ours.
    unsafe { of(filter, |filter| filter.crew.attend(filter.via())) }
}

/// The main thread has something to do.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_scheduled(
    configuration: *mut c_void,
    gateway: *const c_void,
    _: u64,
) {
    // SAFETY: a configuration of ours.
    let gateway = unsafe { &*gateway.cast::<Arc<Gateway>>() };
    caught(|| Crew::of_main(gateway).attend(Via::Main(Configuration(configuration))));
}

/// What Envoy tells of a call.
enum Told {
    Headers(Headers),
    Data(Vec<u8>),
    Trailers(Headers),
    Complete,
    Reset,
}

/// The hooks about calls of streams, and those about calls of the main thread.
macro_rules! calls {
    ($($of_stream:ident $of_main:ident ($($argument:ident: $kind:ty),*) $told:expr;)*) => {
        $(
            /// Envoy tells of a call of a stream.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $of_stream(_: *mut c_void, filter: *const c_void, call: u64 $(, $argument: $kind)*) {
                // SAFETY: a filter of ours, and what Envoy passes to this hook.
                unsafe {
                    let told = $told;
                    of(filter, |filter| tell(&filter.crew, call, told, filter.via()));
                }
            }

            /// Envoy tells of a call of the main thread.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $of_main(
                configuration: *mut c_void,
                gateway: *const c_void,
                call: u64
                $(, $argument: $kind)*
            ) {
                // SAFETY: a configuration of ours, and what Envoy passes to this hook.
                unsafe {
                    let told = $told;
                    let gateway = &*gateway.cast::<Arc<Gateway>>();
                    caught(|| tell(&Crew::of_main(gateway), call, told, Via::Main(Configuration(configuration))));
                }
            }
        )*
    };
}

calls! {
    envoy_dynamic_module_on_http_filter_http_stream_headers
    envoy_dynamic_module_on_http_filter_config_http_stream_headers
    (pairs: *const Pair, count: usize, _ends: bool) Told::Headers(abi::headers_of(pairs, count));

    envoy_dynamic_module_on_http_filter_http_stream_data
    envoy_dynamic_module_on_http_filter_config_http_stream_data
    (chunks: *const Bytes, count: usize, _ends: bool) Told::Data(abi::body_of(chunks, count));

    envoy_dynamic_module_on_http_filter_http_stream_trailers
    envoy_dynamic_module_on_http_filter_config_http_stream_trailers
    (pairs: *const Pair, count: usize) Told::Trailers(abi::headers_of(pairs, count));

    envoy_dynamic_module_on_http_filter_http_stream_complete
    envoy_dynamic_module_on_http_filter_config_http_stream_complete
    () Told::Complete;

    envoy_dynamic_module_on_http_filter_http_stream_reset
    envoy_dynamic_module_on_http_filter_config_http_stream_reset
    (_reason: u32) Told::Reset;
}

fn tell(crew: &Crew, call: u64, told: Told, via: Via) {
    match told {
        Told::Headers(headers) => crew.hear(call, via, |answer| answer.headers = headers),
        Told::Data(mut bytes) => crew.hear(call, via, |answer| answer.body.append(&mut bytes)),
        Told::Trailers(trailers) => crew.hear(call, via, |answer| answer.trailers = trailers),
        Told::Complete => crew.answered(call, via, true),
        Told::Reset => crew.answered(call, via, false),
    }
}

/// Nothing is to be done.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_stream_complete(_: *mut c_void, _: *const c_void) {}

/// Local replies go on.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_local_reply(
    _: *mut c_void,
    _: *const c_void,
    _: u32,
    _: Bytes,
    _: bool,
) -> u32 {
    CONTINUE
}

/// Envoy wants these to be there.
macro_rules! unused {
    ($($name:ident($($argument:ty),*);)*) => {
        $(
            #[doc = "Not called: it is for terminal filters, and for calls that are no streams."]
            #[unsafe(no_mangle)]
            extern "C" fn $name($(_: $argument),*) {}
        )*
    };
}

unused! {
    envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(*mut c_void, *const c_void);
    envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(*mut c_void, *const c_void);
    envoy_dynamic_module_on_http_filter_http_callout_done(
        *mut c_void, *const c_void, u64, u32, *const Pair, usize, *const Bytes, usize
    );
    envoy_dynamic_module_on_http_filter_config_http_callout_done(
        *mut c_void, *const c_void, u64, u32, *const Pair, usize, *const Bytes, usize
    );
}

/// Has a filter handle an event that it can stop; `stop` is what Envoy is told then.
///
/// # Safety
/// The pointer is a filter of ours.
unsafe fn on(filter: *const c_void, stop: u32, handle: impl FnOnce(&Filter) -> Applied) -> u32 {
    // SAFETY: the caller's promise; it is borrowed, since hooks are called within each other.
    let filter = unsafe { &*filter.cast::<Filter>() };
    match caught(|| handle(filter)) {
        Some(Applied::Continue) => CONTINUE,
        Some(Applied::Replied) => STOP,
        Some(Applied::Hold | Applied::Wait) => stop,
        None => {
            let stream = filter.seat.stream;
            if caught(|| stream.respond(503, &[], b"", "tollgate_panic")).is_none() {
                log::error!("a request could not be refused after a panic: it stays without an answer");
            }
            STOP
        }
    }
}

/// # Safety
/// The pointer is a filter of ours.
unsafe fn of(filter: *const c_void, handle: impl FnOnce(&Filter)) {
    // SAFETY: the caller's promise.
    let filter = unsafe { &*filter.cast::<Filter>() };
    caught(|| handle(filter));
}

/// Runs code of ours; `None` if it panics.
fn caught<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run))
        .inspect_err(|_| log::error!("a panic was caught: this is a fault in Tollgate, please report it"))
        .ok()
}
