//! Operations that clients know in advance, from the manifests that their tools write.

use std::path::{Path, PathBuf};

use crate::check::load;
use crate::finding::Findings;
use crate::yaml::{Content, Member, Node, Place, Style};

/// A manifest for a rule: `RULE=FILE`.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    rule: String,
    file: PathBuf,
}

impl std::str::FromStr for Manifest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (rule, file) = text
            .split_once('=')
            .ok_or("is a rule and a file, as in graphql=operations.json")?;
        Ok(Self {
            rule: rule.to_owned(),
            file: file.into(),
        })
    }
}

/// Adds the operations of manifests to the rules' `graphql.operations.documents`. `Err` where a file cannot be read, which has
/// been said.
pub(crate) fn add(manifests: &[Manifest], configuration: &mut Node, findings: &mut Findings) -> Result<(), ()> {
    for Manifest { rule, file } in manifests {
        let documents = load(std::slice::from_ref(file), findings)?;
        let Some(manifest) = documents.first() else { continue };
        let operations = operations(manifest, file, findings);
        let routes = member_mut(configuration, "routes").map(|routes| &mut routes.content);
        let Some(Content::List(routes)) = routes else { continue };
        let route = routes.iter_mut().find(|route| is_named(route, rule));
        let Some(graphql) = route.and_then(|route| member_mut(route, "graphql")) else {
            findings.error(
                &manifest.place,
                format!("no rule `{rule}` has a `graphql`, to which these operations could be added"),
            );
            continue;
        };
        let own = made(graphql, "operations", Content::Map(Vec::new()));
        let own = own.and_then(|own| made(own, "documents", Content::List(Vec::new())));
        if let Some(Content::List(items)) = own.map(|own| &mut own.content) {
            items.extend(operations);
        }
    }
    Ok(())
}

/// The operations of a manifest: Apollo's, whose `operations` have `id` and `body`, or a map of ids and documents, as Relay's
/// compiler writes it.
fn operations(manifest: &Node, file: &Path, findings: &mut Findings) -> Vec<Node> {
    let pairs: Vec<_> = match manifest.get("operations") {
        Some(operations) => {
            let items = operations.items().iter();
            items
                .filter_map(|item| Some((item.member("id")?.value.clone(), item.member("body")?.value.clone())))
                .collect()
        }
        None => {
            let members = manifest.members().iter();
            let id = |member: &Member| Node {
                place: member.place.clone(),
                content: Content::Scalar(member.key.clone(), Style::Quoted),
            };
            members.map(|member| (id(member), member.value.clone())).collect()
        }
    };
    if pairs.is_empty() {
        let message = format!(
            "{} has no operations: it is a list `operations` of `id` and `body`, or a map of ids and documents",
            file.display()
        );
        findings.error(&manifest.place, message);
    }
    let named = |key: &str, value: Node| Member {
        key: key.to_owned(),
        place: value.place.clone(),
        value,
    };
    let listed = pairs.into_iter().map(|(id, document)| Node {
        place: id.place.clone(),
        content: Content::Map(vec![named("id", with_algorithm(id)), named("document", document)]),
    });
    listed.collect()
}

/// An id that is a SHA-256 by itself, with the name of the algorithm, as requests by hash are looked up.
fn with_algorithm(mut id: Node) -> Node {
    if let Content::Scalar(text, _) = &mut id.content
        && text.len() == 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
    {
        text.insert_str(0, "sha256:");
    }
    id
}

fn is_named(route: &Node, rule: &str) -> bool {
    let matched = ["route", "path", "path_prefix"]
        .iter()
        .find_map(|key| route.fields(&["match", key])?.text());
    route.text_of("name").or(matched) == Some(rule)
}

fn member_mut<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    let Content::Map(members) = &mut node.content else {
        return None;
    };
    let member = members.iter_mut().find(|member| member.key == key);
    member.map(|member| &mut member.value)
}

/// The member of a name, made where it is not there.
fn made<'a>(node: &'a mut Node, key: &str, content: Content) -> Option<&'a mut Node> {
    let place: Place = node.place.clone();
    let Content::Map(members) = &mut node.content else {
        return None;
    };
    if !members.iter().any(|member| member.key == key) {
        members.push(Member {
            key: key.to_owned(),
            place: place.clone(),
            value: Node { place, content },
        });
    }
    member_mut(node, key)
}
