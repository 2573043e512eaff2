//! New certificates while there is traffic.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use tollgate_e2e::bundled::Bundled;
use tollgate_e2e::envoy::eventually;
use tollgate_e2e::raw::{self, request};
use tollgate_e2e::tls::{Certificates, client, connect, send};

use super::{bearer, shell};

#[test]
fn certificates_are_renewed_under_load_without_a_request_that_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::make(folder.path());
    let gateway = Bundled::with_certificates(&certificates, |bootstrap| {
        // Connections to services are made anew all the time.
        for cluster in bootstrap["static_resources"]["clusters"]
            .as_array_mut()
            .expect("clusters")
        {
            cluster["max_requests_per_connection"] = 5.into();
        }
    });
    let edge = gateway.envoy.listener(1);
    let trusting = client(&certificates.authority(), None, &[]);
    let bearer = bearer();
    let message = request("GET", "/api/users/1", &[("host", "a"), ("authorization", &bearer)], b"");
    let shown = || {
        let stream = connect(edge, "localhost", &trusting).expect("a connection");
        stream.conn.peer_certificates().expect("a chain")[0]
            .clone()
            .into_owned()
    };
    let (ends, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for keeps in [true, true, false, false] {
            let (trusting, message, ends, requests) = (&trusting, &message, &ends, &requests);
            scope.spawn(move || {
                let mut kept = connect(edge, "localhost", trusting).expect("a connection");
                while !ends.load(Ordering::Relaxed) {
                    let answer = if keeps {
                        kept.write_all(message).expect("sent");
                        raw::read(&mut kept, false)
                    } else {
                        send(edge, "localhost", trusting, message)
                    };
                    let answer = answer.expect("an answer");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    requests.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..5 {
            let before = requests.load(Ordering::Relaxed);
            certificates.renew();
            let new = certificates.pair("edge").leaf();
            eventually("new connections are shown the new certificate", || shown() == new);
            eventually("requests go on", || requests.load(Ordering::Relaxed) > before + 50);
        }
        ends.store(true, Ordering::Relaxed);
    });
    println!(
        "five times renewed during {} requests, of which none failed",
        requests.load(Ordering::Relaxed)
    );
    for side in [
        "server_ssl_socket_factory",
        "cluster.user-service.client_ssl_socket_factory",
    ] {
        let updates = gateway.envoy.stats(&format!("{side}.ssl_context_update_by_sds"));
        assert!(updates.iter().any(|(_, times)| *times >= 5), "{updates:?}");
    }
    gateway.envoy.assert_no_vm_died();
}

#[test]
fn a_pair_that_does_not_fit_changes_nothing_and_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::make(folder.path());
    let gateway = Bundled::with_certificates(&certificates, |_| {});
    let edge = gateway.envoy.listener(1);
    let trusting = client(&certificates.authority(), None, &[]);
    let message = request("GET", "/api/products/1", &[("host", "a")], b"");
    let shown = || {
        let stream = connect(edge, "localhost", &trusting).expect("a connection");
        stream.conn.peer_certificates().expect("a chain")[0]
            .clone()
            .into_owned()
    };
    let old = certificates.pair("edge").leaf();
    let refused = || gateway.envoy.stat("sds.edge.key_rotation_failed");
    // Another's key, then no certificate at all.
    for bad in [
        "cp current/gateway.key broken/edge.key",
        "echo garbage >broken/edge.crt",
    ] {
        let before = refused();
        shell(
            folder.path(),
            &format!(
                "cp -rL current broken; chmod u+w broken/*; {bad}; mv broken b-$$; ln -s b-$$ current.new; mv -T current.new current"
            ),
        );
        eventually("Envoy has refused it", || refused() > before);
        assert_eq!(shown(), old, "{bad}");
        assert_eq!(
            send(edge, "localhost", &trusting, &message).expect("an answer").status,
            200
        );
    }
    certificates.renew();
    let new = certificates.pair("edge").leaf();
    eventually("a good pair is taken", || shown() == new);
}
