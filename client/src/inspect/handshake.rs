//! What only a finished handshake shows, through OpenSSL and with nothing verified: certificates, tickets
//! and ALPN in TLS 1.3, the stapled response, who must have a client certificate, whether a client may
//! renegotiate, and HSTS.

use super::enumerate::Alpn;
use super::probe::{Endpoint, Permit, is_late};
use openssl::ssl::SslVersion;
use openssl::x509::X509;
use sealpair_common::tls::survey::{Survey, SurveyOptions, Ticket};
use sealpair_common::tls::{Failure, Patience, Reason, ServerName, TlsSession};
use serde::Serialize;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// The longest response head that is read.
const LONGEST_HEAD: usize = 16 << 10;
/// How long a server that does not react to a renegotiation is waited for.
const RENEGOTIATION: Duration = Duration::from_secs(1);

/// How long an answer is waited for at least, from a server that may not speak HTTP at all; and how much
/// longer for each second that its handshake took.
const ANSWER: (Duration, u32) = (Duration::from_secs(1), 20);

/// A finished handshake.
#[derive(Debug)]
struct Connection<'a> {
    survey: Survey,
    deadline: Instant,
    /// How long it took.
    span: Duration,
    _permit: Permit<'a>,
}

/// Why there is none: in words.
type Refusal = (Option<Reason>, String);

fn connect<'a>(endpoint: &'a Endpoint, options: &SurveyOptions) -> Result<Connection<'a>, Refusal> {
    let permit = endpoint.permit().ok_or_else(|| (None, "a limit was reached".to_owned()))?;
    let (began, deadline) = (Instant::now(), endpoint.deadline());
    let tcp = endpoint.connect(deadline).map_err(|error| {
        if is_late(&error) {
            endpoint.note_silence();
        }
        (None, error.to_string())
    })?;
    let survey = Survey::connect(options, tcp, endpoint.name(), Patience::Until(deadline))
        .map_err(|failure| refusal(endpoint, &failure))?;
    Ok(Connection { survey, deadline, span: began.elapsed(), _permit: permit })
}

impl Connection<'_> {
    /// The end of the wait for an answer that begins now.
    fn answer_by(&self) -> Instant {
        let (least, factor) = ANSWER;
        let span = least.saturating_add(self.span.saturating_mul(factor));
        let by = Instant::now().checked_add(span).unwrap_or(self.deadline);
        by.min(self.deadline)
    }
}

fn refusal(endpoint: &Endpoint, failure: &Failure) -> Refusal {
    if failure.reason() == Reason::Deadline {
        endpoint.note_silence();
    }
    let text = failure.to_string();
    (Some(failure.reason()), text.lines().next().unwrap_or_default().to_owned())
}

/// What one whole connection shows.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The facts of the session.
    pub session: Option<TlsSession>,
    /// The certificates as they were sent.
    pub chain: Vec<X509>,
    /// The stapled response in DER; `None` also if the handshake failed.
    pub staple: Option<Vec<u8>>,
    /// The tickets and sessions that came.
    pub tickets: Vec<Ticket>,
    /// Whether a client certificate is wanted; `None` if that is not clear.
    pub client_certificate: Option<ClientCertificate>,
    /// The answer to a request, if HTTP was spoken.
    pub http: Option<HttpHead>,
    /// Why something is missing.
    pub problem: Option<String>,
}

/// Whether a server wants a client certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ClientCertificate {
    /// It does not ask.
    None,
    /// It asks; whether it goes on without one is not known.
    Asked,
    /// It asks, and goes on without one.
    Optional,
    /// It refuses clients that have none.
    Required,
}

/// The part of a response head that matters here.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HttpHead {
    /// The status.
    pub status: u16,
    /// The first Strict-Transport-Security field (RFC 6797 section 8.1: the others do not count).
    pub strict_transport_security: Option<String>,
}

