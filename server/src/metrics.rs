//! What the server counts, for Prometheus.
//!
//! ```text
//! connection, request ──▶ relaxed atomics ──▶ render ──▶ /metrics of the management listener
//! ```
//!
//! Counting takes no lock and no memory: whoever counts adds to a few atomics, each on its own, and goes
//! on. So one rendering may hold a request in one family and not yet in another; every counter by itself
//! only grows. What is summed up (classes of status codes, cumulative buckets) is summed up when it is
//! asked for.

mod histogram;
mod process;
mod revocation;
mod text;

pub use histogram::{HANDSHAKE_BUCKETS, Histogram, REQUEST_BUCKETS};

use self::text::{Kind, Text};
use ::http::{Method, StatusCode};
use sealpair_common::pki::CertificateFacts;
use sealpair_common::tls::fips::{Module, ModuleName};
use sealpair_common::tls::{Reason, ServerTls, openssl_version};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Final status codes have three digits, the first of them from 1 to 5 (RFC 9110 section 15).
const FIRST_CODE: u16 = 100;
const CODES: usize = 500;

/// One counter for each status code.
#[derive(Debug)]
struct ByCode([Counter; CODES]);

impl ByCode {
    fn new() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }

    fn add(&self, status: StatusCode) {
        // The `http` crate allows codes up to 999; nothing here sends one.
        if let Some(counter) = self.0.get(usize::from(status.as_u16() - FIRST_CODE)) {
            counter.add(1);
        }
    }

    /// The codes that were seen, and how often.
    fn seen(&self) -> impl Iterator<Item = (u16, u64)> {
        let counts = (FIRST_CODE..).zip(&self.0);
        counts.map(|(code, counter)| (code, counter.value())).filter(|(_, count)| *count > 0)
    }
}

/// Methods with a counter of their own; the rest share the last one. A client may send any word as its
/// method, and must not be able to make a time series of each.
const METHODS: [&str; 8] = ["GET", "HEAD", "PUT", "DELETE", "POST", "OPTIONS", "PATCH", "other"];

fn method_index(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::PUT => 2,
        Method::DELETE => 3,
        Method::POST => 4,
        Method::OPTIONS => 5,
        Method::PATCH => 6,
        _ => METHODS.len() - 1,
    }
}

/// Protocols with a counter of their own.
const PROTOCOLS: [&str; 3] = ["TLSv1.3", "TLSv1.2", "other"];

/// A request that has been answered, or whose answer was cut.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'r> {
    /// The method.
    pub method: &'r Method,
    /// The status of the response.
    pub status: StatusCode,
    /// Bytes of content received.
    pub received: u64,
    /// Bytes of content sent.
    pub sent: u64,
    /// From the end of the request's head to the moment the response began to be sent.
    pub to_first_byte: Duration,
    /// From the end of the request's head to the end of the response.
    pub whole: Duration,
}

const STARTING: u8 = 0;
const SERVING: u8 = 1;
const DRAINING: u8 = 2;

/// A certificate of the server's, and when it ends.
#[derive(Clone, Debug)]
struct Certificate {
    file: String,
    subject: String,
    serial: String,
    /// Unix seconds.
    not_after: i64,
}

