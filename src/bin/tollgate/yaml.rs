//! YAML of which every part knows where it stands, and what the programs that read it make of its scalars.

use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};

use crate::finding::Finding;

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: Rc<str>,
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// Such as `routes[0].match`; empty for the whole.
    pub(crate) path: String,
}

/// A part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Scalar(String, Style),
    List(Vec<Node>),
    Map(Vec<Member>),
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// It may be a number or another word with a meaning.
    Plain,
    Quoted,
    /// Line by line below `|`, so far to the right.
    Literal {
        indent: usize,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) key: String,
    /// Of the key.
    pub(crate) place: Place,
    pub(crate) value: Node,
}

/// Who reads a document: they differ about plain scalars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Envoy: `yes` and `on` are booleans, and numbers that are no 32-bit integers stay texts.
    Envoy,
    /// Kubernetes: numbers are numbers.
    Kubernetes,
    /// JSON text.
    Json,
}

/// Every document of a file.
pub(crate) fn parse(file: &Rc<str>, text: &str) -> Result<Vec<Node>, Finding> {
    let mut builder = Builder {
        file: Rc::clone(file),
        text,
        stack: Vec::new(),
        anchors: HashMap::new(),
        documents: Vec::new(),
        count: 0,
    };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => {
                let marker = error.marker();
                let place = builder.place(marker.line(), marker.col());
                return Err(Finding::error(&place, format!("is not YAML: {}", error.info())));
            }
        }
    }
    for document in &mut builder.documents {
        document.name(String::new());
    }
    Ok(builder.documents)
}

/// Makes nodes of events.
struct Builder<'a> {
    file: Rc<str>,
    text: &'a str,
    stack: Vec<Open>,
    anchors: HashMap<usize, Node>,
    documents: Vec<Node>,
    count: usize,
}

/// A list or a map of which more is to come.
struct Open {
    place: Place,
    anchor: usize,
    list: Vec<Node>,
    /// `None` in a list.
    map: Option<Vec<Member>>,
    key: Option<(String, Place)>,
}

