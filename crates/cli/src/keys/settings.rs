//! Secrets and the format of keys, from the command line and the environment.

use tollgate::auth::api_key::{Format, SecretConfig, Secrets};
use tollgate::config::{Environment, Report};
use tollgate_key_service::{Error, Result};

use super::cli::Common;

impl Common {
    /// How keys look. `opaque` takes keys that were minted elsewhere too.
    pub(crate) fn format(&self, opaque: bool) -> Result<Format> {
        Format::new(&self.prefix, &self.environment, opaque).map_err(Error::Invalid)
    }

    /// What keys are hashed with.
    pub(crate) fn secrets(&self) -> Result<Secrets> {
        compile(&self.secrets, |name| std::env::var(name).ok())
    }
}

fn compile(options: &[String], variable: impl Fn(&str) -> Option<String>) -> Result<Secrets> {
    let mut configs = Vec::new();
    let mut environment = Environment::new();
    for option in options {
        let (id, name) = option.split_once('=').unwrap_or_default();
        // Whatever does not look like a name may be a secret by mistake: no error repeats it.
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if id.is_empty() || name.is_empty() || !name.bytes().all(plain) {
            return Err(Error::invalid(
                "--secret takes ID=NAME, where NAME is the environment variable that holds the secret, in capitals, \
                 such as v1=TOLLGATE_KEY_SECRET",
            ));
        }
        let value = variable(name).ok_or_else(|| {
            Error::Invalid(format!(
                "the environment variable {name} of the secret {id} is not set; a new secret: openssl rand -hex 32"
            ))
        })?;
        environment.insert(name.to_owned(), value);
        configs.push(SecretConfig {
            id: id.to_owned(),
            env: name.to_owned(),
        });
    }
    let mut report = Report::default();
    let secrets = report.within("--secret", |report| Secrets::compile(&configs, &environment, report));
    report.finish().map_err(|errors| {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Error::Invalid(errors.join("; "))
    })?;
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(options: &[&str]) -> std::result::Result<Secrets, String> {
        let options: Vec<_> = options.iter().map(|option| (*option).to_owned()).collect();
        let variable = |name: &str| match name {
            "LONG" | "OTHER" => Some(name.repeat(10)),
            "SHORT" => Some("s3cr3t".to_owned()),
            _ => None,
        };
        compile(&options, variable).map_err(|error| error.to_string())
    }

    #[test]
    fn the_newest_secret_comes_first() {
        let newest = secrets(&["v2=LONG", "v1=OTHER"]).unwrap().newest(b"key").unwrap();
        assert_eq!(newest.secret, "v2");
    }

    #[test]
    fn errors_name_what_would_be_right_and_show_no_secret() {
        for (option, problem) in [
            ("v1", "ID=NAME"),
            ("v1=", "ID=NAME"),
            ("v1=3f0a9c8be1", "ID=NAME"),
            ("v1=UNSET", "UNSET of the secret v1 is not set"),
            ("v1=SHORT", "--secret[0].env: `SHORT` has 6 bytes"),
            ("v-1=LONG", "--secret[0].id"),
        ] {
            let error = secrets(&[option]).unwrap_err();
            assert!(error.contains(problem), "{error}");
            assert!(!error.contains("3f0a9c8be1") && !error.contains("s3cr3t"), "{error}");
        }
    }
}
