//! A plugin for measurements only: it makes the host calls that its configuration lists, with every request, and nothing
//! else. What Tollgate costs beyond the calls that it makes is Tollgate's own.
//!
//! The configuration is text, a call a line: `headers`, `clock`, `property PATH`, `shared KEY`, `update KEY`,
//! `remove NAME`, `set NAME VALUE`, `respond NAME VALUE` for a header of the response, `foreign NAME ARGUMENTS` with the
//! arguments in hexadecimal, and `replace`, which reads nothing but replaces the whole header map by what `headers` has read.
//! `ask CLUSTER PATH` holds the request and calls a service; when all have answered, the request is answered with what they said.
#![cfg(target_arch = "wasm32")]

mod parts;

use std::ptr::null_mut;
use std::rc::Rc;
use std::time::SystemTime;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

use parts::Waiting;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root { calls: Rc::default(), waiting: Rc::default() }));
}}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
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
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        arguments: *const u8,
        arguments_size: usize,
        results: *mut *mut u8,
        results_size: *mut usize,
    ) -> u32;
    fn proxy_set_shared_data(key: *const u8, key_size: usize, value: *const u8, value_size: usize, cas: u32) -> u32;
}

enum Call {
    Headers,
    Clock,
    Property(String),
    Shared(String),
    Update(String),
    Respond(String, String),
    Foreign(String, Vec<u8>),
    Remove(String),
    Set(String, String),
    Replace,
    Ask(String, String),
}

struct Root {
    calls: Rc<[Call]>,
    waiting: Rc<Waiting>,
}

struct Http {
    id: u32,
    calls: Rc<[Call]>,
    waiting: Rc<Waiting>,
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, _headers: usize, size: usize, _trailers: usize) {
        self.waiting.answered(token, size);
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let text = self.get_plugin_configuration().unwrap_or_default();
        let calls: Option<Vec<_>> = String::from_utf8_lossy(&text).lines().map(read).collect();
        let Some(calls) = calls else {
            return false;
        };
        for call in &calls {
            if let Call::Shared(key) | Call::Update(key) = call {
                let value = [b'x'; SHARED_VALUE];
                // SAFETY: pointers and sizes are those of live slices.
                let _ = unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), 0) };
            }
        }
        self.calls = calls.into();
        true
    }

    fn on_queue_ready(&mut self, _: u32) {
        let asked = self.calls.iter().filter_map(|call| match call {
            Call::Ask(cluster, path) => Some((cluster.as_str(), path.as_str())),
            _ => None,
        });
        self.waiting.call(self, &asked.collect::<Vec<_>>());
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http {
            id,
            calls: Rc::clone(&self.calls),
            waiting: Rc::clone(&self.waiting),
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// `None` for a line that is no call.
fn read(line: &str) -> Option<Call> {
    let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
    Some(match name {
        "headers" => Call::Headers,
        "clock" => Call::Clock,
        "property" => Call::Property(rest.replace('.', "\0")),
        "shared" => Call::Shared(rest.to_owned()),
        "update" => Call::Update(rest.to_owned()),
        "respond" => {
            let (name, value) = rest.split_once(' ')?;
            Call::Respond(name.to_owned(), value.to_owned())
        }
        "foreign" => {
            let (name, arguments) = rest.split_once(' ')?;
            let bytes = (0..arguments.len()).step_by(2);
            let bytes: Option<_> = bytes
                .map(|at| u8::from_str_radix(arguments.get(at..at + 2)?, 16).ok())
                .collect();
            Call::Foreign(name.to_owned(), bytes?)
        }
        "remove" => Call::Remove(rest.to_owned()),
        "set" => {
            let (name, value) = rest.split_once(' ')?;
            Call::Set(name.to_owned(), value.to_owned())
        }
        "replace" => Call::Replace,
        "ask" => {
            let (cluster, path) = rest.split_once(' ')?;
            Call::Ask(cluster.to_owned(), path.to_owned())
        }
        _ => return None,
    })
}

impl Context for Http {}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let mut map = Vec::new();
        for call in self.calls.iter() {
            let (mut data, mut size, mut cas) = (null_mut(), 0, 0);
            // SAFETY: pointers to live locals and live strings.
            unsafe {
                match call {
                    Call::Headers => {
                        if proxy_get_header_map_pairs(0, &raw mut data, &raw mut size) == 0 {
                            map = taken(data, size);
                        }
                    }
                    Call::Clock => {
                        std::hint::black_box(SystemTime::now());
                    }
                    Call::Property(path) => {
                        proxy_get_property(path.as_ptr(), path.len(), &raw mut data, &raw mut size);
                        std::hint::black_box(taken(data, size));
                    }
                    Call::Shared(key) => {
                        proxy_get_shared_data(key.as_ptr(), key.len(), &raw mut data, &raw mut size, &raw mut cas);
                        std::hint::black_box(taken(data, size));
                    }
                    Call::Update(key) => {
                        proxy_get_shared_data(key.as_ptr(), key.len(), &raw mut data, &raw mut size, &raw mut cas);
                        let value = taken(data, size);
                        proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas);
                    }
                    Call::Foreign(name, arguments) => {
                        proxy_call_foreign_function(
                            name.as_ptr(),
                            name.len(),
                            arguments.as_ptr(),
                            arguments.len(),
                            &raw mut data,
                            &raw mut size,
                        );
                        std::hint::black_box(taken(data, size));
                    }
                    Call::Respond(..) | Call::Ask(..) => {}
                    Call::Remove(name) => {
                        proxy_remove_header_map_value(0, name.as_ptr(), name.len());
                    }
                    Call::Set(name, value) => {
                        proxy_replace_header_map_value(0, name.as_ptr(), name.len(), value.as_ptr(), value.len());
                    }
                    Call::Replace => {
                        proxy_set_header_map_pairs(0, map.as_ptr(), map.len());
                    }
                }
            }
        }
        std::hint::black_box(map);
        if self.calls.iter().any(|call| matches!(call, Call::Ask(..))) {
            self.waiting.hold(self.id);
            return Action::Pause;
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        for call in self.calls.iter() {
            if let Call::Respond(name, value) = call {
                // SAFETY: pointers and sizes are those of live strings.
                let _ = unsafe {
                    proxy_replace_header_map_value(2, name.as_ptr(), name.len(), value.as_ptr(), value.len())
                };
            }
        }
        Action::Continue
    }
}

/// # Safety
/// `data` and `size` are what a host call returned: bytes that the host gave away, or null.
pub(crate) unsafe fn taken(data: *mut u8, size: usize) -> Vec<u8> {
    if data.is_null() {
        return Vec::new();
    }
    // SAFETY: the host allocated exactly `size` bytes through this module's own allocator.
    unsafe { Vec::from_raw_parts(data, size, size) }
}

/// Bytes: a remembered key or two.
const SHARED_VALUE: usize = 400;
