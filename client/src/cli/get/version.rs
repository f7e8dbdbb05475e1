//! Which version of a resource an answer has, and whether another answer has the same.
//!
//! Bytes of two answers may be put together only when a strong validator proves that both are of one
//! version (RFC 9110 sections 8.8 and 14.5). Everything that is not proved is a reason to start again.

use super::super::digest_fields::{REPR_DIGEST, digest_in};
use super::super::exchange::Answer;
use sealpair_common::digest::Sha256;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};
use ureq::http::header::{CONTENT_RANGE, DATE, ETAG, LAST_MODIFIED};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// By how much `Date` must exceed `Last-Modified` for the latter to be strong: the 60 s of RFC 7232
/// section 2.2.2. RFC 9110 section 8.8.2.2 asks for one second at least, and for more where the two
/// may come from different clocks, which a client cannot tell.
const SETTLED: Duration = Duration::from_secs(60);

/// What tells one version of a resource from another.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Version {
    /// The strong entity tag, quotes included.
    pub(crate) etag: Option<String>,
    /// `Last-Modified` as it came.
    pub(crate) last_modified: Option<String>,
    /// Whether `Last-Modified` is a strong validator.
    pub(crate) settled: bool,
    /// The length of the whole.
    pub(crate) length: Option<u64>,
    /// The SHA-256 that the server says it has, in hexadecimal digits.
    pub(crate) sha256: Option<String>,
    /// Where it came from in the end, if a redirect led there.
    #[serde(default)]
    pub(crate) place: Option<String>,
}

impl Version {
    /// The version that an answer has the whole of.
    pub(crate) fn of(headers: &HeaderMap, length: Option<u64>) -> Self {
        let etag = text(headers, &ETAG);
        let last_modified = text(headers, &LAST_MODIFIED);
        let date = text(headers, &DATE).as_deref().and_then(time);
        let modified = last_modified.as_deref().and_then(time);
        let settled = date.zip(modified).is_some_and(|(date, modified)| {
            date.duration_since(modified).is_ok_and(|between| between >= SETTLED)
        });
        Self {
            // RFC 9110 section 13.1.5: a date may be used only where there is no entity tag at all.
            settled: settled && etag.is_none(),
            etag: etag.filter(|etag| is_strong(etag)),
            last_modified,
            length,
            sha256: digest(headers).map(|digest| digest.to_string()),
            place: None,
        }
    }

    /// The version that an answer has the whole of, or a part.
    pub(super) fn in_answer(answer: &Answer, length: Option<u64>) -> Self {
        Self { place: place(answer), ..Self::of(answer.response.headers(), length) }
    }

    /// What `If-Range` can be given, if anything of this is strong enough.
    pub(crate) fn validator(&self) -> Option<HeaderValue> {
        let date = self.last_modified.as_ref().filter(|_| self.settled);
        HeaderValue::from_str(self.etag.as_ref().or(date)?).ok()
    }

    /// When the resource was last modified.
    pub(crate) fn modified(&self) -> Option<SystemTime> {
        time(self.last_modified.as_deref()?)
    }

    /// The digest that the server says the whole has.
    pub(crate) fn digest(&self) -> Option<Sha256> {
        self.sha256.as_ref()?.parse().ok()
    }

    /// Whether an answer with a part is of this version. 206 must repeat the entity tag (RFC 9110
    /// section 15.3.7); a date it may leave out, and then `If-Range` alone has decided.
    fn has_part_in(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let etag = text(headers, &ETAG);
        if etag != self.etag {
            return Err("its part is of another version (ETag)");
        }
        let last_modified = text(headers, &LAST_MODIFIED);
        if last_modified.is_some() && last_modified != self.last_modified {
            return Err("its part is of another version (Last-Modified)");
        }
        if let (Some(mine), Some(now)) = (self.digest(), digest(headers))
            && mine != now
        {
            return Err("its part is of another version (Repr-Digest)");
        }
        Ok(())
    }
}

/// What an answer to a request for a range is good for.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// The whole, in the version that the server has now.
    Whole,
    /// Bytes from where they are needed, up to the end (exclusive), of a whole of this length.
    Part { end: u64, length: Option<u64> },
    /// There are no bytes there: what is there may be the whole.
    Beyond { length: u64, proved: bool },
    /// It cannot be used, for this reason.
    Unusable(&'static str),
    /// Something else: an error, as a rule.
    Other,
}

