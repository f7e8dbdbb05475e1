//! `sealpair cert`: a local authority, server and client certificates, inspection.
//!
//! Each command does its work and returns an [`Outcome`]; [`run`] alone prints. Nothing is printed
//! before everything is done, so a failure never follows half an answer.

mod outcome;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod when;

use clap::builder::{PossibleValuesParser, RangedI64ValueParser, TypedValueParser};
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use outcome::{Outcome, Table, shown_path, until};
use sealpair_common::exit::Exit;
use sealpair_common::pki::files::{Output, create_directory, write_together};
use sealpair_common::pki::inspect::ends_first;
use sealpair_common::pki::read::{read_certificates, read_passphrase};
use sealpair_common::pki::{
    Authority, AuthorityOptions, CertificateFacts, KeyAlgorithm, LeafName, LeafRequest, Overwrite,
    PkiError, Renewal,
};
use sealpair_common::report::Report;
use sealpair_common::units::parse_duration_with_unit;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use when::When;

/// `sealpair cert …`
#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    /// Make a local certificate authority: DIR/ca.pem and DIR/ca.key
    Init(Init),
    /// Issue a certificate: PREFIX.pem and PREFIX.key
    Issue(Issue),
    /// Show every certificate in a file
    Show(Show),
    /// Tell whether a file's certificates are to be renewed: exit 0 if not, 1 if due or expired
    Check(Check),
}

/// `sealpair cert init`
#[derive(Args, Debug)]
pub(crate) struct Init {
    /// Where to put ca.pem and ca.key; made with mode 0700 if missing
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Common name [default: Sealpair local CA and a random number]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[arg(long, value_name = "TYPE", default_value = "p256", value_parser = key_type(),
        help = KEY_TYPE_HELP)]
    key_type: KeyAlgorithm,
    /// Days until it ends
    #[arg(long, value_name = "N", default_value_t = 3650, value_parser = days())]
    days: u32,
    /// Replace existing files; what the old authority issued is then no longer trusted
    #[arg(long)]
    force: bool,
}

/// `sealpair cert issue`
#[derive(Args, Debug)]
pub(crate) struct Issue {
    /// Names: host.example.org, *.example.org, 192.0.2.1; with --client also alice@example.org or
    /// a common name. A prefix forces the kind: DNS:, IP:, EMAIL:, CN:
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Issue a client certificate instead of a server's
    #[arg(long)]
    client: bool,
    /// Certificate of the authority
    #[arg(long, value_name = "FILE", default_value = "ca.pem")]
    ca: PathBuf,
    /// Private key of the authority
    #[arg(long, value_name = "FILE", default_value = "ca.key")]
    ca_key: PathBuf,
    /// Path of the new files without their endings [default: made from the first name]
    #[arg(long, value_name = "PREFIX")]
    out: Option<PathBuf>,
    #[arg(long, value_name = "TYPE", default_value = "p256", value_parser = key_type(),
        help = KEY_TYPE_HELP)]
    key_type: KeyAlgorithm,
    /// Days until it ends [default: 90, or fewer if the authority ends before]
    #[arg(long, value_name = "N", value_parser = days(),
        conflicts_with_all = ["not_before", "not_after"])]
    days: Option<u32>,
    /// Beginning: 2030-01-31, 2030-01-31T12:00:00Z, or relative to now: -2d, +1h [default: -1h]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    not_before: Option<When>,
    /// End, in the same forms
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    not_after: Option<When>,
    /// Also write a PKCS#12 file with the key, the certificate and the authority's
    #[arg(long, value_name = "FILE", requires = "pkcs12_pass_file")]
    pkcs12: Option<PathBuf>,
    /// File whose first line is the PKCS#12 passphrase; an empty line is an empty passphrase, which
    /// leaves the protection to the file's mode
    #[arg(long, value_name = "FILE", requires = "pkcs12")]
    pkcs12_pass_file: Option<PathBuf>,
    /// Replace existing files
    #[arg(long)]
    force: bool,
}

