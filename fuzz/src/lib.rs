//! What the targets share: cuts that an input makes for itself, and a client that reads requests.

use http::Version;
use sealpair_server::BodyError;
use sealpair_server::http::body::BodyDecoder;
use sealpair_server::http::head::{HeadLimits, RequestHead, parse};
use sealpair_server::http::scan::HeadScanner;
use sealpair_server::http::{Framing, Rejection};

/// Numbers that depend on the input alone: so an input stays a request that a person can read, its
/// cuts change whenever it changes, and a finding happens again.
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// Numbers of this input (FNV-1a).
    pub fn of(input: &[u8]) -> Self {
        Self(input.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    /// A number below `bound`, or 0 (SplitMix64).
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}

/// Where a client's bytes are cut: what has arrived after each read, ending with everything.
pub type Arrivals = Vec<usize>;

/// The ways in which the same bytes arrive: one byte at a time, and a few pieces of any length.
pub fn fragmentations(input: &[u8]) -> [Arrivals; 3] {
    let mut numbers = Numbers::of(input);
    let mut pieces = |longest: usize| {
        let mut arrivals = Arrivals::new();
        let mut at = 0;
        while at < input.len() {
            at = input.len().min(at + 1 + numbers.below(longest));
            arrivals.push(at);
        }
        arrivals
    };
    [pieces(1), pieces(7), pieces(input.len())]
}

/// Limits that an input of a few hundred bytes can pass.
pub const TIGHT: HeadLimits = HeadLimits { head: 200, target: 40, fields: 6 };

/// What a connection makes of the head that these bytes begin with: its length as well.
pub fn read_head(
    input: &[u8],
    arrivals: &[usize],
    limits: &HeadLimits,
) -> Result<Option<(RequestHead, usize)>, Rejection> {
    let mut scanner = HeadScanner::new();
    for &arrived in arrivals {
        if let Some(end) = scanner.scan(&input[..arrived], limits)? {
            return Ok(Some((parse(&input[..end], limits)?, end)));
        }
    }
    Ok(None)
}

/// The content, how many bytes of the input it took, and whether it ended.
pub type Content = Result<(Vec<u8>, usize, bool), BodyError>;

/// What a connection takes out of these bytes that reads the content `room` bytes at a time.
pub fn read_content(
    framing: Framing,
    limit: u64,
    input: &[u8],
    arrivals: &[usize],
    mut room: impl FnMut() -> usize,
) -> Content {
    let mut decoder = BodyDecoder::new(framing, limit)?;
    let mut content = Vec::new();
    let mut output = Vec::new();
    let mut at = 0;
    for &arrived in arrivals {
        while !decoder.is_done() && at < arrived {
            output.resize(room(), 0);
            let ahead = decoder.content_ahead();
            let decoded = decoder.decode(&input[at..arrived], &mut output)?;
            assert!(decoded.produced <= output.len() && decoded.produced <= decoded.consumed);
            assert!(decoded.consumed > 0 || output.is_empty(), "no progress with room for some");
            assert!(decoded.consumed > 0 || ahead > 0, "no progress, and it is not content");
            assert_eq!(decoded.done, decoder.is_done());
            at += decoded.consumed;
            content.extend_from_slice(&output[..decoded.produced]);
        }
    }
    Ok((content, at, decoder.is_done()))
}

/// One request, as it can be compared.
#[derive(Debug, Eq, PartialEq)]
pub struct Exchange {
    /// Method and target.
    pub line: String,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// How its content was framed.
    pub framing: Framing,
    /// Its content.
    pub content: Vec<u8>,
}

/// Why no further request was read from a connection.
#[derive(Debug, Eq, PartialEq)]
pub enum End {
    /// The bytes ended, between two requests or in one.
    Ended(usize),
    /// A head was refused.
    Refused(Rejection),
    /// Content was refused.
    Content(BodyError),
    /// The client wanted no other response.
    Close(usize),
}
