//! What a client would rather have (RFC 9110 section 12.5.1): HTML or JSON.

use ::http::HeaderMap;
use ::http::header::ACCEPT;

/// How well one form suits: its quality in thousandths, then how exactly it was named.
type Preference = (u16, u8);

/// Whether JSON is preferred to HTML: by a higher quality, or by being named more exactly at the
/// same one. So `application/json, */*`, which scripts send, gets JSON; `*/*` alone gets HTML.
pub(super) fn prefers_json(headers: &HeaderMap) -> bool {
    let json = preference(headers, "application", "json");
    json.0 > 0 && json > preference(headers, "text", "html")
}

/// The most exact range that matches decides.
fn preference(headers: &HeaderMap, kind: &str, subtype: &str) -> Preference {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let exactness = match parts.next()?.split_once('/')? {
                ("*", "*") => 1,
                (k, "*") if k.eq_ignore_ascii_case(kind) => 2,
                (k, s) if k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(subtype) => 3,
                _ => return None,
            };
            Some((exactness, quality(parts)?))
        })
        .max()
        .map_or((0, 0), |(exactness, quality)| (quality, exactness))
}

/// The weight in thousandths (RFC 9110 section 12.4.2); `None` where it is malformed.
pub(super) fn quality<'a>(mut parameters: impl Iterator<Item = &'a str>) -> Option<u16> {
    let weight = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.eq_ignore_ascii_case("q").then_some(value)
    });
    let Some(weight) = weight else {
        return Some(1000);
    };
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::header::HeaderValue;

    #[test]
    fn json_is_for_who_prefers_it() {
        for (accept, json) in [
            ("", false),
            ("*/*", false),
            ("text/html", false),
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/json, */*", true),
            ("application/json, text/plain, */*", true),
            ("application/*", true),
            ("application/json, text/html", false),
            ("text/html, application/json;q=0.9", false),
            ("text/html;q=0.8, application/json;q=0.9", true),
            ("text/html;q=0.801,application/json;q=0.81", true),
            ("application/json;q=0", false),
            ("application/json;q=0, */*", false),
            ("application/json;q=2", false),
            ("application/json;q=1.1", false),
            ("application/json;q=0.1234", false),
            ("application/json;q=x", false),
            ("application/json;q=-1", false),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
            (",;,/,q=1", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(prefers_json(&headers), json, "{accept}");
        }
        assert!(!prefers_json(&HeaderMap::new()));
    }

    #[test]
    fn repeated_fields_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(ACCEPT, HeaderValue::from_static("text/html;q=0.5"));
        headers.append(ACCEPT, HeaderValue::from_static("application/json"));
        assert!(prefers_json(&headers));
    }
}