/// `sealpair cert show`
#[derive(Args, Debug)]
pub(crate) struct Show {
    #[command(flatten)]
    source: Source,
}

/// `sealpair cert check`
#[derive(Args, Debug)]
pub(crate) struct Check {
    #[command(flatten)]
    source: Source,
    /// How long before its end a certificate is due
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = parse_duration_with_unit)]
    within: Duration,
}

/// A file with certificates.
#[derive(Args, Debug)]
struct Source {
    /// PEM, DER or PKCS#12 file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// File whose first line is the passphrase of a PKCS#12 file
    #[arg(long, value_name = "FILE")]
    pass_file: Option<PathBuf>,
}

impl Source {
    fn read(&self) -> Result<Vec<CertificateFacts>, PkiError> {
        let passphrase = self.pass_file.as_deref().map(read_passphrase).transpose()?;
        let certificates = read_certificates(&self.file, passphrase.as_ref())?;
        let facts = certificates.iter().map(|certificate| CertificateFacts::of(certificate));
        Ok(facts.collect())
    }
}

/// Runs the command and prints what came of it.
///
/// Without `json` the human text goes to standard output; with it, one JSON document does, and the
/// human text goes to standard error.
///
/// `quiet` leaves out the text that reports what was done; what was asked to be shown is shown.
pub(crate) fn run(command: &CertCommand, json: bool, quiet: bool) -> Result<Exit, Report> {
    let now = Timestamp::now();
    let outcome = match command {
        CertCommand::Init(init) => init.run(now),
        CertCommand::Issue(issue) => issue.run(now),
        CertCommand::Show(show) => show.run(now),
        CertCommand::Check(check) => check.run(now),
    };
    let shown = matches!(command, CertCommand::Show(_)) && !json;
    let quiet = quiet && !shown;
    outcome.map_err(|error| error.report())?.print(json, quiet)
}

impl Init {
    fn run(&self, now: Timestamp) -> Result<Outcome, PkiError> {
        let Self { dir, name, key_type, days, force } = self;
        let mut options =
            AuthorityOptions::new().key_algorithm(*key_type).not_after(in_days(now, *days));
        if let Some(name) = name {
            options = options.common_name(name);
        }
        let authority = Authority::create(&options)?;
        let facts = CertificateFacts::of(authority.certificate());
        let (certificate, key) = (dir.join("ca.pem"), dir.join("ca.key"));
        create_directory(dir)?;
        authority.save(&certificate, &key, overwrite(*force))?;

        let mut table = Table::new("Certificate authority");
        table.row("Subject", &facts.subject);
        table.row("Key", &facts.key);
        table.row("Valid until", &until(&facts, now));
        table.row("Certificate", &shown_path(&certificate));
        table.row("Private key", &shown_path(&key));
        table.line("Give the certificate to whoever is to trust this authority; keep the key.");
        Ok(Outcome {
            exit: Exit::Done,
            text: table.finish(),
            document: json!({
                "schema": "sealpair.cert-init/1",
                "certificate": shown_path(&certificate),
                "key": shown_path(&key),
                "facts": facts,
            }),
        })
    }
}

