//! The headers of a tar archive: POSIX ustar, with a pax header before it for what that cannot say
//! (POSIX.1-2017, pax(1), "ustar Interchange Format" and "pax Header Block").
//!
//! The crate `tar` is not used: it says long names and large sizes in GNU's way instead of pax's, and writes
//! an archive where this one is read. What it would spare is the octal digits.

/// Everything in an archive is a multiple of this, in bytes.
pub(super) const BLOCK: usize = 512;

/// The end of an archive: two blocks of zeros.
pub(super) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// What eleven octal digits can say.
const MOST: u64 = 0o777_7777_7777;

/// The longest name of a header, in bytes. The field `prefix` could take the beginning of a longer one, if it
/// had a slash at the right place; a pax header takes every one.
const NAME: usize = 100;

/// The offset and length of the checksum in a header.
const CHECKSUM: (usize, usize) = (148, 8);

/// What a member of an archive is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Member {
    /// A file of so many bytes.
    File {
        size: u64,
    },
    Folder,
}

/// Appends the header of a member. `name` has no slash at its front, and that of a folder has one at its end;
/// `modified` is in seconds since 1970.
///
/// The owner is nobody's business outside, and the mode is what anybody else would get: what is in the
/// archive has been read over the network.
pub(super) fn header(out: &mut Vec<u8>, name: &[u8], member: Member, modified: i64) {
    let (mode, size, kind) = match member {
        Member::File { size } => (0o644, size, b'0'),
        Member::Folder => (0o755, 0, b'5'),
    };
    let mut records = Vec::new();
    if name.len() > NAME || !name.is_ascii() {
        // One that is not UTF-8 stands here as it is, as GNU tar has it: of `hdrcharset`, with which pax
        // would announce that, GNU tar complains.
        record(&mut records, "path", name);
    }
    if size > MOST {
        record(&mut records, "size", size.to_string().as_bytes());
    }
    let seconds = u64::try_from(modified).ok().filter(|&seconds| seconds <= MOST);
    if seconds.is_none() {
        record(&mut records, "mtime", modified.to_string().as_bytes());
    }
    if !records.is_empty() {
        let length = records.len() as u64;
        block(out, b"PaxHeader", 0o644, length, 0, b'x');
        out.extend_from_slice(&records);
        out.resize(out.len() + padding(length), 0);
    }
    block(out, name, mode, size, seconds.unwrap_or_default(), kind);
}

/// How many zeros follow content of this length.
pub(super) fn padding(length: u64) -> usize {
    // Less than a block.
    (length.next_multiple_of(BLOCK as u64) - length) as usize
}