/// Judges an answer as [`judge`] does, and by where it came from: another resource may have the same
/// validator by chance (RFC 9110 section 8.8.1), but not the same digest.
pub(super) fn judge_answer(
    answer: &Answer,
    first: u64,
    last: Option<u64>,
    version: &Version,
) -> Verdict {
    let headers = answer.response.headers();
    let same = || {
        place(answer) == version.place
            || version.digest().is_some_and(|mine| digest(headers) == Some(mine))
    };
    match judge(answer.status(), headers, first, last, version) {
        Verdict::Part { .. } | Verdict::Beyond { .. } if !same() => {
            Verdict::Unusable("the server points to another place now")
        }
        verdict => verdict,
    }
}

/// Where an answer came from, if a redirect led there. What signs a link is another each time, and
/// nothing that should be stored.
fn place(answer: &Answer) -> Option<String> {
    let mut url = answer.url.clone();
    url.set_query(None);
    (!answer.redirects.is_empty()).then(|| url.into())
}

/// Judges the answer to a request for the bytes from `first` on (up to `last`, where that is given), on
/// the condition that the version is still this.
pub(crate) fn judge(
    status: StatusCode,
    headers: &HeaderMap,
    first: u64,
    last: Option<u64>,
    version: &Version,
) -> Verdict {
    match status {
        StatusCode::OK => Verdict::Whole,
        StatusCode::PARTIAL_CONTENT => match part(headers, first, last, version) {
            Ok((end, length)) => Verdict::Part { end, length },
            Err(why) => Verdict::Unusable(why),
        },
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let unsatisfied = text(headers, &CONTENT_RANGE);
            let length = unsatisfied.as_deref().and_then(|text| text.strip_prefix("bytes */"));
            match length.and_then(number) {
                None => Verdict::Unusable("it does not say how long the file is"),
                Some(length)
                    if length != first || version.length.is_some_and(|mine| mine != length) =>
                {
                    Verdict::Unusable("the file has another length")
                }
                Some(length) => {
                    let etag = text(headers, &ETAG);
                    match etag.is_some() && etag == version.etag {
                        true => Verdict::Beyond { length, proved: true },
                        // Servers tend to leave it out there, so its absence says nothing.
                        false if etag.is_none() => Verdict::Beyond { length, proved: false },
                        false => Verdict::Unusable("the file is another version (ETag)"),
                    }
                }
            }
        }
        _ => Verdict::Other,
    }
}

fn part(
    headers: &HeaderMap,
    first: u64,
    last: Option<u64>,
    version: &Version,
) -> Result<(u64, Option<u64>), &'static str> {
    let range = text(headers, &CONTENT_RANGE).ok_or("its part does not say which it is")?;
    let range = ContentRange::parse(&range).ok_or("its part says what cannot be true")?;
    if range.first != first || last.is_some_and(|last| range.last > last) {
        return Err("it sent other bytes than were asked for");
    }
    if version.length.is_some() && range.length.is_some() && range.length != version.length {
        return Err("the file has another length now");
    }
    if version.length.is_some_and(|length| range.last >= length) {
        return Err("its part goes beyond the end of the file");
    }
    version.has_part_in(headers)?;
    let length = range.length.or(version.length);
    // It may be any part: nothing would tell that there is more.
    length.ok_or("it does not say how long the file is")?;
    Ok((range.last + 1, length))
}

/// `Content-Range: bytes FIRST-LAST/LENGTH` (RFC 9110 section 14.4).
#[derive(Debug, Eq, PartialEq)]
struct ContentRange {
    first: u64,
    last: u64,
    length: Option<u64>,
}

impl ContentRange {
    fn parse(text: &str) -> Option<Self> {
        let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        let length = match length {
            "*" => None,
            length => Some(number(length)?),
        };
        let valid = first <= last && last < u64::MAX && length.is_none_or(|length| last < length);
        valid.then_some(Self { first, last, length })
    }
}

/// The SHA-256 that an answer says the whole has. A field that cannot be read is taken for none (RFC
/// 9651 section 4.2 leaves that or refusing the message).
fn digest(headers: &HeaderMap) -> Option<Sha256> {
    digest_in(headers, &REPR_DIGEST).ok().flatten()
}

/// A field that is there once, and is text.
fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then(|| value.to_owned())
}

/// Digits only: `parse` takes a sign, too.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn time(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