impl Issue {
    fn run(&self, now: Timestamp) -> Result<Outcome, PkiError> {
        let Self {
            names,
            client,
            ca,
            ca_key,
            out,
            key_type,
            days,
            not_before,
            not_after,
            pkcs12,
            pkcs12_pass_file,
            force,
        } = self;
        let mut request = match client {
            true => LeafRequest::client(names)?,
            false => LeafRequest::server(names)?,
        }
        .key_algorithm(*key_type);
        if let Some(days) = days {
            request = request.not_after(in_days(now, *days));
        }
        if let Some(time) = not_before {
            request = request.not_before(time.after(now));
        }
        if let Some(time) = not_after {
            request = request.not_after(time.after(now));
        }
        let prefix = match out {
            Some(prefix) => prefix.clone(),
            None => request.names().first().map(file_name).unwrap_or_default(),
        };
        let (certificate, key) = (with_ending(&prefix, ".pem"), with_ending(&prefix, ".key"));
        let outputs = [Some(&key), Some(&certificate), pkcs12.as_ref()];
        let inputs = [Some(ca), Some(ca_key), pkcs12_pass_file.as_ref()];
        refuse_to_overwrite_inputs(
            outputs.into_iter().flatten(),
            &inputs.into_iter().flatten().collect::<Vec<_>>(),
        )?;

        let authority = Authority::load(ca, ca_key)?;
        let passphrase = pkcs12_pass_file.as_deref().map(read_passphrase).transpose()?;
        let issued = authority.issue(&request)?;
        let (key_pem, certificate_pem) = (issued.key_pem()?, issued.certificate_pem()?);
        let archive = match (pkcs12, &passphrase) {
            (Some(path), Some(passphrase)) => {
                let name = request.names().first().map(LeafName::to_string);
                let name = name.unwrap_or_default();
                Some((path, issued.pkcs12(passphrase, &name)?))
            }
            _ => None,
        };
        let mut files = vec![Output::secret(&key, &key_pem)];
        if let Some((path, contents)) = &archive {
            files.push(Output::secret(path, contents));
        }
        files.push(Output::public(&certificate, &certificate_pem));
        write_together(&files, overwrite(*force))?;

        let facts = CertificateFacts::of(issued.certificate());
        let outlives = facts.ends() > CertificateFacts::of(authority.certificate()).ends();
        let mut table =
            Table::new(if *client { "Client certificate" } else { "Server certificate" });
        table.rows("Names", &facts.sans);
        table.row("Subject", &facts.subject);
        table.row("Issuer", &facts.issuer);
        table.row("Key", &facts.key);
        table.row("Valid from", facts.not_before.as_deref().unwrap_or("?"));
        table.row("Valid until", &until(&facts, now));
        table.row("Certificate", &shown_path(&certificate));
        table.row("Private key", &shown_path(&key));
        if let Some(path) = pkcs12 {
            table.row("PKCS#12", &shown_path(path));
        }
        if outlives {
            table.line("It ends after its authority, beyond whose end nobody will accept it.");
        }
        Ok(Outcome {
            exit: Exit::Done,
            text: table.finish(),
            document: json!({
                "schema": "sealpair.cert-issue/1",
                "certificate": shown_path(&certificate),
                "key": shown_path(&key),
                "pkcs12": pkcs12.as_deref().map(shown_path),
                "outlives_authority": outlives,
                "facts": facts,
            }),
        })
    }
}

impl Show {
    fn run(&self, now: Timestamp) -> Result<Outcome, PkiError> {
        let all = self.source.read()?;
        let mut text = String::new();
        for (at, facts) in all.iter().enumerate() {
            let mut table = Table::new(&format!("Certificate {} of {}", at + 1, all.len()));
            table.row("Subject", &facts.subject);
            table.row("Issuer", &facts.issuer);
            table.rows("Names", &facts.sans);
            table.row("Valid from", facts.not_before.as_deref().unwrap_or("?"));
            table.row("Valid until", &until(facts, now));
            table.row("Key", &facts.key);
            table.row("Signature", &facts.signature_algorithm);
            table.row("Authority", if facts.is_ca { "yes" } else { "no" });
            table.row("Key usage", &facts.key_usage.join(", "));
            table.row("Purposes", &facts.extended_key_usage.join(", "));
            table.row("Serial number", &facts.serial);
            table.row("SHA-256", &facts.sha256);
            table.row("Pin", &facts.spki_pin);
            text.push_str(&table.finish());
        }
        Ok(Outcome {
            exit: Exit::Done,
            text,
            document: json!({
                "schema": "sealpair.cert-show/1",
                "file": shown_path(&self.source.file),
                "certificates": all,
            }),
        })
    }
}

