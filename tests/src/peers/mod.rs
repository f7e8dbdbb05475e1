//! The other programs: curl, openssl, nginx; servers that misbehave as they are told; a network that does.

mod lossy;
mod nginx;
mod openssl_server;
mod script;
mod scripted;

pub use lossy::{Fault, LossyProxy, Plan, Way};
pub use nginx::Nginx;
pub use openssl_server::OpensslServer;
pub use script::{Act, Asked, Script};
pub use scripted::{Ending, ScriptedServer, answer, read_head};

use crate::program::{Ended, Run};
use crate::server::SealpairServer;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of the system.
///
/// # Panics
///
/// When it is not installed; the message names its Debian package.
#[track_caller]
pub fn find(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps nginx where only root looks.
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|place| place.join(name)).find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("{name} is missing: `apt-get install {package}`, or run scripts/test, which does it")
    })
}

/// curl, with no configuration of the user's.
#[track_caller]
pub fn curl() -> Run {
    let mut command = Command::new(find("curl", "curl"));
    command.args(["--disable", "--silent", "--show-error", "--noproxy", "*"]);
    Run::new(command)
}

/// The `openssl` program.
#[track_caller]
pub fn openssl() -> Run {
    Run::new(Command::new(find("openssl", "openssl")))
}

/// The `openssl` program that scripts/peer-openssl makes available: 3.5 or later, with the algorithms of
/// FIPS 203 and 204.
///
/// # Panics
///
/// When that has not been done.
#[track_caller]
pub fn newer_openssl() -> Run {
    Run::new(Command::new(prepared("peer-openssl/bin/openssl", "scripts/peer-openssl")))
}

/// The variables that make OpenSSL use the FIPS provider that scripts/fips-provider makes available, and
/// nothing else.
///
/// # Panics
///
/// When that has not been done.
#[track_caller]
pub fn fips_settings() -> [(&'static str, PathBuf); 2] {
    let settings = prepared("fips-provider/openssl.cnf", "scripts/fips-provider");
    [("OPENSSL_MODULES", settings.with_file_name("modules")), ("OPENSSL_CONF", settings)]
}

/// What a script has put under `target`, whichever target directory this test was built in.
#[track_caller]
fn prepared(path: &str, script: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(path);
    assert!(path.exists(), "{} is missing: run {script}, as scripts/test does", path.display());
    path
}

/// A program of `tests/python`, run by the Python that scripts/test equips with tlslite-ng.
///
/// # Panics
///
/// When that has not been done.
#[track_caller]
pub fn python(script: &str) -> Run {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("../target/python/bin/python");
    assert!(
        python.exists(),
        "{} is missing: run scripts/test, which makes it (python3 -m venv, tlslite-ng)",
        python.display()
    );
    let mut command = Command::new(python);
    // Nothing is written beside the sources.
    command.arg("-B").arg(root.join("python").join(script));
    Run::new(command)
}

impl SealpairServer {
    /// curl, trusting this server.
    #[track_caller]
    pub fn curl(&self) -> Run {
        curl().arg("--cacert").arg(self.ca())
    }

    /// What curl gets from this path.
    #[track_caller]
    pub fn curl_get(&self, path: &str) -> Ended {
        self.curl().arg("--fail").arg(self.url(path)).run().expect_success()
    }

    /// The status that curl sees; more arguments make another request than GET.
    #[track_caller]
    pub fn curl_status(&self, path: &str, more: &[&str]) -> u16 {
        let run = self.curl().args(["--output", "/dev/null", "--write-out", "%{http_code}"]);
        run.args(more).arg(self.url(path)).run().expect_success().text().parse().unwrap()
    }

    /// `openssl s_client` to this server, trusting it; it says nothing unless it is told to.
    #[track_caller]
    pub fn s_client(&self) -> Run {
        let address = self.address().to_string();
        s_client(openssl(), &address, &self.ca())
    }
}

/// `s_client` of this `openssl`; a certificate that does not verify is an error.
#[track_caller]
pub fn s_client(openssl: Run, address: &str, ca: &Path) -> Run {
    openssl
        .args(["s_client", "-connect", address, "-servername", "localhost"])
        .args(["-verify_hostname", "localhost", "-verify_return_error", "-CAfile"])
        .arg(ca)
}
