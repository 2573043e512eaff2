//! The answer of an operation: the data in the order of the query, and the errors. An error at a Non-Null position empties
//! the nearest position around it that may be null (specification section 6.4.4).

use apollo_compiler::ast::Type;
use serde_json::Value;

use super::document::place;
use super::execute::{Execution, Slot};
use super::fault::{Fault, Step};
use super::input::NULL;
use super::plan::Field;

/// The answer while it is written.
pub(super) struct Output<'a> {
    execution: &'a Execution,
    text: String,
    errors: Vec<Value>,
    /// Errors beyond those that are listed.
    omitted: u64,
    path: Vec<Step<'a>>,
    /// The names in the paths of errors, in bytes.
    named: usize,
}

/// A position is null that must not be.
struct Empty;

impl<'a> Output<'a> {
    pub(super) fn new(execution: &'a Execution) -> Self {
        Self {
            execution,
            text: String::new(),
            errors: Vec::new(),
            omitted: 0,
            path: Vec::new(),
            named: 0,
        }
    }

    /// The data as JSON, the errors, and how many errors are not listed.
    pub(super) fn finish(mut self) -> (String, Vec<Value>, u64) {
        let is_empty = self.object(0).is_err();
        if is_empty {
            NULL.clone_into(&mut self.text);
        }
        (self.text, self.errors, self.omitted)
    }

    /// Whether a root field before this one has failed so that all data is null.
    pub(super) fn has_failed_before(mut self, root: usize) -> bool {
        let Some(Slot::Object { shape, first }) = self.execution.slot(0) else {
            return true;
        };
        let Some(shape) = self.execution.plan.shape(*shape) else {
            return true;
        };
        let mut fields = shape.fields.iter().enumerate().take(root);
        fields.any(|(place, field)| self.value(first.saturating_add(place), field, &field.ty).is_err())
    }

    /// Writes the object in a slot.
    fn object(&mut self, slot: usize) -> Result<(), Empty> {
        let Some(Slot::Object { shape, first }) = self.execution.slot(slot) else {
            return Err(Empty);
        };
        let plan = &self.execution.plan;
        let Some(shape) = plan.shape(*shape) else {
            return Err(Empty);
        };
        self.text.push('{');
        for (place, field) in shape.fields.iter().enumerate() {
            if place > 0 {
                self.text.push(',');
            }
            self.text.push('"');
            self.text.push_str(field.key.as_str());
            self.text.push_str("\":");
            self.path.push(Step::Name(field.key.as_str()));
            let written = self.value(first.saturating_add(place), field, &field.ty);
            self.path.pop();
            written?;
        }
        self.text.push('}');
        Ok(())
    }

    /// Writes the value in a slot.
    fn value(&mut self, slot: usize, field: &'a Field, ty: &Type) -> Result<(), Empty> {
        let start = self.text.len();
        let written = match self.execution.slot(slot) {
            Some(Slot::Leaf(text)) => {
                self.text.push_str(text);
                return Ok(());
            }
            Some(Slot::Object { .. }) => self.object(slot),
            Some(Slot::List { first, count }) => self.list(*first, *count, field, ty),
            Some(Slot::Failed(fault)) => {
                self.report(fault, field);
                Err(Empty)
            }
            Some(Slot::Null | Slot::Open) | None => {
                if ty.is_non_null() {
                    let message = format!("\"{}\" is null, which its type does not allow.", field.first.name);
                    self.report(&Fault::invalid(message), field);
                }
                Err(Empty)
            }
        };
        match written {
            Ok(()) => Ok(()),
            Err(Empty) if ty.is_non_null() => Err(Empty),
            Err(Empty) => {
                self.text.truncate(start);
                self.text.push_str(NULL);
                Ok(())
            }
        }
    }

    fn list(&mut self, first: usize, count: usize, field: &'a Field, ty: &Type) -> Result<(), Empty> {
        self.text.push('[');
        for place in 0..count {
            if place > 0 {
                self.text.push(',');
            }
            self.path.push(Step::Item(place));
            let written = self.value(first.saturating_add(place), field, ty.item_type());
            self.path.pop();
            written?;
        }
        self.text.push(']');
        Ok(())
    }

    fn report(&mut self, fault: &Fault, field: &Field) {
        let most = usize::try_from(self.execution.bound.limits.errors).unwrap_or(usize::MAX);
        let names = self.path.iter().map(|step| match step {
            Step::Name(name) => name.len(),
            Step::Item(_) => 0,
        });
        self.named = names.fold(self.named, usize::saturating_add);
        let room = usize::try_from(self.execution.bound.limits.answer).unwrap_or(usize::MAX);
        if self.errors.len() >= most || self.named > room {
            self.omitted = self.omitted.saturating_add(1);
            return;
        }
        let places = place(&self.execution.document.valid.sources, field.first.location());
        self.errors.push(fault.listed(&self.path, &places));
    }
}