fn is_strong(etag: &str) -> bool {
    etag.len() >= 2 && etag.starts_with('"') && etag.ends_with('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let name: HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    const EARLY: &str = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";

    #[test]
    fn only_what_is_strong_is_a_validator() {
        let validator = |lines: &[&str]| {
            let validator = Version::of(&headers(lines), None).validator();
            validator.map(|value| value.to_str().unwrap().to_owned())
        };
        let late = "Date: Sun, 06 Nov 1994 08:50:37 GMT";
        let soon = "Date: Sun, 06 Nov 1994 08:50:36 GMT";
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT".to_owned());
        assert_eq!(validator(&["ETag: \"a\""]), Some("\"a\"".to_owned()));
        assert_eq!(validator(&["ETag: \"a\"", EARLY, late]), Some("\"a\"".to_owned()));
        assert_eq!(validator(&[EARLY, late]), date);
        for not in [
            &["ETag: W/\"a\""][..],
            // With a weak entity tag, the date must not be used either.
            &["ETag: W/\"a\"", EARLY, late],
            &["ETag: a", EARLY, late],
            &["ETag: \""],
            &["ETag: \"a\"", "ETag: \"b\""],
            &[EARLY],
            &[EARLY, soon],
            &[late],
            &[],
        ] {
            assert_eq!(validator(not), None, "{not:?}");
        }
    }

    #[test]
    fn a_part_is_used_only_when_all_of_it_fits() {
        let version = Version {
            etag: Some("\"a\"".to_owned()),
            length: Some(10),
            ..Version::of(&headers(&[EARLY]), None)
        };
        let judge =
            |lines: &[&str]| judge(StatusCode::PARTIAL_CONTENT, &headers(lines), 4, None, &version);
        let good = Verdict::Part { end: 10, length: Some(10) };
        assert_eq!(judge(&["Content-Range: bytes 4-9/10", "ETag: \"a\""]), good);
        assert_eq!(judge(&["Content-Range: bytes 4-9/*", "ETag: \"a\"", EARLY]), good);
        let less = Verdict::Part { end: 6, length: Some(10) };
        assert_eq!(judge(&["Content-Range: bytes 4-5/10", "ETag: \"a\""]), less);
        for range in [
            "bytes 3-9/10",
            "bytes 5-9/10",
            "bytes 0-9/10",
            "bytes 4-9/11",
            "bytes 4-10/*",
            "bytes 4-3/10",
            "bytes +4-9/10",
            "bytes 4-18446744073709551615/*",
            "bytes 4-99999999999999999999/*",
            "bytes */10",
            "items 4-9/10",
            "4-9/10",
            "",
        ] {
            let verdict = judge(&[&format!("Content-Range: {range}"), "ETag: \"a\""]);
            assert!(matches!(verdict, Verdict::Unusable(_)), "{range}: {verdict:?}");
        }
        for other in [
            &["Content-Range: bytes 4-9/10"][..],
            &["Content-Range: bytes 4-9/10", "ETag: \"b\""],
            &["Content-Range: bytes 4-9/10", "ETag: W/\"a\""],
            &["Content-Range: bytes 4-9/10", "Content-Range: bytes 4-9/10", "ETag: \"a\""],
            &["Content-Type: multipart/byteranges; boundary=x", "ETag: \"a\""],
            &[
                "Content-Range: bytes 4-9/10",
                "ETag: \"a\"",
                "Last-Modified: Mon, 07 Nov 1994 08:49:37 GMT",
            ],
        ] {
            let verdict = judge(other);
            assert!(matches!(verdict, Verdict::Unusable(_)), "{other:?}: {verdict:?}");
        }
    }

    #[test]
    fn a_bounded_request_takes_no_more_than_it_asked_for() {
        let version = Version { etag: Some("\"a\"".to_owned()), ..Version::default() };
        let headers = headers(&["Content-Range: bytes 4-9/10", "ETag: \"a\""]);
        let judge = |last| judge(StatusCode::PARTIAL_CONTENT, &headers, 4, Some(last), &version);
        assert!(matches!(judge(8), Verdict::Unusable(_)));
        assert_eq!(judge(9), Verdict::Part { end: 10, length: Some(10) });
    }

    #[test]
    fn beyond_the_end_is_complete_only_at_the_same_length_and_version() {
        let version = Version { etag: Some("\"a\"".to_owned()), ..Version::default() };
        let judge = |lines: &[&str]| {
            judge(StatusCode::RANGE_NOT_SATISFIABLE, &headers(lines), 10, None, &version)
        };
        let beyond = |proved| Verdict::Beyond { length: 10, proved };
        assert_eq!(judge(&["Content-Range: bytes */10", "ETag: \"a\""]), beyond(true));
        assert_eq!(judge(&["Content-Range: bytes */10"]), beyond(false));
        for not in [
            &["Content-Range: bytes */10", "ETag: \"b\""][..],
            &["Content-Range: bytes */9", "ETag: \"a\""],
            &["Content-Range: bytes */11"],
            &["Content-Range: bytes */*"],
            &["ETag: \"a\""],
        ] {
            assert!(matches!(judge(not), Verdict::Unusable(_)), "{not:?}");
        }
    }
}
