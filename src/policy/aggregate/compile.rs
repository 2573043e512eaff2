//! Compiling aggregates: every mistake is reported with its path.

use std::sync::Arc;

use super::arguments::Argument;
use super::config::{AggregateConfig, ArgumentConfig, EachConfig, ShapeConfig};
use super::{Aggregate, Shape};
use crate::clock::Millis;
use crate::config::Report;
use crate::config::values::Named;
use crate::json::{Name, Segment};
use crate::policy::parts::{Each, Part, Parts, Unit, Units};
use crate::policy::{Policy, Rule};
use crate::template::{Content, Data, Source, Template};

/// Compiles the aggregate of a rule.
pub fn compile(
    config: &AggregateConfig,
    parts: &Parts,
    rule: &Rule<'_>,
    report: &mut Report,
) -> Option<Box<dyn Policy>> {
    report.within("aggregate", |report| {
        if !(SHORTEST..=LONGEST).contains(&config.deadline.millis()) {
            report.error_at("deadline", "must be from 10ms to 10s");
        }
        let shapes = shapes(config, report);
        let compiled = shapes.iter().map(|(at, name, shape)| {
            let compiled = report.within(at, |report| compile_shape(shape, config, parts, rule, report));
            (name.clone(), Arc::new(compiled))
        });
        let compiled: Vec<_> = compiled.collect();
        warn_of_choice(config, &compiled, report);
        let varies = config
            .by
            .iter()
            .flat_map(Template::sources)
            .filter_map(|source| match source {
                Source::Header(name) => Some(name.as_str().to_owned()),
                _ => None,
            });
        let aggregate = Aggregate {
            route: rule.name.to_owned(),
            deadline: config.deadline.millis(),
            services: Arc::clone(&parts.services),
            by: config.by.clone(),
            default: config.default.clone().unwrap_or_default(),
            varies: varies.collect(),
            reads_body: compiled.iter().any(|(_, shape)| reads_body(shape)),
            shapes: compiled,
        };
        if aggregate.reads_body && !rule.is_unsafe() {
            report.error("uses `{body}`, so `match.methods` must name methods with a body alone, such as POST");
        }
        let aggregate: Box<dyn Policy> = Box::new(aggregate);
        Some(aggregate)
    })
}

/// The places of the parts that an aggregate needs, directly or not.
pub fn parts_of(config: &AggregateConfig, parts: &Parts) -> Vec<usize> {
    let own = config.body.iter().map(|body| (body, &config.each, &config.merge));
    let shapes = config.shapes.0.iter();
    let shapes = shapes.filter_map(|(_, shape)| Some((shape.body.as_ref()?, &shape.each, &shape.merge)));
    let named = own.chain(shapes).flat_map(|(body, each, merge)| {
        let each = each.iter().flat_map(|each| [Some(each.part.as_str()), source_of(each)]);
        named(&body.0)
            .chain(each.flatten())
            .chain(merge.iter().map(String::as_str))
    });
    parts.reached(named)
}

/// The name of the part that has the items.
fn source_of(each: &EachConfig) -> Option<&str> {
    each.of.split_first().map(|(name, _)| name)
}

/// Every shape, with its path and name. A body without shapes is one without a name.
fn shapes(config: &AggregateConfig, report: &mut Report) -> Vec<(String, String, ShapeConfig)> {
    let AggregateConfig {
        args,
        each,
        merge,
        body,
        by,
        default,
        shapes,
        ..
    } = config;
    if shapes.0.is_empty() {
        if by.is_some() || default.is_some() {
            report.error("has `by` or `default`, which choose among `shapes`, but no `shapes`");
        }
        let shape = ShapeConfig {
            args: args.clone(),
            each: each.clone(),
            merge: merge.clone(),
            body: body.clone(),
        };
        return vec![(String::new(), String::new(), shape)];
    }
    if body.is_some() || !args.0.is_empty() || !each.is_empty() || !merge.is_empty() {
        report.error("has `shapes`, so `args`, `each`, `merge` and `body` belong into each of them");
    }
    if by.is_none() {
        report.error_at(
            "by",
            "is missing: a template that names the shape, such as `{claims.client}`",
        );
    }
    if !shapes.0.iter().any(|(name, _)| default.as_ref() == Some(name)) {
        let names: Vec<_> = shapes.0.iter().map(|(name, _)| format!("`{name}`")).collect();
        report.error_at("default", format!("must name one of the shapes: {}", names.join(", ")));
    }
    let shapes = shapes.0.iter();
    shapes
        .map(|(name, shape)| (format!("shapes.{name}"), name.clone(), shape.clone()))
        .collect()
}

