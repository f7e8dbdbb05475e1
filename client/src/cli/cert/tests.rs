use super::*;
use clap::Parser;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

#[derive(Parser)]
struct Wrapper {
    #[command(subcommand)]
    command: CertCommand,
}

fn outcome(words: &[&str]) -> Result<Outcome, PkiError> {
    let now = Timestamp::now();
    match parse(words).unwrap() {
        CertCommand::Init(init) => init.run(now),
        CertCommand::Issue(issue) => issue.run(now),
        CertCommand::Show(show) => show.run(now),
        CertCommand::Check(check) => check.run(now),
    }
}

fn parse(words: &[&str]) -> Result<CertCommand, clap::Error> {
    let words = ["cert"].iter().chain(words);
    Wrapper::try_parse_from(words).map(|wrapper| wrapper.command)
}

/// A directory with an authority, and the path of any file in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        let directory = place.0.path().to_str().unwrap();
        outcome(&["init", "--dir", directory]).unwrap();
        place
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn issue(&self, words: &[&str]) -> Result<Outcome, PkiError> {
        let (ca, key) = (self.path("ca.pem"), self.path("ca.key"));
        let fixed = ["issue", "--ca", &ca, "--ca-key", &key];
        outcome(&[&fixed[..], words].concat())
    }

    fn check(&self, name: &str, more: &[&str]) -> Exit {
        let file = self.path(name);
        outcome(&[&["check", &file][..], more].concat()).unwrap().exit
    }
}

