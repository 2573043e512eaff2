//! What bodies take of memory while they are judged, counted by the allocator: the plugin's whole memory is a gigabyte.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    unsafe_code,
    reason = "a test may fail by panicking, and an allocator is unsafe"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use serde_json::json;
use tollgate::message::body::Check as _;
use tollgate::policy::validate::Schema;

struct Counting;

thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all of it is the system's; beside it, numbers are counted that no allocation hangs on.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        NOW.set(NOW.get().wrapping_add(layout.size()));
        MOST.set(MOST.get().max(NOW.get()));
        // SAFETY: as it was asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.set(NOW.get().wrapping_sub(layout.size()));
        // SAFETY: as it was asked for.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes that were taken at once, beyond those that were taken before, in pointers of the plugin's size.
fn taken(act: impl FnOnce()) -> usize {
    NOW.set(0);
    MOST.set(0);
    act();
    MOST.get() / (size_of::<usize>() / 4)
}

#[test]
fn a_body_that_is_checked_takes_at_most_three_times_its_bytes_beside_itself() {
    let schema = json!({
        "anyOf": [{"type": "null"}, {"items": {"$ref": "#/$defs/any"}}],
        "$defs": {"any": {"additionalProperties": {"$ref": "#/$defs/any"}, "items": {"type": ["number", "object"]}, "minProperties": 0}},
    });
    let schema = Schema::compile(&schema).unwrap();
    let size = 4 << 20;
    let members = |name: &dyn Fn(usize) -> String| {
        let mut text = String::from("{");
        for place in 0.. {
            text.push_str(&format!("\"{}\":0,", name(place)));
            if text.len() > size {
                break;
            }
        }
        text + "\"end\":0}"
    };
    let deep = format!("{}{}", "{\"a\":".repeat(31), "0") + &"}".repeat(31);
    for (what, body) in [
        ("small objects", format!("[{{\"\":0}}{}]", ",{\"\":0}".repeat(size / 7))),
        ("numbers", format!("[0{}]", ",0".repeat(size / 2))),
        ("empty arrays", format!("[[]{}]", ",[]".repeat(size / 3))),
        ("names", members(&|place| format!("{place:x}"))),
        ("names with escapes", members(&|place| format!("\\u0061{place:x}"))),
        (
            "levels",
            format!("[{deep}{}]", format!(",{deep}").repeat(size / deep.len())),
        ),
        ("one text", format!("\"{}\"", "x".repeat(size))),
        ("one text of escapes", format!("\"{}\"", "\\n".repeat(size / 2))),
    ] {
        let most = taken(|| drop(schema.check(body.as_bytes())));
        assert!(most <= 3 * body.len(), "{what}: {most} of {}", body.len());
    }
}
