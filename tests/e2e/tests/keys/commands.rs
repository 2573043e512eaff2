//! The commands.

use serde_json::Value;

use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    a_key_is_made_listed_rotated_and_revoked,
    keys_from_elsewhere_are_imported,
    mistakes_are_explained,
    processes_that_start_at_once_do_not_clash,
);

fn listed(world: &World, arguments: &[&str]) -> Vec<Value> {
    let out = world.ok(&[&["list", "--json"], arguments].concat());
    serde_json::from_str(&out).unwrap()
}

fn a_key_is_made_listed_rotated_and_revoked(world: &World) {
    let ran = world.run(&[
        "create",
        "--user",
        "u1",
        "--tenant",
        "t1",
        "--name",
        "batch job",
        "--role",
        "admin",
        "--role",
        "ops",
        "--scope",
        "read",
        "--plan",
        "pro",
        "--attribute",
        "email=a@b",
        "--attribute",
        "email=c@d",
        "--lifetime",
        "90d",
        "--json",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.error);
    let made: Value = serde_json::from_str(&ran.out).unwrap();
    let key = made["key"].as_str().unwrap();
    world.minted(key);
    let record = &made["record"];
    let id = record["id"].as_str().unwrap();
    assert!(
        ran.error.contains(id) && ran.error.contains("shown once"),
        "{}",
        ran.error
    );
    assert!(key.starts_with(&format!("tg_live_{id}_")), "{key}");
    assert_eq!(record["hash"], world.hash("v2", key));
    assert_eq!(record["roles"], serde_json::json!(["admin", "ops"]));
    assert_eq!(record["attributes"], serde_json::json!({"email": ["a@b", "c@d"]}));

    world.create(&["--user", "u2"]);
    assert_eq!(listed(world, &["--user", "u1"]).len(), 1);
    assert_eq!(listed(world, &["--tenant", "t1"]), std::slice::from_ref(record));
    assert_eq!(listed(world, &["--tenant", "t2"]).len(), 0);
    let table = world.ok(&["list"]);
    assert!(
        table.starts_with("ID ") && table.contains("\"batch job\"") && table.lines().count() == 3,
        "{table}"
    );

    let rotated = world.ok(&["rotate", id, "--overlap", "1h"]);
    let new_key = rotated.strip_suffix('\n').unwrap();
    world.minted(new_key);
    let keys = listed(world, &["--user", "u1"]);
    let find = |id: &str| keys.iter().find(|key| key["id"] == id).unwrap();
    let (old, new) = (find(id), find(new_key.split('_').nth(2).unwrap()));
    assert_eq!(old["replaced_by"], new["id"]);
    assert!(old["expires_at"].as_str() < record["expires_at"].as_str(), "{old}");
    for same in [
        "user_id",
        "tenant_id",
        "roles",
        "scopes",
        "plan",
        "attributes",
        "name",
        "expires_at",
    ] {
        assert_eq!(new[same], record[same], "{same}");
    }
    let again = world.run(&["rotate", id]);
    assert!(again.code == 1 && again.error.contains("already replaced"), "{again:?}");

    // The overlap never prolongs the old key.
    let (_, short) = world.create(&["--user", "u3", "--lifetime", "60s"]);
    let ends = listed(world, &["--user", "u3"])[0]["expires_at"].clone();
    world.minted(world.ok(&["rotate", &short, "--overlap", "24h"]).trim());
    assert!(
        listed(world, &["--user", "u3"])
            .iter()
            .all(|key| key["expires_at"] == ends)
    );

    assert!(world.ok(&["revoke", id]).contains("is revoked"));
    assert!(world.ok(&["revoke", id]).contains("already revoked"));
    let refused = world.run(&["rotate", id]);
    assert!(
        refused.code == 1 && refused.error.contains("was revoked"),
        "{refused:?}"
    );
    assert_eq!(listed(world, &["--user", "u1"]).len(), 1);
    let all = listed(world, &["--user", "u1", "--all"]);
    assert!(
        all.iter().any(|key| key["id"] == *id && key["status"] == "revoked"),
        "{all:?}"
    );

    let events = world.ok(&["events"]);
    world.saw(&events);
    let kinds: Vec<_> = events
        .lines()
        .filter(|line| line.contains("user=u1"))
        .map(|line| line.split(' ').nth(2).unwrap())
        .collect();
    assert_eq!(kinds, ["created", "rotated", "created", "revoked"], "{events}");
}

fn keys_from_elsewhere_are_imported(world: &World) {
    let key = "kong-0123456789-abcdef";
    world.minted(key);
    let import = |arguments: &[&str], input: &str| {
        world.run_with(
            &world.environment(),
            &[&["import", "--user", "u"], arguments].concat(),
            input,
        )
    };
    let done = import(&["--stdin", "--id", "kong-1"], &format!("{key}\n"));
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(listed(world, &[])[0]["hash"], world.hash("v2", key));
    for (arguments, input, problem) in [
        (
            &["--stdin", "--id", "kong-2"][..],
            key,
            "this key exists already, with the id kong-1",
        ),
        (
            &["--stdin", "--id", "kong-1"],
            "another-0123456789",
            "a key with this id",
        ),
        (&["--stdin", "--id", "kong-2"], "short", "standard input is not a key"),
        (&["--stdin"], "another-0123456789", "--id is missing"),
        (&["--id", "kong-2", "--hash", key], "", "--hash: a hash is"),
        (
            &["--id", "kong-2", "--hash", &world.hash("v2", "x").replace("v2", "v9")],
            "",
            "an unknown secret; known are: v2, v1",
        ),
    ] {
        let ran = import(arguments, input);
        assert!(ran.code == 1 && ran.error.contains(problem), "{problem}: {ran:?}");
    }
    // By a hash that was made with an older secret.
    let old = import(&["--id", "kong-2", "--hash", &world.hash("v1", "old")], "");
    assert_eq!(old.code, 0, "{old:?}");
    assert_eq!(listed(world, &[]).len(), 2);
    assert!(
        world
            .ok(&["events"])
            .lines()
            .all(|line| line.ends_with("imported=true"))
    );
}

fn mistakes_are_explained(world: &World) {
    let (key, id) = world.create(&["--user", "u"]);
    for arguments in [&["revoke", &key][..], &["rotate", &key], &["revoke", "nobody"]] {
        let ran = world.run(arguments);
        assert!(ran.code == 1 && ran.error.contains("no key with this id"), "{ran:?}");
        assert_eq!(ran.error.lines().count(), 1, "{ran:?}");
    }
    for (arguments, problem) in [
        (&["create", "--user", "a\nb"][..], "user_id"),
        (&["create", "--user", "u", "--lifetime", "90"], "--lifetime: a span"),
        (
            &["create", "--user", "u", "--expires", "tomorrow"],
            "--expires is not a moment",
        ),
        (
            &["create", "--user", "u", "--expires", "2020-01-01T00:00:00Z"],
            "expired already",
        ),
        (&["create", "--user", "u", "--attribute", "x"], "NAME=VALUE"),
        (&["create", "--user", "u", "--prefix", "T_G"], "prefix"),
        (&["create", "--user", "u", "--secret", "v1"], "ID=NAME"),
        (
            &["list", "--database", "mysql://x:s3cr3t@y/z"],
            "--database is a URL such as",
        ),
        (&["rotate", &id, "--overlap", "long"], "--overlap"),
        (&["serve", "--webhook", "nowhere"], "--webhook is not a URL"),
        (&["serve", "--listen", "nowhere"], "--listen"),
    ] {
        let ran = world.run(arguments);
        assert!(ran.code == 1 && ran.error.contains(problem), "{problem}: {ran:?}");
        assert!(!ran.error.contains("s3cr3t"), "{ran:?}");
    }
    for (missing, problem) in [
        ("TOLLGATE_KEYS_ADMIN_TOKEN", "openssl rand -hex 32"),
        ("TOLLGATE_KEYS_LOOKUP_TOKEN", "openssl rand -hex 32"),
        ("SECRET_ONE", "SECRET_ONE of the secret v1 is not set"),
    ] {
        let mut environment = world.environment();
        environment.retain(|(name, _)| *name != missing);
        let ran = world.run_with(&environment, &["serve"], "");
        assert!(ran.code == 1 && ran.error.contains(problem), "{missing}: {ran:?}");
    }
    assert_eq!(world.run(&["create"]).code, 2, "usage");
    assert_eq!(listed(world, &[]).len(), 1, "no mistake made a key");
}

fn processes_that_start_at_once_do_not_clash(world: &World) {
    // The first of them makes the tables.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| world.create(&["--user", "u"]));
        }
    });
    assert_eq!(listed(world, &[]).len(), 8);
    let service = world.serve(&[]);
    let changes = world.changes(&service, "?after=0");
    assert_eq!(changes["version"], 8);
    assert_eq!(changes["all"], false, "each change has a version of its own");
    assert_eq!(changes["hashes"].as_array().unwrap().len(), 8);
}

#[test]
fn a_new_database_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = crate::world::World::sqlite();
    assert_eq!(world.run(&["create", "--user", "u1"]).code, 0);
    let files = std::fs::read_dir(world.folder()).expect("a folder");
    let modes: Vec<_> = files
        .map(|file| file.expect("a file"))
        .filter(|file| file.file_name().to_string_lossy().starts_with("keys.db"))
        .map(|file| file.metadata().expect("its mode").permissions().mode() & 0o777)
        .collect();
    assert!(
        !modes.is_empty() && modes.iter().all(|&mode| mode == 0o600),
        "{modes:?}"
    );
}
