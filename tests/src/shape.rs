//! A TCP stream that sends what it is given in other portions: what a peer sees of a client behind a
//! bad line, or of one that hopes to find a parser that expects whole things.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// How what is written is cut.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Shape {
    /// As it is.
    #[default]
    Plain,
    /// At most so many bytes in each TCP segment.
    Segments(usize),
    /// At most so many bytes in each TLS record of the handshake, as long as that is not encrypted
    /// (RFC 8446 section 5.1: a message may be split over any number of records); each record is a
    /// TCP segment.
    HelloRecords(usize),
}

/// The stream, without Nagle's delay, so that each write is a segment.
#[derive(Debug)]
pub struct Shaped {
    tcp: TcpStream,
    shape: Shape,
}

impl Shaped {
    /// Cuts what is written to this connection.
    pub fn new(tcp: TcpStream, shape: Shape) -> Self {
        tcp.set_nodelay(true).unwrap();
        Self { tcp, shape }
    }

    /// The connection below.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }
}

impl Read for Shaped {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.tcp.read(buf)
    }
}

impl Write for Shaped {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self.shape {
            Shape::Plain => return self.tcp.write(buf),
            Shape::Segments(most) => {
                for piece in buf.chunks(most) {
                    self.tcp.write_all(piece)?;
                }
            }
            Shape::HelloRecords(most) => {
                for record in split_handshake(buf, most) {
                    self.tcp.write_all(&record)?;
                }
                // What follows the ClientHello is not worth cutting, and in part encrypted.
                self.shape = Shape::Plain;
            }
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// The handshake message in these records, in records of at most so many bytes.
pub fn split_handshake(records: &[u8], most: usize) -> Vec<Vec<u8>> {
    const HANDSHAKE: u8 = 22;
    let mut rest = records;
    let mut split = Vec::new();
    while let [kind, major, minor, high, low, tail @ ..] = rest {
        assert_eq!(*kind, HANDSHAKE, "a client begins with its hello");
        let (content, behind) = tail.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        for piece in content.chunks(most) {
            let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
            split.push([&[*kind, *major, *minor], &length[..], piece].concat());
        }
        rest = behind;
    }
    split
}
