//! Who serves whom behind the gateway.

use tollgate_e2e::bundled::Bundled;
use tollgate_e2e::echo::Mortal;
use tollgate_e2e::raw::request;
use tollgate_e2e::tls::{Certificates, Identity, Pair, client, send};

use super::{another_authority, bearer, issue};

#[test]
fn a_service_serves_the_gateway_and_nobody_else() {
    let gateway = Bundled::start(|_| {});
    let certificates = Certificates::shared();
    let bearer = bearer();
    let message = request("GET", "/api/users/1", &[("host", "a"), ("authorization", &bearer)], b"");
    assert_eq!(gateway.envoy.send(&message).json()["service"], "user-service");
    let service = &gateway.services["user-service"].echo;
    service.take();

    let other = tempfile::tempdir().expect("a folder");
    another_authority(other.path());
    let stranger = issue(other.path(), "gateway", "DNS:gateway,URI:spiffe://tollgate/gateway", 1);
    let self_signed = Pair {
        certificate: other.path().join("self-gateway.crt"),
        key: other.path().join("gateway.key"),
    };
    let own = tempfile::tempdir().expect("a folder");
    for file in ["ca.crt", "ca.key"] {
        std::fs::copy(certificates.folder().join(file), own.path().join(file)).expect("a copy");
    }
    let expired = issue(own.path(), "gateway", "DNS:gateway", -1);
    let direct = |own: Option<&Pair>| {
        let config = client(&certificates.authority(), own, &[]);
        send(
            service.address,
            "user-service",
            &config,
            &request("GET", "/direct", &[("host", "a")], b""),
        )
    };
    for (who, pair) in [
        ("nobody", None),
        ("signed by itself", Some(self_signed)),
        ("by another authority", Some(stranger)),
        ("another service", Some(certificates.pair("order-service"))),
        ("expired", Some(expired)),
    ] {
        let answer = direct(pair.as_ref());
        assert!(answer.is_err(), "{who}: {answer:?}");
    }
    let plain = tollgate_e2e::raw::send(service.address, &request("GET", "/direct", &[("host", "a")], b""));
    assert!(plain.is_err(), "{plain:?}");
    let seen: Vec<_> = service
        .take()
        .into_iter()
        .filter(|seen| seen.path == "/direct")
        .collect();
    assert_eq!(seen.len(), 0, "{seen:?}");
    // The same with the gateway's own: what is refused above is refused for what it shows.
    let good = direct(Some(&certificates.pair("gateway"))).expect("an answer");
    assert_eq!(good.json()["path"], "/direct");
}

#[test]
fn the_gateway_sends_nothing_to_a_service_that_is_not_who_its_name_says() {
    let certificates = Certificates::shared();
    let own = tempfile::tempdir().expect("a folder");
    for file in ["ca.crt", "ca.key"] {
        std::fs::copy(certificates.folder().join(file), own.path().join(file)).expect("a copy");
    }
    let other = tempfile::tempdir().expect("a folder");
    another_authority(other.path());
    let bearer = bearer();
    let message = request("GET", "/api/users/1", &[("host", "a"), ("authorization", &bearer)], b"");
    for (who, pair, is_good) in [
        ("another service", certificates.pair("order-service"), false),
        (
            "by another authority",
            issue(other.path(), "user-service", "DNS:user-service", 1),
            false,
        ),
        (
            "expired",
            issue(own.path(), "user-service", "DNS:user-service", -1),
            false,
        ),
        ("itself", certificates.pair("user-service"), true),
    ] {
        let identity = Identity {
            pair,
            authority: certificates.authority(),
        };
        let service = Mortal::with_identity("impostor", identity);
        let port = service.echo.address.port();
        let gateway = Bundled::start(|bootstrap| {
            let clusters = bootstrap["static_resources"]["clusters"]
                .as_array_mut()
                .expect("clusters");
            let cluster = clusters
                .iter_mut()
                .find(|cluster| cluster["name"] == "user-service")
                .expect("a cluster");
            // Requests are what is tested, not health checks, which would keep them away.
            cluster["health_checks"].take();
            let endpoint = &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
            endpoint["address"]["socket_address"]["port_value"] = port.into();
        });
        let status = gateway.envoy.send(&message).status;
        assert_eq!(
            (status, service.echo.take().len()),
            if is_good { (200, 1) } else { (503, 0) },
            "{who}"
        );
        let failed = gateway.envoy.stat("cluster.user-service.ssl.fail_verify_error")
            + gateway.envoy.stat("cluster.user-service.ssl.fail_verify_san");
        assert_eq!(failed > 0, !is_good, "{who}: {failed}");
    }
}

#[test]
fn a_client_cannot_claim_a_certificate() {
    let gateway = Bundled::start(|_| {});
    let forged = ("x-forwarded-client-cert", "By=spiffe://a;URI=spiffe://tollgate/admin");
    let message = request("GET", "/api/products/1", &[("host", "a"), forged], b"");
    assert_eq!(gateway.envoy.send(&message).status, 200);
    let seen = gateway.services["product-service"].echo.take();
    let seen = seen
        .iter()
        .find(|seen| seen.path == "/api/products/1")
        .expect("a request");
    assert_eq!(seen.all("x-forwarded-client-cert"), [""; 0]);
}
