//! `scripts/certs` by itself.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tollgate_e2e::tls::Certificates;

use super::shell;

#[test]
fn certificates_are_made_once_renewed_by_the_same_authority_and_kept_to_oneself() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::make(folder.path());
    let names = [
        "edge",
        "gateway",
        "user-service",
        "order-service",
        "order-service-canary",
        "product-service",
        "analytics-service",
    ];
    let leafs = || names.map(|name| certificates.pair(name).leaf());
    let (first, authority) = (leafs(), fs::read(certificates.authority()).expect("a file"));
    Certificates::make(folder.path());
    assert_eq!(leafs(), first, "nothing is missing: nothing is made");

    let verify = "openssl verify -purpose sslserver -CAfile ca.crt $(ls current/*.crt | grep -v gateway.crt)
        openssl verify -purpose sslclient -CAfile ca.crt current/gateway.crt";
    assert_eq!(shell(folder.path(), verify).matches(": OK").count(), names.len());
    let mode = |path: &str| {
        fs::metadata(folder.path().join(path))
            .expect("a file")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        (mode("ca.key"), mode("current/edge.key"), mode("current/edge.crt")),
        (0o600, 0o600, 0o644)
    );

    certificates.renew();
    certificates.renew();
    assert!(leafs().iter().zip(&first).all(|(new, old)| new != old));
    assert_eq!(fs::read(certificates.authority()).expect("a file"), authority);
    assert_eq!(shell(folder.path(), verify).matches(": OK").count(), names.len());
    let versions = fs::read_dir(folder.path()).expect("a folder").filter(|entry| {
        let entry = entry.as_ref().expect("an entry");
        entry.file_type().expect("a type").is_dir()
    });
    assert_eq!(versions.count(), 2, "the present ones, and those before them");

    // An authority that has lost its key is nobody's to replace.
    fs::remove_file(folder.path().join("ca.key")).expect("a file");
    let script = tollgate_e2e::case::repository().join("scripts/certs");
    let output = std::process::Command::new(script)
        .arg("--folder")
        .arg(folder.path())
        .output()
        .expect("it runs");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("has one of ca.key and ca.crt, and not the other"));
}
