//! Both ends of the context module against each other, over real sockets: what is agreed on, and what
//! each side says when it is not.

#![allow(clippy::unwrap_used, missing_docs)]

use jiff::{SignedDuration, Timestamp};
use openssl::ssl::{Ssl, SslContext, SslMethod};
use sealpair_common::exit::Exit;
use sealpair_common::pki::{Authority, AuthorityOptions, Issued, KeyAlgorithm, LeafRequest};
use sealpair_common::tls::{
    ClientAuth, ClientEnd, ClientTls, Failure, Identity, Patience, Pin, Policy, Reason, ServerEnd,
    ServerName, ServerTls, TlsBuilder, TlsSession, TlsStream, Trust, linger,
};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

struct Pki {
    authority: Authority,
}

impl Pki {
    fn new() -> Self {
        Self::of(KeyAlgorithm::default())
    }

    fn of(algorithm: KeyAlgorithm) -> Self {
        let options = AuthorityOptions::new().key_algorithm(algorithm);
        Self { authority: Authority::create(&options).unwrap() }
    }

    fn trust(&self) -> Trust {
        Trust::system().certificate(self.authority.certificate().to_owned())
    }

    fn issue(&self, request: &LeafRequest) -> Identity {
        identity(&self.authority.issue(request).unwrap())
    }

    fn server(&self) -> TlsBuilder<ServerEnd> {
        let request = LeafRequest::server(["localhost", "127.0.0.1"]).unwrap();
        ServerTls::builder().identity(self.issue(&request))
    }

    fn client(&self) -> TlsBuilder<ClientEnd> {
        ClientTls::builder().trust(self.trust())
    }

    fn client_identity(&self) -> Identity {
        self.issue(&LeafRequest::client(["alice"]).unwrap())
    }
}

fn identity(issued: &Issued) -> Identity {
    let chain = issued.chain().to_vec();
    let key = issued.key().to_owned();
    Identity::from_parts(issued.certificate().to_owned(), chain, key, "test").unwrap()
}

fn sockets() -> (Arc<TcpStream>, Arc<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (Arc::new(client), Arc::new(listener.accept().unwrap().0))
}

fn accept(tls: &ServerTls, tcp: Arc<TcpStream>) -> Result<TlsStream, Failure> {
    let accepted = tls.accept(Arc::clone(&tcp), "client", Patience::for_next(PATIENCE));
    if accepted.is_err() {
        linger(&tcp, PATIENCE);
    }
    accepted
}

/// What the client sees and what the server sees. The client reads once, because under TLS 1.3 it only
/// then learns that its certificate was refused.
fn meet(
    server: &ServerTls,
    client: &ClientTls,
    name: &str,
) -> (Result<TlsSession, Failure>, Result<TlsSession, Failure>) {
    let (near, far) = sockets();
    let server = server.clone();
    let serving = thread::spawn(move || {
        let mut stream = accept(&server, far)?;
        let session = stream.session();
        // A failure to send shows at the other end.
        let _ = stream.write_all(b"!").and_then(|()| stream.close());
        Ok(session)
    });
    let name = ServerName::parse(name).unwrap();
    let near_result =
        client.connect(near, &name, Patience::for_next(PATIENCE)).and_then(|mut s| {
            s.set_reading(Patience::for_next(PATIENCE));
            let mut answer = Vec::new();
            match s.read_to_end(&mut answer) {
                Ok(_) => assert_eq!(answer, b"!"),
                Err(error) => return Err(Failure::of(&error).unwrap().clone()),
            }
            Ok(s.session())
        });
    (near_result, serving.join().unwrap())
}

fn refusal(server: &ServerTls, client: &ClientTls, name: &str) -> Failure {
    meet(server, client, name).0.unwrap_err()
}

/// What our client says to a server without any rules of its own: ours would not start with such a
/// certificate.
fn refusal_of(identity: &Identity, client: &ClientTls) -> Failure {
    let mut context = SslContext::builder(SslMethod::tls_server()).unwrap();
    context.set_security_level(0);
    context.set_certificate(identity.certificate()).unwrap();
    context.set_private_key(identity.key()).unwrap();
    for issuer in identity.chain() {
        context.add_extra_chain_cert(issuer.clone()).unwrap();
    }
    let (near, far) = sockets();
    let ssl = Ssl::new(&context.build()).unwrap();
    let serving = thread::spawn(move || {
        let _ = ssl.accept(&*far);
        linger(&far, PATIENCE);
    });
    let name = ServerName::parse("localhost").unwrap();
    let failure = client.connect(near, &name, Patience::for_next(PATIENCE)).unwrap_err();
    serving.join().unwrap();
    failure
}

