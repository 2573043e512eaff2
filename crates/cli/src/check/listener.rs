//! What a listener's connection manager must do before the plugin sees a request.

use crate::finding::Findings;
use crate::yaml::{Node, Reader};

/// Says what is missing of a connection manager with Tollgate among its filters.
pub(super) fn check(connection_manager: &Node, findings: &mut Findings) {
    let place = |path: &[&str]| {
        let found = connection_manager.fields(path);
        found.map_or(&connection_manager.place, |node| &node.place)
    };
    let is_true = |path: &[&str]| {
        let found = connection_manager.fields(path);
        found.map(|node| node.to_json(Reader::Envoy)) == Some(true.into())
    };
    let is_one_of = |path: &[&str], words: &[&str]| {
        let found = connection_manager.fields(path).and_then(Node::text);
        found.is_some_and(|text| words.contains(&text))
    };
    if !is_true(&["normalize_path"]) {
        findings.error(
            place(&["normalize_path"]),
            "has no `normalize_path: true`: Envoy chooses routes by paths as they are sent, `/public/../admin` and `/%61dmin` among them",
        );
    }
    // The plugin refuses what is not merged, so `false` is a choice.
    if connection_manager.field("merge_slashes").is_none() {
        findings.warning(
            &connection_manager.place,
            "has no `merge_slashes: true`: requests with empty segments in their paths, such as `/users//7`, get 400; if that is meant, say `false`",
        );
    }
    let slashes = ["path_with_escaped_slashes_action"];
    if !is_one_of(
        &slashes,
        &["REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD"],
    ) {
        findings.error(
            place(&slashes),
            "has no `path_with_escaped_slashes_action: REJECT_REQUEST` (or one that unescapes): `%2F` is a slash to some services and none to Envoy",
        );
    }
    let underscores = ["common_http_protocol_options", "headers_with_underscores_action"];
    if !is_one_of(&underscores, &["REJECT_REQUEST", "DROP_HEADER"]) {
        findings.error(
            place(&underscores),
            "has no `common_http_protocol_options: { headers_with_underscores_action: REJECT_REQUEST }` (or `DROP_HEADER`): `x_user_id` is \
             `x-user-id` to many services",
        );
    }
    let hops = connection_manager.field("xff_num_trusted_hops").and_then(Node::text);
    let trusts_hops = hops.is_some_and(|hops| hops.parse().is_ok_and(|hops: u32| hops > 0));
    let detects = connection_manager.field("original_ip_detection_extensions");
    if !is_true(&["use_remote_address"]) && !trusts_hops && detects.is_none_or(|list| list.items().is_empty()) {
        findings.error(
            place(&["use_remote_address"]),
            "has neither `use_remote_address: true` nor `xff_num_trusted_hops`: clients choose the address that they are counted by, in \
             `X-Forwarded-For`",
        );
    }
}
