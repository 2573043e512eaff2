//! `tollgate check`: everything that is wrong with configurations, wherever they stand.

mod answers;
mod changes;
pub(crate) mod configuration;
mod envoy;
pub(crate) mod filter;
mod listener;
pub(crate) mod shape;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use clap::Args;

use crate::finding::{Findings, Severity, complain, counted};
use crate::policies::Files;
use crate::yaml::{Node, parse};
use configuration::Sound;
use envoy::Surroundings;
use filter::Filter;

/// Say everything that is wrong with configurations, wherever they stand.
#[derive(Args)]
pub(crate) struct Check {
    /// Envoy's configurations, files for `config_discovery`, policy files, Istio's `WasmPlugin`, or bare configurations. What
    /// belongs together is checked together: policy files, and the Envoy configuration that loads what is made of them.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Fail for warnings too.
    #[arg(long)]
    deny_warnings: bool,
}

/// The exit status where files cannot be read, as for a wrong command line.
pub(crate) const UNUSABLE: u8 = 2;

pub(crate) fn run(command: &Check) -> ExitCode {
    let mut findings = Findings::default();
    let Ok(documents) = load(&command.files, &mut findings) else {
        return ExitCode::from(UNUSABLE);
    };
    let needs = check(&documents, &mut findings);
    findings.print();
    let (errors, warnings) = (findings.count(Severity::Error), findings.count(Severity::Warning));
    let mut summary = counted(command.files.len(), "file");
    if errors > 0 || warnings > 0 {
        summary = format!(
            "{summary}: {}, {}",
            counted(errors, "error"),
            counted(warnings, "warning")
        );
    } else {
        summary.push_str(": good");
    }
    if !needs.is_empty() {
        let names: Vec<_> = needs.into_iter().collect();
        summary = format!("{summary}\nthe VM needs in its environment: {}", names.join(", "));
    }
    let _ = writeln!(io::stdout(), "{summary}");
    if errors > 0 || (command.deny_warnings && warnings > 0) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Every document of every file. `Err` where a file cannot be read, which has been said.
pub(crate) fn load(files: &[PathBuf], findings: &mut Findings) -> Result<Vec<Node>, ()> {
    let mut documents = Vec::new();
    for path in files {
        let file: Rc<str> = path.display().to_string().into();
        let text = fs::read_to_string(path).map_err(|error| complain(&format!("{file}: {error}")))?;
        match parse(&file, &text) {
            Ok(found) => documents.extend(found),
            Err(finding) => findings.add(finding),
        }
    }
    Ok(documents)
}

/// A configuration that an Envoy may load, by the name under which it asks.
struct Offer {
    name: String,
    filter: Filter,
}

/// Says everything; the variables that VMs need.
pub(crate) fn check(documents: &[Node], findings: &mut Findings) -> BTreeSet<String> {
    let Sorted {
        files,
        mut filters,
        mut offers,
        discovering,
        mesh,
    } = Sorted::of(documents, findings);
    let mut found = Findings::default();
    if let Some(policies) = files.merge(findings) {
        offers.push(Offer {
            name: policies.name,
            filter: policies.filter.clone(),
        });
        filters.push(policies.filter);
    }
    let mut needs = BTreeSet::new();
    for filter in &filters {
        filter.configuration.judge(&mut found);
        filter.check_host(&mut found);
        let variables = filter.configuration.variables();
        needs.extend(variables.into_iter().filter_map(Node::text).map(str::to_owned));
    }
    for (surroundings, http_filters) in discovering {
        check_together(&surroundings, http_filters, &offers, &mut found);
    }
    mesh.check(&mut found);
    files.name_teams(found, findings);
    needs
}

/// The configurations of documents that the plugin takes.
pub(crate) fn sound(documents: &[Node], findings: &mut Findings) -> Vec<Sound> {
    let Sorted { files, mut filters, .. } = Sorted::of(documents, findings);
    let mut found = Findings::default();
    filters.extend(files.merge(findings).map(|policies| policies.filter));
    let judged = filters
        .iter()
        .filter_map(|filter| filter.configuration.judge(&mut found));
    let sound = judged.collect();
    files.name_teams(found, findings);
    sound
}

/// All documents, by what they are.
#[derive(Default)]
struct Sorted<'a> {
    files: Files,
    filters: Vec<Filter>,
    offers: Vec<Offer>,
    /// Connection managers with their filters.
    discovering: Vec<(Surroundings<'a>, &'a [Node])>,
    mesh: Mesh<'a>,
}

