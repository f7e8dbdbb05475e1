//! The FIPS module that scripts/fips-provider makes available: servers and clients with it, and copies of it that
//! are broken.

use crate::peers::fips_settings;
use crate::program::Run;
use crate::server::ServerBuilder;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// A server with the module.
#[must_use]
pub fn with_module(server: ServerBuilder) -> ServerBuilder {
    server.envs(fips_settings())
}

/// `sealpair` with the module.
pub fn sealpair_with_module() -> Run {
    Run::of("sealpair").envs(fips_settings())
}

/// A copy of the module and its configuration, to be broken.
#[derive(Debug)]
pub struct ModuleCopy {
    dir: TempDir,
}

impl ModuleCopy {
    /// A copy that works.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let [(_, modules), (_, conf)] = fips_settings();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("modules")).unwrap();
        fs::copy(modules.join("fips.so"), dir.path().join("modules/fips.so")).unwrap();
        let source = conf.parent().unwrap().canonicalize().unwrap();
        let module = fs::read_to_string(source.join("fipsmodule.cnf")).unwrap();
        fs::write(dir.path().join("fipsmodule.cnf"), module).unwrap();
        let text = fs::read_to_string(&conf).unwrap();
        let (from, to) = (source.to_str().unwrap(), dir.path().to_str().unwrap());
        assert!(text.contains(from), "{text}");
        fs::write(dir.path().join("openssl.cnf"), text.replace(from, to)).unwrap();
        Self { dir }
    }

    /// The folder of the module.
    pub fn modules(&self) -> PathBuf {
        self.dir.path().join("modules")
    }

    /// The module.
    pub fn module(&self) -> PathBuf {
        self.modules().join("fips.so")
    }

    fn conf(&self) -> PathBuf {
        self.dir.path().join("openssl.cnf")
    }

    /// The variables that make OpenSSL use it.
    pub fn settings(&self) -> [(&'static str, PathBuf); 2] {
        [("OPENSSL_MODULES", self.modules()), ("OPENSSL_CONF", self.conf())]
    }

    /// Changes one of its files: `openssl.cnf` or `fipsmodule.cnf`.
    pub fn edit(&self, file: &str, change: impl FnOnce(String) -> String) {
        let path = self.dir.path().join(file);
        let before = fs::read_to_string(&path).unwrap();
        let after = change(before.clone());
        assert_ne!(before, after, "nothing was changed in {file}");
        fs::write(&path, after).unwrap();
    }
}
