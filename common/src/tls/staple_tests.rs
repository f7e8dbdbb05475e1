use super::*;
use jiff::SignedDuration;

const GOOD: &[u8] = include_bytes!("testdata/ocsp-good.der");
const WEEK: i64 = 7 * 86_400;

fn at(seconds: i64) -> Timestamp {
    "2026-11-25T13:56:16Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

fn subject(issuer: bool) -> Subject {
    let certificate = X509::from_pem(include_bytes!("testdata/ocsp-leaf.pem")).unwrap();
    let above = X509::from_pem(include_bytes!("testdata/ocsp-issuer.pem")).unwrap();
    Subject { certificate, issuer: issuer.then_some(above), file: "leaf.pem".into() }
}

fn read(subjects: &[Subject], seconds: i64) -> Result<Response, String> {
    let path = Path::new("response");
    match parse(GOOD, path, subjects, Policy::Intermediate.parameters(), at(seconds)) {
        Ok(Content::Good(response)) => Ok(response),
        Ok(Content::Withdrawn(withdrawn)) => Err(withdrawn.words),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn a_server_takes_a_response_up_to_its_end_and_not_beyond() {
    let subjects = [subject(true)];
    for seconds in [-300, 0, WEEK - 1] {
        assert_eq!(read(&subjects, seconds).unwrap().ends, at(WEEK), "{seconds}");
    }
    for (seconds, word) in [(-301, "of the future"), (WEEK, "has ended"), (WEEK + 301, "has ended")]
    {
        let error = read(&subjects, seconds).unwrap_err();
        assert!(error.contains(word), "{seconds}: {error}");
    }
}

#[test]
fn a_response_that_has_ended_is_not_stapled_and_that_is_said_once() {
    let response = read(&[subject(true)], 0).unwrap();
    let path = Path::new("response");
    assert!(response.holds(path, at(WEEK - 1)));
    assert!(!response.said.load(Ordering::Relaxed));
    assert!(!response.holds(path, at(WEEK)));
    assert!(response.said.load(Ordering::Relaxed));
    assert!(!response.holds(path, at(WEEK + 1)));
}

#[test]
fn who_issued_the_certificate_must_be_known() {
    let error = read(&[subject(false)], 0).unwrap_err();
    assert!(error.contains("leaf.pem") && error.contains("append the issuer"), "{error}");
    assert!(read(&[subject(false), subject(true)], 0).is_ok());
    let error = read(&[], 0).unwrap_err();
    assert!(error.contains("none of the server's certificates"), "{error}");
}

#[test]
fn a_response_must_be_signed_with_a_digest_of_the_policy() {
    let read = |policy: Policy| {
        parse(GOOD, Path::new("response"), &[subject(true)], policy.parameters(), at(0))
    };
    assert!(read(Policy::Fips).is_ok());
    let error = read(Policy::Cnsa1).unwrap_err().to_string();
    assert!(error.contains("its signature uses SHA256"), "{error}");
}

#[test]
fn a_withdrawn_certificate_has_no_staple_whatever_else_there_is() {
    let own = subject(true).certificate;
    let good = Content::Good(read(&[subject(true)], 0).unwrap());
    let withdrawn = Content::Withdrawn(Withdrawn {
        certificate: own.clone(),
        words: String::new(),
        said: AtomicBool::new(false),
    });
    let path = Path::new("response");
    assert!(choose([(path, &good)], &own, at(0)).is_some());
    assert!(choose([(path, &good), (path, &withdrawn)], &own, at(0)).is_none());
    assert!(choose([(path, &withdrawn), (path, &good)], &own, at(0)).is_none());
    let Content::Withdrawn(withdrawn) = withdrawn else { panic!() };
    assert!(withdrawn.said.load(Ordering::Relaxed));
    let other = X509::from_pem(include_bytes!("testdata/ocsp-issuer.pem")).unwrap();
    assert!(choose([(path, &good)], &other, at(0)).is_none());
}
