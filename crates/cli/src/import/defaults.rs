//! What a decK file says once for many: `_info.defaults` for entities of a kind, `_plugin_configs` for plugins that name one in `_config`.

use super::node::{given, text};
use crate::yaml::{Content, Member, Node};

/// Writes it where it is meant. A `_config` that names nothing stays.
pub(super) fn fill(document: &mut Node) {
    let defaults = given(document, "_info")
        .and_then(|info| given(info, "defaults"))
        .cloned();
    let of = |kind: &str| defaults.as_ref().and_then(|defaults| given(defaults, kind)).cloned();
    let (service, route, upstream, target) = (of("service"), of("route"), of("upstream"), of("target"));
    each(document, "services", &mut |node| {
        add(node, service.as_ref());
        each(node, "routes", &mut |node| add(node, route.as_ref()));
    });
    each(document, "routes", &mut |node| add(node, route.as_ref()));
    each(document, "upstreams", &mut |node| {
        add(node, upstream.as_ref());
        each(node, "targets", &mut |node| add(node, target.as_ref()));
    });
    if let Some(configs) = given(document, "_plugin_configs").cloned() {
        configure(document, &configs);
    }
}

/// All plugins of this and of everything below.
fn configure(node: &mut Node, configs: &Node) {
    each(node, "plugins", &mut |plugin| {
        let Some(shared) = text(plugin, "_config").and_then(|name| given(configs, name)).cloned() else {
            return;
        };
        let Content::Map(members) = &mut plugin.content else {
            return;
        };
        let Some(named) = members.iter().position(|member| member.key == "_config") else {
            return;
        };
        let place = members.remove(named).place;
        if given(plugin, "config").is_some() {
            change(plugin, "config", &mut |config| add(config, Some(&shared)));
        } else {
            put(
                plugin,
                Member {
                    key: "config".into(),
                    place,
                    value: shared,
                },
            );
        }
    });
    match &mut node.content {
        Content::Scalar(..) => {}
        Content::List(items) => items.iter_mut().for_each(|item| configure(item, configs)),
        Content::Map(members) => members
            .iter_mut()
            .for_each(|member| configure(&mut member.value, configs)),
    }
}

/// Gives a map what it lacks of another, at every depth.
fn add(node: &mut Node, defaults: Option<&Node>) {
    for member in defaults.map_or(&[][..], Node::members) {
        match given(node, &member.key) {
            None => put(node, member.clone()),
            Some(_) => change(node, &member.key, &mut |own| add(own, Some(&member.value))),
        }
    }
}

fn put(node: &mut Node, member: Member) {
    if let Content::Map(members) = &mut node.content {
        members.retain(|other| other.key != member.key);
        members.push(member);
    }
}

fn change(node: &mut Node, key: &str, change: &mut impl FnMut(&mut Node)) {
    if let Content::Map(members) = &mut node.content {
        members
            .iter_mut()
            .filter(|member| member.key == key)
            .for_each(|member| change(&mut member.value));
    }
}

fn each(node: &mut Node, key: &str, visit: &mut impl FnMut(&mut Node)) {
    change(node, key, &mut |list| {
        if let Content::List(items) = &mut list.content {
            items.iter_mut().for_each(&mut *visit);
        }
    });
}
