//! URLs: of the command line, and where a server points to.

use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use std::convert::Infallible;
use std::str::FromStr;
use ureq::http::HeaderValue;
use url::Url;

/// A URL of the command line. It is checked only when it is used: clap would show all of it in its
/// error, a password included.
#[derive(Clone, Debug)]
pub(crate) struct UrlArg(String);

impl FromStr for UrlArg {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl From<String> for UrlArg {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl UrlArg {
    pub(crate) fn parse(&self) -> Result<Url, Report> {
        parse_url(&self.0).map_err(|why| {
            let report = Report::new(Exit::Usage, "bad-url", "this is not a URL to use here");
            let report = report.explain(why);
            match self.0.contains("://") || self.0.contains('@') || self.0.is_empty() {
                true => report,
                false => report.remedy(format!("did you mean https://{}?", self.0)),
            }
        })
    }
}

/// An https URL without a password and a fragment, with everything encoded that RFC 3986 does not
/// allow in it.
pub(crate) fn parse_url(text: &str) -> Result<Url, String> {
    let mut url =
        Url::parse(text).map_err(|error| format!("{error}; a URL begins with https://"))?;
    if url.scheme() != "https" {
        return Err("only https:// is spoken".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "a URL with a password in it is visible to others; use --header @FILE".to_owned()
        );
    }
    url.set_fragment(None);
    // The URL standard of browsers leaves these as they are; strict servers refuse them.
    let encode = |text: &str| {
        text.replace('[', "%5B").replace(']', "%5D").replace('|', "%7C").replace('^', "%5E")
    };
    let (path, query) = (encode(url.path()), url.query().map(encode));
    url.set_path(&path);
    url.set_query(query.as_deref());
    Ok(url)
}

/// Where a server points to, without what it should not have put there.
pub(crate) fn without_password(from: &Url, to: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(to.as_bytes()).into_owned();
    match from.join(&text) {
        Ok(url) if url.password().is_none() && url.username().is_empty() => text,
        Ok(_) => "a URL with a password in it".to_owned(),
        Err(_) => "what is not a URL".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let parse = |text: &str| parse_url(text).map(String::from);
        assert_eq!(parse("https://localhost:8443/a#b").unwrap(), "https://localhost:8443/a");
        assert_eq!(parse("https://h/[a]|b^c?[").unwrap(), "https://h/%5Ba%5D%7Cb%5Ec?%5B");
        assert_eq!(parse("https://h/%5Ba%25").unwrap(), "https://h/%5Ba%25");
        for bad in ["localhost:8443/a", "http://localhost/", "https://user:secret@host/", "", "/a"]
        {
            let error = UrlArg(bad.to_owned()).parse().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