impl Builder<'_> {
    fn place(&self, line: usize, column: usize) -> Place {
        Place {
            file: Rc::clone(&self.file),
            line,
            column: column.saturating_add(1),
            path: String::new(),
        }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Finding> {
        let place = self.place(span.start.line(), span.start.col());
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::Literal => Style::Literal {
                        indent: self.indent(place.line, &text),
                    },
                    _ => Style::Quoted,
                };
                let content = Content::Scalar(text.into_owned(), style);
                self.complete(Node { place, content }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.open(place, anchor, None),
            Event::MappingStart(_, anchor, _) => self.open(place, anchor, Some(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.stack.pop() else { return Ok(()) };
                let content = open.map.map_or(Content::List(open.list), Content::Map);
                let node = Node {
                    place: open.place,
                    content,
                };
                self.complete(node, open.anchor)
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => {
                    self.count = self.count.saturating_add(node.size());
                    self.complete(node, 0)
                }
                None => Err(Finding::error(&place, "is an alias of something that it is a part of")),
            },
            Event::DocumentStart(..) => {
                self.anchors.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, place: Place, anchor: usize, map: Option<Vec<Member>>) -> Result<(), Finding> {
        if self.stack.len() >= DEEPEST {
            return Err(Finding::error(&place, format!("is more than {DEEPEST} levels deep")));
        }
        self.stack.push(Open {
            place,
            anchor,
            list: Vec::new(),
            map,
            key: None,
        });
        Ok(())
    }

    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Finding> {
        self.count = self.count.saturating_add(1);
        if self.count > MOST_NODES {
            return Err(Finding::error(&node.place, format!("has more than {MOST_NODES} parts")));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.stack.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        let Some(members) = &mut open.map else {
            open.list.push(node);
            return Ok(());
        };
        match open.key.take() {
            Some((key, place)) => members.push(Member {
                key,
                place,
                value: node,
            }),
            None => {
                let Content::Scalar(key, _) = node.content else {
                    return Err(Finding::error(&node.place, "is not a text, so it cannot be a key"));
                };
                // Envoy would take the last one, without a word.
                if members.iter().any(|member| member.key == key) {
                    return Err(Finding::error(&node.place, format!("the key `{key}` is there twice")));
                }
                open.key = Some((key, node.place));
            }
        }
        Ok(())
    }

    /// How far to the right the text below `|` begins.
    fn indent(&self, line: usize, text: &str) -> usize {
        let leading = |line: &str| line.bytes().take_while(|byte| *byte == b' ').count();
        let first = text
            .lines()
            .position(|line| !line.trim().is_empty())
            .unwrap_or_default();
        let written = self
            .text
            .lines()
            .nth(line.saturating_add(first).saturating_sub(1))
            .map_or(0, leading);
        written.saturating_sub(text.lines().nth(first).map_or(0, leading))
    }
}

impl Node {
    /// A member of a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.member(key).map(|member| &member.value)
    }

    pub(crate) fn member(&self, key: &str) -> Option<&Member> {
        self.members().iter().find(|member| member.key == key)
    }

    /// A map's members; of anything else, none.
    pub(crate) fn members(&self) -> &[Member] {
        match &self.content {
            Content::Map(members) => members,
            _ => &[],
        }
    }

    /// A list's items; of anything else, none.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    /// A scalar's text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(text, _) => Some(text),
            _ => None,
        }
    }

    /// The text of a member.
    pub(crate) fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key)?.text()
    }

    /// A member by the name of a protobuf field, which JSON may write in camel case.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        let mut words = name.split('_');
        let mut camel = words.next().unwrap_or_default().to_owned();
        for word in words {
            let (first, rest) = word.split_at_checked(1).unwrap_or_default();
            camel.push_str(&first.to_ascii_uppercase());
            camel.push_str(rest);
        }
        self.get(name).or_else(|| self.get(&camel))
    }

    /// Field by field.
    pub(crate) fn fields(&self, names: &[&str]) -> Option<&Self> {
        names.iter().try_fold(self, |node, name| node.field(name))
    }

    /// Whether its `@type` is this message.
    pub(crate) fn is_message(&self, name: &str) -> bool {
        self.text_of("@type").and_then(|url| url.rsplit('/').next()) == Some(name)
    }

    /// Every place that a pattern such as `jwt.issuers[].jwks.remote.cluster` names.
    pub(crate) fn select(&self, pattern: &str) -> Vec<&Self> {
        pattern.split('.').fold(vec![self], |nodes, segment| {
            let (key, is_list) = segment.strip_suffix("[]").map_or((segment, false), |key| (key, true));
            let nodes = nodes.into_iter().filter_map(|node| node.get(key));
            if is_list {
                nodes.flat_map(Self::items).collect()
            } else {
                nodes.collect()
            }
        })
    }

    /// Calls `visit` for this and everything below.
    pub(crate) fn visit<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        self.items().iter().for_each(|item| item.visit(visit));
        self.members().iter().for_each(|member| member.value.visit(visit));
    }

    /// Says what the paths of this and everything below are.
    pub(crate) fn name(&mut self, path: String) {
        match &mut self.content {
            Content::Scalar(..) => {}
            Content::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    item.name(format!("{path}[{index}]"));
                }
            }
            Content::Map(members) => {
                for member in members {
                    let path = join(&path, &member.key);
                    member.place.path.clone_from(&path);
                    member.value.name(path);
                }
            }
        }
        self.place.path = path;
    }

    /// Moves this and everything below to where it stands in the file.
    pub(crate) fn shift(&mut self, shift: &impl Fn(&mut Place)) {
        shift(&mut self.place);
        match &mut self.content {
            Content::Scalar(..) => {}
            Content::List(items) => items.iter_mut().for_each(|item| item.shift(shift)),
            Content::Map(members) => members.iter_mut().for_each(|member| {
                shift(&mut member.place);
                member.value.shift(shift);
            }),
        }
    }

    /// What a reader makes of it.
    pub(crate) fn to_json(&self, reader: Reader) -> Value {
        match &self.content {
            Content::Scalar(text, Style::Plain) => reader.scalar(text),
            Content::Scalar(text, _) => text.clone().into(),
            Content::List(items) => items.iter().map(|item| item.to_json(reader)).collect(),
            Content::Map(members) => members
                .iter()
                .map(|member| (member.key.clone(), member.value.to_json(reader)))
                .collect::<Map<_, _>>()
                .into(),
        }
    }

    fn size(&self) -> usize {
        let mut count = 0_usize;
        self.visit(&mut |_| count = count.saturating_add(1));
        count
    }
}

impl Reader {
    /// How Envoy reads a file, by its name.
    pub(crate) fn envoys(file: &str) -> Self {
        if file.ends_with(".json") {
            Self::Json
        } else {
            Self::Envoy
        }
    }

