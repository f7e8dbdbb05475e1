//! The fields of a response, made for this one or prepared for many.

use crate::http::response::write_fields;
use ::http::HeaderMap;
use ::http::header::{HeaderName, HeaderValue};
use std::sync::Arc;

/// Fields that many responses have in common, with their lines as they stand on the wire: a small file
/// is sent faster than its entity tag is formatted.
#[derive(Debug)]
pub(crate) struct PreparedFields {
    map: HeaderMap,
    lines: Vec<u8>,
}

impl PreparedFields {
    pub(crate) fn new(map: HeaderMap) -> Arc<Self> {
        let mut lines = Vec::new();
        write_fields(&mut lines, &map);
        Arc::new(Self { map, lines })
    }

    /// The fields themselves.
    pub(crate) fn map(&self) -> &HeaderMap {
        &self.map
    }
}

/// The fields of a response.
#[derive(Debug)]
pub(crate) enum Fields {
    Own(HeaderMap),
    Prepared(Arc<PreparedFields>),
}

impl Fields {
    pub(crate) fn map(&self) -> &HeaderMap {
        match self {
            Self::Own(map) => map,
            Self::Prepared(fields) => &fields.map,
        }
    }

    /// Sets a field of this response alone.
    pub(crate) fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        match self {
            Self::Own(map) => {
                map.insert(name, value);
            }
            Self::Prepared(fields) => {
                let mut map = fields.map.clone();
                map.insert(name, value);
                *self = Self::Own(map);
            }
        }
    }

    /// Appends the lines of these fields, without those that are the connection's to write.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Own(map) => write_fields(out, map),
            Self::Prepared(fields) => out.extend_from_slice(&fields.lines),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG};

    #[test]
    fn prepared_fields_are_written_as_others_and_changed_for_one_response_only() {
        let map = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("text/plain")),
            // The connection's to write.
            (CONTENT_LENGTH, HeaderValue::from_static("7")),
        ]);
        let written = |fields: &Fields| {
            let mut out = Vec::new();
            fields.write(&mut out);
            String::from_utf8(out).unwrap()
        };
        let prepared = PreparedFields::new(map.clone());
        let mut one = Fields::Prepared(Arc::clone(&prepared));
        assert_eq!(written(&one), "content-type: text/plain\r\n");
        assert_eq!(written(&one), written(&Fields::Own(map.clone())));
        one.insert(ETAG, HeaderValue::from_static("\"1\""));
        assert_eq!(written(&one), "content-type: text/plain\r\netag: \"1\"\r\n");
        assert_eq!(written(&Fields::Prepared(prepared)), "content-type: text/plain\r\n");
        assert_eq!(one.map().len(), map.len() + 1);
    }
}
