//! Which files a command line of `put` means, and where each goes.
//!
//! - A folder goes with its name, `FOLDER/` without it, as with rsync.
//! - A symbolic link to a file below the same folder is sent as that file. Others are left out: what they
//!   lead to was not named, and links to folders can lead in circles.
//! - Names that begin with a dot are left out unless they are asked for; so is what is neither file nor
//!   folder. All of that is said.

use super::super::many::{Account, Outcome, Task};
use super::{below, place};
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use url::Url;

/// Folders in folders; links to folders are not followed, so nothing is deeper by accident.
const DEEPEST: usize = 256;

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) files: Vec<Task>,
    /// Folders that the files need, each behind the one that it is in.
    pub(super) folders: Vec<Url>,
}

/// How the files are chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) recursive: bool,
    pub(super) hidden: bool,
}

impl Plan {
    /// What of `sources` goes to the folder `url`.
    pub(super) fn of(
        sources: &[PathBuf],
        url: &Url,
        choice: Choice,
        account: &mut Account,
    ) -> Result<Self, Report> {
        if !url.path().ends_with('/') {
            return Err(Report::new(
                Exit::Usage,
                "no-folder",
                "several files, or a folder, go to a folder",
            )
            .explain(format!("{url} does not end with a slash"))
            .remedy("end the URL with a slash"));
        }
        let mut plan = Self::default();
        for source in sources {
            match fs::metadata(source) {
                Ok(metadata) if metadata.is_dir() && choice.recursive => {
                    if plan.folders.is_empty() && url.path() != "/" {
                        plan.folders.push(url.clone());
                    }
                    let folder = match own_name(source) {
                        None => url.clone(),
                        Some(name) => {
                            let folder = below(url, name, "/");
                            plan.folders.push(folder.clone());
                            folder
                        }
                    };
                    match fs::canonicalize(source) {
                        Ok(root) => plan.add(source, &folder, &root, choice, 0, account),
                        Err(error) => account.note_unreadable(source, &error),
                    }
                }
                Ok(metadata) if metadata.is_dir() => {
                    let error = io::Error::new(io::ErrorKind::IsADirectory, "it is a directory");
                    account.note_unreadable(source, &error);
                }
                Ok(metadata) => plan.files.push(Task {
                    file: source.clone(),
                    url: place(url, source)?,
                    size: metadata.is_file().then_some(metadata.len()),
                    modified: None,
                }),
                Err(error) => account.note_unreadable(source, &error),
            }
        }
        // Which of two files got the name would be chance.
        let mut urls = HashSet::new();
        plan.files.retain(|task| {
            let new = urls.insert(task.url.clone());
            if !new {
                let name = task.file.display().to_string();
                let report =
                    Report::new(Exit::Usage, "same-name", "another file has the same name")
                        .explain(format!("both would be {}", task.url))
                        .remedy("upload one of them alone, under another name");
                account.note(&name, Some(&task.url), Outcome::Failed(report));
            }
            new
        });
        Ok(plan)
    }

    fn add(
        &mut self,
        folder: &Path,
        url: &Url,
        root: &Path,
        choice: Choice,
        depth: usize,
        account: &mut Account,
    ) {
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<DirEntry>>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => return account.note_unreadable(folder, &error),
        };
        entries.sort_by_key(DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name());
            let mut skip =
                |why| account.note(&path.display().to_string(), None, Outcome::Skipped(why));
            if name.as_bytes().starts_with(b".") && !choice.hidden {
                skip("its name begins with a dot, and --hidden is not given");
                continue;
            }
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                Err(error) => {
                    account.note_unreadable(&path, &error);
                    continue;
                }
            };
            if kind.is_dir() && depth == DEEPEST {
                skip("it is too deep");
            } else if kind.is_dir() {
                let inner = below(url, &name, "/");
                self.folders.push(inner.clone());
                self.add(&path, &inner, root, choice, depth + 1, account);
            } else if kind.is_file() || (kind.is_symlink() && is_file_below(&path, root)) {
                let size = fs::metadata(&path).ok().map(|metadata| metadata.len());
                self.files.push(Task {
                    file: path,
                    url: below(url, &name, ""),
                    size,
                    modified: None,
                });
            } else if kind.is_symlink() {
                skip("it is a link that does not lead to a file of this folder");
            } else {
                skip("it is neither a file nor a folder");
            }
        }
    }
}

/// The name that a folder has at the server; `None` where its content is meant.
fn own_name(source: &Path) -> Option<&OsStr> {
    let bytes = source.as_os_str().as_bytes();
    let content = bytes.ends_with(b"/") || bytes.ends_with(b"/.");
    source.file_name().filter(|_| !content)
}

fn is_file_below(path: &Path, root: &Path) -> bool {
    fs::canonicalize(path).is_ok_and(|target| target.starts_with(root) && target.is_file())
}

impl Account {
    fn note_unreadable(&mut self, path: &Path, error: &io::Error) {
        let outcome = Outcome::Failed(super::source::unreadable(path, error));
        self.note(&path.display().to_string(), None, outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Voice;
    use super::*;
    use std::os::unix::fs::symlink;
    use std::slice::from_ref;

    fn plan(sources: &[PathBuf], choice: Choice) -> (Vec<String>, Vec<String>) {
        let url = Url::parse("https://h/x/").unwrap();
        let mut account = Account::new(Voice { json: false, quiet: true, verbose: false });
        let plan = Plan::of(sources, &url, choice, &mut account).unwrap();
        let path = |url: &Url| url.path().to_owned();
        let files = plan.files.iter().map(|task| path(&task.url)).collect();
        (files, plan.folders.iter().map(path).collect())
    }

    #[test]
    fn a_folder_is_walked_and_nothing_beyond_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("d");
        for folder in ["d/in/deep", "d/empty", "d/.git", "other"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for file in ["d/a b", "d/in/deep/c", "d/.git/config", "d/.env", "other/secret"] {
            fs::write(dir.path().join(file), "x").unwrap();
        }
        symlink("in/deep/c", root.join("link")).unwrap();
        symlink("../other/secret", root.join("outside")).unwrap();
        symlink("..", root.join("loop")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();

        let choice = Choice { recursive: true, hidden: false };
        let (files, folders) = plan(from_ref(&root), choice);
        assert_eq!(files, ["/x/d/a%20b", "/x/d/in/deep/c", "/x/d/link"]);
        assert_eq!(folders, ["/x/", "/x/d/", "/x/d/empty/", "/x/d/in/", "/x/d/in/deep/"]);

        let (files, folders) = plan(&[root.join("")], choice);
        assert_eq!(files, ["/x/a%20b", "/x/in/deep/c", "/x/link"]);
        assert_eq!(folders, ["/x/", "/x/empty/", "/x/in/", "/x/in/deep/"]);

        let (files, _) = plan(from_ref(&root), Choice { hidden: true, ..choice });
        assert_eq!(files.len(), 5);
        let (files, folders) = plan(&[root], Choice { recursive: false, hidden: false });
        assert!(files.is_empty() && folders.is_empty());
    }

    #[test]
    fn no_file_replaces_another_of_the_same_command() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|folder| dir.path().join(folder).join("same"));
        for path in &paths {
            fs::create_dir(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let (files, _) = plan(&paths, Choice { recursive: false, hidden: false });
        assert_eq!(files, ["/x/same"]);
    }
}
