//! When revocation lists and stapled responses end.

use super::text::{Kind, Text};
use jiff::Timestamp;
use sealpair_common::tls::ServerTls;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Writes both families, also where they are empty.
pub(super) fn render(text: &mut Text, tls: Option<&ServerTls>) {
    let lists = tls.map(ServerTls::crl_ends).unwrap_or_default();
    family(
        text,
        "sealpair_crl_next_update_timestamp_seconds",
        "End of a file's first revocation list in seconds since the Unix epoch; then every client \
         with a certificate is refused.",
        lists,
    );
    let responses = tls.map(ServerTls::ocsp_ends).unwrap_or_default();
    family(
        text,
        "sealpair_ocsp_next_update_timestamp_seconds",
        "End of an OCSP response in seconds since the Unix epoch; then it is not stapled any more.",
        &responses,
    );
}

fn family(text: &mut Text, name: &'static str, help: &str, ends: &[(PathBuf, Timestamp)]) {
    text.family(name, Kind::Gauge, help);
    // A file that is given twice is one series.
    let mut seen = BTreeSet::new();
    for (file, ends) in ends.iter().filter(|(file, _)| seen.insert(file)) {
        text.sample(&[("file", &file.display().to_string())], ends.as_second() as f64);
    }
}
