//! A subject or an issuer in one line.

use super::der::hex;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::x509::{X509NameEntryRef, X509NameRef};

/// The name in the manner of RFC 4514: `CN=host,O=Example`, the most specific attribute first.
///
/// It differs from RFC 4514 where that serves the reader: a value with a separator in it is put in
/// quotation marks (as RFC 1779 did) instead of being full of backslashes, and attributes of one
/// multi-valued RDN are separated by commas too. Values are given as they are, with control
/// characters and NUL in them: escape the text where it is shown. A value that is not text is `#`
/// and its octets in hexadecimal. An empty name is an empty text.
pub fn distinguished_name(name: &X509NameRef) -> String {
    let mut attributes: Vec<String> = name.entries().map(attribute).collect();
    attributes.reverse();
    // What could not be decoded left its reasons in the thread's queue, where the next TLS call
    // would take them for its own.
    drop(ErrorStack::get());
    attributes.join(",")
}

fn attribute(entry: &X509NameEntryRef) -> String {
    let object = entry.object();
    let kind = match object.nid() {
        Nid::UNDEF => object.to_string(),
        nid => nid.short_name().map_or_else(|_| object.to_string(), str::to_owned),
    };
    let value = entry.data();
    // U+FFFD stands for what was not UTF-8: the octets say more than it does.
    let value = match value.to_string() {
        Ok(text) if !text.contains('\u{fffd}') => quoted(text),
        _ => format!("#{}", hex(value.as_slice())),
    };
    format!("{kind}={value}")
}

/// The value, in quotation marks if it could be mistaken for more than a value.
fn quoted(value: String) -> String {
    let special = value.contains([',', '+', '"', '\\', '<', '>', ';'])
        || value.starts_with([' ', '#'])
        || value.ends_with(' ');
    if !special {
        return value;
    }
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use openssl::x509::X509Name;

    fn shown(attributes: &[(Nid, &str)]) -> String {
        let mut name = X509Name::builder().unwrap();
        for (kind, value) in attributes {
            name.append_entry_by_nid(*kind, value).unwrap();
        }
        distinguished_name(&name.build())
    }

    #[test]
    fn the_most_specific_attribute_comes_first() {
        let name =
            [(Nid::COUNTRYNAME, "DE"), (Nid::ORGANIZATIONNAME, "Acme"), (Nid::COMMONNAME, "Grüße")];
        assert_eq!(shown(&name), "CN=Grüße,O=Acme,C=DE");
        assert_eq!(shown(&[]), "");
    }

    #[test]
    fn a_value_cannot_pass_for_another_attribute() {
        for (value, text) in [
            ("a,O=b", "CN=\"a,O=b\""),
            ("a\" b", "CN=\"a\\\" b\""),
            (" a", "CN=\" a\""),
            ("#61", "CN=\"#61\""),
        ] {
            assert_eq!(shown(&[(Nid::COMMONNAME, value)]), text);
        }
    }

    #[test]
    fn nothing_is_cut_off_at_a_nul() {
        assert_eq!(
            shown(&[(Nid::COMMONNAME, "good.example\0.evil.example")]),
            "CN=good.example\0.evil.example"
        );
    }

    #[test]
    fn octets_that_are_not_text_are_shown_in_hexadecimal() {
        // SEQUENCE { SET { SEQUENCE { identifier, value } } }
        let shown = |oid: &[u8], value: &[u8]| {
            let mut der = [oid, value].concat();
            for tag in [0x30, 0x31, 0x30] {
                let length = u8::try_from(der.len()).unwrap();
                der.splice(0..0, [tag, length]);
            }
            distinguished_name(&X509Name::from_der(&der).unwrap())
        };
        let common_name = b"\x06\x03\x55\x04\x03";
        // BIT STRING; T61String, taken as ISO 8859-1. OpenSSL itself refuses broken UTF-8 and
        // UTF-16.
        assert_eq!(shown(common_name, b"\x03\x03\0\xfe\x41"), "CN=#fe41");
        assert_eq!(shown(common_name, b"\x14\x02\xff\x00"), "CN=ÿ\0");
        // An attribute that nobody has named: 2.999.
        assert_eq!(shown(b"\x06\x02\x88\x37", b"\x0c\x02\x68\x69"), "2.999=hi");
    }
}