impl<'a> Sorted<'a> {
    /// Says of files that hold nothing of Tollgate's that they do.
    fn of(documents: &'a [Node], findings: &mut Findings) -> Self {
        let mut sorted = Self::default();
        let (known, unknown): (Vec<&Node>, Vec<&Node>) =
            documents.iter().partition(|document| sorted.take(document, findings));
        let mut known: BTreeSet<_> = known.iter().map(|document| Rc::clone(&document.place.file)).collect();
        for document in unknown {
            if sorted.mesh.is_beside(document) {
                continue;
            }
            // A file may hold other documents beside.
            if known.insert(Rc::clone(&document.place.file)) && !findings.mention(&document.place.file) {
                findings.error(&document.place, NOTHING);
            }
        }
        sorted
    }

    /// Whether there is anything of Tollgate's in it.
    fn take(&mut self, document: &'a Node, findings: &mut Findings) -> bool {
        let before = self.filters.len();
        let mut is_ours = self.files.take(document);
        if self.mesh.takes(document) {
            let plugin = Filter::istio(document, findings);
            self.mesh.plugins.extend(plugin.clone());
            self.filters.extend(plugin);
        } else if !is_ours && is_bare(document) {
            self.filters.extend(Filter::bare(document, findings));
            is_ours = true;
        } else if !is_ours {
            self.filters.extend(Filter::all(document, findings));
            self.offers.extend(offers_of(document));
            for (surroundings, http_filters) in Surroundings::all(document) {
                is_ours |= http_filters.iter().any(|filter| envoy::discovered(filter).is_some());
                self.discovering.push((surroundings, http_filters));
            }
        }
        is_ours || self.filters.len() > before
    }
}

/// Istio's documents: plugins, and the services whose entries become routes.
#[derive(Default)]
struct Mesh<'a> {
    plugins: Vec<Filter>,
    services: Vec<&'a Node>,
}

impl<'a> Mesh<'a> {
    /// Whether it is a plugin's document. Services are remembered.
    fn takes(&mut self, document: &'a Node) -> bool {
        match document.text_of("kind") {
            Some("WasmPlugin") => return true,
            Some("VirtualService") => self.services.push(document),
            _ => {}
        }
        false
    }

    /// Whether it may stand beside a plugin without a word of Tollgate.
    fn is_beside(&self, document: &Node) -> bool {
        let is_istios = document
            .text_of("apiVersion")
            .is_some_and(|version| version.contains(".istio.io/"));
        is_istios && !self.plugins.is_empty()
    }

    fn check(&self, findings: &mut Findings) {
        if self.services.is_empty() {
            return;
        }
        // What is wrong with each by itself has been said.
        let mut said = Findings::default();
        for plugin in &self.plugins {
            if let Some(sound) = plugin.configuration.judge(&mut said) {
                envoy::check_services(&self.services, &plugin.configuration, &sound, findings);
            }
        }
    }
}

/// The filters of one connection manager, with what surrounds them.
fn check_together(surroundings: &Surroundings<'_>, http_filters: &[Node], offers: &[Offer], findings: &mut Findings) {
    // What is wrong with each by itself has been said.
    let mut said = Findings::default();
    for (place, http_filter) in http_filters.iter().enumerate() {
        let found = match envoy::discovered(http_filter) {
            None => Filter::all(http_filter, &mut said),
            Some((name, place)) => {
                let offer = offers.iter().find(|offer| offer.name == name);
                if offer.is_none() && name.contains("tollgate") {
                    findings.warning(
                        place,
                        format!("the configuration of `{name}` comes from elsewhere: give its policy files too, to check them together"),
                    );
                }
                offer.map(|offer| offer.filter.clone()).into_iter().collect()
            }
        };
        for filter in found {
            if let Some(sound) = filter.configuration.judge(&mut said) {
                let behind = http_filters.get(place.saturating_add(1)..).unwrap_or_default();
                surroundings.check(&filter.configuration, &sound, behind, findings);
            }
        }
    }
}

/// The resources of a file for `config_discovery`.
fn offers_of(document: &Node) -> Vec<Offer> {
    let resources = document.get("resources").map_or(&[][..], Node::items).iter();
    let mut said = Findings::default();
    resources
        .filter_map(|resource| {
            Some(Offer {
                name: resource.text_of("name")?.to_owned(),
                filter: Filter::all(resource, &mut said).into_iter().next()?,
            })
        })
        .collect()
}

/// A configuration by itself.
fn is_bare(document: &Node) -> bool {
    let own = ["version", "jwt", "api_keys", "defaults", "identity"];
    let envoys = ["static_resources", "dynamic_resources", "admin", "resources", "kind"];
    let has = |keys: &[&str]| {
        document
            .members()
            .iter()
            .any(|member| keys.contains(&member.key.as_str()))
    };
    has(&own) && !has(&envoys)
}

const NOTHING: &str = "has no configuration of Tollgate: no Wasm filter with one, no policy file, no `WasmPlugin`, and no configuration \
                       by itself, which begins with `version: 1`";