/// Connects, asks for `/`, and takes note of everything.
pub(super) fn see(endpoint: &Endpoint, options: &SurveyOptions) -> Seen {
    let mut seen = Seen::default();
    let mut connection = match connect(endpoint, options) {
        Ok(connection) => connection,
        Err((reason, problem)) => {
            seen.client_certificate = wants_another(reason).map(|wanted| match options.identity {
                None => wanted,
                Some(_) => ClientCertificate::Asked,
            });
            seen.problem = Some(problem);
            return seen;
        }
    };
    let answer_by = connection.answer_by();
    let survey = &mut connection.survey;
    seen.session = Some(survey.session());
    seen.chain = survey.certificates();
    seen.staple = survey.staple();
    let asked = survey.asked_for_certificate();
    survey.set_patience(Patience::Until(answer_by));
    let answer = request(survey, endpoint);
    seen.tickets = survey.tickets();
    seen.client_certificate = match (&answer, asked) {
        (_, false) => Some(ClientCertificate::None),
        // What a server wants of who has shown one is not known.
        _ if options.identity.is_some() => Some(ClientCertificate::Asked),
        (Ok(_), true) => Some(ClientCertificate::Optional),
        (Err((reason, _)), true) => {
            Some(wants_another(*reason).unwrap_or(ClientCertificate::Asked))
        }
    };
    match answer {
        Ok(head) => seen.http = head,
        Err((_, problem)) => seen.problem = Some(problem),
    }
    seen
}

fn wants_another(reason: Option<Reason>) -> Option<ClientCertificate> {
    match reason {
        Some(Reason::OwnCertificateMissing | Reason::OwnCertificateRefused(_)) => {
            Some(ClientCertificate::Required)
        }
        _ => None,
    }
}

/// Asks for `/`, and reads the head of the answer. `Ok(None)` when what came is not HTTP. With GET, since not
/// every server knows HEAD.
fn request(survey: &mut Survey, endpoint: &Endpoint) -> Result<Option<HttpHead>, Refusal> {
    let host = match endpoint.name() {
        ServerName::Ip(ip) if ip.is_ipv6() => format!("[{ip}]"),
        name => name.to_string(),
    };
    let port = endpoint.address().port();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: sealpair/{}\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION"),
    );
    let failed = |error: std::io::Error| match Failure::of(&error) {
        Some(failure) => refusal(endpoint, failure),
        None => (None, error.to_string()),
    };
    // A server that has closed may have said why: that is read.
    let written = survey.write_all(request.as_bytes()).and_then(|()| survey.flush());
    let mut head = Vec::new();
    let mut piece = [0; 4 << 10];
    while head.len() <= LONGEST_HEAD && !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match survey.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => head.extend_from_slice(piece.get(..count).unwrap_or_default()),
            Err(error) if head.is_empty() => {
                return Err(written
                    .err()
                    .filter(|_| is_late(&error))
                    .map_or_else(|| failed(error), failed));
            }
            Err(_) => break,
        }
    }
    Ok(parse_head(&head))
}

fn parse_head(head: &[u8]) -> Option<HttpHead> {
    let text = String::from_utf8_lossy(head.get(..LONGEST_HEAD.min(head.len()))?);
    let mut lines = text.split("\r\n").take_while(|line| !line.is_empty());
    let status = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let strict_transport_security = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("strict-transport-security"))
        .map(|(_, value)| value.trim().to_owned());
    Some(HttpHead { status, strict_transport_security })
}

/// The chain that a server presents to who can check these schemes only, and what it staples.
pub(super) fn chain_for(
    endpoint: &Endpoint,
    options: &SurveyOptions,
) -> Option<(Vec<X509>, Option<Vec<u8>>)> {
    let connection = connect(endpoint, options).ok()?;
    Some((connection.survey.certificates(), connection.survey.staple()))
}

