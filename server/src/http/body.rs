//! Taking the content of a request out of its framing (RFC 9112 sections 6 and 7).
//!
//! The connection owns the buffer and the stream. It hands over what it has read with
//! [`decode`](BodyDecoder::decode); where [`content_ahead`](BodyDecoder::content_ahead) says that
//! the next bytes are content and nothing else, it may read them from the stream into the handler's
//! buffer directly and report that with [`consumed_directly`](BodyDecoder::consumed_directly).
//!
//! A decoder holds a few words, whatever the client sends: sizes are summed up digit by digit,
//! chunk extensions and trailers are checked and dropped as they pass.

use super::Framing;
use super::syntax::{is_field_value, is_token};
use crate::message::BodyError;

/// Digits of a chunk size. Sixteen hold 64 bits, so the sum cannot overflow; a longer size is zeros
/// or an attack.
const MAX_SIZE_DIGITS: u32 = 16;

/// Bytes of extensions at one chunk. No extension is in use; a signature would fit.
const MAX_EXTENSION: u32 = 256;

/// Bytes of extensions in one body. Without it, chunks of one byte with full extensions would make
/// the server read 256 times what it counts as content.
const MAX_EXTENSIONS: u32 = 16 * 1024;

/// Bytes of trailers. They are dropped, so this bounds only how long that takes.
const MAX_TRAILERS: u32 = 8 * 1024;

/// What one call of [`BodyDecoder::decode`] did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Decoded {
    /// How many bytes of the input are used up; they are not to be handed over again.
    pub consumed: usize,
    /// How many bytes of content stand in the output.
    pub produced: usize,
    /// Whether the content has ended. What follows in the input is the next request.
    pub done: bool,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Content that ends with the body.
    Length(u64),
    /// The first or another digit of a chunk size.
    Size { size: u64, digits: u32 },
    /// A byte of a chunk extension, or the CR after it.
    Extension { size: u64, length: u32 },
    /// The LF after a chunk size.
    SizeEnd { size: u64 },
    /// Content of a chunk.
    Chunk(u64),
    /// The CR after a chunk.
    ChunkCr,
    /// The LF after a chunk.
    ChunkLf,
    /// The beginning of a trailer line, or of the empty line that ends the body.
    TrailerStart,
    /// A byte of a trailer's name, or the colon after it.
    TrailerName,
    /// A byte of a trailer's value, or the CR after it.
    TrailerValue,
    /// The LF after a trailer.
    TrailerLf,
    /// The LF that ends the body.
    FinalLf,
    /// Of the next request.
    Done,
    /// Of nothing that could be told.
    Failed(BodyError),
}

/// Takes the content of one request out of its framing.
///
/// ```
/// use sealpair_server::http::{Framing, body::BodyDecoder};
/// let mut decoder = BodyDecoder::new(Framing::Chunked, 1024).unwrap();
/// let mut content = [0; 8];
/// let decoded = decoder.decode(b"3\r\nabc\r\n0\r\n\r\nGET /", &mut content).unwrap();
/// assert_eq!((decoded.consumed, decoded.produced, decoded.done), (13, 3, true));
/// ```
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
    /// Bytes of content that may still be declared.
    allowance: u64,
    limit: u64,
    extensions: u32,
    trailers: u32,
}

