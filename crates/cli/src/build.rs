//! `tollgate build`: policy files become one file for Envoy's `config_discovery`.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::check::{UNUSABLE, load};
use crate::finding::{Findings, Severity, complain, counted};
use crate::operations::{Manifest, add};
use crate::policies::{Files, Policies};
use crate::yaml::Reader;

/// Make one configuration of policy files, for Envoy to load.
#[derive(Args)]
pub(crate) struct Build {
    /// The base file and the teams' files, in any order.
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The file that Envoy watches. It is replaced as a whole, and only where nothing is wrong.
    #[arg(long, short)]
    pub(crate) output: PathBuf,
    /// A client's manifest of persisted queries, whose operations are added to a rule's `graphql.operations.documents`: Apollo's, or a map of
    /// ids and documents.
    #[arg(long, value_name = "RULE=FILE")]
    pub(crate) operations: Vec<Manifest>,
    /// For the dynamic module in place of the Wasm plugin. Its variables are those of Envoy's process.
    #[arg(long)]
    pub(crate) native: bool,
}

pub(crate) fn run(command: &Build) -> ExitCode {
    let mut findings = Findings::default();
    let Ok(documents) = load(&command.files, &mut findings) else {
        return ExitCode::from(UNUSABLE);
    };
    let mut files = Files::default();
    for document in &documents {
        if !files.take(document) {
            findings.error(
                &document.place,
                "is not a policy file: a base file has `policy`, a team's file has `routes` and `rate_limits` only",
            );
        }
    }
    if files.bases.is_empty() && files.teams.is_empty() && findings.count(Severity::Error) == 0 {
        complain(&"none of the files is a policy file");
        return ExitCode::FAILURE;
    }
    let mut policies = files.merge(&mut findings);
    if let Some(policies) = &mut policies {
        let document = &mut policies.filter.configuration.document;
        if add(&command.operations, document, &mut findings).is_err() {
            return ExitCode::from(UNUSABLE);
        }
        let mut found = Findings::default();
        policies.filter.configuration.judge(&mut found);
        policies.filter.check_host(&mut found);
        files.name_teams(found, &mut findings);
    }
    findings.print();
    let errors = findings.count(Severity::Error);
    let Some(policies) = policies.filter(|_| errors == 0) else {
        complain(&format!(
            "{}; {} is unchanged",
            counted(errors, "error"),
            command.output.display()
        ));
        return ExitCode::FAILURE;
    };
    let text = discovery(&policies, command);
    if let Err(error) = replace(&command.output, text.as_bytes(), 0o644) {
        complain(&format!("{}: {error}", command.output.display()));
        return ExitCode::from(UNUSABLE);
    }
    let routes = policies.filter.configuration.document.select("routes[]").len();
    let _ = writeln!(
        io::stdout(),
        "{}: {} of {}",
        command.output.display(),
        counted(routes, "route"),
        counted(documents.len(), "file")
    );
    ExitCode::SUCCESS
}

/// The file as Envoy reads it. JSON is YAML too.
fn discovery(policies: &Policies, command: &Build) -> String {
    let mut plugin = policies.plugin.to_json(Reader::Envoy);
    let configuration = &policies.filter.configuration;
    let value = configuration.document.to_json(configuration.reader);
    // As text: a `Struct` would lose the order of members.
    let packed = json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": value.to_string()});
    let filter = match command.native {
        true => json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {"name": "tollgate_native", "do_not_close": true},
            "filter_name": policies.name,
            "filter_config": packed,
        }),
        false => {
            // `filter` is an object: the check has refused everything else.
            if let Some(members) = plugin.as_object_mut() {
                members.insert("configuration".into(), packed);
            }
            json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm", "config": plugin})
        }
    };
    let resource = json!({
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": policies.name,
        "typed_config": filter,
    });
    // The same files have the same version, wherever they are built.
    let digest = Sha256::digest(resource.to_string());
    let version: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let whole: Value = json!({"version_info": version, "resources": [resource]});
    let comment = match command.output.extension() {
        Some(extension) if extension == "json" => "",
        _ => "# Made by `tollgate build`: change the policy files instead.\n",
    };
    format!("{comment}{whole:#}\n")
}

/// Envoy looks when something is moved to its place: it never sees half a file.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let new = folder.join(format!(".{name}.{}", std::process::id()));
    let written = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}
