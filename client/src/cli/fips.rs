//! `sealpair fips`: which cryptography this build uses, and whether a FIPS module can be proved.
//!
//! It does what `--fips` does, and shows what that found.

use super::Voice;
use clap::Args;
use sealpair_common::escape::json_line;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use sealpair_common::tls::fips::{self, FipsError, Module};
use sealpair_common::tls::{CMVP_AS_OF, CMVP_REGISTER, Policy, openssl_version};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, Write as _};

/// The version of the document.
const SCHEMA: &str = "sealpair.fips/1";

/// Switches of a module's configuration that people ask for (fips_config(5)).
const SETTINGS: [&str; 3] = ["security-checks", "tls1-prf-ems-check", "signature-digest-check"];

/// Show which cryptography is used, and prove the FIPS module if there is one
#[derive(Args, Debug)]
pub(crate) struct FipsArgs {
    /// Exit with 17 unless a FIPS module is active and proved
    #[arg(long)]
    require: bool,
}

/// Runs the command.
pub(crate) fn run(args: &FipsArgs, voice: Voice) -> Result<Exit, Report> {
    let found = fips::require();
    let (document, text) = match &found {
        Ok(module) => (proved(module), describe(module)),
        Err(error) => {
            let text = format!(
                "OpenSSL:   {} ({})\nFIPS:      not active: {error}\nTo do:     {}\n",
                openssl_version(),
                linked(),
                error.remedy()
            );
            (not_proved(error), text)
        }
    };
    match &found {
        // The report of the failure is the answer then, on either channel.
        Err(error) if args.require => return Err(error.report()),
        _ => {}
    }
    let said = if voice.json {
        writeln!(io::stdout(), "{}", json_line(&document))
    } else if voice.quiet {
        Ok(())
    } else {
        io::stdout().write_all(text.as_bytes())
    };
    said.map_err(|error| {
        Report::new(Exit::LocalIo, "output", "cannot write the answer").explain(error.to_string())
    })?;
    Ok(Exit::Done)
}

/// How OpenSSL came into this program.
const fn linked() -> &'static str {
    if cfg!(feature = "vendored") { "built in" } else { "the system's" }
}

fn not_proved(error: &FipsError) -> Value {
    json!({
        "schema": SCHEMA,
        "openssl": openssl_version(),
        "vendored": cfg!(feature = "vendored"),
        "active": false,
        "module": null,
        "reason": error.to_string(),
        "remedy": error.remedy(),
        "policies": policies(),
    })
}

fn proved(module: &'static Module) -> Value {
    let settings = SETTINGS
        .iter()
        .filter_map(|&name| Some((name.to_owned(), Value::from(module.setting(name)?))));
    json!({
        "schema": SCHEMA,
        "openssl": openssl_version(),
        "vendored": cfg!(feature = "vendored"),
        "active": true,
        "module": {
            "name": module.name().name,
            "version": module.name().version,
            "build": module.build(),
            "settings": settings.collect::<serde_json::Map<_, _>>(),
            "self_test": "passed",
            "algorithms": module.algorithms(),
            "refused": module.refused().collect::<Vec<_>>(),
        },
        "cmvp": {
            "as_of": CMVP_AS_OF,
            "register": CMVP_REGISTER,
            "known": module.cmvp(),
        },
        "policies": policies(),
    })
}

/// Which policies can be provided: with `--fips` where there is a module, and without it where there is none.
fn policies() -> Value {
    let fips = fips::active().is_some();
    let entry = |policy: Policy| {
        let error = policy.ensure_available(fips).err().map(|error| error.report().to_json());
        let reason = error.map(|report| {
            let part = |name: &str| report["error"][name].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", part("message"), part("explanation"))
        });
        json!({
            "policy": policy.name(),
            "with_fips": fips,
            "available": reason.is_none(),
            "reason": reason,
        })
    };
    Policy::ALL.into_iter().map(entry).collect()
}

fn describe(module: &'static Module) -> String {
    let name = module.name();
    let validation = match module.cmvp() {
        Some(cmvp) => {
            let number = cmvp.certificate.map(|number| format!(" #{number}")).unwrap_or_default();
            let (standard, state) = (cmvp.standard, cmvp.state.name());
            let remark = cmvp.remark;
            format!(
                "this version: {standard}{number}, {state} ({remark}), for OpenSSL's own build on the \
                 certificate's platforms; whether this is that build is not known"
            )
        }
        None => "not a version that the OpenSSL project has had validated; a vendor's module has \
                 the vendor's certificate"
            .to_owned(),
    };
    let mut text = String::new();
    // Writing to a String cannot fail.
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(text, "{label:<10} {value}");
    };
    line("OpenSSL:", &format!("{} ({})", openssl_version(), linked()));
    let (version, build) = (name.version, module.build());
    let used = "used with --fips and --policy fips";
    line("FIPS:", &format!("proved: {} {version}, build {build}; {used}", name.name));
    line("CMVP:", &format!("{validation}; as known on {CMVP_AS_OF}"));
    line("Self-test:", "passed");
    let switches: Vec<String> = SETTINGS
        .iter()
        .filter_map(|&name| {
            let on = if module.setting(name)? { "on" } else { "off" };
            Some(format!("{} {on}", name))
        })
        .collect();
    line("Settings:", &switches.join(", "));
    let origins = module.algorithms().iter();
    let names: Vec<String> =
        origins.map(|origin| format!("{} ({})", origin.algorithm, origin.operation)).collect();
    line("From it:", &names.join(", "));
    line("Refused:", &module.refused().collect::<Vec<_>>().join(", "));
    text
}