#[test]
fn what_a_policy_does_not_allow_is_refused_when_loaded_and_when_presented() {
    let usual = Pki::new();
    let days = |days: i64| {
        let end = Timestamp::now() + SignedDuration::from_hours(24 * days);
        LeafRequest::server(["localhost"]).unwrap().not_after(end)
    };
    let cases = [
        (&usual, Policy::Intermediate, days(367), "valid for 367 days"),
        (&usual, Policy::Modern, days(91), "valid for 91 days"),
        (
            &usual,
            Policy::Modern,
            days(9).key_algorithm(KeyAlgorithm::Rsa3072),
            "an RSA key of 3072",
        ),
        (&usual, Policy::Intermediate, days(9).key_algorithm(KeyAlgorithm::P521), "secp521r1"),
        (&usual, Policy::Cnsa1, days(9).key_algorithm(KeyAlgorithm::P384), "the curve prime256v1"),
    ];
    for (pki, policy, request, words) in cases {
        let issued = pki.authority.issue(&request).unwrap();
        let issuer = vec![pki.authority.certificate().to_owned()];
        let (leaf, key) = (issued.certificate().to_owned(), issued.key().to_owned());
        let identity = Identity::from_parts(leaf, issuer, key, "test").unwrap();
        let client = pki.client().policy(policy).build().unwrap();
        let failure = refusal_of(&identity, &client);
        assert_eq!(failure.exit(), Exit::CertificateUnfit, "{failure}");
        let found = failure.to_string();
        assert!(found.contains(words) && found.contains(policy.name()), "{found}");
        let loaded = ServerTls::builder().policy(policy).identity(identity).build().unwrap_err();
        assert_eq!(loaded.report().exit(), Exit::Configuration);
        let signed = "signed with ecdsa-with-SHA256";
        assert!(
            loaded.to_string().contains(words) || loaded.to_string().contains(signed),
            "{loaded}"
        );
    }
    // A certificate that is exactly as long as allowed, dated back by an hour as ours are.
    let good = ServerTls::builder().policy(Policy::Modern).identity(usual.issue(&days(90))).build();
    meet(&good.unwrap(), &usual.client().policy(Policy::Modern).build().unwrap(), "localhost")
        .0
        .unwrap();
}

#[test]
fn a_certificate_for_the_other_end_is_refused_when_loaded() {
    let pki = Pki::new();
    let client = pki.issue(&LeafRequest::client(["alice"]).unwrap());
    let server = pki.issue(&LeafRequest::server(["localhost"]).unwrap());
    let refused = ServerTls::builder().identity(client).build().unwrap_err();
    assert!(refused.to_string().contains("server authentication"), "{refused}");
    let refused = pki.client().identity(server).build().unwrap_err();
    assert!(refused.to_string().contains("client authentication"), "{refused}");
    assert_eq!(refused.report().exit(), Exit::Configuration);
}

#[test]
fn who_has_nothing_in_common_reads_what_both_sides_have() {
    let p384 = Pki::of(KeyAlgorithm::P384);
    let request = LeafRequest::server(["localhost"]).unwrap().key_algorithm(KeyAlgorithm::P384);
    let server =
        ServerTls::builder().policy(Policy::Cnsa1).identity(p384.issue(&request)).build().unwrap();
    let (near, far) = sockets();
    let serving = thread::spawn(move || accept(&server, far).unwrap_err());
    // A client with one group that the server does not take.
    let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
    context.set_groups_list("X25519:P-256").unwrap();
    let connected = Ssl::new(&context.build()).unwrap().connect(&*near);
    assert!(connected.is_err());
    drop(connected);
    near.shutdown(Shutdown::Both).unwrap();
    let failure = serving.join().unwrap();
    assert_eq!(failure.reason(), Reason::NoSharedParameters, "{failure}");
    let text = failure.to_string();
    assert!(text.contains("the client offers X25519, secp256r1"), "{text}");
    assert!(text.contains("we take secp384r1; TLS_AES_256_GCM_SHA384"), "{text}");
}

