//! Consumer groups, and the plugins about them.

use std::fs;

use crate::{import, stderr};

/// A gateway with a group, a plugin about that, and two consumers with keys: what stands at ada, at the group and beside both.
fn members(plugin: &str, ids: [&str; 2], [ada, group, beside]: [&str; 3]) -> (String, String) {
    let [ada_id, group_id] = ids;
    let kong = format!(
        "_format_version: '3.0'
services: [ {{ name: a, url: http://a, routes: [ {{ name: a, paths: [/a], plugins: [ {{ name: key-auth }} ] }} ] }} ]
consumers:
- {{ {ada_id} username: ada, custom_id: '42', {ada} keyauth_credentials: [ {{ key: a-key-of-adas-that-is-long }} ] }}
- {{ id: 5bcbd3a7-030b-4310-bd1d-2721ff85d236, username: bob, keyauth_credentials: [ {{ key: a-key-of-bobs-that-is-long }} ] }}
consumer_groups: [ {{ {group_id} name: gold, {group} }} ]
plugins: [ {{ {plugin}, consumer_group: gold }} ]
{beside}
"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kong.yaml");
    fs::write(&file, kong).unwrap();
    let output = folder.path().join("gateway");
    let run = import(&file.display().to_string(), &output, &[]);
    let policy = fs::read_to_string(output.join("policies/gateway.yaml"));
    (
        policy.unwrap_or_else(|error| panic!("{error}: {}", stderr(&run))),
        stderr(&run),
    )
}

#[test]
fn a_plugin_about_a_group_holds_for_its_members_wherever_and_however_they_are_named() {
    let (consumer, group) = (
        "id: 3c1f0bc0-5a7e-4d2a-8d11-000000000001,",
        "id: 3c1f0bc0-5a7e-4d2a-8d11-000000000002,",
    );
    let cases = [
        ["groups: [gold],", "", ""],
        ["groups: [ { name: gold } ],", "", ""],
        ["groups: [ { id: 3c1f0bc0-5a7e-4d2a-8d11-000000000002 } ],", "", ""],
        ["consumer_group_consumers: [ { consumer_group: gold } ],", "", ""],
        ["", "consumers: [ada]", ""],
        ["", "consumers: [ { username: ada } ]", ""],
        ["", "consumers: [ { custom_id: '42' } ]", ""],
        ["", "consumers: [ { id: 3c1f0bc0-5a7e-4d2a-8d11-000000000001 } ]", ""],
        ["", "consumer_group_consumers: [ { consumer: ada } ]", ""],
        [
            "",
            "",
            "consumer_group_consumers: [ { consumer: ada, consumer_group: gold } ]",
        ],
        [
            "",
            "",
            "consumer_group_consumers: [ { consumer: { custom_id: '42' }, consumer_group: { id: 3c1f0bc0-5a7e-4d2a-8d11-000000000002 } } ]",
        ],
    ];
    for case in cases {
        let plugin = "name: request-termination";
        let (policy, told) = members(plugin, [consumer, group], case);
        let has = |policy: &str, name: &str| policy.contains(&format!("user_id: {name}\n"));
        assert!(!has(&policy, "ada") && has(&policy, "bob"), "{case:?}\n{policy}");
        assert!(
            !told.contains("may mean one") && !told.contains("consumer_group_consumers"),
            "{told}"
        );
        let plugin = "name: rate-limiting-advanced, config: { limit: [9], window_size: [60] }";
        let (policy, _) = members(plugin, [consumer, group], case);
        assert_eq!(policy.matches("plan: gold\n").count(), 1, "{case:?}\n{policy}");
    }
    let beside = "consumer_group_plugins: [ { name: request-termination, consumer_group: gold } ]";
    let (policy, _) = members("name: cors", [consumer, group], ["groups: [gold],", "", beside]);
    assert!(
        !policy.contains("user_id: ada\n") && policy.contains("user_id: bob\n"),
        "{policy}"
    );
}

#[test]
fn a_member_by_an_id_that_is_not_in_the_file_may_be_anyone_without_an_id() {
    let id = "9e107d9d-372b-4bb6-826b-000000000009";
    let by_id = format!("consumers: [ {{ id: {id} }} ]");
    let of_group = format!("groups: [ {{ id: {id} }} ],");
    let someone_else = "consumers: [ { username: eve } ]";
    let cases = [
        (
            ["", "id: 3c1f0bc0-5a7e-4d2a-8d11-000000000002,"],
            ["", &by_id, ""],
            false,
        ),
        (
            ["id: 3c1f0bc0-5a7e-4d2a-8d11-000000000001,", ""],
            [&of_group, "", ""],
            false,
        ),
        (
            ["id: 3c1f0bc0-5a7e-4d2a-8d11-000000000001,", ""],
            ["", &by_id, ""],
            true,
        ),
        (["", ""], ["", someone_else, ""], true),
        (["", ""], ["", "consumers: [ { username: $ADA } ]", ""], false),
    ];
    for (ids, case, is_in) in cases {
        let (policy, told) = members("name: request-termination", ids, case);
        assert_eq!(policy.contains("user_id: ada\n"), is_in, "{case:?}\n{policy}");
        assert_eq!(
            told.contains("may mean one whose id is not in it"),
            !is_in,
            "{case:?}\n{told}"
        );
    }
}