fn compile_shape(
    config: &ShapeConfig,
    aggregate: &AggregateConfig,
    parts: &Parts,
    rule: &Rule<'_>,
    report: &mut Report,
) -> Shape {
    let body = match &config.body {
        Some(body) => body.0.clone(),
        None => {
            report.error("needs a `body`");
            Content::Literal("null".into())
        }
    };
    if !config.merge.is_empty() && !matches!(body, Content::Object(_)) {
        report.error_at("merge", "needs a `body` that is an object, as it adds members to it");
    }
    let roots = roots(config, &body, parts, report);
    let reached = parts.reached(roots);
    if reached.is_empty() {
        report.error("needs no part, so it is no aggregate; a fixed answer is Envoy's `direct_response`");
    }
    if reached.len() > MOST_PARTS {
        report.error(format!(
            "needs {} parts; at most {MOST_PARTS} are allowed",
            reached.len()
        ));
    }
    warn_of_twins(&config.merge, parts, report);
    let units = units(&reached, config, parts, report);
    for unit in &units.0 {
        check_unit(unit, config, aggregate, rule, report);
    }
    Shape {
        arguments: arguments(&config.args),
        units: Arc::new(units),
        merge: config.merge.clone(),
        body,
    }
}

fn arguments(config: &Named<ArgumentConfig>) -> Vec<(String, Argument)> {
    let arguments = config.0.iter();
    arguments
        .map(|(name, argument)| (name.clone(), argument.into()))
        .collect()
}

/// Warns of merged parts that keep a member of the same name: the later one's is the only one that is seen.
fn warn_of_twins(merge: &[String], parts: &Parts, report: &mut Report) {
    let merged: Vec<_> = merge
        .iter()
        .filter_map(|name| parts.get(name))
        .map(|(_, part)| part)
        .collect();
    for (place, part) in merged.iter().enumerate() {
        for earlier in merged.iter().take(place) {
            if let Some(name) = part.kept.iter().find(|name| earlier.kept.contains(name)) {
                let message = format!(
                    "`{}` and `{}` both keep `{name}`: the later one wins",
                    earlier.name, part.name
                );
                report.warn_at(format!("merge[{place}]"), message);
            }
        }
    }
}

/// Warns of a shape that has more parts than the default one, though a client chooses it by what it sends.
fn warn_of_choice(config: &AggregateConfig, shapes: &[(String, Arc<Shape>)], report: &mut Report) {
    let mut sources = config.by.iter().flat_map(Template::sources);
    let sent = sources.find_map(|source| match source {
        Source::Header(name) => Some(format!("{{headers.{}}}", name.as_str())),
        Source::Query(name) => Some(format!("{{query.{name}}}")),
        _ => None,
    });
    let Some(sent) = sent else { return };
    let has = |shape: &Shape, part: &str| shape.units.0.iter().any(|unit| unit.part.name == part);
    let default = shapes.iter().find(|(name, _)| config.default.as_ref() == Some(name));
    for (name, shape) in shapes {
        let further = shape.units.0.iter().find_map(|unit| {
            let (_, default) = default?;
            (!has(default, &unit.part.name)).then_some(&unit.part.name)
        });
        if let Some(part) = further {
            let message = format!(
                "is chosen by what a client sends, {sent}, and calls part `{part}`, which the default shape does not: whoever \
                 sends it gets this shape; if it is not for everybody, choose by a claim, or give it a rule of its own"
            );
            report.warn_at(format!("shapes.{name}"), message);
        }
    }
}

/// The names of the parts that a shape needs directly, and that there are.
fn roots<'a>(config: &'a ShapeConfig, body: &'a Content, parts: &Parts, report: &mut Report) -> Vec<&'a str> {
    let mut roots = Vec::new();
    let in_body = named(body).map(|name| ("body".to_owned(), name));
    let merged = config.merge.iter().enumerate();
    let merged = merged.map(|(place, name)| (format!("merge[{place}]"), name.as_str()));
    let each = config.each.iter().enumerate().flat_map(|(place, each)| {
        let source = source_of(each).map(|name| (format!("each[{place}].of"), name));
        std::iter::once((format!("each[{place}].part"), each.part.as_str())).chain(source)
    });
    for (at, name) in in_body.chain(merged).chain(each) {
        match parts.get(name) {
            Some(_) => roots.push(name),
            None => report.error_at(at, format!("\"{name}\" is not a part; there is {}", parts.names())),
        }
    }
    roots
}

/// The parts that a content names.
fn named(content: &Content) -> impl Iterator<Item = &str> {
    let sources = content.templates().into_iter().flat_map(Template::sources);
    sources.filter_map(|source| match source {
        Source::Data(Data::Part(name, _)) => Some(name.as_str()),
        _ => None,
    })
}

