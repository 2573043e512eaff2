//! Case files: a configuration, requests, and what must come of them. `tests/cases/README.md` describes the format.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::issuer::{Issuer, TokenSpec};
use crate::steps::Happening;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    /// What the file is about.
    pub about: String,
    /// Environment variables of the VM; `$secret` is the issuer's shared secret.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// The plugin's configuration; `$keys` is the issuer's published key set.
    pub config: Value,
    /// What is sent, each request for itself.
    #[serde(default)]
    pub requests: Vec<Case>,
    /// Envoy's clusters besides the upstream, which the steps answer for.
    #[serde(default)]
    pub services: Vec<String>,
    /// What happens, in order, in place of `requests`.
    #[serde(default)]
    pub steps: Vec<Happening>,
}

/// One request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows, as a sentence.
    pub name: String,
    /// `GET` otherwise.
    #[serde(default = "get")]
    pub method: String,
    /// `gateway.example` otherwise.
    #[serde(default = "gateway")]
    pub host: String,
    /// With the query; characters are bytes (ISO-8859-1), `{token}` is the token.
    #[serde(default = "root")]
    pub path: String,
    /// Further headers in order, as `name: value`, in the same encoding.
    #[serde(default)]
    pub headers: Vec<String>,
    /// The request's body.
    #[serde(default)]
    pub body: String,
    /// What the upstream answers with besides its own, as `name: value`, `:status: 404` or `:body: text`.
    #[serde(default)]
    pub respond: Vec<String>,
    /// A token. It goes into `Authorization: Bearer` unless `{token}` stands elsewhere.
    #[serde(default)]
    pub token: Option<TokenSpec>,
    /// What must come of it.
    pub expect: Expect,
}

/// What must come of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The status; that of the upstream where there is no `code`.
    pub status: u16,
    /// The stable code of a refusal.
    #[serde(default)]
    pub code: Option<String>,
    /// The reason that the operator is told, with or without what it is about. Checked natively; through Envoy only the code is seen.
    #[serde(default)]
    pub reason: Option<String>,
    /// Response headers, exactly, several values joined by ` | `; `null` is an absent one.
    #[serde(default)]
    pub headers: BTreeMap<String, Option<String>>,
    /// Request headers at the upstream, exactly, several values joined by ` | `; `null` is an absent one.
    #[serde(default)]
    pub upstream: BTreeMap<String, Option<String>>,
    /// The path at the upstream.
    #[serde(default)]
    pub upstream_path: Option<String>,
    /// The method at the upstream.
    #[serde(default)]
    pub upstream_method: Option<String>,
    /// The body at the upstream, byte for byte.
    #[serde(default)]
    pub upstream_body: Option<String>,
    /// The body of the answer, byte for byte.
    #[serde(default)]
    pub body: Option<String>,
    /// What a refusal says is wrong, as its `errors` have it.
    #[serde(default)]
    pub errors: Option<Value>,
    /// Members of a refusal besides those that every refusal has.
    #[serde(default)]
    pub problem: BTreeMap<String, Value>,
    /// Whether the gateway answers in place of the upstream.
    #[serde(default)]
    pub answered: bool,
    /// Why Envoy itself answers before the plugin is asked; the status then holds through Envoy only.
    #[serde(default)]
    pub by_envoy: Option<String>,
}

/// A request with its token made.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// As the case says.
    pub method: String,
    /// As the case says.
    pub host: String,
    /// With the token in its place.
    pub path: String,
    /// With the token in its place; without `host`.
    pub headers: Vec<(String, String)>,
}

impl CaseFile {
    /// Every case file, by path.
    pub fn all() -> Vec<(PathBuf, Self)> {
        let folder = repository().join("tests/cases");
        let mut paths: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
            .collect();
        paths.sort();
        assert!(!paths.is_empty(), "there are no case files");
        paths
            .into_iter()
            .map(|path| (path.clone(), Self::load(&path)))
            .collect()
    }

    /// The files of requests, by name.
    pub fn of_requests() -> Vec<(String, Self)> {
        Self::named(|file| !file.requests.is_empty())
    }

    /// The files of steps, by name.
    pub fn of_steps() -> Vec<(String, Self)> {
        Self::named(|file| !file.steps.is_empty())
    }

    fn named(is_wanted: impl Fn(&Self) -> bool) -> Vec<(String, Self)> {
        let files = Self::all().into_iter().filter(|(_, file)| is_wanted(file));
        let name = |path: PathBuf| path.file_stem().unwrap_or_default().display().to_string();
        let files: Vec<_> = files.map(|(path, file)| (name(path), file)).collect();
        assert!(!files.is_empty(), "there are no such case files");
        files
    }

    fn load(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut file: Self =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(
            file.requests.is_empty() != file.steps.is_empty(),
            "{}: has either `requests` or `steps`",
            path.display()
        );
        file.config = with_keys(file.config);
        for happening in &mut file.steps {
            if let Happening::Answer(answer) = happening {
                answer.body = with_keys(answer.body.take());
            }
        }
        for value in file.environment.values_mut() {
            *value = value.replace("$secret", Issuer::shared().secret());
        }
        file
    }

    /// The names of Envoy routes that the configuration's rules look at.
    pub fn route_names(&self) -> Vec<String> {
        let rules = self.config["routes"].as_array().cloned().unwrap_or_default();
        rules
            .iter()
            .filter_map(|rule| rule["match"]["route"].as_str().map(Into::into))
            .collect()
    }
}

impl Case {
    /// Makes the token and puts it in its place.
    pub fn prepare(&self) -> Prepared {
        let token = self.token.as_ref().map(|spec| Issuer::shared().token(spec));
        let fill = |text: &str| text.replace("{token}", token.as_deref().unwrap_or("{token}"));
        let mut headers: Vec<_> = self
            .headers
            .iter()
            .map(|line| line.split_once(": ").or(line.strip_suffix(':').map(|name| (name, ""))))
            .map(|pair| pair.unwrap_or_else(|| panic!("{}: a header is `name: value`", self.name)))
            .map(|(name, value)| (name.to_owned(), fill(value)))
            .collect();
        let placed = self.path.contains("{token}") || self.headers.iter().any(|line| line.contains("{token}"));
        if let (Some(token), false) = (&token, placed) {
            headers.push(("authorization".into(), format!("Bearer {token}")));
        }
        let respond = self.respond.iter();
        headers.extend(respond.map(|line| (RESPOND.to_owned(), line.clone())));
        Prepared {
            method: self.method.clone(),
            host: self.host.clone(),
            path: fill(&self.path),
            headers,
        }
    }
}

/// Tells the upstream what to answer with.
pub const RESPOND: &str = "x-respond";

/// A field that the upstream answers with, and its value.
pub fn responded(line: &str) -> (&str, &str) {
    let at = line.get(1..).and_then(|rest| rest.find(':')).expect("`name: value`");
    (&line[..at + 1], line[at + 2..].trim_start())
}

/// Puts the issuer's keys where a document says `$keys`.
pub fn with_keys(document: Value) -> Value {
    match document {
        Value::String(text) if text == "$keys" => Issuer::shared().jwks(),
        Value::Array(items) => items.into_iter().map(with_keys).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name, with_keys(value)))
            .collect(),
        other => other,
    }
}

/// The repository's root.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("tests/e2e is two levels down")
        .to_owned()
}

fn get() -> String {
    "GET".into()
}

fn gateway() -> String {
    "gateway.example".into()
}

fn root() -> String {
    "/".into()
}