/// The numbers of one server. Shared by all its threads.
#[derive(Debug)]
pub struct Metrics {
    started: SystemTime,
    phase: AtomicU8,
    connections_accepted: Counter,
    connections_closed: Counter,
    connections_cut_off: Counter,
    /// By protocol, and whether a session was resumed.
    handshakes: [[Counter; 2]; PROTOCOLS.len()],
    handshake_seconds: Histogram<{ HANDSHAKE_BUCKETS.len() }>,
    /// In the order of [`Reason::KINDS`].
    handshakes_failed: [Counter; Reason::KINDS.len()],
    requests: ByCode,
    methods: [Counter; METHODS.len()],
    heads_refused: ByCode,
    content_received: Counter,
    content_sent: Counter,
    first_byte_seconds: Histogram<{ REQUEST_BUCKETS.len() }>,
    request_seconds: Histogram<{ REQUEST_BUCKETS.len() }>,
    pub(crate) access_log_lines: Counter,
    pub(crate) access_log_dropped: Counter,
    pub(crate) access_log_failures: Counter,
    /// Asked for by a scrape and set by a reload: nothing in the path of a request.
    certificates: Mutex<Vec<Certificate>>,
    /// Asked when the lists and responses end: responses are read again.
    tls: Mutex<Option<ServerTls>>,
    policy: Mutex<Option<&'static str>>,
    fips: Mutex<Option<ModuleName>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All zero, from now on.
    pub fn new() -> Self {
        Self {
            started: SystemTime::now(),
            phase: AtomicU8::new(STARTING),
            connections_accepted: Counter::default(),
            connections_closed: Counter::default(),
            connections_cut_off: Counter::default(),
            handshakes: Default::default(),
            handshake_seconds: Histogram::new(&HANDSHAKE_BUCKETS),
            handshakes_failed: Default::default(),
            requests: ByCode::new(),
            methods: Default::default(),
            heads_refused: ByCode::new(),
            content_received: Counter::default(),
            content_sent: Counter::default(),
            first_byte_seconds: Histogram::new(&REQUEST_BUCKETS),
            request_seconds: Histogram::new(&REQUEST_BUCKETS),
            access_log_lines: Counter::default(),
            access_log_dropped: Counter::default(),
            access_log_failures: Counter::default(),
            certificates: Mutex::default(),
            tls: Mutex::default(),
            policy: Mutex::default(),
            fips: Mutex::default(),
        }
    }

