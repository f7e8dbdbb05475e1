//! Certificates of every kind, good and bad, in files of a temporary directory.
//!
//! What `sealpair_common::pki` makes is made by it; what it does not make on purpose (intermediate
//! authorities, revocation lists) is made by the `openssl` program.

use crate::peers::openssl;
use jiff::{SignedDuration, Timestamp};
use openssl::symm::Cipher;
use sealpair_common::pki::{
    Authority, AuthorityOptions, KeyAlgorithm, LeafRequest, Overwrite, Passphrase, read,
};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The names by which tests reach a server.
pub const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate and its key, and the authority under which it verifies or, for a bad one, should.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The certificate, and its chain, in PEM.
    pub cert: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
    /// The root in PEM.
    pub ca: PathBuf,
}

/// An authority and what it issues. Two of them do not know each other.
#[derive(Debug)]
pub struct Pki {
    dir: TempDir,
    authority: Authority,
    issued: Cell<u32>,
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

impl Pki {
    /// Makes an authority.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("sealpair-pki-").tempdir().unwrap();
        let authority = Authority::create(&AuthorityOptions::new()).unwrap();
        let (cert, key) = (dir.path().join("ca.pem"), dir.path().join("ca.key"));
        authority.save(&cert, &key, Overwrite::Refuse).unwrap();
        Self { dir, authority, issued: Cell::new(0) }
    }