impl BodyDecoder {
    /// A decoder for content that is framed so, of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// [`BodyError::TooLarge`] where the declared length shows already that the limit is passed.
    pub fn new(framing: Framing, limit: u64) -> Result<Self, BodyError> {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) if length > limit => return Err(BodyError::TooLarge { limit }),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { size: 0, digits: 0 },
        };
        Ok(Self { state, allowance: limit, limit, extensions: 0, trailers: 0 })
    }

    /// Whether the content has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many of the next bytes are content and nothing else. Zero does not mean that the content
    /// has ended.
    pub fn content_ahead(&self) -> u64 {
        match self.state {
            State::Length(ahead) | State::Chunk(ahead) => ahead,
            _ => 0,
        }
    }

    /// Tells that `count` bytes of content were taken from the stream without this decoder; at most
    /// [`content_ahead`](Self::content_ahead).
    pub fn consumed_directly(&mut self, count: u64) {
        debug_assert!(count <= self.content_ahead());
        self.state = match self.state {
            State::Length(ahead) if ahead <= count => State::Done,
            State::Length(ahead) => State::Length(ahead - count),
            State::Chunk(ahead) if ahead <= count => State::ChunkCr,
            State::Chunk(ahead) => State::Chunk(ahead - count),
            state => state,
        };
    }

    /// Decodes until the input is used up, the output is full or the content has ended.
    ///
    /// With a full (or empty) output it still takes framing that needs no room, so a body whose
    /// content is complete can be brought to its end.
    ///
    /// # Errors
    ///
    /// [`BodyError::Malformed`] and [`BodyError::TooLarge`]. After an error, every call gives the
    /// same one: nothing that follows can be told apart.
    pub fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<Decoded, BodyError> {
        let mut consumed = 0;
        let mut produced = 0;
        while let Some(&byte) = input.get(consumed) {
            let ahead = self.content_ahead();
            if ahead > 0 {
                let room = (output.len() - produced).min(input.len() - consumed);
                let count = usize::try_from(ahead).map_or(room, |ahead| ahead.min(room));
                if count == 0 {
                    break;
                }
                output[produced..produced + count]
                    .copy_from_slice(&input[consumed..consumed + count]);
                consumed += count;
                produced += count;
                self.consumed_directly(count as u64);
                continue;
            }
            match self.state {
                State::Done => break,
                State::Failed(error) => return Err(error),
                state => match self.framing_byte(state, byte) {
                    Ok(next) => self.state = next,
                    Err(error) => {
                        self.state = State::Failed(error);
                        return Err(error);
                    }
                },
            }
            consumed += 1;
        }
        if let State::Failed(error) = self.state {
            return Err(error);
        }
        Ok(Decoded { consumed, produced, done: self.is_done() })
    }

    /// The state after a byte that is not content.
    fn framing_byte(&mut self, state: State, byte: u8) -> Result<State, BodyError> {
        const BAD_SIZE: BodyError = BodyError::Malformed("a chunk size is not a number");
        const NO_CRLF: BodyError = BodyError::Malformed("a chunk does not end in CRLF");
        const BAD_TRAILER: BodyError = BodyError::Malformed("a trailer field is not valid");

        if matches!(
            state,
            State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLf
        ) {
            self.trailers += 1;
            if self.trailers > MAX_TRAILERS {
                return Err(BodyError::Malformed("the trailer fields are too long"));
            }
        }
        match (state, byte) {
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == MAX_SIZE_DIGITS {
                    return Err(BodyError::Malformed("a chunk size is too long"));
                }
                let digit = char::from(byte).to_digit(16).ok_or(BAD_SIZE)?;
                // At most sixteen digits of four bits: nothing is shifted out.
                Ok(State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
            }
            (State::Size { digits: 0, .. }, _) => Err(BAD_SIZE),
            (State::Size { size, .. }, b'\r') => Ok(State::SizeEnd { size }),
            // RFC 9112 section 7.1.1 knows whitespace before the semicolon for old senders only.
            // Others took it for a part of the size: refused.
            (State::Size { size, .. }, b';') => Ok(State::Extension { size, length: 0 }),
            (State::Size { .. }, _) => Err(BAD_SIZE),

            (State::Extension { size, .. }, b'\r') => Ok(State::SizeEnd { size }),
            (State::Extension { size, length }, _) if is_field_value(byte) => {
                self.extensions += 1;
                if length == MAX_EXTENSION || self.extensions > MAX_EXTENSIONS {
                    return Err(BodyError::Malformed("the chunk extensions are too long"));
                }
                Ok(State::Extension { size, length: length + 1 })
            }
            (State::Extension { .. }, _) => {
                Err(BodyError::Malformed("a chunk extension is not valid"))
            }

            (State::SizeEnd { size: 0 }, b'\n') => Ok(State::TrailerStart),
            (State::SizeEnd { size }, b'\n') => {
                self.allowance = self
                    .allowance
                    .checked_sub(size)
                    .ok_or(BodyError::TooLarge { limit: self.limit })?;
                Ok(State::Chunk(size))
            }
            (State::SizeEnd { .. }, _) => {
                Err(BodyError::Malformed("a chunk size does not end in CRLF"))
            }

            (State::ChunkCr, b'\r') => Ok(State::ChunkLf),
            (State::ChunkLf, b'\n') => Ok(State::Size { size: 0, digits: 0 }),
            (State::ChunkCr | State::ChunkLf, _) => Err(NO_CRLF),

            (State::TrailerStart, b'\r') => Ok(State::FinalLf),
            (State::TrailerStart | State::TrailerName, _) if is_token(byte) => {
                Ok(State::TrailerName)
            }
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, _) if is_field_value(byte) => Ok(State::TrailerValue),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::FinalLf, b'\n') => Ok(State::Done),
            (
                State::TrailerStart
                | State::TrailerName
                | State::TrailerValue
                | State::TrailerLf
                | State::FinalLf,
                _,
            ) => Err(BAD_TRAILER),

            // These have no framing byte; `decode` does not ask for them.
            (State::Length(_) | State::Chunk(_) | State::Done | State::Failed(_), _) => Ok(state),
        }
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