    /// The server accepts connections.
    pub fn serving(&self) {
        // Who drains does not begin to serve again.
        let _ =
            self.phase.compare_exchange(STARTING, SERVING, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The server has been told to stop.
    pub fn drain_begun(&self) {
        self.phase.store(DRAINING, Ordering::Relaxed);
    }

    /// The drain is over, and so many connections were cut off.
    pub fn drain_done(&self, cut_off: usize) {
        self.connections_cut_off.add(cut_off as u64);
    }

    /// Whether the server accepts connections and has not been told to stop.
    pub fn is_serving(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == SERVING
    }

    /// Whether the server has been told to stop.
    pub fn is_draining(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == DRAINING
    }

    /// A connection was accepted.
    pub fn connection_opened(&self) {
        self.connections_accepted.add(1);
    }

    /// A connection has ended.
    pub fn connection_closed(&self) {
        self.connections_closed.add(1);
    }

    /// A TLS handshake has succeeded; `protocol` as `TlsSession` has it.
    pub fn handshake_done(&self, took: Duration, protocol: &str, resumed: bool) {
        let protocol = PROTOCOLS.iter().position(|known| *known == protocol);
        let protocol = protocol.unwrap_or(PROTOCOLS.len() - 1);
        self.handshakes[protocol][usize::from(resumed)].add(1);
        self.handshake_seconds.observe(took);
    }

    /// A TLS handshake has failed.
    pub fn handshake_failed(&self, reason: Reason) {
        let kind = reason.kind();
        // A test of `Reason` sees to it that the list has them all.
        if let Some(at) = Reason::KINDS.iter().position(|known| *known == kind) {
            self.handshakes_failed[at].add(1);
        }
    }

    /// A request has been answered, or its answer was cut.
    pub fn request_done(&self, request: &Answered<'_>) {
        self.requests.add(request.status);
        self.methods[method_index(request.method)].add(1);
        if request.received > 0 {
            self.content_received.add(request.received);
        }
        if request.sent > 0 {
            self.content_sent.add(request.sent);
        }
        self.first_byte_seconds.observe(request.to_first_byte);
        self.request_seconds.observe(request.whole);
    }

    /// A request head was refused with this status before there was a request.
    pub fn head_refused(&self, status: StatusCode) {
        self.heads_refused.add(status);
    }

    /// Which certificates the server presents now; to be called again after a reload.
    pub fn set_tls(&self, tls: &ServerTls) {
        let certificates = tls.identities().iter().filter_map(|identity| {
            let facts = CertificateFacts::of(identity.certificate());
            Some(Certificate {
                file: identity.file().display().to_string(),
                not_after: facts.ends()?.as_second(),
                subject: facts.subject,
                serial: facts.serial,
            })
        });
        *self.certificates.lock().unwrap_or_else(PoisonError::into_inner) = certificates.collect();
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = Some(tls.clone());
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = Some(tls.policy().name());
        *self.fips.lock().unwrap_or_else(PoisonError::into_inner) = tls.module().map(Module::name);
    }

    /// All numbers in Prometheus' text exposition format 0.0.4.
    pub fn render(&self) -> String {
        let mut text = Text::new();
        self.render_process(&mut text);
        self.render_connections(&mut text);
        self.render_requests(&mut text);
        self.render_access_log(&mut text);
        self.render_certificates(&mut text);
        let tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        revocation::render(&mut text, tls.as_ref());
        text.into_string()
    }

    fn render_process(&self, text: &mut Text) {
        text.family("sealpair_build_info", Kind::Gauge, "Versions and the TLS policy; always 1.");
        let policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or("");
        let labels = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("openssl", openssl_version()),
            ("policy", policy),
        ];
        text.sample(&labels, 1);
        if let Some(module) = *self.fips.lock().unwrap_or_else(PoisonError::into_inner) {
            let help = "The FIPS module that does the cryptography; always 1.";
            text.family("sealpair_fips_module_info", Kind::Gauge, help);
            text.sample(&[("name", module.name), ("version", module.version)], 1);
        }
        text.single(
            "process_start_time_seconds",
            Kind::Gauge,
            "Start of the process in seconds since the Unix epoch.",
            since_epoch(self.started),
        );
        let process = process::Process::read();
        if let Some(threads) = process.threads {
            text.single("process_threads", Kind::Gauge, "Threads of the process.", threads);
        }
        if let Some(bytes) = process.resident_bytes {
            let help = "Resident memory of the process in bytes.";
            text.single("process_resident_memory_bytes", Kind::Gauge, help, bytes);
        }
        if let Some(open) = process.open_descriptors {
            text.single("process_open_fds", Kind::Gauge, "Open file descriptors.", open);
        }
        text.single(
            "sealpair_ready",
            Kind::Gauge,
            "Whether the server serves: 1; or starts or drains: 0.",
            u8::from(self.is_serving()),
        );
        text.single(
            "sealpair_draining",
            Kind::Gauge,
            "Whether the server has been told to stop and waits for open connections.",
            u8::from(self.is_draining()),
        );
    }

    fn render_connections(&self, text: &mut Text) {
        // First what is taken away: a connection that comes and goes between must not make it negative.
        let closed = self.connections_closed.value();
        let accepted = self.connections_accepted.value();
        text.single(
            "sealpair_connections",
            Kind::Gauge,
            "Open connections.",
            accepted.saturating_sub(closed),
        );
        text.single(
            "sealpair_connections_accepted_total",
            Kind::Counter,
            "Connections that were accepted.",
            accepted,
        );
        text.single(
            "sealpair_connections_cut_off_total",
            Kind::Counter,
            "Connections that the drain deadline cut off.",
            self.connections_cut_off.value(),
        );
        text.family(
            "sealpair_tls_handshakes_total",
            Kind::Counter,
            "TLS handshakes that succeeded, by protocol and whether a session was resumed.",
        );
        for (protocol, [full, resumed]) in PROTOCOLS.iter().zip(&self.handshakes) {
            // What this server speaks is there from the beginning: a rate needs its zero.
            let (full, resumed) = (full.value(), resumed.value());
            if *protocol != "other" || full + resumed > 0 {
                text.sample(&[("protocol", protocol), ("resumed", "false")], full);
                text.sample(&[("protocol", protocol), ("resumed", "true")], resumed);
            }
        }
        text.family(
            "sealpair_tls_handshake_failures_total",
            Kind::Counter,
            "TLS handshakes that failed, by reason; client_certificate_refused: by a client that \
             refused this server's certificate.",
        );
        for (kind, count) in Reason::KINDS.iter().zip(&self.handshakes_failed) {
            text.sample(&[("reason", &kind.replace('-', "_"))], count.value());
        }
        text.histogram(
            "sealpair_tls_handshake_duration_seconds",
            "Time of TLS handshakes that succeeded.",
            &self.handshake_seconds,
        );
    }

    fn render_requests(&self, text: &mut Text) {
        text.family(
            "sealpair_http_requests_total",
            Kind::Counter,
            "Requests that were answered, by status code.",
        );
        for (code, count) in self.requests.seen() {
            text.sample(&[("code", &code.to_string())], count);
        }
        text.family(
            "sealpair_http_responses_total",
            Kind::Counter,
            "Requests that were answered, by class of status code.",
        );
        for class in 1..=5 {
            let codes = self.requests.seen().filter(|(code, _)| code / 100 == class);
            text.sample(
                &[("class", &format!("{class}xx"))],
                codes.map(|(_, count)| count).sum::<u64>(),
            );
        }
        text.family(
            "sealpair_http_request_methods_total",
            Kind::Counter,
            "Requests that were answered, by method.",
        );
        for (method, count) in METHODS.iter().zip(&self.methods) {
            text.sample(&[("method", method)], count.value());
        }
        text.family(
            "sealpair_http_heads_refused_total",
            Kind::Counter,
            "Request heads that were refused before there was a request, by status code.",
        );
        for (code, count) in self.heads_refused.seen() {
            text.sample(&[("code", &code.to_string())], count);
        }
        text.single(
            "sealpair_http_content_received_bytes_total",
            Kind::Counter,
            "Content of requests in bytes, without framing and TLS.",
            self.content_received.value(),
        );
        text.single(
            "sealpair_http_content_sent_bytes_total",
            Kind::Counter,
            "Content of responses in bytes, without framing and TLS.",
            self.content_sent.value(),
        );
        text.histogram(
            "sealpair_http_first_byte_duration_seconds",
            "From the end of a request's head until its response began to be sent.",
            &self.first_byte_seconds,
        );
        text.histogram(
            "sealpair_http_request_duration_seconds",
            "From the end of a request's head to the end of its response.",
            &self.request_seconds,
        );
    }

    fn render_access_log(&self, text: &mut Text) {
        text.single(
            "sealpair_access_log_lines_total",
            Kind::Counter,
            "Lines that were put into the access log's queue.",
            self.access_log_lines.value(),
        );
        text.single(
            "sealpair_access_log_lines_dropped_total",
            Kind::Counter,
            "Lines that the access log lost because its queue was full.",
            self.access_log_dropped.value(),
        );
        text.single(
            "sealpair_access_log_write_failures_total",
            Kind::Counter,
            "Writes of the access log that failed; they are tried again.",
            self.access_log_failures.value(),
        );
    }

    fn render_certificates(&self, text: &mut Text) {
        let certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut family = |name, help, value: &dyn Fn(&Certificate) -> f64| {
            text.family(name, Kind::Gauge, help);
            for certificate in &certificates {
                let Certificate { file, subject, serial, .. } = certificate;
                let labels = [("file", &**file), ("subject", subject), ("serial", serial)];
                text.sample(&labels, value(certificate));
            }
        };
        family(
            "sealpair_certificate_not_after_timestamp_seconds",
            "End of a certificate's validity in seconds since the Unix epoch.",
            &|certificate| certificate.not_after as f64,
        );
        let now = since_epoch(SystemTime::now()).floor();
        family(
            "sealpair_certificate_expires_in_seconds",
            "Time until a certificate's validity ends; negative when it has ended.",
            &|certificate| certificate.not_after as f64 - now,
        );
    }
}

fn since_epoch(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests;
