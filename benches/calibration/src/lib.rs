//! A plugin for measurements only: it makes the host calls that Tollgate makes for a known token that names its user
//! alone, and nothing else. What Tollgate costs beyond it is Tollgate's own.
#![cfg(target_arch = "wasm32")]

use std::ptr::null_mut;
use std::time::SystemTime;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root));
}}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, key: *const u8, key_size: usize) -> u32;
}

struct Root;
struct Http;

impl Context for Root {}

impl RootContext for Root {
    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Context for Http {}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let _ = std::hint::black_box(SystemTime::now());
        let (mut data, mut size) = (null_mut(), 0);
        // SAFETY: pointers to live locals, then the bytes that the host gave away; the rest are live strings.
        unsafe {
            if proxy_get_header_map_pairs(0, &raw mut data, &raw mut size) == 0 && !data.is_null() {
                std::hint::black_box(Vec::from_raw_parts(data, size, size));
            }
            proxy_remove_header_map_value(0, REMOVED.as_ptr(), REMOVED.len());
            for (name, value) in SET {
                proxy_replace_header_map_value(0, name.as_ptr(), name.len(), value.as_ptr(), value.len());
            }
        }
        Action::Continue
    }
}

const REMOVED: &str = "authorization";
const SET: [(&str, &str); 3] = [
    ("x-user-id", "u1"),
    ("x-auth-method", "jwt"),
    ("x-auth-issuer", "https://issuer.example"),
];
