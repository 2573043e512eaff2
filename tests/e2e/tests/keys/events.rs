//! Events: each is delivered, in order, whatever fails meanwhile.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate_e2e::envoy::eventually;

use crate::on_both_engines;
use crate::receiver::Receiver;
use crate::world::World;

on_both_engines!(
    events_wait_for_a_receiver_that_is_down,
    a_restart_loses_no_event,
    two_instances_share_the_work,
);

/// Makes, rotates and revokes a key: four events.
fn cause(world: &World, user: &str) -> [String; 4] {
    let (_, id) = world.create(&[
        "--user",
        user,
        "--tenant",
        "t",
        "--role",
        "r",
        "--attribute",
        "email=private@example",
    ]);
    let new = world.ok(&["rotate", &id]);
    world.minted(new.trim());
    let new_id = new.split('_').nth(2).unwrap();
    world.ok(&["revoke", &id]);
    let told = |kind: &str, id: &str| format!("tollgate.key.{kind} {id}");
    [
        told("created", &id),
        told("rotated", &id),
        told("created", new_id),
        told("revoked", &id),
    ]
}

fn told(events: &[Value]) -> Vec<String> {
    let text = |event: &Value, field: &str| event[field].as_str().unwrap().to_owned();
    events
        .iter()
        .map(|event| format!("{} {}", text(event, "type"), text(event, "subject")))
        .collect()
}

fn events_wait_for_a_receiver_that_is_down(world: &World) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://{address}/hook?token=hook-token-of-the-operator");
    let service = world.serve(&["--webhook", &url]);
    let caused = cause(world, "u1");
    eventually("an attempt failed", || service.log().contains("is sent again in 1 s"));
    let receiver = Receiver::on(std::net::TcpListener::bind(address).unwrap(), 503);
    eventually("an attempt was refused", || receiver.refused() > 0);
    eventually("that is told", || service.log().contains("webhook failed (status 503)"));
    assert!(receiver.taken().is_empty());
    receiver.answer(200);
    eventually("all were taken", || receiver.taken().len() >= 4);
    let events = receiver.taken();
    assert_eq!(told(&events), caused);
    let first = &events[0];
    assert_eq!(first["specversion"], "1.0");
    assert_eq!(first["source"], "tollgate/keys");
    assert_eq!(first["datacontenttype"], "application/json");
    assert!(first["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(
        first["data"],
        json!({"user_id": "u1", "tenant_id": "t", "roles": ["r"], "scopes": []})
    );
    assert_eq!(events[1]["data"]["replaced_by"], events[2]["subject"]);
    assert!(events[1]["data"]["expires_at"].is_string());
    let mut ids: Vec<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    let (_, log) = service.stop();
    assert!(!log.contains("hook-token"), "{log}");
    assert_eq!(log.matches("Z key ").count(), 4, "{log}");
    world.saw(&log);
    world.saw(&json!(events).to_string());
}

fn a_restart_loses_no_event(world: &World) {
    let receiver = Receiver::start(500);
    let url = receiver.url();
    // Without a service, they wait in the database.
    let mut caused = cause(world, "u1").to_vec();
    let service = world.serve(&["--webhook", &url]);
    eventually("an attempt was refused", || receiver.refused() > 0);
    // It dies, maybe with a claim.
    world.saw(&service.kill());
    caused.extend(cause(world, "u2"));
    receiver.answer(200);
    let service = world.serve(&["--webhook", &url]);
    eventually("all were taken", || receiver.taken().len() >= 8);
    let (ended_well, log) = service.stop();
    assert!(ended_well);
    world.saw(&log);
    caused.extend(cause(world, "u3"));
    let service = world.serve(&["--webhook", &url]);
    eventually("the rest was taken", || receiver.taken().len() >= 12);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(told(&receiver.taken()), caused, "in order, and none twice");
    world.saw(&service.kill());
}

fn two_instances_share_the_work(world: &World) {
    let receiver = Receiver::start(200);
    let services = [0, 1].map(|_| world.serve(&["--webhook", &receiver.url()]));
    let (_, id) = world.create(&["--user", "short", "--lifetime", "2s"]);
    let mut caused = vec![format!("tollgate.key.created {id}")];
    for user in ["u1", "u2", "u3"] {
        caused.extend(cause(world, user));
    }
    let expired = format!("tollgate.key.expired {id}");
    eventually("the key has expired, and that is told", || {
        told(&receiver.taken()).contains(&expired)
    });
    eventually("all were taken", || receiver.taken().len() > caused.len());
    // Time for one too many.
    std::thread::sleep(Duration::from_millis(2500));
    let mut told = told(&receiver.taken());
    assert_eq!(told.iter().filter(|event| **event == expired).count(), 1, "{told:?}");
    told.retain(|event| *event != expired);
    assert_eq!(told, caused, "in order, and none twice");
    assert_eq!(receiver.most_at_once(), 1, "one after the other");
    let logs = services.map(tollgate_e2e::key_service::KeyService::kill);
    let lines: Vec<_> = logs.iter().map(|log| log.matches("Z key ").count()).collect();
    println!("the instances delivered {lines:?}");
    for log in logs {
        world.saw(&log);
    }
}
