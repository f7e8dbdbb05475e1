//! Serving a directory tree.
//!
//! ```text
//! path ─ FilePath ─ Root ─┬─ file ──── Representation
//!                         ├─ folder ── redirect, index.html, listing, or archive
//!                         └─ PUT, DELETE, MKCOL ── upload, remove, collection (if writable)
//! ```

use super::accept::prefers_json;
use super::beneath::{Folder, FoundFile, Resolved, Root};
use super::cache::Cache;
use super::collection::MKCOL;
use super::digest_fields::wants_digest;
use super::digests::Digests;
use super::encoding::Accepted;
use super::names::{Room, Walk};
use super::path::{FilePath, PathError, encode_name};
use super::representation::{NO_SNIFFING, Representation};
use super::uploads::{Sweeper, UploadLimits, Uploads};
use super::{Handler, archive, collection, listing, remove, repr_digest, upload};
use crate::http::Rejection;
use crate::message::{Body, Request, Response};
use ::http::header::{ALLOW, HeaderValue, LOCATION, X_CONTENT_TYPE_OPTIONS};
use ::http::{Method, StatusCode};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What stands for a folder instead of its listing.
pub(super) const INDEX: &str = "index.html";

/// The answer where no file is: a path that ends in a slash names a folder.
const NOT_A_FOLDER: Rejection = Rejection::new(StatusCode::NOT_FOUND, "nothing is here");

/// Serves the files below a directory: GET and HEAD, and PUT, DELETE and MKCOL where writing is allowed.
///
/// ```no_run
/// use sealpair_server::handler::files::FileHandler;
/// let handler = FileHandler::open("/srv/files")?.writable(true);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// - A folder is shown as its `index.html`, else as a listing; who asks for JSON always gets the listing,
///   and `?archive=tar` one archive of all that is in it.
/// - Downloads are conditional and in parts where the client asks for that, and what arrives as
///   complete is of one version.
/// - Names that begin with a dot are neither served nor listed nor written, unless
///   [`dotfiles`](Self::dotfiles) says so.
/// - An upload is there whole or not at all, and durable before it is acknowledged.
/// - Symbolic links are followed below the root, and are neither written through, replaced nor
///   removed: whoever made them had access to the machine.
#[derive(Debug)]
pub struct FileHandler {
    root: Arc<Root>,
    room: Arc<Room>,
    cache: Cache,
    digests: Arc<Digests>,
    uploads: Arc<Uploads>,
    sweeper: Option<Sweeper>,
    writable: bool,
    dotfiles: bool,
}

impl FileHandler {
    /// A handler for the files below a root: read-only, without dot-files.
    pub fn new(root: Root) -> Self {
        let (root, digests) = (Arc::new(root), Arc::<Digests>::default());
        let limits = UploadLimits::default();
        Self {
            uploads: Arc::new(Uploads::new(Arc::clone(&root), Arc::clone(&digests), limits)),
            sweeper: None,
            root,
            room: Room::new(),
            cache: Cache::new(),
            digests,
            writable: false,
            dotfiles: false,
        }
    }

