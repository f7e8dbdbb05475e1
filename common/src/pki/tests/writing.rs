//! Files: their modes, and what is left after a failure.

use super::files::{Output, create_directory, write_together};
use super::*;
use crate::exit::Exit;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The names in a directory, sorted: a forgotten temporary file would be among them.
fn names(directory: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_key_is_private_and_a_certificate_is_not() {
    let directory = TempDir::new().unwrap();
    let authority = authority_in(&directory, KeyAlgorithm::P256);
    assert_eq!(names(&directory), ["ca.key", "ca.pem"]);
    assert_eq!(mode(&directory.path().join("ca.key")), 0o600);
    // The umask of whoever runs the tests may take more away.
    let certificate = mode(&directory.path().join("ca.pem"));
    assert_eq!(certificate & !0o644, 0);
    assert_eq!(certificate & 0o600, 0o600);

    // Replacing narrows what was too wide.
    let key = directory.path().join("ca.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o666)).unwrap();
    let pem = directory.path().join("ca.pem");
    authority.save(&pem, &key, Overwrite::Replace).unwrap();
    assert_eq!(mode(&key), 0o600);
    assert_eq!(names(&directory), ["ca.key", "ca.pem"]);
}

#[test]
fn nothing_is_overwritten_unasked() {
    for existing in ["ca.pem", "ca.key"] {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path(existing), "precious").unwrap();
        let authority = Authority::create(&AuthorityOptions::new()).unwrap();
        let error = authority.save(&path("ca.pem"), &path("ca.key"), Overwrite::Refuse);
        let error = error.unwrap_err();
        assert!(matches!(&error, PkiError::Exists { path: p } if *p == path(existing)));
        assert_eq!(error.report().exit(), Exit::Configuration);
        assert!(error.report().to_string().contains("--force"));
        assert_eq!(names(&directory), [existing], "no half of a pair");
        assert_eq!(fs::read(path(existing)).unwrap(), b"precious");
    }
}

#[test]
fn a_dangling_link_is_in_the_way_too() {
    let directory = TempDir::new().unwrap();
    let link = directory.path().join("link");
    symlink("nowhere", &link).unwrap();
    let output = [Output::secret(&link, b"secret")];
    let error = write_together(&output, Overwrite::Refuse).unwrap_err();
    assert!(matches!(error, PkiError::Exists { .. }), "{error:?}");
    // Replacing takes the link's place and leaves alone what it points to.
    symlink("target", directory.path().join("other")).unwrap();
    fs::write(directory.path().join("target"), "precious").unwrap();
    let other = directory.path().join("other");
    write_together(&[Output::secret(&other, b"new")], Overwrite::Replace).unwrap();
    assert!(!other.is_symlink());
    assert_eq!(mode(&other), 0o600);
    assert_eq!(fs::read(directory.path().join("target")).unwrap(), b"precious");
}

#[test]
fn a_failure_restores_what_was_replaced() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("key"), "old key").unwrap();
    fs::create_dir(path("certificate")).unwrap();
    let outputs = (path("key"), path("fresh"), path("certificate"));
    let error = write_together(
        &[
            Output::secret(&outputs.0, b"new key"),
            Output::secret(&outputs.1, b"fresh"),
            Output::public(&outputs.2, b"cannot replace a directory"),
        ],
        Overwrite::Replace,
    )
    .unwrap_err();
    assert!(matches!(error, PkiError::Write { .. }), "{error:?}");
    assert_eq!(error.report().exit(), Exit::LocalIo);
    assert_eq!(names(&directory), ["certificate", "key"]);
    assert_eq!(fs::read(path("key")).unwrap(), b"old key");
}

#[test]
fn a_missing_directory_is_reported_with_the_target() {
    let directory = TempDir::new().unwrap();
    let target = directory.path().join("missing/key");
    let error = write_together(&[Output::secret(&target, b"k")], Overwrite::Refuse).unwrap_err();
    assert!(error.to_string().ends_with("missing/key"), "{error}");
    assert_eq!(names(&directory).len(), 0);
}

#[test]
fn one_path_cannot_hold_two_files() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("both");
    let outputs = [Output::secret(&path, b"k"), Output::public(&path, b"c")];
    let error = write_together(&outputs, Overwrite::Replace).unwrap_err();
    assert_eq!(error.report().exit(), Exit::Usage);
    assert_eq!(names(&directory).len(), 0);
}

#[test]
fn directories_are_private() {
    let directory = TempDir::new().unwrap();
    let inner = directory.path().join("a/b");
    create_directory(&inner).unwrap();
    create_directory(&inner).unwrap();
    assert_eq!(mode(&inner), 0o700);
    assert_eq!(mode(&directory.path().join("a")), 0o700);
    fs::write(inner.join("file"), "").unwrap();
    assert!(create_directory(&inner.join("file")).is_err());
}

#[test]
fn passphrases_are_the_first_line() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("pass");
    for (contents, passphrase) in [
        (&b"secret\nmore"[..], Some("secret")),
        (b"secret\r\n", Some("secret")),
        (b" spaces stay ", Some(" spaces stay ")),
        (b"", Some("")),
        (b"\n", Some("")),
        (b"\xff\n", None),
        (b"a\0b\n", None),
    ] {
        fs::write(&path, contents).unwrap();
        let read = read::read_passphrase(&path);
        assert_eq!(read.as_ref().ok().map(Passphrase::as_str), passphrase);
        if let Err(error) = read {
            assert!(!format!("{error:?}").contains("a\\0b"));
        }
    }
}

#[test]
fn a_file_without_end_is_not_read_without_end() {
    let error = read::read_certificates(Path::new("/dev/zero"), None).unwrap_err();
    assert!(matches!(error, PkiError::Read { .. }), "{error:?}");
}

#[test]
fn certificates_are_read_from_pem_and_der() {
    let directory = TempDir::new().unwrap();
    let authority = authority_in(&directory, KeyAlgorithm::P256);
    let path = directory.path().join("file");
    let pem = authority.certificate_pem().unwrap();
    let key = fs::read(directory.path().join("ca.key")).unwrap();
    for (contents, count) in [
        (pem.clone(), Some(1)),
        ([&pem[..], &pem].concat(), Some(2)),
        ([b"remark\n", &key[..], b"\r\n", &pem].concat(), Some(1)),
        (authority.certificate().to_der().unwrap(), Some(1)),
        (key, None),
        (b"neither".to_vec(), None),
        (Vec::new(), None),
        (pem[..pem.len() / 2].to_vec(), None),
    ] {
        fs::write(&path, contents).unwrap();
        let read = read::read_certificates(&path, None);
        assert_eq!(read.map(|read| read.len()).ok(), count);
    }
}