#[test]
fn init_makes_a_private_directory_and_does_not_overwrite() {
    let top = TempDir::new().unwrap();
    let directory = top.path().join("new");
    let words = ["init", "--dir", directory.to_str().unwrap(), "--name", "My CA"];
    let first = outcome(&[&words[..], &["--days", "10", "--key-type", "p384"]].concat());
    let first = first.unwrap();
    assert_eq!(first.document["facts"]["subject"], "CN=My CA");
    assert_eq!(first.document["facts"]["key"], "EC P-384");
    assert!(first.text.contains("(in 10 days)"), "{}", first.text);
    let mode = fs::metadata(&directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let key = fs::read(directory.join("ca.key")).unwrap();

    let error = outcome(&words).unwrap_err();
    assert_eq!(error.report().exit(), Exit::Configuration);
    assert_eq!(fs::read(directory.join("ca.key")).unwrap(), key);
    outcome(&[&words[..], &["--force"]].concat()).unwrap();
    assert_ne!(fs::read(directory.join("ca.key")).unwrap(), key);
}

#[test]
fn the_days_have_limits() {
    for days in ["0", "-1", "36501", "x"] {
        assert!(parse(&["init", "--days", days]).is_err(), "{days}");
    }
    assert!(parse(&["init", "--days", "36500"]).is_ok());
}

#[test]
fn issue_writes_a_pair_that_check_and_show_read() {
    let place = Place::new();
    let out = place.path("server");
    let words = ["localhost", "127.0.0.1", "--out", &out];
    let issued = place.issue(&words).unwrap();
    assert_eq!(issued.document["facts"]["sans"][1], "IP:127.0.0.1");
    assert_eq!(issued.document["outlives_authority"], false);
    assert!(issued.document["pkcs12"].is_null());
    let key = fs::metadata(place.path("server.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);

    assert_eq!(place.check("server.pem", &[]), Exit::Done);
    assert_eq!(place.check("server.pem", &["--within", "91d"]), Exit::Unexpected);
    let show = outcome(&["show", &place.path("server.pem")]).unwrap();
    assert_eq!(show.document["certificates"][0], issued.document["facts"]);
    assert!(show.text.contains("DNS:localhost\n                 IP:127.0.0.1\n"));

    let again = place.issue(&words).unwrap_err();
    assert!(matches!(again, PkiError::Exists { .. }), "{again:?}");
    place.issue(&[&words[..], &["--force"]].concat()).unwrap();
}

#[test]
fn validity_may_lie_in_the_past_or_in_the_future() {
    let place = Place::new();
    let out = place.path("old");
    let past = ["a.example", "--not-before", "-2d", "--not-after", "-1d", "--out", &out];
    let issued = place.issue(&past).unwrap();
    assert!(issued.text.contains("ago)"), "{}", issued.text);
    assert_eq!(place.check("old.pem", &["--within", "0s"]), Exit::Unexpected);

    let out = place.path("far");
    let far = ["a.example", "--not-before", "+1d", "--not-after", "2100-01-01", "--out", &out];
    let issued = place.issue(&far).unwrap();
    assert_eq!(issued.document["facts"]["not_after"], "2100-01-01T00:00:00Z");
    assert_eq!(issued.document["outlives_authority"], true);

    let backwards = ["a.example", "--not-after", "-2d"];
    let error = place.issue(&backwards).unwrap_err();
    assert_eq!(error.report().exit(), Exit::Usage);
    let both = ["issue", "a.example", "--days", "1", "--not-after", "+1d"];
    assert!(parse(&both).is_err());
}

#[test]
fn check_looks_at_every_certificate_of_the_file() {
    let place = Place::new();
    for (name, days) in [("long", "50"), ("short", "10")] {
        let words = [name, "--client", "--days", days, "--out", &place.path(name)];
        place.issue(&words).unwrap();
    }
    let both = ["long.pem", "short.pem"].map(|name| fs::read(place.path(name)).unwrap());
    fs::write(place.path("both.pem"), both.concat()).unwrap();
    let checked = outcome(&["check", &place.path("both.pem")]).unwrap();
    assert_eq!(checked.exit, Exit::Unexpected);
    assert_eq!(checked.document["renewal"], "due");
    assert_eq!(checked.document["ends_first"]["number"], 2);
    assert_eq!(checked.document["ends_first"]["subject"], "CN=short");
    assert!(checked.text.contains("certificate 2 of 2"));
    let missing = outcome(&["check", &place.path("missing")]).unwrap_err();
    assert_eq!(missing.report().exit(), Exit::Configuration);
}

#[test]
fn pkcs12_needs_a_passphrase_file_and_opens_with_it() {
    let place = Place::new();
    let (archive, pass) = (place.path("alice.p12"), place.path("pass"));
    fs::write(&pass, "secret\n").unwrap();
    assert!(parse(&["issue", "a", "--pkcs12", "a.p12"]).is_err());
    let out = place.path("alice");
    let words = ["alice@example.org", "--client", "--out", &out];
    let pkcs12 = ["--pkcs12", &archive, "--pkcs12-pass-file", &pass];
    place.issue(&[words, pkcs12].concat()).unwrap();
    let mode = fs::metadata(&archive).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let shown = outcome(&["show", &archive, "--pass-file", &pass]).unwrap();
    let certificates = shown.document["certificates"].as_array().unwrap();
    assert_eq!(certificates.len(), 2);
    assert_eq!(certificates[0]["sans"][0], "EMAIL:alice@example.org");
    let error = outcome(&["show", &archive]).unwrap_err();
    assert!(matches!(error, PkiError::Passphrase { .. }), "{error:?}");
}

#[test]
fn force_does_not_reach_what_is_read() {
    let place = Place::new();
    let before = fs::read(place.path("ca.key")).unwrap();
    let error = place.issue(&["a.example", "--force", "--out", &place.path("ca")]);
    assert!(matches!(error, Err(PkiError::SamePath { .. })), "{error:?}");
    assert_eq!(fs::read(place.path("ca.key")).unwrap(), before);
}

#[test]
fn file_names_are_made_from_names() {
    for (name, file) in [
        ("localhost", "localhost"),
        ("*.example.org", "wildcard.example.org"),
        ("::1", "__1"),
        ("alice@example.org", "alice@example.org"),
        ("CN:../../etc/passwd", "_.._etc_passwd"),
        ("CN:-rf", "rf"),
        ("CN:.-.", "certificate"),
        ("CN:Jürgen K.", "Jürgen_K."),
    ] {
        let request = LeafRequest::client([name]).unwrap();
        assert_eq!(file_name(&request.names()[0]), Path::new(file), "{name}");
    }
}

#[test]
fn text_from_certificates_is_escaped() {
    let mut table = Table::new("x");
    table.row("Subject", "CN=a\x1b[31m\nb");
    assert_eq!(table.finish(), "x\n  Subject        CN=a\\x1b[31m\\nb\n");
}
