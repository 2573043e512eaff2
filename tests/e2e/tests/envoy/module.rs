//! The interface of dynamic modules: what the native shell uses of it is what this Envoy has.

use std::collections::BTreeSet;
use std::fs;

use tollgate_e2e::case::repository;

#[test]
fn envoy_has_every_callback_and_knows_every_hook() {
    let Ok(program) = std::env::var("ENVOY_BIN") else {
        println!("not run: this Envoy is no program of this machine");
        return;
    };
    let known = names(&fs::read(&program).unwrap_or_else(|error| panic!("{program}: {error}")));
    let source = |file: &str| fs::read(repository().join("crates/native/src").join(file)).expect("a source");
    let callbacks = names(&source("abi/callbacks.rs"));
    let hooks = names(&source("hooks.rs"));
    assert!(callbacks.len() > 30 && hooks.len() > 25, "{callbacks:?} {hooks:?}");
    let lacking: Vec<_> = callbacks.union(&hooks).filter(|name| !known.contains(*name)).collect();
    assert!(lacking.is_empty(), "{program} lacks {lacking:?}");
    println!(
        "{} callbacks and {} hooks are in {program}",
        callbacks.len(),
        hooks.len()
    );
}

/// The names of callbacks and hooks in these bytes.
fn names(bytes: &[u8]) -> BTreeSet<String> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let words = bytes.split(|byte| !is_part(byte));
    let names = words.filter(|word| {
        word.starts_with(b"envoy_dynamic_module_callback_") || word.starts_with(b"envoy_dynamic_module_on_")
    });
    names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}