#[test]
fn both_policies_agree_and_report_the_same_facts() {
    let pki = Pki::new();
    for policy in [Policy::Intermediate, Policy::Modern] {
        let server = pki.server().policy(policy).build().unwrap();
        let client = pki.client().policy(policy).build().unwrap();
        let (near, far) = meet(&server, &client, "localhost");
        let (near, far) = (near.unwrap(), far.unwrap());
        assert_eq!(near.protocol, "TLSv1.3");
        assert_eq!(near.signature.as_deref(), Some("ecdsa_secp256r1_sha256"));
        assert_eq!(near.alpn.as_deref(), Some("http/1.1"));
        assert_eq!(far.sni.as_deref(), Some("localhost"));
        assert_eq!((&near.suite, &near.group), (&far.suite, &far.group));
        assert_eq!(near.signature, far.signature);
        assert!(near.group.is_some() && near.verified && !near.resumed);
        assert!(near.peer[0].sans.contains(&"DNS:localhost".to_owned()), "{:?}", near.peer);
        assert!(far.peer.is_empty());
    }
}

#[test]
fn rsa_stands_beside_ecdsa() {
    let pki = Pki::new();
    let rsa = LeafRequest::server(["localhost"]).unwrap().key_algorithm(KeyAlgorithm::Rsa3072);
    let server = pki.server().identity(pki.issue(&rsa)).build().unwrap();
    assert_eq!(server.identities().len(), 2);
    let session = meet(&server, &pki.client().build().unwrap(), "localhost").0.unwrap();
    assert!(session.signature.unwrap().starts_with("ecdsa"));
    let only_rsa = ServerTls::builder().identity(pki.issue(&rsa)).build().unwrap();
    let session = meet(&only_rsa, &pki.client().build().unwrap(), "localhost").0.unwrap();
    assert_eq!(session.signature.as_deref(), Some("rsa_pss_rsae_sha256"));
    let modern = pki.client().policy(Policy::Modern).build().unwrap();
    let failure = refusal(&only_rsa, &modern, "localhost");
    assert_eq!(failure.reason(), Reason::PeerCertificateUnfit);
    assert!(failure.to_string().contains("RSA key of 3072 bits"), "{failure}");
}

#[test]
fn certificates_are_refused_by_rule_and_depth() {
    let pki = Pki::new();
    let client = pki.client().build().unwrap();
    let now = Timestamp::now();
    let days = |n: i64| SignedDuration::from_hours(24 * n);
    let leaf = || LeafRequest::server(["localhost"]).unwrap();
    let cases = [
        (leaf().not_before(now - days(2)).not_after(now - days(1)), Exit::CertificateTime),
        (leaf().not_before(now + days(1)).not_after(now + days(2)), Exit::CertificateTime),
        (LeafRequest::server(["example.org"]).unwrap(), Exit::CertificateName),
        (LeafRequest::client(["localhost"]).unwrap(), Exit::CertificateUnfit),
    ];
    for (request, exit) in cases {
        let failure = refusal_of(&pki.issue(&request), &client);
        assert_eq!(failure.exit(), exit, "{failure}");
        assert_eq!(failure.verdict().unwrap().depth(), 0);
        assert!(failure.verdict().unwrap().certificate().is_some());
        assert!(failure.report().to_string().lines().count() <= 3);
    }
}

#[test]
fn strangers_are_refused_and_the_server_learns_why() {
    let (pki, other) = (Pki::new(), Pki::new());
    let server = pki.server().build().unwrap();
    let (near, far) = meet(&server, &other.client().build().unwrap(), "localhost");
    assert_eq!(near.unwrap_err().reason(), Reason::PeerCertificateIssuerUnknown);
    assert!(matches!(far.unwrap_err().reason(), Reason::OwnCertificateRefused(48)));
}

