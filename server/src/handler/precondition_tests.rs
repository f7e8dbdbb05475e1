use super::*;
use ::http::HeaderName;
use std::fs::{self, File};
use std::time::Duration;

/// The validators of a file that was changed at a time of its own second, some time ago.
fn file() -> (Metadata, Validators) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, "a").unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(1000)).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    let validators = Validators::of(&metadata, SystemTime::now());
    assert!(validators.are_settled());
    (metadata, validators)
}

fn headers(fields: &[(&HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn date(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

const FUTURE: &str = "Fri, 31 Dec 2100 23:59:59 GMT";
const PAST: &str = "Sat, 01 Jan 2000 00:00:00 GMT";

#[test]
fn each_field_against_a_file_and_against_none() {
    let (metadata, validators) = file();
    let etag = validators.etag().to_str().unwrap();
    let (list, weak) = (format!("\"x\", {etag}"), format!("W/{etag}"));
    let modified = validators.modified().unwrap();
    let (exact, before) = (date(modified), date(modified - 1));
    // The field, its value, whether it holds for the file, whether it holds for none.
    let cases = [
        (IF_MATCH, "*", true, false),
        (IF_MATCH, etag, true, false),
        (IF_MATCH, &list, true, false),
        (IF_MATCH, &weak, false, false),
        (IF_MATCH, "\"x\"", false, false),
        (IF_MATCH, "\"a,b\", \"*\"", false, false),
        (IF_NONE_MATCH, "*", false, true),
        (IF_NONE_MATCH, etag, false, true),
        (IF_NONE_MATCH, &list, false, true),
        (IF_NONE_MATCH, &weak, false, true),
        (IF_NONE_MATCH, "\"x\"", true, true),
        (IF_NONE_MATCH, "\"*\"", true, true),
        (IF_UNMODIFIED_SINCE, FUTURE, true, true),
        (IF_UNMODIFIED_SINCE, &exact, true, true),
        (IF_UNMODIFIED_SINCE, &before, false, true),
        (IF_UNMODIFIED_SINCE, PAST, false, true),
        // The obsolete forms, and what is no date.
        (IF_UNMODIFIED_SINCE, "Saturday, 01-Jan-00 00:00:00 GMT", false, true),
        (IF_UNMODIFIED_SINCE, "Sat Jan  1 00:00:00 2000", false, true),
        (IF_UNMODIFIED_SINCE, "yesterday", true, true),
        (IF_UNMODIFIED_SINCE, "0", true, true),
    ];
    for (name, value, for_file, for_none) in cases {
        let headers = headers(&[(&name, value)]);
        assert!(is_conditional(&headers));
        assert_eq!(check(&headers, Some(&metadata)).is_ok(), for_file, "{name}: {value}");
        assert_eq!(check(&headers, None).is_ok(), for_none, "{name}: {value}");
    }
    assert!(check(&HeaderMap::new(), Some(&metadata)).is_ok());
    // It means nothing for a change.
    let headers = headers(&[(&IF_MODIFIED_SINCE, FUTURE)]);
    assert!(check(&headers, Some(&metadata)).is_ok());
}

#[test]
fn a_change_on_a_condition_that_cannot_be_understood_is_refused() {
    let (metadata, validators) = file();
    let etag = validators.etag().to_str().unwrap();
    let bare = etag.trim_matches('"').to_owned();
    let unfinished = format!("{etag}, \"");
    for value in [bare.as_str(), &unfinished, "", "*, *", "W/\"a"] {
        for name in [IF_MATCH, IF_NONE_MATCH] {
            let headers = headers(&[(&name, value)]);
            for current in [Some(&metadata), None] {
                let error = check(&headers, current).unwrap_err();
                assert!(error.status.is_client_error(), "{name}: {value}");
            }
            assert!(!must_be_new(&headers));
        }
    }
    assert!(must_be_new(&headers(&[(&IF_NONE_MATCH, "*")])));
    assert!(!must_be_new(&headers(&[(&IF_NONE_MATCH, "\"*\"")])));
    // Of two dates the earlier one counts.
    let headers = headers(&[(&IF_UNMODIFIED_SINCE, FUTURE), (&IF_UNMODIFIED_SINCE, PAST)]);
    assert!(check(&headers, Some(&metadata)).is_err());
}

/// RFC 9110 section 13.2.2, step by step.
#[test]
fn reading_goes_by_the_order_of_the_rfc() {
    use Reading::{Failed, NotModified, Proceed};
    let (_, validators) = file();
    let etag = validators.etag().to_str().unwrap();
    let weak = format!("W/{etag}");
    let modified = validators.modified().unwrap();
    let (exact, before) = (date(modified), date(modified - 1));
    let other = "\"x\"";
    let cases: &[(&[(&HeaderName, &str)], Reading)] = &[
        (&[], Proceed),
        // If-Match comes first, and with it If-Unmodified-Since means nothing.
        (&[(&IF_MATCH, etag)], Proceed),
        (&[(&IF_MATCH, "*")], Proceed),
        (&[(&IF_MATCH, other)], Failed),
        (&[(&IF_MATCH, &weak)], Failed),
        (&[(&IF_MATCH, "x")], Failed),
        (&[(&IF_MATCH, etag), (&IF_UNMODIFIED_SINCE, PAST)], Proceed),
        (&[(&IF_MATCH, other), (&IF_UNMODIFIED_SINCE, FUTURE)], Failed),
        (&[(&IF_MATCH, other), (&IF_NONE_MATCH, etag)], Failed),
        (&[(&IF_MATCH, etag), (&IF_NONE_MATCH, etag)], NotModified),
        (&[(&IF_UNMODIFIED_SINCE, &exact)], Proceed),
        (&[(&IF_UNMODIFIED_SINCE, &before)], Failed),
        (&[(&IF_UNMODIFIED_SINCE, "never")], Proceed),
        (&[(&IF_UNMODIFIED_SINCE, &before), (&IF_NONE_MATCH, etag)], Failed),
        // If-None-Match comes next, and with it If-Modified-Since means nothing.
        (&[(&IF_NONE_MATCH, etag)], NotModified),
        (&[(&IF_NONE_MATCH, &weak)], NotModified),
        (&[(&IF_NONE_MATCH, "*")], NotModified),
        (&[(&IF_NONE_MATCH, other)], Proceed),
        (&[(&IF_NONE_MATCH, other), (&IF_NONE_MATCH, etag)], NotModified),
        (&[(&IF_NONE_MATCH, other), (&IF_MODIFIED_SINCE, FUTURE)], Proceed),
        (&[(&IF_NONE_MATCH, etag), (&IF_MODIFIED_SINCE, PAST)], NotModified),
        (&[(&IF_NONE_MATCH, "x"), (&IF_MODIFIED_SINCE, FUTURE)], Proceed),
        (&[(&IF_MODIFIED_SINCE, &exact)], NotModified),
        (&[(&IF_MODIFIED_SINCE, FUTURE)], NotModified),
        (&[(&IF_MODIFIED_SINCE, &before)], Proceed),
        (&[(&IF_MODIFIED_SINCE, "Sunday, 06-Nov-94 08:49:37 GMT")], Proceed),
        (&[(&IF_MODIFIED_SINCE, "Thu Dec 31 23:59:59 2099")], NotModified),
        (&[(&IF_MODIFIED_SINCE, "soon")], Proceed),
        (&[(&IF_MODIFIED_SINCE, FUTURE), (&IF_MODIFIED_SINCE, FUTURE)], Proceed),
    ];
    for (fields, expected) in cases {
        assert_eq!(for_reading(&headers(fields), &validators), *expected, "{fields:?}");
    }
}

#[test]
fn a_part_is_sent_only_for_what_tells_versions_apart_for_certain() {
    let (_, set_by_hand) = file();
    let dir = tempfile::tempdir().unwrap();
    // Written and changed in one second, which is over.
    let same_second = loop {
        fs::write(dir.path().join("a"), "a").unwrap();
        let metadata = fs::metadata(dir.path().join("a")).unwrap();
        let then = metadata.modified().unwrap() + Duration::from_secs(10);
        let validators = Validators::of(&metadata, then);
        if validators.strong_date().is_some() {
            break validators;
        }
    };
    for (validators, date_counts) in [(&set_by_hand, false), (&same_second, true)] {
        let etag = validators.etag().to_str().unwrap();
        let (weak, list) = (format!("W/{etag}"), format!("{etag}, \"x\""));
        let modified = validators.modified().unwrap();
        let (exact, later) = (date(modified), date(modified + 1));
        for (value, expected) in [
            (etag, true),
            (&weak, false),
            (&list, false),
            ("\"x\"", false),
            ("*", false),
            ("x", false),
            ("", false),
            (&exact, date_counts),
            // It has to be this date exactly (RFC 9110 section 13.1.5).
            (&later, false),
            (FUTURE, false),
            (PAST, false),
        ] {
            let headers = headers(&[(&IF_RANGE, value)]);
            assert_eq!(permits_parts(&headers, validators), expected, "{value}");
        }
        let twice = headers(&[(&IF_RANGE, etag), (&IF_RANGE, etag)]);
        assert!(!permits_parts(&twice, validators));
        assert!(permits_parts(&HeaderMap::new(), validators));
    }
}
