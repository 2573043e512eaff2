//! Where in a body a value is.

use crate::policy::validate::schema::compile::escaped;

/// Where a value is. Its pointer is made when something is wrong with it: names may be long, and values many.
pub(super) struct At<'p> {
    pub(super) within: Option<&'p At<'p>>,
    pub(super) step: Step<'p>,
}

#[derive(Clone, Copy)]
pub(super) enum Step<'p> {
    Root,
    Item(usize),
    Member(&'p str),
}

impl At<'_> {
    pub(super) const ROOT: Self = Self {
        within: None,
        step: Step::Root,
    };

    /// As a JSON Pointer (RFC 6901). Of long names, the beginning.
    pub(super) fn pointer(&self) -> String {
        let mut pointer = self.within.map(At::pointer).unwrap_or_default();
        match self.step {
            Step::Root => {}
            Step::Item(place) => pointer.push_str(&format!("/{place}")),
            Step::Member(name) => {
                let end = name.char_indices().nth(LONGEST_NAME).map_or(name.len(), |(end, _)| end);
                pointer.push('/');
                pointer.push_str(&escaped(name.get(..end).unwrap_or_default()));
            }
        }
        pointer
    }
}

/// Characters of a name in a pointer.
const LONGEST_NAME: usize = 128;