#[test]
fn a_self_signed_certificate_is_told_apart() {
    let pki = Pki::new();
    let soon = Timestamp::now() + SignedDuration::from_hours(24);
    let options = AuthorityOptions::new().common_name("localhost").not_after(soon);
    let root = Authority::create(&options).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("ca.pem"), dir.path().join("ca.key"));
    root.save(&cert, &key, sealpair_common::pki::Overwrite::Refuse).unwrap();
    let identity = Identity::from_pem_files(&cert, &key, None).unwrap();
    let failure = refusal_of(&identity, &pki.client().build().unwrap());
    assert_eq!(failure.reason(), Reason::PeerCertificateSelfSigned, "{failure}");
}

#[test]
fn pins_narrow_trust() {
    let pki = Pki::new();
    let server = pki.server().build().unwrap();
    let good = Pin::of(server.identities()[0].certificate()).unwrap();
    let root = Pin::of(pki.authority.certificate()).unwrap();
    let bad: Pin = format!("sha256/{}=", "A".repeat(43)).parse().unwrap();
    for pin in [good, root] {
        let client = pki.client().pin(bad).pin(pin).build().unwrap();
        meet(&server, &client, "localhost").0.unwrap();
    }
    let failure = refusal(&server, &pki.client().pin(bad).build().unwrap(), "localhost");
    assert_eq!(failure.exit(), Exit::CertificatePin);
    assert!(failure.to_string().contains(&bad.to_string()), "{failure}");
    let elsewhere = ClientTls::builder().pin(good).build().unwrap();
    assert_eq!(
        refusal(&server, &elsewhere, "localhost").exit(),
        Exit::CertificateUntrusted,
        "a pin must not replace the chain"
    );
}

#[test]
fn client_certificates_in_all_three_modes() {
    let (pki, other) = (Pki::new(), Pki::new());
    let none = pki.client().build().unwrap();
    let known = pki.client().identity(pki.client_identity()).build().unwrap();
    let foreign = pki.client().identity(other.client_identity()).build().unwrap();
    let server = |auth| pki.server().client_auth(auth, pki.trust()).build().unwrap();

    let plain = server(ClientAuth::None);
    assert!(meet(&plain, &known, "localhost").1.unwrap().peer.is_empty());

    let optional = server(ClientAuth::Optional);
    meet(&optional, &none, "localhost").0.unwrap();
    let far = meet(&optional, &known, "localhost").1.unwrap();
    assert!(far.peer[0].subject.contains("alice"), "{:?}", far.peer);
    assert_eq!(refusal(&optional, &foreign, "localhost").exit(), Exit::ClientCertificate);

    let required = server(ClientAuth::Required);
    meet(&required, &known, "localhost").0.unwrap();
    let (near, far) = meet(&required, &none, "localhost");
    assert_eq!(near.unwrap_err().reason(), Reason::OwnCertificateMissing);
    assert_eq!(far.unwrap_err().reason(), Reason::PeerCertificateMissing);
    let (near, far) = meet(&required, &foreign, "localhost");
    assert_eq!(near.unwrap_err().exit(), Exit::ClientCertificate);
    assert_eq!(far.unwrap_err().exit(), Exit::CertificateUntrusted);
}

/// Whether a client's connections are resumed, one for each of the servers, which take turns at one port.
fn resumed(client: &ClientTls, servers: Vec<ServerTls>) -> Vec<bool> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = servers.len();
    let serving = thread::spawn(move || {
        for server in servers {
            let mut stream = accept(&server, Arc::new(listener.accept().unwrap().0)).unwrap();
            stream.write_all(b"!").unwrap();
            stream.close().unwrap();
        }
    });
    let name = ServerName::parse("localhost").unwrap();
    let resumed = (0..count)
        .map(|_| {
            let tcp = Arc::new(TcpStream::connect(address).unwrap());
            let mut s = client.connect(tcp, &name, Patience::for_next(PATIENCE)).unwrap();
            s.read_to_end(&mut Vec::new()).unwrap();
            s.session().resumed
        })
        .collect();
    serving.join().unwrap();
    resumed
}

#[test]
fn a_second_connection_to_the_same_server_resumes() {
    let pki = Pki::new();
    let server = pki.server().build().unwrap();
    let client = pki.client().build().unwrap();
    assert_eq!(resumed(&client, vec![server.clone(), server]), [false, true]);
}

