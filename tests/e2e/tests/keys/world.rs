//! A database, the secrets beside it, and all that was printed.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_e2e::key_service::{KeyService, tollgate};
use tollgate_e2e::postgres::Postgres;
use tollgate_e2e::raw::Response;

/// What a test works with.
pub(crate) struct World {
    folder: TempDir,
    url: String,
    postgres: Option<Arc<Postgres>>,
    secrets: [String; 2],
    admin: String,
    lookup: String,
    /// Keys that were made.
    minted: Mutex<Vec<String>>,
    /// What no key may be found in.
    printed: Mutex<String>,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) error: String,
}

impl World {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = format!("sqlite:{}", folder.path().join("keys.db").display());
        Self::new(folder, url, None)
    }

    pub(crate) fn postgres() -> Self {
        Self::on(Postgres::shared())
    }

    pub(crate) fn on(postgres: Arc<Postgres>) -> Self {
        let url = postgres.database();
        Self::new(tempfile::tempdir().expect("a temporary folder"), url, Some(postgres))
    }

    fn new(folder: TempDir, url: String, postgres: Option<Arc<Postgres>>) -> Self {
        let random = || format!("{:032x}", rand::random::<u128>());
        Self {
            folder,
            url,
            postgres,
            secrets: [random(), random()],
            admin: random(),
            lookup: random(),
            minted: Mutex::default(),
            printed: Mutex::default(),
        }
    }

    /// Everything that the program needs, and two secrets.
    pub(crate) fn environment(&self) -> Vec<(&str, &str)> {
        vec![
            ("TOLLGATE_KEYS_DATABASE", &self.url),
            ("TOLLGATE_KEY_SECRETS", "v2=SECRET_TWO,v1=SECRET_ONE"),
            ("SECRET_TWO", &self.secrets[1]),
            ("SECRET_ONE", &self.secrets[0]),
            ("TOLLGATE_KEYS_ADMIN_TOKEN", &self.admin),
            ("TOLLGATE_KEYS_LOOKUP_TOKEN", &self.lookup),
        ]
    }

    /// Where the database of SQLite is.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Runs `tollgate keys` with this behind it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(&self.environment(), arguments, "")
    }

    pub(crate) fn run_with(&self, environment: &[(&str, &str)], arguments: &[&str], input: &str) -> Ran {
        let mut child = tollgate(environment)
            .current_dir(self.folder.path())
            .arg("keys")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tollgate runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input.as_bytes()).expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let ran = Ran {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            error: text(output.stderr),
        };
        self.saw(&ran.error);
        ran
    }

    /// Runs what must succeed; what it printed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.error);
        ran.out
    }

    /// Makes a key by a command; the whole key and its id.
    pub(crate) fn create(&self, arguments: &[&str]) -> (String, String) {
        let out = self.ok(&[&["create"], arguments].concat());
        let key = out.strip_suffix('\n').expect("a line").to_owned();
        self.minted(&key);
        let id = key.split('_').nth(2).expect("an id").to_owned();
        (key, id)
    }

    /// Starts the service.
    pub(crate) fn serve(&self, arguments: &[&str]) -> KeyService {
        KeyService::start(&self.environment(), arguments)
    }

    pub(crate) fn admin(&self, service: &KeyService, method: &str, path: &str, body: Option<&Value>) -> Response {
        let answer = service.request(method, path, Some(&self.admin), body);
        if answer.status == 201
            && let Some(key) = answer.json()["key"].as_str()
        {
            self.minted(key);
        }
        answer
    }

    pub(crate) fn ask(&self, service: &KeyService, method: &str, path: &str, body: Option<&Value>) -> Response {
        let answer = service.request(method, path, Some(&self.lookup), body);
        self.saw(&answer.text());
        answer
    }

    /// What a gateway is told of a key, hashed with both secrets.
    pub(crate) fn lookup(&self, service: &KeyService, key: &str) -> Value {
        let hashes = [self.hash("v2", key), self.hash("v1", key)];
        let answer = self.ask(service, "POST", "/v1/keys/lookup", Some(&json!({"hashes": hashes})));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// What a gateway is told to forget.
    pub(crate) fn changes(&self, service: &KeyService, query: &str) -> Value {
        let answer = self.ask(service, "GET", &format!("/v1/keys/changes{query}"), None);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// The HMAC of a key, by an own implementation of what `docs/KEYS.md` says.
    pub(crate) fn hash(&self, secret: &str, key: &str) -> String {
        use hmac::{Hmac, KeyInit as _, Mac as _};
        let value = &self.secrets[usize::from(secret == "v2")];
        let mac = Hmac::<sha2::Sha256>::new_from_slice(value.as_bytes()).expect("any length");
        let digest = mac.chain_update(key).finalize().into_bytes();
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{secret}:{digits}")
    }

    pub(crate) fn admin_token(&self) -> &str {
        &self.admin
    }

    pub(crate) fn lookup_token(&self) -> &str {
        &self.lookup
    }

    /// Remembers a key that may not be seen again.
    pub(crate) fn minted(&self, key: &str) {
        self.minted.lock().expect("a lock").push(key.to_owned());
    }

    /// Remembers what was printed.
    pub(crate) fn saw(&self, text: &str) {
        self.printed.lock().expect("a lock").push_str(text);
    }

    /// No log, no error and no database has a key, a secret or a token.
    pub(crate) fn assert_nothing_leaked(&self) {
        let printed = self.printed.lock().expect("a lock");
        let stored = match &self.postgres {
            Some(postgres) => postgres.dump(&self.url).into_bytes(),
            None => {
                let files = fs::read_dir(self.folder.path()).expect("a folder");
                files
                    .flat_map(|file| fs::read(file.expect("a file").path()).expect("a file"))
                    .collect()
            }
        };
        let holds = |text: &[u8], part: &str| text.windows(part.len()).any(|window| window == part.as_bytes());
        assert!(holds(&stored, "expiry_announced"), "the database was not read");
        let minted = self.minted.lock().expect("a lock");
        let others = [&self.secrets[0], &self.secrets[1], &self.admin, &self.lookup];
        for secret in minted.iter().chain(others) {
            assert!(!holds(printed.as_bytes(), secret), "{secret} was printed:\n{printed}");
            assert!(!holds(&stored, secret), "{secret} is in the database");
            // Nor the part of a key that is unknown to others.
            let part = secret.rsplit('_').next().expect("a part");
            assert!(!holds(printed.as_bytes(), part), "{part} was printed:\n{printed}");
            assert!(!holds(&stored, part), "{part} is in the database");
        }
    }
}
