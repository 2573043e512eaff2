//! From text to nodes.

use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::{Content, DEEPEST, MOST_NODES, Member, Node, Place, Style};
use crate::finding::Finding;

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
