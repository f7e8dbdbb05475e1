use super::*;
use openssl::x509::X509;

const GOOD: &[u8] = include_bytes!("testdata/ocsp-good.der");
/// Its this update; its next update is a week later.
const THIS_UPDATE: &str = "2026-11-25T13:56:16Z";

fn certificates() -> (X509, X509) {
    let leaf = X509::from_pem(include_bytes!("testdata/ocsp-leaf.pem")).unwrap();
    let issuer = X509::from_pem(include_bytes!("testdata/ocsp-issuer.pem")).unwrap();
    (leaf, issuer)
}

fn this_update() -> Timestamp {
    THIS_UPDATE.parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    this_update() + SignedDuration::from_secs(seconds)
}

/// Under a policy that names no digests.
fn read(der: &[u8], leaf: &X509Ref, issuer: &X509Ref, now: Timestamp) -> Reading {
    super::read(der, leaf, issuer, crate::tls::Policy::Intermediate.parameters(), now)
}

const DAY: i64 = 86_400;
const SKEW: i64 = 300;

#[test]
fn a_response_holds_from_this_to_next_update_and_five_minutes_around() {
    let (leaf, issuer) = certificates();
    let finding = |seconds| read(GOOD, &leaf, &issuer, at(seconds)).finding;
    let ends = at(7 * DAY);
    for seconds in [-SKEW, 0, DAY, 7 * DAY, 7 * DAY + SKEW] {
        assert_eq!(finding(seconds), Ok(Finding::Good), "{seconds}");
    }
    assert_eq!(finding(-SKEW - 1), Err(Problem::NotYet(this_update())));
    assert_eq!(finding(7 * DAY + SKEW + 1), Err(Problem::Ended(ends)));
    assert_eq!(finding(70 * DAY), Err(Problem::Ended(ends)));
}

#[test]
fn without_next_update_it_holds_for_a_day() {
    let period = Period { this_update: this_update(), next_update: None };
    assert_eq!(period.ends(), at(DAY));
    assert_eq!(period.check(at(DAY + SKEW)), Ok(()));
    assert_eq!(period.check(at(DAY + SKEW + 1)), Err(Problem::Ended(at(DAY))));
}

#[test]
fn a_period_that_ends_before_it_begins_never_holds() {
    let period = Period { this_update: this_update(), next_update: Some(at(-1)) };
    for seconds in [-SKEW, -1, 0, 1] {
        assert_eq!(period.check(at(seconds)), Err(Problem::Ended(at(-1))), "{seconds}");
    }
}

#[test]
fn times_at_the_end_of_the_calendar_are_times() {
    let (first, last) = (Timestamp::MIN, Timestamp::MAX);
    let forever = Period { this_update: last, next_update: None };
    assert_eq!(forever.ends(), last);
    assert_eq!(forever.check(first), Err(Problem::NotYet(last)));
    let past = Period { this_update: first, next_update: Some(first) };
    assert_eq!(past.check(last), Err(Problem::Ended(first)));
}

#[test]
fn the_facts_are_what_the_response_says() {
    let (leaf, issuer) = certificates();
    let facts = read(GOOD, &leaf, &issuer, at(0)).facts();
    assert_eq!(facts.status, CertStatus::Good);
    assert_eq!(facts.this_update.as_deref(), Some(THIS_UPDATE));
    assert_eq!(facts.next_update.as_deref(), Some("2026-12-02T13:56:16Z"));
    assert_eq!(facts.problem, None);
    let facts = read(GOOD, &leaf, &issuer, at(8 * DAY)).facts();
    assert_eq!(facts.status, CertStatus::Unusable);
    assert_eq!(facts.this_update.as_deref(), Some(THIS_UPDATE));
    assert!(facts.problem.unwrap().contains("2026-12-02T13:56:16Z"));
}

#[test]
fn another_certificate_or_issuer_is_told_apart() {
    let (leaf, issuer) = certificates();
    // The issuer as its own issuer: the right authority, another serial number.
    let other = read(GOOD, &issuer, &issuer, at(0)).finding;
    assert_eq!(other, Err(Problem::OtherCertificate));
    assert_eq!(read(GOOD, &leaf, &leaf, at(0)).finding, Err(Problem::OtherCertificate));
    let found = issuer_of(&leaf, [&*leaf, &*issuer]);
    assert!(found.is_some_and(|found| *found == issuer));
    assert!(issuer_of(&leaf, [&*leaf]).is_none());
}

#[test]
fn no_change_of_a_byte_makes_another_good_response() {
    let (leaf, issuer) = certificates();
    for at_byte in 0..GOOD.len() {
        let mut changed = GOOD.to_vec();
        changed[at_byte] ^= 0x01;
        let finding = read(&changed, &leaf, &issuer, at(0)).finding;
        assert!(finding.is_err(), "{at_byte}");
        assert!(ErrorStack::get().errors().is_empty(), "{at_byte}");
    }
    for length in 0..GOOD.len() {
        assert!(read(&GOOD[..length], &leaf, &issuer, at(0)).finding.is_err(), "{length}");
    }
    let longer = [GOOD, b"\n"].concat();
    assert_eq!(read(&longer, &leaf, &issuer, at(0)).finding, Err(Problem::Malformed));
}

#[test]
fn what_is_no_response_is_malformed_and_an_error_of_the_responder_has_its_name() {
    let (leaf, issuer) = certificates();
    for bytes in [&b""[..], b"garbage", b"\x30\x80", &[0x30, 3, 0x0a, 1, 0]] {
        let finding = read(bytes, &leaf, &issuer, at(0)).finding;
        assert_eq!(finding, Err(Problem::Malformed), "{bytes:?}");
    }
    let finding = read(&[0x30, 3, 0x0a, 1, 6], &leaf, &issuer, at(0)).finding;
    assert_eq!(finding, Err(Problem::Unsuccessful("unauthorized")));
}

#[test]
fn a_file_is_der_or_pem() {
    assert_eq!(from_file(GOOD).as_deref(), Some(GOOD));
    let base64 = openssl::base64::encode_block(GOOD);
    let pem = |body: &str| {
        from_file(
            format!("-----BEGIN OCSP RESPONSE-----\n{body}-----END OCSP RESPONSE-----\n")
                .as_bytes(),
        )
    };
    assert_eq!(pem(&format!("{base64}\n")).as_deref(), Some(GOOD));
    assert_eq!(pem("!\n"), None);
    assert_eq!(from_file(b"-----BEGIN OCSP RESPONSE-----\nAAAA\n"), None);
}

#[test]
fn the_demand_for_a_staple_is_seen() {
    let (leaf, issuer) = certificates();
    assert!(inspect::must_staple(&leaf));
    assert!(!inspect::must_staple(&issuer));
}