    /// The directory of all files; tests may put their own there.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.dir().join("ca.pem")
    }

    /// The authority's key.
    pub fn ca_key(&self) -> PathBuf {
        self.dir().join("ca.key")
    }

    /// A path that nothing has yet.
    pub fn path(&self, suffix: &str) -> PathBuf {
        self.issued.set(self.issued.get() + 1);
        self.dir().join(format!("{}{suffix}", self.issued.get()))
    }

    /// Issues what is asked for.
    pub fn issue(&self, request: &LeafRequest) -> Credentials {
        let (cert, key) = (self.path(".pem"), self.path(".key"));
        self.authority.issue(request).unwrap().save(&cert, &key, Overwrite::Refuse).unwrap();
        Credentials { cert, key, ca: self.ca() }
    }

    /// A good server certificate for [`NAMES`].
    pub fn server(&self) -> Credentials {
        self.issue(&LeafRequest::server(NAMES).unwrap())
    }

    /// A good server certificate with an RSA key.
    pub fn server_rsa(&self) -> Credentials {
        let request = LeafRequest::server(NAMES).unwrap();
        self.issue(&request.key_algorithm(KeyAlgorithm::Rsa3072))
    }

    /// A server certificate that ended yesterday.
    pub fn expired(&self) -> Credentials {
        let request = LeafRequest::server(NAMES).unwrap();
        self.issue(&request.not_before(days(-30)).not_after(days(-1)))
    }

    /// A server certificate that begins tomorrow.
    pub fn not_yet_valid(&self) -> Credentials {
        let request = LeafRequest::server(NAMES).unwrap();
        self.issue(&request.not_before(days(1)).not_after(days(30)))
    }

    /// A server certificate for another host.
    pub fn wrong_name(&self) -> Credentials {
        self.issue(&LeafRequest::server(["elsewhere.example"]).unwrap())
    }

    /// A certificate for [`NAMES`] that is for clients only.
    pub fn wrong_usage(&self) -> Credentials {
        self.issue(&LeafRequest::client(["localhost", "DNS:localhost"]).unwrap())
    }

    /// A good client certificate.
    pub fn client(&self, name: &str) -> Credentials {
        self.issue(&LeafRequest::client([name]).unwrap())
    }

    /// A client certificate that ended yesterday.
    pub fn expired_client(&self, name: &str) -> Credentials {
        let request = LeafRequest::client([name]).unwrap();
        self.issue(&request.not_before(days(-30)).not_after(days(-1)))
    }

    /// A server certificate that signed itself; no authority vouches for it.
    pub fn self_signed(&self) -> Credentials {
        let (cert, key) = (self.path(".pem"), self.path(".key"));
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 30 \
             -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
             -addext extendedKeyUsage=serverAuth -keyout {} -out {}",
            local(&key),
            local(&cert),
        ));
        Credentials { ca: cert.clone(), cert, key }
    }

    /// A server certificate below an intermediate authority, once with the intermediate and once
    /// without it; the root is another than this authority's.
    pub fn chained(&self) -> Chained {
        const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc";
        const CA: &str = "-addext basicConstraints=critical,CA:TRUE \
             -addext keyUsage=critical,keyCertSign,cRLSign";
        const LEAF: &str = "-addext basicConstraints=critical,CA:FALSE \
             -addext keyUsage=critical,digitalSignature -addext extendedKeyUsage=serverAuth \
             -addext subjectAltName=DNS:localhost,IP:127.0.0.1";
        let [root, middle, leaf] = ["-root", "-middle", "-leaf"].map(|suffix| self.path(suffix));
        let name = local(&root);
        self.openssl(&format!(
            "req -x509 {KEY} -days 30 -subj /CN=root {CA} -keyout {name}.key -out {name}.pem"
        ));
        for (name, issuer, extensions) in [(&middle, &root, CA), (&leaf, &middle, LEAF)] {
            let (name, issuer) = (local(name), local(issuer));
            self.openssl(&format!(
                "req {KEY} -subj /CN={name} {extensions} -keyout {name}.key -out {name}.csr"
            ));
            self.openssl(&format!(
                "x509 -req -in {name}.csr -CA {issuer}.pem -CAkey {issuer}.key -CAcreateserial \
                 -copy_extensions copyall -days 30 -out {name}.pem"
            ));
        }
        let pem = |path: &Path| path.with_extension("pem");
        let both = [fs::read(pem(&leaf)).unwrap(), fs::read(pem(&middle)).unwrap()].concat();
        let incomplete =
            Credentials { cert: pem(&leaf), key: leaf.with_extension("key"), ca: pem(&root) };
        let cert = self.write("-chain.pem", both);
        let middle =
            Credentials { cert: pem(&middle), key: middle.with_extension("key"), ca: pem(&root) };
        Chained { complete: Credentials { cert, ..incomplete.clone() }, incomplete, middle }
    }

    /// A revocation list of this authority that revokes these certificates, perhaps none.
    pub fn crl(&self, revoked: &[&Credentials]) -> PathBuf {
        self.crl_signed_with("sha256", revoked)
    }

    /// The same, signed with this digest.
    pub fn crl_signed_with(&self, digest: &str, revoked: &[&Credentials]) -> PathBuf {
        let crl = self.path(".crl");
        let index = local(&self.write(".index", "")).to_owned();
        let config = self.write(
            ".cnf",
            format!(
                "[ca]\ndefault_ca = it\n[it]\ndatabase = {index}\ndefault_md = {digest}\n\
                 default_crl_days = 30\ncertificate = ca.pem\nprivate_key = ca.key\n",
            ),
        );
        let config = local(&config);
        for credentials in revoked {
            self.openssl(&format!("ca -config {config} -revoke {}", local(&credentials.cert)));
        }
        self.openssl(&format!("ca -config {config} -gencrl -out {}", local(&crl)));
        crl
    }

    /// The key of these credentials, encrypted.
    pub fn encrypted_key(&self, credentials: &Credentials, passphrase: &str) -> PathBuf {
        let key = read::read_private_key(&credentials.key).unwrap();
        let pem = key
            .private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), passphrase.as_bytes())
            .unwrap();
        self.write("-encrypted.key", pem)
    }

    /// A good server certificate and its key as PKCS#12.
    pub fn server_pkcs12(&self, passphrase: &str) -> PathBuf {
        self.pkcs12(&LeafRequest::server(NAMES).unwrap(), passphrase)
    }

    /// A good client certificate and its key as PKCS#12.
    pub fn client_pkcs12(&self, passphrase: &str) -> PathBuf {
        self.pkcs12(&LeafRequest::client(["carol"]).unwrap(), passphrase)
    }

    fn pkcs12(&self, request: &LeafRequest, passphrase: &str) -> PathBuf {
        let issued = self.authority.issue(request).unwrap();
        let passphrase = Passphrase::new(passphrase).unwrap();
        self.write(".p12", issued.pkcs12(&passphrase, "friendly").unwrap())
    }

    /// A file with this content.
    pub fn write(&self, suffix: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(suffix);
        fs::write(&path, content).unwrap();
        path
    }

    fn openssl(&self, arguments: &str) {
        openssl().current_dir(self.dir()).args(arguments.split_whitespace()).run().expect_success();
    }
}

/// A certificate below an intermediate authority.
#[derive(Clone, Debug)]
pub struct Chained {
    /// With the intermediate.
    pub complete: Credentials,
    /// Without it.
    pub incomplete: Credentials,
    /// The intermediate itself.
    pub middle: Credentials,
}

/// So many days from now, or before now if negative.
pub fn days(days: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(24 * days)
}

/// The name of a file in the directory, in which `openssl` works.
fn local(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}
