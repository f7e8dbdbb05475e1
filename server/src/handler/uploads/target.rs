//! Which file an upload is to become.

use super::super::beneath::{Resolved, Root};
use super::super::path::{FilePath, encode_name};
use super::super::upload::{split, write_path_error};
use crate::http::Rejection;
use crate::message::Request;
use ::http::{HeaderMap, HeaderName, Method};
use sealpair_common::checksum::decode_base64;

/// tus 1.0, creation.
pub(super) const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");

/// The path of the file: that of the request; or, where something is sent to a folder (POST), the name
/// in the metadata, in that folder.
pub(super) fn target(
    root: &Root,
    request: &Request<'_>,
    dotfiles: bool,
) -> Result<FilePath, Rejection> {
    let path = FilePath::decode(request.path(), dotfiles).map_err(write_path_error)?;
    let is_folder = path.is_folder()
        || *request.method() == Method::POST
            && matches!(root.resolve(path.as_path()), Ok(Resolved::Folder(_)));
    if *request.method() != Method::POST || !is_folder {
        split(&path)?;
        return Ok(path);
    }
    let name = file_name(request.headers()).ok_or(Rejection::bad_request(
        "name the file: `Upload-Metadata: filename` and the name in Base64",
    ))?;
    // It becomes one name of a path like any other, so whatever is refused there is refused here.
    let url = format!("{}{}", path.to_folder_url(), encode_name(&name));
    let path = FilePath::decode(&url, dotfiles).map_err(write_path_error)?;
    split(&path)?;
    Ok(path)
}

/// The file's name in the metadata of tus, which its clients send in the draft's mode, too.
fn file_name(headers: &HeaderMap) -> Option<Vec<u8>> {
    let metadata = headers.get(UPLOAD_METADATA)?.to_str().ok()?;
    let value = |key| {
        metadata.split(',').find_map(|pair| {
            let (name, value) = pair.trim().split_once(' ')?;
            (name == key).then(|| decode_base64(value.trim())).flatten()
        })
    };
    // `name` is what Uppy sends besides.
    value("filename").or_else(|| value("name")).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::HeaderValue;

    #[test]
    fn a_name_is_found_among_the_metadata() {
        let name = |metadata| {
            let mut headers = HeaderMap::new();
            headers.insert(UPLOAD_METADATA, HeaderValue::from_static(metadata));
            file_name(&headers)
        };
        assert_eq!(name("filename YS50eHQ="), Some(b"a.txt".to_vec()));
        assert_eq!(name("type dGV4dA==, filename YS50eHQ=,secret"), Some(b"a.txt".to_vec()));
        assert_eq!(name("name YS50eHQ="), Some(b"a.txt".to_vec()));
        for none in ["", "filename", "filename ", "filename *", "filenames YS50eHQ=", "x YQ=="] {
            assert_eq!(name(none), None, "{none}");
        }
    }
}