impl Check {
    fn run(&self, now: Timestamp) -> Result<Outcome, PkiError> {
        let all = self.source.read()?;
        // Reading has seen to it that there is at least one.
        let first = ends_first(&all).unwrap_or_default();
        let facts = all.get(first).ok_or_else(|| PkiError::Parse {
            path: self.source.file.clone(),
            expected: "a certificate",
            source: None,
        })?;
        let renewal = facts.renewal(now, self.within);
        let expired = facts.ends().is_some_and(|end| end <= now);
        let not_yet_valid = all.iter().any(|f| f.starts().is_some_and(|start| start > now));
        let (exit, verdict) = match renewal {
            Renewal::Due if expired => (Exit::Unexpected, "Expired: renewal is overdue"),
            Renewal::Due => (Exit::Unexpected, "Renewal is due"),
            Renewal::Fine if not_yet_valid => (Exit::Done, "Not yet valid; no renewal is due"),
            Renewal::Fine => (Exit::Done, "No renewal is due"),
        };
        let left = facts.ends().map(|end| end.duration_since(now).as_secs());
        let mut table = Table::new(verdict);
        table.row("File", &shown_path(&self.source.file));
        table.row("Ends first", &format!("certificate {} of {}", first + 1, all.len()));
        table.row("Subject", &facts.subject);
        table.rows("Names", &facts.sans);
        table.row("Valid until", &until(facts, now));
        Ok(Outcome {
            exit,
            text: table.finish(),
            document: json!({
                "schema": "sealpair.cert-check/1",
                "file": shown_path(&self.source.file),
                "renewal": renewal,
                "expired": expired,
                "not_yet_valid": not_yet_valid,
                "within_seconds": self.within.as_secs(),
                "certificates": all.len(),
                "ends_first": {
                    "number": first + 1,
                    "subject": facts.subject,
                    "serial": facts.serial,
                    "not_after": facts.not_after,
                    "seconds_left": left,
                },
            }),
        })
    }
}

const KEY_TYPE_HELP: &str = "Kind of the new key; mldsa87 takes OpenSSL 3.5 or later";

/// A hundred years at most, which no date overflows.
fn days() -> RangedI64ValueParser<u32> {
    RangedI64ValueParser::new().range(1..=36_500)
}

fn key_type() -> impl TypedValueParser<Value = KeyAlgorithm> {
    PossibleValuesParser::new(KeyAlgorithm::ALL.map(KeyAlgorithm::name))
        .try_map(|name| name.parse())
}

fn overwrite(force: bool) -> Overwrite {
    match force {
        true => Overwrite::Replace,
        false => Overwrite::Refuse,
    }
}

fn in_days(now: Timestamp, days: u32) -> Timestamp {
    // Invariant: a hundred years are in range until the year 9899.
    now.saturating_add(SignedDuration::from_hours(24 * i64::from(days))).unwrap_or(now)
}

/// `example.org` and `.pem`: the last dot of a name begins no file type.
fn with_ending(prefix: &Path, ending: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// A file name that stands for the name on any file system and in any shell.
fn file_name(name: &LeafName) -> PathBuf {
    // Room for an ending within the 255 octets of most file systems.
    const LONGEST: usize = 200;
    let text = name.to_string();
    let text = match text.strip_prefix("*.") {
        Some(rest) => format!("wildcard.{rest}"),
        None => text,
    };
    let mut safe = String::new();
    for c in text.chars() {
        let plain = c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '@' | '+');
        let c = if plain { c } else { '_' };
        // A leading dot hides a file, a leading hyphen makes it an option.
        if safe.is_empty() && matches!(c, '.' | '-') {
            continue;
        }
        if safe.len() + c.len_utf8() > LONGEST {
            break;
        }
        safe.push(c);
    }
    if safe.is_empty() {
        safe.push_str("certificate");
    }
    safe.into()
}

/// `--force` replaces the files of an earlier run, never what this one reads.
fn refuse_to_overwrite_inputs<'a>(
    outputs: impl IntoIterator<Item = &'a PathBuf>,
    inputs: &[&PathBuf],
) -> Result<(), PkiError> {
    let inputs: Vec<PathBuf> =
        inputs.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
    for output in outputs {
        // What does not exist is no input.
        if fs::canonicalize(output).is_ok_and(|path| inputs.contains(&path)) {
            return Err(PkiError::SamePath { path: output.clone() });
        }
    }
    Ok(())
}