/// A pax record: its own length in decimal digits, a space, `key=value` and a line feed.
fn record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = " =\n".len() + key.len() + value.len();
    let mut length = rest;
    // The length counts its own digits.
    while length != rest + digits(length) {
        length = rest + digits(length);
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

fn block(out: &mut Vec<u8>, name: &[u8], mode: u64, size: u64, seconds: u64, kind: u8) {
    let begin = out.len();
    let name = &name[..name.len().min(NAME)];
    out.extend_from_slice(name);
    out.resize(begin + NAME, 0);
    octal(out, mode, 8);
    octal(out, 0, 8); // owner
    octal(out, 0, 8); // group
    octal(out, if size > MOST { 0 } else { size }, 12);
    octal(out, seconds, 12);
    out.extend_from_slice(&[b' '; CHECKSUM.1]);
    out.push(kind);
    out.resize(out.len() + 100, 0); // target of a link
    out.extend_from_slice(b"ustar\x0000");
    out.resize(out.len() + 32 + 32, 0); // names of owner and group
    octal(out, 0, 8); // device
    octal(out, 0, 8);
    out.resize(begin + BLOCK, 0); // prefix of the name, and nothing
    // The sum of all bytes, of which its own are taken as spaces.
    let sum = out.iter().skip(begin).map(|&byte| u64::from(byte)).sum::<u64>();
    let mut digits = Vec::with_capacity(CHECKSUM.1);
    octal(&mut digits, sum, 7);
    for (place, digit) in out.iter_mut().skip(begin + CHECKSUM.0).zip(digits) {
        *place = digit;
    }
}

/// A number as octal digits, with a NUL at the end.
fn octal(out: &mut Vec<u8>, number: u64, width: usize) {
    out.extend_from_slice(format!("{number:0digits$o}\0", digits = width - 1).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &[u8], member: Member, modified: i64) -> Vec<u8> {
        let mut out = Vec::new();
        header(&mut out, name, member, modified);
        assert_eq!(out.len() % BLOCK, 0);
        out
    }

    fn checksum(block: &[u8]) -> u64 {
        let own = CHECKSUM.0..CHECKSUM.0 + CHECKSUM.1;
        let bytes = block.iter().enumerate();
        bytes.map(|(at, &byte)| u64::from(if own.contains(&at) { b' ' } else { byte })).sum()
    }

    #[test]
    fn a_plain_member_has_one_block() {
        let block = of(b"folder/a.txt", Member::File { size: 10 }, 784_111_777);
        assert_eq!(block.len(), BLOCK);
        assert!(block.starts_with(b"folder/a.txt\0"));
        assert_eq!(&block[100..108], b"0000644\0");
        assert_eq!(&block[108..124], b"0000000\x000000000\0");
        assert_eq!(&block[124..148], b"00000000012\x0005657114241\0");
        assert_eq!(&block[156..157], b"0");
        assert_eq!(&block[257..265], b"ustar\x0000");
        assert!(block[265..329].iter().all(|&byte| byte == 0), "no names of owner and group");
        let sum = std::str::from_utf8(&block[148..154]).unwrap();
        assert_eq!(u64::from_str_radix(sum, 8).unwrap(), checksum(&block));
        assert_eq!(&block[154..156], b"\0 ");

        let folder = of(b"folder/", Member::Folder, 0);
        assert_eq!((&folder[100..108], folder[156]), (b"0000755\0".as_slice(), b'5'));
    }

    #[test]
    fn what_a_block_cannot_say_stands_before_it() {
        let long = [b'x'; 101];
        let longer = [b'y'; 1000];
        for (name, member, modified, records) in [
            (&long[..], Member::Folder, 0, format!("111 path={}\n", "x".repeat(101)).into_bytes()),
            (
                &longer[..],
                Member::Folder,
                0,
                format!("1011 path={}\n", "y".repeat(1000)).into_bytes(),
            ),
            ("é".as_bytes(), Member::Folder, 0, "11 path=é\n".as_bytes().to_vec()),
            (b"\xff\n", Member::Folder, 0, b"11 path=\xff\n\n".to_vec()),
            (b"a", Member::File { size: 8 << 30 }, 0, b"19 size=8589934592\n".to_vec()),
            (b"a", Member::Folder, -1, b"12 mtime=-1\n".to_vec()),
            (b"a", Member::Folder, 8 << 30, b"20 mtime=8589934592\n".to_vec()),
        ] {
            let header = of(name, member, modified);
            let padded = records.len().next_multiple_of(BLOCK);
            assert_eq!(header.len(), BLOCK + padded + BLOCK);
            assert_eq!(header[156], b'x');
            let size = std::str::from_utf8(&header[124..135]).unwrap();
            assert_eq!(usize::from_str_radix(size, 8).unwrap(), records.len());
            assert_eq!(&header[BLOCK..BLOCK + records.len()], records, "{name:?}");
            let block = &header[BLOCK + padded..];
            assert!(block.starts_with(&name[..name.len().min(NAME)]));
        }
        // The largest that needs none.
        assert_eq!(of(&[b'x'; 100], Member::File { size: MOST }, MOST as i64).len(), BLOCK);
    }

    #[test]
    fn content_is_padded_to_a_block() {
        for (length, zeros) in [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511), (8 << 30, 0)] {
            assert_eq!(padding(length), zeros, "{length}");
        }
    }
}
