//! Calls to other services, and one answer made of theirs: what a plugin must ask of the host for an aggregate.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ptr::null_mut;
use std::time::Duration;

use proxy_wasm::traits::RootContext;

use crate::taken;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_buffer_bytes(buffer: u32, start: usize, length: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_register_shared_queue(name: *const u8, size: usize, queue: *mut u32) -> u32;
    fn proxy_enqueue_shared_queue(queue: u32, value: *const u8, size: usize) -> u32;
    fn proxy_dequeue_shared_queue(queue: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
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
}

/// Requests that wait for the answers to their calls.
#[derive(Default)]
pub(crate) struct Waiting {
    queue: Cell<Option<u32>>,
    /// Requests whose calls are not made yet.
    begun: RefCell<Vec<u32>>,
    /// By request: how many answers are missing, and what has come.
    open: RefCell<BTreeMap<u32, (usize, Vec<u8>)>>,
    /// The request of each call.
    calls: RefCell<BTreeMap<u32, u32>>,
}

impl Waiting {
    /// Adds a request, and has the root context called.
    pub(crate) fn hold(&self, context: u32) {
        self.begun.borrow_mut().push(context);
        let queue = self.queue.get().unwrap_or_else(|| {
            // A name of its own for each worker: the address of what only this one has.
            let name = format!("calibration.{:p}.{:?}", self, std::time::SystemTime::now());
            let mut queue = 0;
            // SAFETY: pointer and size are those of a live string; the last pointer is to a live local.
            unsafe { proxy_register_shared_queue(name.as_ptr(), name.len(), &raw mut queue) };
            queue
        });
        self.queue.set(Some(queue));
        // SAFETY: an empty message is not read.
        unsafe { proxy_enqueue_shared_queue(queue, [].as_ptr(), 0) };
    }

    /// Makes the calls of all requests that have come: each is a cluster and a path.
    pub(crate) fn call(&self, root: &dyn RootContext, asked: &[(&str, &str)]) {
        let (mut data, mut size) = (null_mut(), 0);
        // SAFETY: both pointers are to live locals.
        unsafe { proxy_dequeue_shared_queue(self.queue.get().unwrap_or_default(), &raw mut data, &raw mut size) };
        for context in self.begun.take() {
            self.open.borrow_mut().insert(context, (asked.len(), b"{".to_vec()));
            for (cluster, path) in asked {
                let headers = vec![
                    (":method", "GET"),
                    (":path", *path),
                    (":authority", *cluster),
                    ("accept", "application/json"),
                ];
                let call = root.dispatch_http_call(cluster, headers, None, Vec::new(), Duration::from_secs(1));
                if let Ok(token) = call {
                    self.calls.borrow_mut().insert(token, context);
                }
            }
        }
    }

    /// Takes an answer; the last one of a request answers it.
    pub(crate) fn answered(&self, token: u32, size: usize) {
        let Some(context) = self.calls.borrow_mut().remove(&token) else {
            return;
        };
        let (headers, body) = (headers(), body(size));
        std::hint::black_box(headers);
        let mut open = self.open.borrow_mut();
        let Some((missing, text)) = open.get_mut(&context) else {
            return;
        };
        text.extend(format!("\"{missing}\":").into_bytes());
        text.extend(body);
        *missing = missing.saturating_sub(1);
        text.push(if *missing == 0 { b'}' } else { b',' });
        if *missing == 0
            && let Some((_, text)) = open.remove(&context)
        {
            respond(context, &text);
        }
    }
}

fn headers() -> Vec<u8> {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: both pointers are to live locals; the host gives the bytes away.
    unsafe {
        proxy_get_header_map_pairs(6, &raw mut data, &raw mut size);
        taken(data, size)
    }
}

fn body(length: usize) -> Vec<u8> {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: both pointers are to live locals; the host gives the bytes away.
    unsafe {
        proxy_get_buffer_bytes(4, 0, length, &raw mut data, &raw mut size);
        taken(data, size)
    }
}

fn respond(context: u32, body: &[u8]) {
    let (name, value) = ("content-type", "application/json");
    let mut headers = Vec::new();
    for number in [1, name.len(), value.len()] {
        headers.extend(u32::try_from(number).unwrap_or_default().to_le_bytes());
    }
    headers.extend(format!("{name}\0{value}\0").into_bytes());
    // SAFETY: pointers and sizes are those of live slices.
    unsafe {
        if proxy_set_effective_context(context) == 0 {
            proxy_send_local_response(
                200,
                [].as_ptr(),
                0,
                body.as_ptr(),
                body.len(),
                headers.as_ptr(),
                headers.len(),
                -1,
            );
        }
    }
}