/// What a server does with an application protocol, in any version.
pub(super) fn alpn(endpoint: &Endpoint, options: &SurveyOptions, protocol: &str) -> Option<Alpn> {
    let mut options = options.clone();
    options.alpn = vec![protocol.as_bytes().to_vec()];
    match connect(endpoint, &options) {
        Ok(connection) => Some(match connection.survey.session().alpn.as_deref() {
            Some(agreed) if agreed == protocol => Alpn::Agreed,
            _ => Alpn::Ignored,
        }),
        Err((Some(Reason::NoSharedApplicationProtocol), _)) => Some(Alpn::Refused),
        Err(_) => None,
    }
}

/// Whether a client may renegotiate, and how that was found out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Renegotiated {
    /// `None` when it cannot be told.
    pub accepted: Option<bool>,
    /// In words.
    pub explanation: String,
}

/// Asks to renegotiate. `options` must name a version before TLS 1.3.
pub(super) fn renegotiate(endpoint: &Endpoint, options: &SurveyOptions) -> Renegotiated {
    let told = |accepted, explanation: String| Renegotiated { accepted, explanation };
    let mut connection = match connect(endpoint, options) {
        Ok(connection) => connection,
        Err((reason, _)) if wants_another(reason).is_some() => {
            let text = "cannot be asked without a client certificate that the server takes";
            return told(None, text.to_owned());
        }
        Err((_, problem)) => return told(None, problem),
    };
    let patience = Instant::now().checked_add(RENEGOTIATION).unwrap_or(connection.deadline);
    let patience = Patience::Until(patience.min(connection.deadline));
    match connection.survey.renegotiate(patience) {
        Ok(()) => told(Some(true), "the server renegotiates when a client asks".to_owned()),
        Err(failure) => match failure.reason() {
            Reason::Deadline => told(Some(false), "the server passes the request over".to_owned()),
            Reason::Closed | Reason::Io(_) => {
                told(Some(false), "the server closes the connection".to_owned())
            }
            // OpenSSL has no word of ours for the warning no_renegotiation.
            _ => told(Some(false), "the server refuses".to_owned()),
        },
    }
}

/// Whether a whole connection, with an answer to a request, is possible without extended master secret;
/// `None` if that is not clear.
pub(super) fn without_extended_master_secret(
    endpoint: &Endpoint,
    options: &SurveyOptions,
) -> Option<bool> {
    let mut options = options.clone();
    options.extended_master_secret = false;
    let mut connection = match connect(endpoint, &options) {
        Ok(connection) => connection,
        Err((Some(Reason::Deadline | Reason::OwnCertificateMissing) | None, _)) => return None,
        Err(_) => return Some(false),
    };
    connection.survey.set_patience(Patience::Until(connection.answer_by()));
    Some(request(&mut connection.survey, endpoint).is_ok())
}

/// The version as OpenSSL has it.
pub(super) fn ssl_version(version: super::registry::Version) -> Option<SslVersion> {
    use super::registry::Version;
    Some(match version {
        Version::TLS10 => SslVersion::TLS1,
        Version::TLS11 => SslVersion::TLS1_1,
        Version::TLS12 => SslVersion::TLS1_2,
        Version::TLS13 => SslVersion::TLS1_3,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_head_is_read_as_far_as_it_came() {
        let head = |text: &str| parse_head(text.as_bytes());
        let found =
            head("HTTP/1.1 200 OK\r\nA: b\r\nstrict-Transport-Security:  max-age=1 \r\n\r\nx");
        let sts = Some("max-age=1".to_owned());
        assert_eq!(found, Some(HttpHead { status: 200, strict_transport_security: sts }));
        let none = Some(HttpHead { status: 404, strict_transport_security: None });
        assert_eq!(head("HTTP/1.0 404 Not Found\r\n\r\nStrict-Transport-Security: x"), none);
        for bad in ["", "SSH-2.0-x\r\n", "HTTP/1.1 x\r\n\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 2"] {
            assert_eq!(head(bad), None, "{bad}");
        }
    }
}
