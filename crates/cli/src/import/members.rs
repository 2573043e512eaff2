//! Who is in which consumer group, wherever the file says it: at the consumer, at the group, or beside both.

use super::node::{META, given, has_placeholder, is_id, is_placeholder, leave, list, plain, text};
use crate::finding::Findings;
use crate::yaml::Node;

/// The consumer groups of one consumer.
#[derive(Debug, Default, Clone)]
pub(super) struct Membership {
    /// The first one's limits are the consumer's.
    pub(super) groups: Vec<String>,
    /// Groups in which it may be besides: it or the group is named in a way that nothing in the file answers to.
    possible: Vec<String>,
}

/// A consumer or a group, as a membership names it.
enum Named<'a> {
    /// By where it stands in the list of its kind, for it holds the membership.
    Holder(usize),
    /// By name or id.
    By(&'a Node),
}

/// Which of the file's consumers or groups are meant.
struct Meant {
    places: Vec<usize>,
    /// Whether it is these, or any of these.
    is_certain: bool,
}

/// By what consumers are named, and what groups are.
const CONSUMER: [&str; 3] = ["id", "username", "custom_id"];
const GROUP: [&str; 2] = ["id", "name"];

/// What Kong's own format calls memberships, at the consumer, at the group or beside both.
pub(super) const JOINED: &str = "consumer_group_consumers";

impl Membership {
    /// Of all consumers, in their order.
    pub(super) fn all(document: &Node, findings: &mut Findings) -> Vec<Self> {
        let (consumers, groups) = (list(document, "consumers"), list(document, "consumer_groups"));
        let mut all = vec![Self::default(); consumers.len()];
        for (consumer, group) in pairs(document, findings) {
            let members = Meant::of(&consumer, "consumer", consumers, &CONSUMER, findings);
            let joined = Meant::of(&group, "consumer group", groups, &GROUP, findings);
            let mut names: Vec<_> = joined
                .places
                .iter()
                .filter_map(|&place| groups.get(place))
                .map(name)
                .collect();
            if let (true, Named::By(node)) = (names.is_empty(), group) {
                names.push(plain(node.text().unwrap_or(&name(node))));
            }
            let is_certain = members.is_certain && joined.is_certain;
            for &place in &members.places {
                if let Some(own) = all.get_mut(place) {
                    own.join(&names, is_certain);
                }
            }
        }
        all
    }

    fn join(&mut self, groups: &[String], is_certain: bool) {
        let own = if is_certain {
            &mut self.groups
        } else {
            &mut self.possible
        };
        for group in groups {
            if !own.contains(group) {
                own.push(group.clone());
            }
        }
    }

    /// Whether a plugin about a group may be about this consumer.
    pub(super) fn may_be_in(&self, group: &str) -> bool {
        self.groups.iter().chain(&self.possible).any(|own| own == group)
    }
}

/// The name that a consumer group has from here on.
pub(super) fn name(group: &Node) -> String {
    plain(text(group, "name").or(text(group, "id")).unwrap_or_default())
}

/// Every membership: a consumer, and the group.
fn pairs<'a>(document: &'a Node, findings: &mut Findings) -> Vec<(Named<'a>, Named<'a>)> {
    let mut pairs = Vec::new();
    for (place, consumer) in list(document, "consumers").iter().enumerate() {
        let joined = joined(consumer, findings).into_iter().filter_map(|(_, group)| group);
        let groups = list(consumer, "groups").iter().chain(joined);
        pairs.extend(groups.map(|group| (Named::Holder(place), Named::By(group))));
    }
    for (place, group) in list(document, "consumer_groups").iter().enumerate() {
        let joined = joined(group, findings).into_iter().filter_map(|(consumer, _)| consumer);
        let members = list(group, "consumers").iter().chain(joined);
        pairs.extend(members.map(|consumer| (Named::By(consumer), Named::Holder(place))));
    }
    let beside = joined(document, findings).into_iter();
    pairs.extend(beside.filter_map(|(consumer, group)| Some((Named::By(consumer?), Named::By(group?)))));
    pairs
}

/// Memberships as Kong's own format has them: the consumer and the group, but for the one that holds them.
fn joined<'a>(holder: &'a Node, findings: &mut Findings) -> Vec<(Option<&'a Node>, Option<&'a Node>)> {
    let entries = list(holder, JOINED).iter().map(|entry| {
        leave(entry, &["consumer", "consumer_group"], META, findings);
        (given(entry, "consumer"), given(entry, "consumer_group"))
    });
    entries.collect()
}

impl Meant {
    fn of(named: &Named<'_>, kind: &str, entities: &[Node], keys: &[&str], findings: &mut Findings) -> Self {
        let reference = match named {
            Named::Holder(place) => {
                return Self {
                    places: vec![*place],
                    is_certain: true,
                };
            }
            Named::By(reference) => reference,
        };
        let those = |fits: fn(&Node, &Node, &[&str]) -> bool| -> Vec<usize> {
            let all = entities.iter().enumerate();
            all.filter(|(_, entity)| fits(reference, entity, keys))
                .map(|(place, _)| place)
                .collect()
        };
        let places = those(is);
        if !places.is_empty() {
            return Self {
                places,
                is_certain: true,
            };
        }
        let places = those(may_be);
        let is_certain = places.is_empty();
        if !is_certain {
            findings.error(
                &reference.place,
                format!(
                    "names no {kind} of this file, but may mean one whose id is not in it: plugins about the group hold for every one that \
                     it may mean, the group's limits for none"
                ),
            );
        }
        Self { places, is_certain }
    }
}

/// Whether a reference names an entity: by text, or by a map with one of its keys.
fn is(reference: &Node, entity: &Node, keys: &[&str]) -> bool {
    keys.iter().any(|key| {
        let own = text(entity, key);
        own.is_some() && (own == reference.text() || own == text(reference, key))
    })
}

/// Whether it may name an entity, which it does not name in so many words.
fn may_be(reference: &Node, entity: &Node, keys: &[&str]) -> bool {
    let says = |key: &&str| text(reference, key).is_some();
    let is_filled_in = |key: &&str| given(entity, key).is_some_and(is_placeholder);
    let is_by_id = match reference.text() {
        Some(name) => is_id(name),
        None => says(&"id") && keys.iter().all(|key| !says(key) || text(entity, key).is_none()),
    };
    let is_readable = reference.text().is_some() || keys.iter().any(says);
    !is_readable
        || has_placeholder(reference)
        || keys.iter().any(is_filled_in)
        || is_by_id && text(entity, "id").is_none()
}
