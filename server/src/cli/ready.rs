//! The ready file: how a script learns that the server accepts, and where.

use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What the ready file says.
#[derive(Debug, Serialize)]
pub(crate) struct Ready<'a> {
    pub(crate) schema: &'static str,
    pub(crate) pid: u32,
    pub(crate) url: &'a str,
    pub(crate) listen: Vec<String>,
    /// The authority to trust, where the server made its own.
    pub(crate) ca: Option<&'a Path>,
    pub(crate) policy: &'static str,
    pub(crate) openssl: &'static str,
    /// The active FIPS module.
    pub(crate) fips: Option<Module<'a>>,
}

/// A cryptographic module.
#[derive(Debug, Serialize)]
pub(crate) struct Module<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
}

/// A ready file that is there as long as the server serves.
#[derive(Debug)]
pub(crate) struct ReadyFile(PathBuf);

impl ReadyFile {
    /// Removes what an earlier run may have left: a script must not take it for this one's.
    pub(crate) fn prepare(path: &Path) -> Result<(), Report> {
        match fs::remove_file(path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(path, &error)),
        }
    }

    /// Writes the file under another name and renames it: a reader sees all of it or nothing.
    pub(crate) fn write(path: &Path, ready: &Ready<'_>) -> Result<Self, Report> {
        let write = || -> io::Result<()> {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{}", ready.pid));
            let temporary = path.with_file_name(name);
            let mut file = File::create_new(&temporary)?;
            let written = serde_json::to_writer(&mut file, ready)
                .map_err(io::Error::from)
                .and_then(|()| file.write_all(b"\n"))
                .and_then(|()| fs::rename(&temporary, path));
            written.inspect_err(|_| {
                let _ = fs::remove_file(&temporary);
            })
        };
        write().map_err(|error| failed(path, &error))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn failed(path: &Path, error: &io::Error) -> Report {
    Report::new(Exit::LocalIo, "ready-file", format!("cannot write {}", path.display()))
        .explain(error.to_string())
        .remedy("name a file in a directory that this user may write (--ready-file)")
}
