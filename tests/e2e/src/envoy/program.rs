//! What starts Envoy: a program of this machine, func-e, or a container.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::container::Container;

/// How Envoy is called. `scripts/lib.sh` says what the variables mean.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Program {
    Envoy(PathBuf),
    FuncE(PathBuf),
    Image(String),
}

impl Program {
    pub(super) fn wanted() -> Self {
        Self::of(env::var("TOLLGATE_ENVOY").ok().as_deref(), |name| env::var(name).ok())
    }

    fn of(kind: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Self {
        let wanted = |name| {
            variable(name).unwrap_or_else(|| panic!("{name} names no Envoy: run the tests by scripts/test, or set it"))
        };
        match kind {
            None | Some("" | "wheel" | "path") => Self::Envoy(wanted("ENVOY_BIN").into()),
            Some("func-e") => Self::FuncE(wanted("ENVOY_BIN").into()),
            Some("docker") => Self::Image(wanted("TOLLGATE_ENVOY_IMAGE")),
            Some(other) => panic!("TOLLGATE_ENVOY={other} is unknown here"),
        }
    }

    /// The beginning of a command line that starts it with these variables.
    pub(super) fn command(&self, environment: &BTreeMap<String, String>) -> (Command, Option<Container>) {
        let on_the_machine = |program: &Path, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments).envs(environment);
            (command, None)
        };
        match self {
            Self::Envoy(program) => on_the_machine(program, &[]),
            Self::FuncE(program) => on_the_machine(program, &["run"]),
            Self::Image(image) => {
                let container = Container::named();
                (container.command(image, environment), Some(container))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn func_e_runs_envoy_by_its_run_command() {
        let program = Program::of(Some("func-e"), |_| Some("/bin/func-e".into()));
        assert_eq!(line(&program), "/bin/func-e run");
        let program = Program::of(None, |_| Some("/bin/envoy".into()));
        assert_eq!(line(&program), "/bin/envoy");
    }

    #[test]
    fn a_container_has_its_variables_by_name() {
        let program = Program::of(Some("docker"), |name| {
            (name == "TOLLGATE_ENVOY_IMAGE").then(|| "image".into())
        });
        let line = line(&program);
        assert!(line.starts_with("docker run --rm --network host "), "{line}");
        assert!(
            line.ends_with(" --env SECRET --entrypoint /usr/local/bin/envoy image"),
            "{line}"
        );
    }

    fn line(program: &Program) -> String {
        let (command, _) = program.command(&[("SECRET".to_owned(), "s3cret".to_owned())].into());
        let words = [command.get_program()].into_iter().chain(command.get_args());
        words
            .map(|word| word.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }
}
