//! Prometheus' text exposition format 0.0.4: lines of `name{label="value"} number`, each family of them
//! under its HELP and TYPE.

use super::Histogram;
use std::fmt::{Display, Write};

/// The type of a family.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

/// An exposition that is being written.
#[derive(Debug, Default)]
pub(super) struct Text {
    out: String,
    /// The family that samples belong to.
    family: &'static str,
}

impl Text {
    pub(super) fn new() -> Self {
        Self { out: String::with_capacity(16 << 10), family: "" }
    }

    pub(super) fn into_string(self) -> String {
        self.out
    }

    /// Begins a family.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.head(name, kind, help);
    }

    fn head(&mut self, name: &'static str, kind: &str, help: &str) {
        self.family = name;
        // Writing to a String cannot fail, here and below. The help texts are ours and have nothing
        // that is to be escaped.
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One sample of the family.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, value);
    }

    /// A family of one sample without labels.
    pub(super) fn single(
        &mut self,
        name: &'static str,
        kind: Kind,
        help: &str,
        value: impl Display,
    ) {
        self.family(name, kind, help);
        self.sample(&[], value);
    }

    /// A family that is one histogram.
    pub(super) fn histogram<const N: usize>(
        &mut self,
        name: &'static str,
        help: &str,
        histogram: &Histogram<N>,
    ) {
        self.head(name, "histogram", help);
        let snapshot = histogram.snapshot();
        for (bound, count) in snapshot.buckets {
            self.line("_bucket", &[("le", &bound.to_string())], count);
        }
        self.line("_bucket", &[("le", "+Inf")], snapshot.count);
        self.line("_sum", &[], snapshot.sum);
        self.line("_count", &[], snapshot.count);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.out.push_str(self.family);
        self.out.push_str(suffix);
        for (at, (name, label)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            let _ = write!(self.out, "{before}{name}=\"");
            self.label(label);
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }

    /// The three characters that the format escapes. Others may stand as they are; what could drive a
    /// terminal is made visible all the same.
    fn label(&mut self, label: &str) {
        for c in label.chars() {
            match c {
                '\\' => self.out.push_str("\\\\"),
                '"' => self.out.push_str("\\\""),
                '\n' => self.out.push_str("\\n"),
                c if c.is_control() => {
                    let _ = write!(self.out, "\\\\x{:02x}", u32::from(c));
                }
                c => self.out.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_end_its_line_or_its_quotes() {
        let mut text = Text::new();
        text.family("f", Kind::Gauge, "help");
        text.sample(&[("a", "x\"} 1\nf \\\x1b"), ("b", "Grüße")], 2);
        let expected =
            "# HELP f help\n# TYPE f gauge\nf{a=\"x\\\"} 1\\nf \\\\\\\\x1b\",b=\"Grüße\"} 2\n";
        assert_eq!(text.into_string(), expected);
    }
}
