use super::*;
use std::io::ErrorKind;

fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{sample} is not in:\n{text}")).parse().unwrap()
}

fn answered(method: &Method, status: u16, took: Duration) -> Answered<'_> {
    let status = StatusCode::from_u16(status).unwrap();
    Answered { method, status, received: 3, sent: 5, to_first_byte: took / 2, whole: took }
}

#[test]
fn requests_are_counted_by_code_class_and_method() {
    let metrics = Metrics::new();
    let took = Duration::from_millis(2);
    for (method, status) in [("GET", 200), ("GET", 206), ("HEAD", 404), ("BREW", 418), ("GET", 700)]
    {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        metrics.request_done(&answered(&method, status, took));
    }
    let text = metrics.render();
    assert_eq!(value(&text, "sealpair_http_requests_total{code=\"200\"}"), 1.0);
    assert_eq!(value(&text, "sealpair_http_requests_total{code=\"418\"}"), 1.0);
    assert!(!text.contains("code=\"500\"") && !text.contains("code=\"700\""));
    assert_eq!(value(&text, "sealpair_http_responses_total{class=\"2xx\"}"), 2.0);
    assert_eq!(value(&text, "sealpair_http_responses_total{class=\"4xx\"}"), 2.0);
    assert_eq!(value(&text, "sealpair_http_request_methods_total{method=\"GET\"}"), 3.0);
    assert_eq!(value(&text, "sealpair_http_request_methods_total{method=\"other\"}"), 1.0);
    assert_eq!(value(&text, "sealpair_http_content_received_bytes_total"), 15.0);
    assert_eq!(value(&text, "sealpair_http_content_sent_bytes_total"), 25.0);
}

#[test]
fn a_histogram_is_cumulative_and_agrees_with_its_count() {
    let metrics = Metrics::new();
    for micros in [0, 100, 101, 2_000, 3_600_000_001] {
        metrics.request_done(&answered(&Method::GET, 200, Duration::from_micros(micros)));
    }
    let text = metrics.render();
    let bucket = |le: &str| {
        value(&text, &format!("sealpair_http_request_duration_seconds_bucket{{le=\"{le}\"}}"))
    };
    assert_eq!(bucket("0.0001"), 2.0);
    assert_eq!(bucket("0.0005"), 3.0);
    assert_eq!(bucket("0.001"), 3.0);
    assert_eq!(bucket("0.005"), 4.0);
    assert_eq!(bucket("3600"), 4.0);
    assert_eq!(bucket("+Inf"), 5.0);
    assert_eq!(value(&text, "sealpair_http_request_duration_seconds_count"), 5.0);
    let sum = value(&text, "sealpair_http_request_duration_seconds_sum");
    assert!((sum - 3600.002202).abs() < 1e-6, "{sum}");
}

#[test]
fn every_reason_has_a_series_from_the_beginning() {
    let metrics = Metrics::new();
    let text = metrics.render();
    let family = "sealpair_tls_handshake_failures_total{";
    let series = text.lines().filter(|line| line.starts_with(family));
    assert_eq!(series.count(), Reason::KINDS.len());
    metrics.handshake_failed(Reason::NotTls { http: true });
    metrics.handshake_failed(Reason::Io(ErrorKind::ConnectionReset));
    metrics.handshake_failed(Reason::Alert(42));
    metrics.handshake_failed(Reason::Alert(48));
    let text = metrics.render();
    let reason = |word: &str| value(&text, &format!("{family}reason=\"{word}\"}}"));
    assert_eq!(reason("plain_http"), 1.0);
    assert_eq!(reason("connection_lost"), 1.0);
    assert_eq!(reason("tls_alert"), 2.0);
    assert_eq!(reason("deadline"), 0.0);
}

#[test]
fn connections_and_handshakes() {
    let metrics = Metrics::new();
    metrics.connection_opened();
    metrics.connection_opened();
    metrics.connection_closed();
    metrics.handshake_done(Duration::from_millis(1), "TLSv1.3", false);
    metrics.handshake_done(Duration::from_millis(1), "TLSv1.2", true);
    let text = metrics.render();
    assert_eq!(value(&text, "sealpair_connections"), 1.0);
    assert_eq!(value(&text, "sealpair_connections_accepted_total"), 2.0);
    let handshakes = |protocol: &str, resumed: bool| {
        let labels = format!("{{protocol=\"{protocol}\",resumed=\"{resumed}\"}}");
        value(&text, &format!("sealpair_tls_handshakes_total{labels}"))
    };
    assert_eq!(handshakes("TLSv1.3", false), 1.0);
    assert_eq!(handshakes("TLSv1.3", true), 0.0);
    assert_eq!(handshakes("TLSv1.2", true), 1.0);
    assert_eq!(value(&text, "sealpair_tls_handshake_duration_seconds_bucket{le=\"0.001\"}"), 2.0);
    metrics.connection_closed();
    assert_eq!(value(&metrics.render(), "sealpair_connections"), 0.0);
}

#[test]
fn a_server_that_drains_is_not_ready_again() {
    let metrics = Metrics::new();
    assert!(!metrics.is_serving() && !metrics.is_draining());
    metrics.serving();
    assert!(metrics.is_serving());
    metrics.drain_begun();
    metrics.serving();
    assert!(!metrics.is_serving() && metrics.is_draining());
    let text = metrics.render();
    assert_eq!(value(&text, "sealpair_ready"), 0.0);
    assert_eq!(value(&text, "sealpair_draining"), 1.0);
}

#[test]
fn every_line_is_a_comment_or_a_sample_and_every_family_has_its_head() {
    let text = Metrics::new().render();
    let mut family = "";
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split_once(' ').unwrap().0;
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            assert_eq!(kind.split_once(' ').unwrap().0, family);
        } else {
            let (name, number) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(family), "{line} under {family}");
            number.parse::<f64>().unwrap();
        }
    }
}
