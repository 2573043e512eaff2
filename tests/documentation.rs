//! The documentation is held to the code. `UPDATE_DOCS=1 cargo test --test documentation` rewrites the generated parts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "a test may fail by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tollgate::config::Environment;
use tollgate::denial::{DenialKind, Refusal};
use tollgate::gateway::plan::Plan;
use tollgate::gateway::{Config, REGISTRY, decode};

#[test]
fn every_key_is_in_the_reference() {
    let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
    let mut rows = Vec::new();
    describe(&schema, &schema, "", &mut rows);
    let table = rows
        .into_iter()
        .fold("| key | meaning |\n|---|---|\n".to_owned(), |table, row| table + &row);
    hold("docs/CONFIG.md", "keys", &table);
}

#[test]
fn every_envoy_of_the_tests_is_in_the_readme() {
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    let versions = read("envoy/versions.txt");
    let versions = versions
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    let versions: Vec<_> = versions.filter_map(|line| line.split(' ').next()).collect();
    let readme = read("README.md");
    let table = readme.split("| Envoy | end-to-end tests |").nth(1).expect("a table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("| "));
    let named: Vec<_> = rows.map(|row| row.split('|').nth(1).unwrap().trim()).collect();
    assert_eq!(named, versions);
}

#[test]
fn every_refusal_is_in_the_table() {
    let of_policies = REGISTRY.iter().flat_map(|registration| registration.refusals).copied();
    let all = DenialKind::ALL.iter().map(|kind| kind.refusal()).chain(of_policies);
    let rows = all.map(|refusal| {
        let Refusal {
            status,
            title,
            code,
            grpc_status,
        } = refusal;
        format!("| `{code}` | {status} {title} | {grpc_status} |\n")
    });
    let table = rows.fold(
        "| code | status | grpc-status |\n|---|---|---|\n".to_owned(),
        |table, row| table + &row,
    );
    hold("docs/REFUSALS.md", "refusals", &table);
}

#[test]
fn every_figure_comes_from_the_results_beside_it() {
    for group in [
        "jwt",
        "apikey",
        "ratelimit",
        "chain",
        "instructions",
        "routes",
        "transform",
        "aggregate",
        "graphql",
    ] {
        hold("docs/PERFORMANCE.md", group, &figures(group));
    }
}

#[test]
fn every_counter_is_in_the_table_and_its_labels_are_envoys_tags() {
    let mut counters: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in sources(&root().join("src")) {
        let text = fs::read_to_string(&path).unwrap();
        for (at, _) in text.match_indices("\"tollgate_") {
            let name: String = text[at + 1..]
                .chars()
                .take_while(|character| *character != '"')
                .collect();
            let mut parts = name.split(';');
            let counter = parts.next().unwrap_or_default().to_owned();
            let labels = parts.filter_map(|part| Some(part.split_once('=')?.0.to_owned()));
            if counter.ends_with("_total") || counter.ends_with("_ms") {
                counters.entry(counter).or_default().extend(labels);
            }
        }
    }
    assert_eq!(defined_natively(), counters, "crates/native/src/metrics.rs");
    counters.retain(|name, _| name.ends_with("_total"));
    let envoy = fs::read_to_string(root().join("envoy/envoy.yaml")).unwrap();
    for label in counters.values().flatten() {
        assert!(
            envoy.contains(&format!("tag_name: {label},")),
            "stats_tags lack {label}"
        );
    }
    let rows = counters.iter().map(|(name, labels)| {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{name}` | {} |\n", labels.join(", "))
    });
    let table = rows.fold("| counter | labels |\n|---|---|\n".to_owned(), |table, row| {
        table + &row
    });
    hold("docs/OBSERVABILITY.md", "metrics", &table);
}

/// The metrics with their labels that the native shell defines: a line each, like `("tollgate_name", &["label"]),`.
fn defined_natively() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("crates/native/src/metrics.rs")).unwrap();
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("(\"tollgate_"));
    let metrics = lines.map(|line| {
        let (name, labels) = line.split_once('"').unwrap();
        let labels = labels.split('"').skip(1).step_by(2).map(str::to_owned);
        (format!("tollgate_{name}"), labels.collect())
    });
    metrics.collect()
}

/// What the plugin is made of, without its tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files = Vec::new();
    for path in entries {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && name != "tests" {
            files.extend(sources(&path));
        } else if name.ends_with(".rs") && name != "tests.rs" {
            files.push(path);
        }
    }
    files
}

fn figures(group: &str) -> String {
    let text = fs::read_to_string(root().join(format!("benches/results/{group}.json"))).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    let number = |value: &Value, digits: usize| value.as_f64().map_or("-".into(), |value| format!("{value:.digits$}"));
    rows.iter().fold(
        "| what | value | unit | baseline | ratio | bar | holds |\n|---|---|---|---|---|---|---|\n".to_owned(),
        |table, row| {
            let holds = row["holds"]
                .as_bool()
                .map_or("-", |holds| if holds { "yes" } else { "no" });
            format!(
                "{table}| {} | {} | {} | {} | {} | {} | {holds} |\n",
                row["what"].as_str().unwrap(),
                number(&row["value"], 1),
                row["unit"].as_str().unwrap(),
                number(&row["baseline"], 1),
                number(&row["ratio"], 2),
                number(&row["bar"], 2),
            )
        },
    )
}

#[test]
fn every_configuration_in_the_documentation_is_a_good_one() {
    let mut count = 0;
    for (path, text) in documents() {
        for block in blocks(&text, "yaml").filter(|block| block.contains("version: 1")) {
            count += 1;
            let value: Value =
                serde_saphyr::from_str(block).unwrap_or_else(|error| panic!("{}: {error}\n{block}", path.display()));
            let environment: Environment = [
                "JWT_SECRET",
                "API_KEY_SECRET",
                "LOOKUP_TOKEN",
                "KEY_SECRET_V1",
                "KEY_SECRET_V2",
                "TOLLGATE_PROOF_SECRET",
                "TOLLGATE_KEYS_LOOKUP_TOKEN",
            ]
            .map(|name| (name.to_owned(), "x".repeat(64)))
            .into();
            decode(value.to_string().as_bytes())
                .map_err(|error| vec![error])
                .and_then(|config| Plan::compile(&config, &environment))
                .unwrap_or_else(|errors| panic!("{}: {errors:#?}\n{block}", path.display()));
        }
    }
    assert!(count >= 2, "only {count} configurations found");
}

#[test]
fn every_path_in_the_documentation_exists() {
    for (path, text) in documents() {
        for word in text.split(['`', '(', ')', ' ', '\n']) {
            let word = word.split('#').next().unwrap_or_default();
            let is_path = ["src/", "crates/", "tests/", "scripts/", "docs/", "envoy/", "../"]
                .iter()
                .any(|start| word.starts_with(start));
            if is_path && !word.contains(['<', '*', '{']) && !word.contains("NAME") {
                let base = if word.starts_with("../") {
                    path.parent().unwrap().to_owned()
                } else {
                    root()
                };
                assert!(
                    base.join(word).exists(),
                    "{} names {word}, which does not exist",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn markdown_links_lead_somewhere() {
    for (path, text) in documents() {
        for (_, rest) in text
            .match_indices("](")
            .map(|(at, found)| (at, &text[at + found.len()..]))
        {
            let target = rest.split([')', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") {
                assert!(
                    path.parent().unwrap().join(target).exists(),
                    "{} links to {target}",
                    path.display()
                );
            }
        }
    }
}

/// A row for every property below this place of the schema.
fn describe(schema: &Value, root: &Value, path: &str, rows: &mut Vec<String>) {
    let schema = resolve(schema, root);
    for member in ["oneOf", "anyOf"] {
        for variant in schema[member].as_array().into_iter().flatten() {
            describe(variant, root, path, rows);
        }
    }
    if schema["items"].is_object() {
        describe(&schema["items"], root, &format!("{path}[]"), rows);
    }
    if schema["additionalProperties"].is_object() {
        describe(&schema["additionalProperties"], root, &format!("{path}.NAME"), rows);
    }
    let required: Vec<_> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let choice = path_is_choice(schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let text = [
            &property["description"],
            &schema["description"],
            &resolve(property, root)["description"],
        ]
        .into_iter()
        .enumerate()
        .filter(|(place, _)| *place != 1 || choice)
        .find_map(|(_, text)| text.as_str())
        .unwrap_or_else(|| panic!("{path} has no description"));
        let text = text
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .replace('|', "\\|");
        let must = if required.contains(&name.as_str()) && !choice {
            " Required."
        } else {
            ""
        };
        rows.push(format!("| `{path}` | {text}{must} |\n"));
        describe(property, root, &path, rows);
    }
}

/// An externally tagged variant: an object of exactly one property, the variant's name.
fn path_is_choice(schema: &Value) -> bool {
    schema["properties"]
        .as_object()
        .is_some_and(|properties| properties.len() == 1)
        && schema["additionalProperties"] == false
        && schema["title"].is_null()
}

fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).expect("a definition"),
        None => schema,
    }
}

/// The part of a document between `<!-- NAME -->` and `<!-- end -->` is this text.
fn hold(document: &str, name: &str, text: &str) {
    let path = root().join(document);
    let found = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{document}: {error}"));
    let begin = format!("<!-- {name} -->\n");
    let (before, rest) = found
        .split_once(&begin)
        .unwrap_or_else(|| panic!("{document} has no {begin}"));
    let (part, after) = rest
        .split_once("<!-- end -->")
        .unwrap_or_else(|| panic!("{document}: {name} has no end"));
    if part != text {
        if env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, format!("{before}{begin}{text}<!-- end -->{after}")).unwrap();
        } else {
            panic!("{document} is not what the code says; run: UPDATE_DOCS=1 cargo test --test documentation\n{text}");
        }
    }
}

fn blocks<'a>(text: &'a str, language: &'a str) -> impl Iterator<Item = &'a str> {
    let fence = format!("```{language}\n");
    let starts: Vec<_> = text.match_indices(&fence).map(|(at, found)| at + found.len()).collect();
    starts
        .into_iter()
        .map(move |start| text[start..].split("```").next().unwrap_or_default())
}

fn documents() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = docs
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    paths.extend(["README.md", "CONTRIBUTING.md", "tests/cases/README.md"].map(|name| root().join(name)));
    paths
        .into_iter()
        .map(|path| {
            (
                path.clone(),
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
            )
        })
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