    fn scalar(self, text: &str) -> Value {
        if self == Self::Json {
            return serde_json::from_str(text).unwrap_or_else(|_| text.into());
        }
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
            "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => return true.into(),
            "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
                return false.into();
            }
            _ => {}
        }
        match integer(text) {
            Some(number) if self == Self::Kubernetes || i32::try_from(number).is_ok() => number.into(),
            Some(_) => text.into(),
            None if self == Self::Kubernetes => float(text).map_or_else(|| text.into(), Value::Number),
            None => text.into(),
        }
    }
}

/// `0x10` is hexadecimal and `010` octal, as C has it.
fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => ("-", text.get(1..)?),
        b'+' => ("", text.get(1..)?),
        _ => ("", text),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(digits) => (16, digits),
        None if digits.len() > 1 && digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    if !digits.starts_with(|character: char| character.is_ascii_hexdigit()) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

fn float(text: &str) -> Option<Number> {
    let is_number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    if is_number {
        text.parse().ok().and_then(Number::from_f64)
    } else {
        None
    }
}

/// A path and a key below it.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

const DEEPEST: usize = 100;
const MOST_NODES: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Node {
        parse(&"f.yaml".into(), text).unwrap().remove(0)
    }

    #[test]
    fn everything_knows_its_place() {
        let node = document("a:\n  b: [1, {c: x}]\n  d.e: |\n    first\n     second\n");
        let place = |node: &Node| (node.place.line, node.place.column, node.place.path.clone());
        assert_eq!(place(node.select("a.b[].c")[0]), (2, 14, "a.b[1].c".into()));
        let text = node.get("a").unwrap().member("d.e").unwrap();
        assert_eq!((text.place.line, text.place.column), (3, 3));
        let literal = Content::Scalar("first\n second\n".into(), Style::Literal { indent: 4 });
        assert_eq!(text.value.content, literal);
        assert_eq!(text.value.place.line, 4, "where the text begins");
    }

    /// As measured with Envoy 1.40, by a node's metadata in `/config_dump`.
    #[test]
    fn scalars_are_what_envoy_makes_of_them() {
        for (written, envoy) in [
            ("yes", "true"),
            ("on", "true"),
            ("y", "true"),
            ("Off", "false"),
            ("TRUE", "true"),
            ("tRue", "\"tRue\""),
            ("'yes'", "\"yes\""),
            ("1.5", "\"1.5\""),
            ("1e3", "\"1e3\""),
            ("3000000000", "\"3000000000\""),
            ("2147483647", "2147483647"),
            ("-2147483648", "-2147483648"),
            ("-2147483649", "\"-2147483649\""),
            ("0x10", "16"),
            ("010", "8"),
            ("0o17", "\"0o17\""),
            ("1_000", "\"1_000\""),
            ("+5", "5"),
            ("~", "null"),
            ("", "null"),
            ("\"1\"", "\"1\""),
        ] {
            let node = document(&format!("a: {written}\n"));
            assert_eq!(
                node.get("a").unwrap().to_json(Reader::Envoy).to_string(),
                envoy,
                "{written}"
            );
        }
        let kubernetes = |text: &str| {
            document(&format!("a: {text}"))
                .get("a")
                .unwrap()
                .to_json(Reader::Kubernetes)
        };
        assert_eq!(kubernetes("1.5"), 1.5);
        assert_eq!(kubernetes("3000000000"), 3_000_000_000_u64);
        assert_eq!(kubernetes("v1.5"), "v1.5");
    }

    #[test]
    fn what_is_not_one_document_of_one_meaning_is_refused() {
        for (text, line, message) in [
            ("a: 1\na: 2\n", 2, "the key `a` is there twice"),
            ("a: [1\nb: 2\n", 2, "is not YAML"),
            ("[a]: 1\n", 1, "is not a text"),
        ] {
            let error = parse(&"f.yaml".into(), text).unwrap_err();
            assert!(error.message.contains(message), "{text}: {}", error.message);
            assert_eq!(error.place.line, line, "{text}");
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert!(parse(&"f".into(), &deep).unwrap_err().message.contains("levels deep"));
        let bomb = (1..9).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, level| {
            let before = format!("*a{}, ", level - 1).repeat(10);
            format!("{text}a{level}: &a{level} [{before}]\n")
        });
        assert!(parse(&"f".into(), &bomb).unwrap_err().message.contains("parts"));
    }

    #[test]
    fn aliases_stand_for_what_they_name() {
        let node = document("a: &a { b: 1 }\nc: *a\n");
        assert_eq!(node.select("c.b")[0].text(), Some("1"));
        assert_eq!(node.select("c.b")[0].place.path, "c.b");
    }
}