    /// A handler for the files below a directory: read-only, without dot-files.
    ///
    /// # Errors
    ///
    /// As [`Root::open`].
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Root::open(path).map(Self::new)
    }

    /// Whether PUT and DELETE are allowed. Default: no.
    #[must_use]
    pub fn writable(mut self, writable: bool) -> Self {
        self.writable = writable;
        self
    }

    /// The bounds of uploads.
    #[must_use]
    pub fn upload_limits(mut self, limits: UploadLimits) -> Self {
        self.uploads = Arc::new(self.uploads_with(limits));
        self
    }

    /// Removes uploads that have expired, and what was left by servers that were killed: begins a thread
    /// that does so until the handler is dropped. After everything else is set.
    ///
    /// # Errors
    ///
    /// When no thread can be made.
    pub fn sweeping(mut self) -> io::Result<Self> {
        self.sweeper = Some(Sweeper::start(Arc::clone(&self.uploads))?);
        Ok(self)
    }

    /// Whether files and folders are served whose names begin with a dot. Default: no.
    #[must_use]
    pub fn dotfiles(mut self, dotfiles: bool) -> Self {
        self.dotfiles = dotfiles;
        self
    }

    /// Keeps the digests of files in this directory, so that they need not be computed again after a start.
    /// Default: they are kept in memory only.
    ///
    /// The directory is made when there is something to keep. Nothing fails if it cannot be written to.
    #[must_use]
    pub fn digests_in(mut self, directory: impl Into<PathBuf>) -> Self {
        self.digests = Arc::new(Digests::kept_in(directory.into()));
        // What is uploaded is learned there, too.
        self.uploads = Arc::new(self.uploads_with(self.uploads.limits().clone()));
        self
    }

    fn uploads_with(&self, limits: UploadLimits) -> Uploads {
        Uploads::new(Arc::clone(&self.root), Arc::clone(&self.digests), limits)
    }

    fn read(&self, request: &Request<'_>) -> Result<Response, Rejection> {
        let path = FilePath::decode(request.path(), self.dotfiles)?;
        match self.root.resolve(path.as_path())? {
            Resolved::File(_) if path.is_folder() => Err(NOT_A_FOLDER),
            Resolved::File(found) => {
                // The root is a folder, so a file has a name.
                let name = path.split().map(|(_, name)| name);
                self.file(request, path.as_path(), &found, name.unwrap_or_default())
            }
            Resolved::Folder(folder) => match path.split() {
                Some((_, name)) if !path.is_folder() => redirect(name, request.query()),
                _ => self.folder(path, folder, request),
            },
        }
    }

    fn folder(
        &self,
        path: FilePath,
        folder: Folder,
        request: &Request<'_>,
    ) -> Result<Response, Rejection> {
        if archive::is_asked(request.query())? {
            return archive::respond(self.walk(), &path, &folder, request.method());
        }
        if prefers_json(request.headers()) {
            // Who asks for JSON wants to know what is in the folder, not the page that stands for it.
            return listing::respond(
                self.walk(),
                path,
                folder,
                request.method(),
                request.headers(),
            );
        }
        let index = OsStr::new(INDEX);
        let index_path = path.join(index);
        match self.root.resolve(&index_path) {
            Ok(Resolved::File(found)) => self.file(request, &index_path, &found, index),
            Ok(Resolved::Folder(_)) | Err(PathError::NotFound) => {
                listing::respond(self.walk(), path, folder, request.method(), request.headers())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn file(
        &self,
        request: &Request<'_>,
        path: &Path,
        found: &FoundFile,
        name: &OsStr,
    ) -> Result<Response, Rejection> {
        let headers = request.headers();
        let representation = match Accepted::of(headers).select(&self.root, path, found) {
            Some((encoded, coding)) => Representation::encoded(&encoded, name, Some(coding))?,
            None => {
                let representation = Representation::of(found, name)?;
                self.cache.keep(
                    &self.root,
                    request.path(),
                    path,
                    found.identity(),
                    &representation,
                );
                representation
            }
        };
        let response = representation.respond(request.method(), headers)?;
        Ok(match wants_digest(headers) {
            true => repr_digest::add(&self.digests, request.method(), &representation, response),
            false => response,
        })
    }

    /// The response that a client gets: that, or the reason why not.
    fn finish(&self, result: Result<Response, Rejection>) -> Response {
        let response = result.unwrap_or_else(|rejection| {
            let response = Response::error(rejection.status, rejection.reason);
            match rejection.status {
                StatusCode::METHOD_NOT_ALLOWED => response.with_header(ALLOW, self.allow()),
                _ => response,
            }
        });
        match response.headers().contains_key(X_CONTENT_TYPE_OPTIONS) {
            true => response,
            false => response.with_header(X_CONTENT_TYPE_OPTIONS, NO_SNIFFING),
        }
    }

    fn walk(&self) -> Walk {
        let Self { root, room, dotfiles, .. } = self;
        Walk { root: Arc::clone(root), room: Arc::clone(room), dotfiles: *dotfiles }
    }

    fn allow(&self) -> HeaderValue {
        HeaderValue::from_static(match self.writable {
            true => "DELETE, GET, HEAD, MKCOL, OPTIONS, PUT",
            false => "GET, HEAD, OPTIONS",
        })
    }
}

impl Handler for FileHandler {
    fn handle(&self, request: &mut Request<'_>) -> Response {
        if self.writable
            && let Some(response) = self.uploads.respond(request, self.dotfiles)
        {
            return response.with_header(X_CONTENT_TYPE_OPTIONS, NO_SNIFFING);
        }
        let result = match *request.method() {
            Method::GET | Method::HEAD => self.read(request),
            Method::PUT if self.writable => {
                let names = self.uploads.names();
                upload::put(&self.root, &self.digests, names, self.dotfiles, request)
            }
            Method::DELETE if self.writable => {
                remove::delete(&self.root, self.uploads.names(), self.dotfiles, request)
            }
            ref method if self.writable && method.as_str() == MKCOL => {
                collection::make(&self.root, self.dotfiles, request)
            }
            Method::OPTIONS => {
                let response = Response::new(StatusCode::NO_CONTENT);
                let response = response.with_header(ALLOW, self.allow());
                Ok(match self.writable {
                    true => self.uploads.announce(response),
                    false => response,
                })
            }
            // RFC 9110 section 15.5.6: a method that is known and not allowed.
            ref method if method.as_str() == MKCOL => Err(Rejection::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET and HEAD are allowed here",
            )),
            Method::CONNECT
            | Method::DELETE
            | Method::PATCH
            | Method::POST
            | Method::PUT
            | Method::TRACE => Err(Rejection::new(
                StatusCode::METHOD_NOT_ALLOWED,
                match self.writable {
                    true => "only GET, HEAD, PUT, DELETE and MKCOL are allowed here",
                    false => "only GET and HEAD are allowed here",
                },
            )),
            // RFC 9110 section 15.6.2: one that is not known at all.
            _ => Err(Rejection::new(StatusCode::NOT_IMPLEMENTED, "the method is not known here")),
        };
        self.finish(result)
    }

    /// Small files that were asked for before.
    fn answer_at_once(&self, request: &Request<'_>) -> Option<Response> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        let headers = request.headers();
        // Whoever asks for an archive of a folder, or for its listing, does not want its index.
        if request.path().ends_with('/') && (request.query().is_some() || prefers_json(headers)) {
            return None;
        }
        let kept = self.cache.find(request.path())?;
        if Accepted::of(headers).may_replace(&self.root, kept.path()) {
            return None;
        }
        let mut result = kept.representation().respond(request.method(), headers);
        if wants_digest(headers)
            && let Ok(response) = result
        {
            result = Ok(repr_digest::add_known(&self.digests, kept.representation(), response)?);
        }
        let mut response = self.finish(result);
        if *request.method() == Method::GET {
            response.body = read_at_once(response.body)?;
        }
        self.cache.is_current(&self.root, request.path(), &kept).then_some(response)
    }
}

/// The content of a small file, read: what is looked at afterwards proves what was read. `None` where it
/// cannot be read whole, or is in several parts.
fn read_at_once(body: Body) -> Option<Body> {
    match body {
        Body::File { file, offset, length } => {
            let mut bytes = vec![0; usize::try_from(length).ok()?];
            file.read_small(&mut bytes, offset).ok()?;
            Some(Body::Bytes(Cow::Owned(bytes)))
        }
        Body::FileParts { .. } | Body::Stream { .. } => None,
        Body::Empty | Body::Bytes(_) => Some(body),
    }
}

/// Sends a client from `/a/folder` to `/a/folder/`, without which the links in a page would lead
/// astray.
///
/// The location is relative and begins with `./`, so it cannot lead to another host or scheme,
/// whatever the folder is called.
fn redirect(name: &OsStr, query: Option<&str>) -> Result<Response, Rejection> {
    let name = encode_name(name.as_bytes());
    let location = match query {
        Some(query) => format!("./{name}/?{query}"),
        None => format!("./{name}/"),
    };
    let location = HeaderValue::from_str(&location)
        .map_err(|_| Rejection::bad_request("the query is not valid"))?;
    Ok(Response::new(StatusCode::PERMANENT_REDIRECT).with_header(LOCATION, location))
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
