//! Just enough DER to reach the parts of a certificate that the `openssl` crate does not give out.
//!
//! That crate shows neither the extensions nor the encoded public key of a key type it does not
//! know, and hides an alternative name that is not UTF-8. Every function returns `None` for what it
//! does not understand; nothing indexes, nothing recurses.

/// The tags used here (X.690, section 8.1.2).
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const ENUMERATED: u8 = 0x0a;
    pub(crate) const SEQUENCE: u8 = 0x30;
    /// `[0] EXPLICIT`: the version.
    pub(crate) const VERSION: u8 = 0xa0;
    /// `[0] EXPLICIT` elsewhere.
    pub(crate) const CONTEXT_0: u8 = 0xa0;
    /// `[3] EXPLICIT`: the extensions.
    pub(crate) const EXTENSIONS: u8 = 0xa3;
}

/// One type-length-value triple.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) contents: &'a [u8],
    /// Tag, length and contents.
    pub(crate) encoding: &'a [u8],
}

/// The elements of a piece of DER, in order.
///
/// As an iterator it ends at the first element that it does not understand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// The contents of the next element, which has to have this tag; otherwise nothing is consumed.
    pub(crate) fn read(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let element = ahead.next().filter(|element| element.tag == tag)?;
        *self = ahead;
        Some(element.contents)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        // A number of 31 would continue in the next octet; no certificate field needs it.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // 0x80 is BER's indefinite length; four octets of length are 4 GiB.
            0x81..=0x84 => {
                let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length =
                    octets.iter().fold(0u64, |length, &octet| length << 8 | u64::from(octet));
                (usize::try_from(length).ok()?, rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        let (encoding, _) = self.0.split_at_checked(self.0.len() - rest.len())?;
        self.0 = rest;
        Some(Element { tag, contents, encoding })
    }
}

/// One extension of a certificate (RFC 5280, section 4.2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extension<'a> {
    /// The identifier, as DER contents.
    pub(crate) oid: &'a [u8],
    /// The DER inside the octet string.
    pub(crate) value: &'a [u8],
}

/// The parts of a certificate.
#[derive(Clone, Debug)]
pub(crate) struct Parts<'a> {
    /// SubjectPublicKeyInfo with its tag and length, as pins digest it.
    pub(crate) spki: &'a [u8],
    /// The extensions up to the first one that is malformed.
    pub(crate) extensions: Vec<Extension<'a>>,
}

/// Takes a certificate apart (RFC 5280, section 4.1).
pub(crate) fn parts(certificate: &[u8]) -> Option<Parts<'_>> {
    let mut tbs = Reader(Reader(Reader(certificate).read(tag::SEQUENCE)?).read(tag::SEQUENCE)?);
    let _version = tbs.read(tag::VERSION);
    let _serial = tbs.read(tag::INTEGER)?;
    let _signature = tbs.read(tag::SEQUENCE)?;
    let _issuer = tbs.read(tag::SEQUENCE)?;
    let _validity = tbs.read(tag::SEQUENCE)?;
    let _subject = tbs.read(tag::SEQUENCE)?;
    let spki = tbs.next().filter(|spki| spki.tag == tag::SEQUENCE)?;
    let extensions = tbs
        .find(|element| element.tag == tag::EXTENSIONS)
        .and_then(|element| Reader(element.contents).read(tag::SEQUENCE))
        .map(|list| Reader(list).map_while(extension).collect())
        .unwrap_or_default();
    Some(Parts { spki: spki.encoding, extensions })
}

fn extension(element: Element<'_>) -> Option<Extension<'_>> {
    let mut fields = Reader(element.contents);
    let oid = fields.read(tag::OID)?;
    let _critical = fields.read(tag::BOOLEAN);
    let value = fields.read(tag::OCTET_STRING)?;
    Some(Extension { oid, value })
}

/// The dotted form of an object identifier's contents (X.690, section 8.19).
pub(crate) fn dotted(oid: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut arc = 0u64;
    for &octet in oid {
        // Arcs above 64 bits exist (those made of UUIDs) but none has a name here.
        arc = arc.checked_mul(128)? | u64::from(octet & 0x7f);
        if octet & 0x80 != 0 {
            continue;
        }
        if text.is_empty() {
            let first = (arc / 40).min(2);
            text = format!("{first}.{}", arc - first * 40);
        } else {
            text.push('.');
            text.push_str(&arc.to_string());
        }
        arc = 0;
    }
    let complete = oid.last().is_some_and(|octet| octet & 0x80 == 0);
    complete.then_some(text)
}

/// Octets in lower-case hexadecimal.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        let mut long = vec![0x04, 0x82, 0x01, 0x00];
        long.resize(4 + 256, 7);
        assert_eq!(Reader(&long).next().unwrap().contents.len(), 256);
        for bad in [
            &b"\x04"[..],
            b"\x04\x02a",
            b"\x04\x80a\0\0",
            b"\x04\x81",
            b"\x04\x85\0\0\0\0\x01a",
            b"\x04\x84\xff\xff\xff\xffa",
            b"\x1f\x01a",
        ] {
            assert!(Reader(bad).next().is_none(), "{bad:?}");
        }
    }

    #[test]
    fn object_identifiers() {
        assert_eq!(dotted(&[0x55, 0x1d, 0x11]).as_deref(), Some("2.5.29.17"));
        let ec = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
        assert_eq!(dotted(&ec).as_deref(), Some("1.2.840.10045.2.1"));
        assert_eq!(dotted(&[0x88, 0x37]).as_deref(), Some("2.999"));
        assert_eq!(dotted(&[]), None);
        assert_eq!(dotted(&[0x55, 0x80]), None);
        assert_eq!(dotted(&[0xff; 20]), None);
    }
}
