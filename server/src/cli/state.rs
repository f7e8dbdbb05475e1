//! The state directory: the authority and the certificate that the server makes for itself when it is
//! given none.

use jiff::Timestamp;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use sealpair_common::exit::Exit;
use sealpair_common::pki::{
    Authority, AuthorityOptions, CertificateFacts, KeyAlgorithm, LeafRequest, Overwrite, PkiError,
    Renewal, files,
};
use sealpair_common::report::Report;
use sealpair_common::tls::{Identity, Policy};
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A certificate of ours that ends within this time is replaced at the next start: a third of its 90
/// days, as ACME clients do.
const RENEW_WITHIN: Duration = Duration::from_secs(30 * 86_400);

/// How long another server may take to make what is missing: an RSA key would need a second or two.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// The files of the state directory.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) ca: PathBuf,
    pub(crate) ca_key: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    lock: Option<File>,
}

/// `$XDG_STATE_HOME/sealpair`, else `~/.local/state/sealpair` (XDG Base Directory Specification).
pub(crate) fn default_dir() -> Result<PathBuf, Report> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join("sealpair"))
        .ok_or_else(|| {
            Report::new(Exit::Configuration, "no-state-dir", "there is no state directory")
                .explain("neither XDG_STATE_HOME nor HOME is set to an absolute path")
                .remedy("give --state-dir DIR, or --cert and --key")
        })
}

impl State {
    /// Makes what is missing in the directory, and renews the certificate when it is due or lacks a
    /// name. The directory is locked until [`State::unlock`].
    ///
    /// A policy that does not allow the usual key has an authority of its own, in a directory of its own
    /// below: the usual one stays what its clients trust.
    pub(crate) fn prepare(
        dir: &Path,
        addresses: &[SocketAddr],
        policy: Policy,
    ) -> Result<Self, Report> {
        let algorithm = KeyAlgorithm::for_policy(policy);
        let dir = match algorithm == KeyAlgorithm::default() {
            true => dir.to_owned(),
            false => dir.join(algorithm.name()),
        };
        files::create_directory(&dir).map_err(|error| error.report())?;
        let state = Self {
            ca: dir.join("ca.pem"),
            ca_key: dir.join("ca.key"),
            cert: dir.join("server.pem"),
            key: dir.join("server.key"),
            lock: Some(lock(&dir)?),
        };
        let authority = state.authority(algorithm).map_err(|error| error.report())?;
        let names = names(addresses);
        if !state.is_current(&authority, &names) {
            let request = LeafRequest::server(&names).map_err(|error| error.report())?;
            let request = request.key_algorithm(algorithm);
            authority
                .issue(&request)
                .and_then(|issued| issued.save(&state.cert, &state.key, Overwrite::Replace))
                .map_err(|error| error.report())?;
            log::info!("made a certificate for {}", names.join(", "));
        }
        Ok(state)
    }

    /// Lets other servers use the directory: the certificate and its key have been read, so nobody
    /// can replace one of them in between.
    pub(crate) fn unlock(&mut self) {
        self.lock = None;
    }

    fn authority(&self, algorithm: KeyAlgorithm) -> Result<Authority, PkiError> {
        if self.ca.exists() || self.ca_key.exists() {
            return Authority::load(&self.ca, &self.ca_key);
        }
        let options = AuthorityOptions::new().key_algorithm(algorithm);
        let authority = Authority::create(&options)?;
        authority.save(&self.ca, &self.ca_key, Overwrite::Refuse)?;
        log::info!("made a certificate authority: {}", self.ca.display());
        Ok(authority)
    }

    /// Whether the certificate can be used as it is. One that cannot be read is replaced like one that
    /// is not there: it is ours, and holds nothing that a new one does not.
    fn is_current(&self, authority: &Authority, names: &[String]) -> bool {
        let Ok(identity) = Identity::from_pem_files(&self.cert, &self.key, None) else {
            return false;
        };
        let leaf = identity.certificate();
        let ours = authority
            .certificate()
            .public_key()
            .and_then(|key| leaf.verify(&key))
            .unwrap_or_default();
        let facts = CertificateFacts::of(leaf);
        let named = names.iter().all(|name| facts.sans.contains(&alternative_name(name)));
        ours && named && facts.renewal(Timestamp::now(), RENEW_WITHIN) == Renewal::Fine
    }
}

/// A name as [`CertificateFacts::sans`] shows it.
fn alternative_name(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Ok(ip) => format!("IP:{ip}"),
        Err(_) => format!("DNS:{name}"),
    }
}

/// Two servers that start at once must not both make an authority.
fn lock(dir: &Path) -> Result<File, Report> {
    let path = dir.join("lock");
    let locked = || -> io::Result<File> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            // Neither follow a link nor wait for the reader of a FIFO that stands here instead.
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(&path)?;
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(Errno::WOULDBLOCK) => {
                    let text = "another process has held it for ten seconds";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    locked().map_err(|error| {
        Report::new(Exit::Configuration, "state-dir", format!("cannot lock {}", path.display()))
            .explain(error.to_string())
            .remedy("give a directory that this user may write (--state-dir DIR)")
    })
}

/// What the certificate is for: `localhost`, the loopback addresses, the host's own name, and the
/// addresses that are listened on.
fn names(addresses: &[SocketAddr]) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let host = rustix::system::uname();
    // A host name that cannot stand in a certificate is left out.
    if let Ok(host) = host.nodename().to_str()
        && LeafRequest::server([host]).is_ok()
    {
        names.push(host.to_ascii_lowercase());
    }
    names.extend(addresses.iter().map(SocketAddr::ip).filter(is_specific).map(|ip| ip.to_string()));
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

fn is_specific(ip: &IpAddr) -> bool {
    !ip.is_unspecified()
}
