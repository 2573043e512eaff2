//! The calls that a field may make at worst, for `tollgate check`: a part under a list without `batch` is called once for
//! each item.

use std::collections::BTreeMap;

use apollo_compiler::Name;

use super::bound::{Binding, Bound, USUAL_SIZE};
use super::config::{GraphqlConfig, SizeConfig};
use crate::config::Report;
use crate::policy::aggregate::Bounds;

/// Reports fields with more calls than `limits.calls`, and warns of those with more than one.
pub(super) fn warn_of_calls(bound: &Bound, config: &GraphqlConfig, report: &mut Report) {
    let mut worst = Worst {
        bound,
        calls: BTreeMap::new(),
        steps: 0,
    };
    let own = &bound.schema.schema_definition;
    for root in own.query.iter().chain(&own.mutation) {
        worst.walk(&root.name, 1, &mut Vec::new());
    }
    for ((of, name), calls) in worst.calls {
        let at = format!("fields.{of}.{name}");
        let most = config.limits.calls;
        if calls > most {
            report.error_at(at, format!("up to {calls} calls for one list, {most} allowed (`limits.calls`); with `batch` in its part it would be one"));
        } else if calls > 1 {
            report.warn_at(
                at,
                format!("up to {calls} calls for one list; with `batch` in its part it would be one"),
            );
        }
    }
}

struct Worst<'a> {
    bound: &'a Bound,
    calls: BTreeMap<(String, String), u64>,
    steps: u32,
}

impl Worst<'_> {
    /// Walks the fields of so many objects of a type. A type in itself is followed once.
    fn walk(&mut self, object: &Name, many: u64, within: &mut Vec<Name>) {
        self.steps = self.steps.saturating_add(1);
        if within.contains(object) || self.steps > MOST_STEPS {
            return;
        }
        let bound = self.bound;
        let Some(own) = bound.schema.get_object(object.as_str()) else {
            return;
        };
        within.push(object.clone());
        for (name, field) in &own.fields {
            let binding = bound.binding(object.as_str(), name.as_str());
            if let Some(part) = binding.and_then(|binding| binding.part())
                && part.batch.is_none()
            {
                let calls = self.calls.entry((object.to_string(), name.to_string())).or_default();
                *calls = many.max(*calls);
            }
            let size = match field.ty.is_list() {
                true => binding.map_or(USUAL_SIZE, |binding| longest(binding)),
                false => 1,
            };
            for inner in bound.objects(field.ty.inner_named_type()) {
                self.walk(&inner, many.saturating_mul(size), within);
            }
        }
        within.pop();
    }
}

/// The longest list that a field may be.
fn longest(binding: &Binding) -> u64 {
    match &binding.size {
        Some(SizeConfig::Fixed(size)) => *size,
        Some(SizeConfig::Argument(name)) => {
            let bounds = binding.bounds.iter().find(|(own, _)| own == name);
            match bounds.map(|(_, bounds)| bounds) {
                Some(Bounds::Integer(_, most)) => u64::try_from(*most).unwrap_or_default(),
                _ => USUAL_SIZE,
            }
        }
        None => USUAL_SIZE,
    }
}

const MOST_STEPS: u32 = 20_000;