#[test]
fn a_server_that_takes_over_the_ticket_keys_resumes_what_is_not_changed() {
    let pki = Pki::new();
    let identity = pki.issue(&LeafRequest::server(["localhost"]).unwrap());
    let server = || ServerTls::builder().identity(identity.clone());
    let first = server().build().unwrap();
    let next = || server().ticket_keys(first.ticket_keys().clone());
    let same = next().build().unwrap();
    let asks = next().client_auth(ClientAuth::Optional, pki.trust()).build().unwrap();
    let other_keys = server().build().unwrap();
    let other_certificate = pki.server().ticket_keys(first.ticket_keys().clone()).build().unwrap();
    for (second, expected) in
        [(same, true), (asks, false), (other_keys, false), (other_certificate, false)]
    {
        let client = pki.client().build().unwrap();
        assert_eq!(resumed(&client, vec![first.clone(), second]), [false, expected]);
    }
}

#[test]
fn the_end_of_a_stream_is_close_notify_and_nothing_else() {
    let pki = Pki::new();
    let server = pki.server().build().unwrap();
    let client = pki.client().build().unwrap();
    for honest in [true, false] {
        let (near, far) = sockets();
        let server = server.clone();
        let serving = thread::spawn(move || {
            let mut stream = accept(&server, far).unwrap();
            stream.write_all(b"half of it").unwrap();
            stream.flush().unwrap();
            if !honest {
                stream.abort();
            }
        });
        let name = ServerName::parse("127.0.0.1").unwrap();
        let mut stream = client.connect(near, &name, Patience::for_next(PATIENCE)).unwrap();
        let mut text = Vec::new();
        let result = stream.read_to_end(&mut text);
        assert_eq!(text, b"half of it");
        match result {
            Ok(_) => assert!(honest),
            Err(error) => {
                assert!(!honest);
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
                assert_eq!(Failure::of(&error).unwrap().reason(), Reason::Closed);
            }
        }
        serving.join().unwrap();
    }
}

#[test]
fn who_does_not_speak_tls_is_told_apart() {
    let client = Pki::new().client().build().unwrap();
    let name = ServerName::parse("localhost").unwrap();
    let cases: [(&[u8], Reason); 4] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Reason::NotTls { http: true }),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Reason::NotTls { http: false }),
        (b"\x15\x03\x03\x00\x02\x02\x28", Reason::NoSharedParameters),
        (b"", Reason::Closed),
    ];
    for (answer, reason) in cases {
        let (near, far) = sockets();
        let lying = thread::spawn(move || {
            assert!((&mut &*far).read(&mut [0; 1024]).unwrap() > 0);
            (&mut &*far).write_all(answer).unwrap();
            far.shutdown(Shutdown::Write).unwrap();
            linger(&far, PATIENCE);
        });
        let failure = client.connect(near, &name, Patience::for_next(PATIENCE)).unwrap_err();
        assert_eq!(failure.reason(), reason, "{failure}");
        lying.join().unwrap();
    }
}

#[test]
fn silence_ends_at_the_deadline_on_both_sides() {
    let pki = Pki::new();
    let short = || Patience::for_next(Duration::from_millis(50));
    let (near, _far) = sockets();
    let name = ServerName::parse("localhost").unwrap();
    let failure = pki.client().build().unwrap().connect(near, &name, short()).unwrap_err();
    assert_eq!(failure.exit(), Exit::Deadline);
    let (_near, far) = sockets();
    let failure = pki.server().build().unwrap().accept(far, "client", short()).unwrap_err();
    assert_eq!(failure.exit(), Exit::Deadline);
}

#[test]
fn an_old_client_and_a_modern_server_have_nothing_in_common() {
    let pki = Pki::new();
    let server = pki.server().policy(Policy::Modern).build().unwrap();
    let (near, far) = sockets();
    let serving = thread::spawn(move || accept(&server, far).unwrap_err());
    let mut old = openssl::ssl::SslConnector::builder(SslMethod::tls()).unwrap();
    old.set_max_proto_version(Some(openssl::ssl::SslVersion::TLS1_2)).unwrap();
    let tcp = Arc::into_inner(near).unwrap();
    assert!(old.build().connect("localhost", tcp).is_err());
    let failure = serving.join().unwrap();
    assert_eq!(failure.reason(), Reason::NoSharedVersion, "{failure}");
}
