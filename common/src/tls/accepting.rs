//! A server's handshake in steps, for a server that does not let a thread wait for each client.

use super::failure::Failure;
use super::patience::Patience;
use super::stream::TlsStream;

/// A server's handshake that is not done yet.
#[derive(Debug)]
pub struct Accepting(TlsStream);

/// How far a handshake has come.
#[derive(Debug)]
pub enum Advance {
    /// It is done.
    Done(TlsStream),
    /// The client's next message is not there yet.
    Waiting(Accepting),
}

impl Accepting {
    /// A handshake in which nothing has been said.
    pub(super) fn new(stream: TlsStream) -> Self {
        Self(stream)
    }

    /// Asks `may_wait` before this thread waits for the client from now on. When the answer is no,
    /// it is as if the deadline had passed.
    pub fn before_waiting(&mut self, may_wait: fn() -> bool) {
        self.0.before_waiting(may_wait);
    }

    /// How long a message to the client may take.
    pub fn set_writing(&mut self, patience: Patience) {
        self.0.set_writing(patience);
    }

    /// Goes on with what has arrived. Only with [`Patience::Now`] can the result be
    /// [`Advance::Waiting`].
    ///
    /// # Errors
    ///
    /// As [`ServerTls::accept`](super::ServerTls::accept).
    pub fn advance(mut self, patience: Patience) -> Result<Advance, Failure> {
        Ok(match self.0.shake_hands(patience)? {
            true => Advance::Done(self.0),
            false => Advance::Waiting(self),
        })
    }

    /// The failure of a handshake that has taken too long.
    pub fn late(self) -> Failure {
        self.0.late()
    }
}
