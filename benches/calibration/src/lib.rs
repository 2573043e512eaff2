//! A plugin for measurements only: it makes the host calls that Tollgate makes for a known token, and nothing else.
//! What Tollgate costs beyond it is Tollgate's own.
#![cfg(target_arch = "wasm32")]

use std::cell::OnceCell;
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
    fn proxy_set_header_map_pairs(map: u32, data: *const u8, size: usize) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, offset: i64) -> u32;
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
        // SAFETY: pointers to live locals, then the bytes that the host gave away.
        unsafe {
            if proxy_get_header_map_pairs(0, &raw mut data, &raw mut size) == 0 && !data.is_null() {
                let bytes = Vec::from_raw_parts(data, size, size);
                CHANGED.with(|changed| {
                    let changed = changed.get_or_init(|| change(&bytes));
                    proxy_set_header_map_pairs(0, changed.as_ptr(), changed.len());
                });
            }
            proxy_increment_metric(metric(), 1);
        }
        Action::Continue
    }
}

thread_local! {
    /// The first request's headers as Tollgate would change them. All requests of a measurement are alike.
    static CHANGED: OnceCell<Vec<u8>> = const { OnceCell::new() };
}

/// Without `authorization`, with an identity.
fn change(bytes: &[u8]) -> Vec<u8> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default()) as usize;
    let count = word(0);
    let mut at = 4 + 8 * count;
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for place in 0..count {
        let (name, value) = (word(4 + 8 * place), word(8 + 8 * place));
        pairs.push((
            bytes[at..at + name].to_vec(),
            bytes[at + name + 1..at + name + 1 + value].to_vec(),
        ));
        at += name + value + 2;
    }
    pairs.retain(|(name, _)| name != b"authorization");
    for (name, value) in [
        ("x-user-id", "u1"),
        ("x-auth-method", "jwt"),
        ("x-auth-issuer", "https://issuer.example"),
    ] {
        pairs.push((name.into(), value.into()));
    }
    let mut changed = (pairs.len() as u32).to_le_bytes().to_vec();
    for (name, value) in &pairs {
        changed.extend((name.len() as u32).to_le_bytes());
        changed.extend((value.len() as u32).to_le_bytes());
    }
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        changed.extend_from_slice(text);
        changed.push(0);
    }
    changed
}

fn metric() -> u32 {
    thread_local! {
        static ID: u32 = {
            let (name, mut id) = ("tollgate_calibration_total", 0);
            // SAFETY: pointer and size are those of a live string; the last pointer is to a live local.
            unsafe { proxy_define_metric(0, name.as_ptr(), name.len(), &raw mut id) };
            id
        };
    }
    ID.with(|id| *id)
}