/// The units, each after those that it refers to.
fn units(reached: &[usize], config: &ShapeConfig, parts: &Parts, report: &mut Report) -> Units {
    let mut units: Vec<Unit> = Vec::new();
    let parts = reached.iter().filter_map(|place| Some((*place, parts.at(*place)?)));
    let mut open: Vec<_> = parts.collect();
    let mut depth = 0;
    while !open.is_empty() {
        let before = units.len();
        let mut left = Vec::new();
        let is_there = |units: &[Unit], name: &str| units.iter().take(before).position(|unit| unit.part.name == name);
        for (place, part) in open {
            let each = config.each.iter().enumerate().find(|(_, each)| each.part == part.name);
            let source = each.and_then(|(_, each)| source_of(each));
            let needed = part.parts().chain(source);
            let needs: Option<Vec<_>> = needed.map(|name| is_there(&units, name)).collect();
            match needs {
                Some(needs) => units.push(Unit {
                    part: Arc::clone(part),
                    place,
                    each: each.map(|(at, each)| compile_each(at, each, &units, report)),
                    needs,
                    is_needed: false,
                }),
                None => left.push((place, part)),
            }
        }
        // A circle, or a part that is not there, has been reported with its path.
        if units.len() == before {
            let circle: Vec<_> = left.iter().map(|(_, part)| format!("`{}`", part.name)).collect();
            report.error(format!("cannot begin: {} refer to one another", circle.join(", ")));
            break;
        }
        open = left;
        depth = usize::saturating_add(depth, 1);
    }
    let needed: Vec<usize> = units.iter().flat_map(|unit| unit.needs.clone()).collect();
    for (place, unit) in units.iter_mut().enumerate() {
        unit.is_needed = needed.contains(&place);
    }
    if depth > MOST_LEVELS {
        report.error(format!(
            "needs {depth} calls one after the other; at most {MOST_LEVELS} are allowed"
        ));
    }
    Units(units)
}

fn compile_each(at: usize, config: &EachConfig, units: &[Unit], report: &mut Report) -> Each {
    report.within(format!("each[{at}]"), |report| {
        let split = config.of.split_first().and_then(|(name, path)| Some((name, path?)));
        let inner = split.as_ref().and_then(|(_, path)| path.split_last());
        let is_list = inner.is_some_and(|(parent, last)| *last == Segment::Items && !parent.contains(&Segment::Items));
        if !is_list {
            report.error_at(
                "of",
                "names a part and an array in its answer, as in `orders[*]` or `cart.items[*]`",
            );
        }
        for (name, own, most) in [
            ("max_items", config.max_items, MOST_ITEMS),
            ("at_once", config.at_once, MOST_AT_ONCE),
        ] {
            if !(1..=most).contains(&own) {
                report.error_at(name, format!("must be from 1 to {most}"));
            }
        }
        let (source, path) = split.unwrap_or(("", config.of.clone()));
        Each {
            of: units
                .iter()
                .position(|unit| unit.part.name == source)
                .unwrap_or(usize::MAX),
            path,
            name: config.name.as_deref().map(Name::new),
            max_items: usize::try_from(config.max_items).unwrap_or(usize::MAX),
            at_once: usize::try_from(config.at_once).unwrap_or(usize::MAX),
        }
    })
}

fn check_unit(unit: &Unit, config: &ShapeConfig, aggregate: &AggregateConfig, rule: &Rule<'_>, report: &mut Report) {
    let part: &Part = &unit.part;
    let name = &part.name;
    let is_of_items = part.data().any(|data| matches!(data, Data::Item(_) | Data::Keys));
    if is_of_items && unit.each.is_none() {
        report.error(format!(
            "part `{name}` is for items (`{{item}}`, `{{keys}}`): name it in `each`"
        ));
    }
    if let Some(each) = unit.each.as_ref().filter(|_| part.batch.is_none()) {
        let message = format!(
            "part `{name}` is called once for each item: up to {} calls for one request; with `batch` it would be one",
            each.max_items
        );
        report.warn_at("each", message);
    }
    if config.each.iter().filter(|each| each.part == *name).count() > 1 {
        report.error_at("each", format!("has part `{name}` twice"));
    }
    if !part.is_safe && !rule.is_unsafe() {
        report.error(format!(
            "part `{name}` is a {}, so `match.methods` must name unsafe methods alone, such as POST",
            part.method()
        ));
    }
    if !part.is_safe && unit.each.is_some() {
        report.error(format!(
            "part `{name}` is a {}, which is not called for each item",
            part.method()
        ));
    }
    if let Some(timeout) = part.own_timeout()
        && timeout > aggregate.deadline.millis()
    {
        report.error(format!(
            "part `{name}` may take {}ms, the whole answer {}ms (`deadline`)",
            timeout.get(),
            aggregate.deadline.millis().get()
        ));
    }
    for argument in part.arguments_needed() {
        if !config.args.0.iter().any(|(own, _)| *own == argument) {
            let message = format!("has no \"{argument}\", which part `{name}` needs as {{args.{argument}}}");
            report.error_at("args", message);
        }
    }
}

fn reads_body(shape: &Shape) -> bool {
    let is_body = |source: &Source| matches!(source, Source::Data(Data::Body(_)));
    let parts = shape.units.0.iter().flat_map(|unit| unit.part.templates());
    let arguments = shape.arguments.iter().flat_map(|(_, argument)| argument.templates());
    let templates = parts.chain(arguments).chain(shape.body.templates());
    templates.flat_map(Template::sources).any(is_body)
}

const SHORTEST: Millis = Millis::new(10);
const LONGEST: Millis = Millis::new(10_000);
const MOST_PARTS: usize = 32;
const MOST_LEVELS: usize = 5;
const MOST_ITEMS: u64 = 100;
const MOST_AT_ONCE: u64 = 32;
