//! The rooms of `src/` and what they know of each other: no circle, and a few names that only one of them may say.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every source file below a folder, tests of their own left out.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files = Vec::new();
    for path in entries {
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" {
            files.extend(sources(&path));
        } else if name.ends_with(".rs") && name != "tests.rs" {
            files.push(path);
        }
    }
    files
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The code of a file, without comments and without the tests at its end.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The first part of a path below `src/`: a folder, or a file of its own.
fn room(path: &Path) -> String {
    let below = path.strip_prefix(src()).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in sources(&src()) {
        let own = room(&path);
        let code = code(&path);
        let named = code.split("crate::").skip(1).map(|rest| {
            let end = rest.find(|character: char| !character.is_ascii_alphanumeric() && character != '_');
            rest.split_at(end.unwrap_or(rest.len())).0.to_owned()
        });
        let others = named.filter(|name| *name != own);
        uses.entry(own.clone()).or_default().extend(others);
    }
    uses
}

#[test]
fn no_two_rooms_know_each_other() {
    let mut uses = uses();
    assert!(uses.len() > 10, "{uses:?}");
    uses.remove("lib");
    // Rooms that know none of those that are left go out, one after the other.
    while !uses.is_empty() {
        let left: BTreeSet<String> = uses.keys().cloned().collect();
        let before = uses.len();
        uses.retain(|_, others| others.iter().any(|other| left.contains(other)));
        assert!(uses.len() < before, "a circle among {uses:#?}");
    }
}

#[test]
fn a_policy_is_named_by_the_gateway_and_by_policies_alone() {
    for (room, others) in uses() {
        let may = ["gateway", "policy", "lib"].contains(&room.as_str());
        assert!(may || !others.contains("policy"), "{room}");
    }
}

#[test]
fn names_that_one_place_alone_may_say_are_said_there_alone() {
    for (name, place) in [
        ("proxy_wasm", "host/"),
        ("by_a_verified_credential()", "policy/authenticate/mod.rs"),
    ] {
        let all = sources(&src());
        let saying = all.iter().filter(|path| code(path).contains(name));
        let saying: Vec<_> = saying.map(|path| path.strip_prefix(src()).unwrap()).collect();
        let others = saying.iter().filter(|path| !path.starts_with(place));
        // Where the constructor itself is.
        let others = others.filter(|path| !path.ends_with("message/identity.rs"));
        assert_eq!(others.collect::<Vec<_>>(), Vec::<&&Path>::new(), "{name}");
        assert!(!saying.is_empty(), "{name}");
    }
}
