//! The feed of changes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    the_feed_names_what_changed,
    a_held_answer_comes_with_a_change_of_another_process,
    a_held_answer_ends_with_its_time_and_with_the_service,
    what_cannot_be_told_is_everything,
);

fn the_feed_names_what_changed(world: &World) {
    let service = world.serve(&[]);
    assert_eq!(
        world.changes(&service, "?after=0"),
        json!({"version": 0, "all": false, "hashes": []})
    );
    let (key, id) = world.create(&["--user", "u"]);
    let hash = world.hash("v2", &key);
    assert_eq!(
        world.changes(&service, "?after=0"),
        json!({"version": 1, "all": false, "hashes": [hash]})
    );
    let new = world.ok(&["rotate", &id]);
    world.minted(new.trim());
    let new_hash = world.hash("v2", new.trim());
    let both = json!({"version": 3, "all": false, "hashes": [hash, new_hash]});
    assert_eq!(world.changes(&service, "?after=1"), both, "the old and the new key");
    world.ok(&["revoke", &id]);
    assert_eq!(
        world.changes(&service, "?after=3"),
        json!({"version": 4, "all": false, "hashes": [hash]})
    );
    let done = world.changes(&service, "?after=0");
    assert_eq!(done["hashes"].as_array().unwrap().len(), 2, "each once: {done}");
    world.saw(&service.kill());
}

fn a_held_answer_comes_with_a_change_of_another_process(world: &World) {
    let (first, second) = (world.serve(&[]), world.serve(&[]));
    let (key, id) = world.create(&["--user", "u"]);
    let waiting = |service, query: &str, change: &(dyn Fn() + Sync)| {
        std::thread::scope(|scope| {
            let answer = scope.spawn(move || {
                let answer = world.changes(service, query);
                (answer, Instant::now())
            });
            std::thread::sleep(Duration::from_millis(400));
            assert!(!answer.is_finished(), "it waits");
            change();
            let changed = Instant::now();
            let (answer, arrived) = answer.join().unwrap();
            (answer, arrived.saturating_duration_since(changed))
        })
    };
    let told = |version: u64| json!({"version": version, "all": false, "hashes": [world.hash("v2", &key)]});
    let (answer, after) = waiting(&first, "?after=1&wait=15", &|| {
        world.ok(&["revoke", &id]);
    });
    println!("a held answer came {after:?} after a command had revoked the key");
    assert_eq!(answer, told(2));
    assert!(after < Duration::from_secs(5), "{after:?}");

    let (other, id) = world.create(&["--user", "u"]);
    let (answer, after) = waiting(&first, "?after=3&wait=15", &|| {
        let path = format!("/v1/keys/{id}/revoke");
        assert_eq!(world.admin(&second, "POST", &path, None).status, 200);
    });
    println!("a held answer came {after:?} after another instance had revoked the key");
    assert_eq!(
        answer,
        json!({"version": 4, "all": false, "hashes": [world.hash("v2", &other)]})
    );
    assert!(after < Duration::from_secs(5), "{after:?}");
    world.saw(&first.kill());
    world.saw(&second.kill());
}

fn a_held_answer_ends_with_its_time_and_with_the_service(world: &World) {
    let service = world.serve(&[]);
    let nothing = json!({"version": 0, "all": false, "hashes": []});
    let asked = Instant::now();
    assert_eq!(world.changes(&service, "?after=0&wait=1"), nothing);
    assert!(asked.elapsed() >= Duration::from_secs(1), "{:?}", asked.elapsed());
    let address = service.address();
    std::thread::scope(|scope| {
        let token = format!("Bearer {}", world.lookup_token());
        let held = scope.spawn(move || {
            let headers = [("host", "localhost"), ("authorization", &*token)];
            let bytes = tollgate_e2e::raw::request("GET", "/v1/keys/changes?after=0&wait=30", &headers, b"");
            tollgate_e2e::raw::send(address, &bytes).unwrap()
        });
        std::thread::sleep(Duration::from_millis(300));
        let asked = Instant::now();
        let (ended_well, log) = service.stop();
        world.saw(&log);
        assert!(ended_well && asked.elapsed() < Duration::from_secs(5), "{log}");
        let answer = held.join().unwrap();
        assert_eq!((answer.status, answer.json()), (200, nothing.clone()));
    });
}

fn what_cannot_be_told_is_everything(world: &World) {
    let service = world.serve(&[]);
    world.create(&["--user", "u"]);
    let everything = |version: u64| json!({"version": version, "all": true, "hashes": Value::Array(Vec::new())});
    // At once, however long it may wait.
    let asked = Instant::now();
    assert_eq!(world.changes(&service, "?wait=10"), everything(1));
    // A database that was restored to an earlier state.
    assert_eq!(world.changes(&service, "?after=2&wait=10"), everything(1));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    // More than 500 changes.
    for number in 1..=500 {
        let hash = world.hash("v1", &number.to_string());
        let body = json!({"id": format!("k{number}"), "hash": hash, "user_id": "u"});
        let imported = world.admin(&service, "POST", "/v1/keys/import", Some(&body));
        assert_eq!(imported.status, 201, "{}", imported.text());
    }
    assert_eq!(
        world.changes(&service, "?after=1")["hashes"].as_array().unwrap().len(),
        500
    );
    assert_eq!(world.changes(&service, "?after=0"), everything(501));
    world.saw(&service.kill());
}
