//! The TCP socket below a TLS stream: deadlines on every wait, and writes gathered into large sends.
//!
//! OpenSSL writes one record (16 KiB at most) at a time. Here the records are collected and leave in
//! one `send` when 128 KiB have gathered or the message is complete, which is cheaper than one
//! `write` per record.
//!
//! Deadlines use `SO_RCVTIMEO` and `SO_SNDTIMEO`. Setting one costs a system call, so the value in
//! force is kept and only changed when it would wake the thread clearly too late, or has just woken it
//! too early; a keep-alive connection sets it once.
//!
//! A server that wants to be asked before its thread waits says so with [`Socket::before_waiting`]: then
//! what can be done at once is tried first, which needs neither a timeout nor a look at the clock.

use super::patience::Patience;
use crate::memory::{self, Spare};
use rustix::net::{RecvFlags, SendFlags};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much ciphertext is gathered before it is sent. Larger gains nothing measurable on loopback;
/// it is a buffer that a connection holds only while it sends a long message.
const GATHER: usize = 128 << 10;

/// A buffer up to this size is kept between messages, by the thread and not by the connection; a
/// larger one is given back.
const KEEP: usize = 32 << 10;

thread_local! {
    /// The buffer in which the next message of this thread is gathered.
    static SPARE: Spare = const { Cell::new(Vec::new()) };
}

/// The socket of one connection.
#[derive(Debug)]
pub struct Socket {
    tcp: Arc<TcpStream>,
    gathered: Vec<u8>,
    /// How much of `gathered` has been sent, when a send was interrupted by its deadline.
    sent: usize,
    reading: Patience,
    writing: Patience,
    receive_timeout: Option<Duration>,
    send_timeout: Option<Duration>,
    /// What is to be asked before this thread waits for the peer.
    before_waiting: Option<fn() -> bool>,
    /// Whether the last read took all that there was.
    drained: bool,
    /// Whether a send has met its deadline.
    stuck: bool,
    /// What the peer said first: it tells HTTP from TLS when a handshake fails.
    first: [u8; 8],
    first_length: usize,
    /// Set when a read met the end of the TCP stream.
    ended: bool,
}

impl Socket {
    /// A socket that waits for ever, until it is told otherwise.
    pub fn new(tcp: Arc<TcpStream>) -> Self {
        Self {
            tcp,
            gathered: Vec::new(),
            sent: 0,
            reading: Patience::Forever,
            writing: Patience::Forever,
            receive_timeout: None,
            send_timeout: None,
            before_waiting: None,
            drained: false,
            stuck: false,
            first: [0; 8],
            first_length: 0,
            ended: false,
        }
    }

    /// The connection.
    pub fn tcp(&self) -> &Arc<TcpStream> {
        &self.tcp
    }

    /// How long reads may wait from now on.
    pub fn set_reading(&mut self, patience: Patience) {
        self.reading = patience;
    }

    /// How long writes may wait from now on.
    pub fn set_writing(&mut self, patience: Patience) {
        self.writing = patience;
    }

    /// Asks `may_wait` before the first wait for the peer from now on. Until then, what can be done at once
    /// is done without a timeout. When the answer is no, it is as if the deadline had passed.
    pub fn before_waiting(&mut self, may_wait: fn() -> bool) {
        self.before_waiting = Some(may_wait);
    }

    /// Whether a send has not been finished by its deadline: nothing can follow it.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Whether the last read took everything that had arrived, so that whatever is still to come will
    /// make the socket readable anew. Not after the peer's end: there is nothing to wait for.
    pub fn is_drained(&self) -> bool {
        self.drained
    }

    /// Forgets what has gathered: nothing is sent any more, and what the peer has said can be read.
    pub fn discard(&mut self) {
        self.gathered.clear();
        self.sent = 0;
    }

    pub(super) fn reading(&self) -> Patience {
        self.reading
    }

    /// The first bytes that came from the peer, at most eight.
    pub(super) fn first_bytes(&self) -> &[u8] {
        &self.first[..self.first_length]
    }

    /// Whether the peer closed its side of the TCP connection.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    fn receive(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.wait_and_receive(buf);
        // Less than was asked for is all there was (epoll(7), question 9); zero is the end.
        self.drained = match &count {
            Ok(count) => (1..buf.len()).contains(count),
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        count
    }

    fn wait_and_receive(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let now_or_never = matches!(self.reading, Patience::Now);
        if now_or_never || self.before_waiting.is_some() {
            match rustix::net::recv(&*self.tcp, &mut *buf, RecvFlags::DONTWAIT) {
                Ok((count, _)) => {
                    self.reading.moved(count);
                    return Ok(count);
                }
                Err(error) if now_or_never || !is_wake_up(&error.into()) => {
                    return Err(error.into());
                }
                Err(_) => self.ask_to_wait()?,
            }
        }
        loop {
            let now = Instant::now();
            let deadline = self.reading.deadline(now);
            arm(deadline, now, &mut self.receive_timeout, |timeout| {
                self.tcp.set_read_timeout(timeout)
            })?;
            let result = (&*self.tcp).read(buf);
            self.reading.waited(now, *result.as_ref().unwrap_or(&0));
            match result {
                Err(e) if is_wake_up(&e) => {
                    note_wake_up(deadline, &mut self.receive_timeout)?;
                }
                result => return result,
            }
        }
    }

    /// Asks whether this thread may wait, until it may.
    fn ask_to_wait(&mut self) -> io::Result<()> {
        match self.before_waiting.take() {
            Some(may_wait) if !may_wait() => {
                self.before_waiting = Some(may_wait);
                Err(passed())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Sends what has gathered, and gives the buffer back: a message is complete.
    ///
    /// # Errors
    ///
    /// Those of the socket, and `WouldBlock` when the deadline has passed.
    pub fn send(&mut self) -> io::Result<()> {
        self.send_gathered()?;
        memory::keep(&SPARE, std::mem::take(&mut self.gathered), KEEP);
        Ok(())
    }

    /// Sends what has gathered. After a failure other than a deadline nothing more can be sent, so
    /// nothing is kept: what the peer has said may still be read.
    fn send_gathered(&mut self) -> io::Result<()> {
        let result = self.try_send_gathered();
        match &result {
            Err(error) if is_wake_up(error) => self.stuck = true,
            Ok(()) | Err(_) => self.discard(),
        }
        result
    }

    fn try_send_gathered(&mut self) -> io::Result<()> {
        while self.sent < self.gathered.len() {
            if self.before_waiting.is_some() {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                match rustix::net::send(&*self.tcp, &self.gathered[self.sent..], flags) {
                    Ok(count) => {
                        self.writing.moved(count);
                        self.sent += count;
                    }
                    Err(error) if is_wake_up(&error.into()) => self.ask_to_wait()?,
                    Err(error) => return Err(error.into()),
                }
                continue;
            }
            let now = Instant::now();
            let deadline = self.writing.deadline(now);
            arm(deadline, now, &mut self.send_timeout, |timeout| {
                self.tcp.set_write_timeout(timeout)
            })?;
            let result = (&*self.tcp).write(&self.gathered[self.sent..]);
            self.writing.waited(now, *result.as_ref().unwrap_or(&0));
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(e) if is_wake_up(&e) => {
                    // A blocked send goes on when a third of the buffer is free, which can be megabytes:
                    // a peer that reads slowly is not one that does not read.
                    if let Some(queued) = crate::ffi::send_queue(&self.tcp) {
                        self.writing.still_here(queued);
                    }
                    let deadline = self.writing.deadline(Instant::now());
                    note_wake_up(deadline, &mut self.send_timeout)?;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

impl Read for Socket {
    /// Reads what there is. The end of the TCP stream is an error: only TLS's close_notify is an end
    /// (RFC 8446 section 6.1), and OpenSSL's own detection does not work through a custom BIO.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // Never wait for an answer while the question is still in our hands. A send that has taken too
        // long must not look like a read that found nothing.
        self.send_gathered().map_err(|error| match is_wake_up(&error) {
            true => io::ErrorKind::TimedOut.into(),
            false => error,
        })?;
        let count = self.receive(buf)?;
        if count == 0 && !buf.is_empty() {
            self.ended = true;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.first_length < self.first.len() {
            let take = count.min(self.first.len() - self.first_length);
            self.first[self.first_length..][..take].copy_from_slice(&buf[..take]);
            self.first_length += take;
        }
        Ok(count)
    }
}

impl Write for Socket {
    /// Gathers; sends when enough has gathered.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.gathered.len() >= GATHER {
            self.send_gathered()?;
        }
        if self.gathered.capacity() == 0 {
            self.gathered = memory::take(&SPARE);
        }
        self.gathered.extend_from_slice(buf);
        Ok(buf.len())
    }

    /// Does nothing: OpenSSL flushes after each of its messages, and what it says last in a handshake can
    /// leave with what the application says first. What has gathered leaves with [`Socket::send`], or
    /// before a read.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sees to it that a blocking call wakes up by the deadline.
fn arm(
    deadline: Option<Instant>,
    now: Instant,
    in_force: &mut Option<Duration>,
    set: impl FnOnce(Option<Duration>) -> io::Result<()>,
) -> io::Result<()> {
    let wanted = match deadline {
        None => None,
        Some(deadline) => {
            let remaining = deadline.saturating_duration_since(now);
            if remaining.is_zero() {
                return Err(passed());
            }
            Some(remaining)
        }
    };
    let soon_enough = match (wanted, *in_force) {
        (None, None) => true,
        // Waking a sixteenth late is accepted for one system call less.
        (Some(wanted), Some(set)) => set <= wanted + wanted / 16,
        _ => false,
    };
    if soon_enough {
        return Ok(());
    }
    // The kernel takes zero for "for ever" and std refuses it; below a microsecond it would round to it.
    set(wanted.map(|span| span.max(Duration::from_millis(1))))?;
    *in_force = wanted;
    Ok(())
}

/// A blocking call came back without having done anything: either the deadline has passed, or the
/// timeout in force was shorter than what is left and must be set anew.
fn note_wake_up(deadline: Option<Instant>, in_force: &mut Option<Duration>) -> io::Result<()> {
    *in_force = Some(Duration::MAX);
    match deadline {
        Some(deadline) if Instant::now() >= deadline => Err(passed()),
        _ => Ok(()),
    }
}

fn is_wake_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// `WouldBlock` is what OpenSSL's BIO takes for "try again", which leaves the TLS state intact: after a
/// late request head the server can still say 408.
fn passed() -> io::Error {
    io::ErrorKind::WouldBlock.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        (Socket::new(Arc::new(near)), far)
    }

    #[test]
    fn writes_leave_only_when_sent_or_before_a_read() {
        let (mut near, mut far) = pair();
        near.write_all(b"question").unwrap();
        far.set_nonblocking(true).unwrap();
        let mut buf = [0; 16];
        assert_eq!(far.read(&mut buf).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        far.set_nonblocking(false).unwrap();
        near.reading = Patience::Now;
        assert_eq!(near.read(&mut buf).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(far.read(&mut buf).unwrap(), 8);
    }

    #[test]
    fn a_read_ends_at_its_deadline() {
        let (mut near, _far) = pair();
        let began = Instant::now();
        near.reading = Patience::for_next(Duration::from_millis(30));
        assert_eq!(near.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(began.elapsed() >= Duration::from_millis(29));
        // A timeout in force that is shorter than what is left must not end a later wait.
        near.reading = Patience::for_next(Duration::from_millis(90));
        let began = Instant::now();
        assert_eq!(near.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(began.elapsed() >= Duration::from_millis(89));
    }

    #[test]
    fn a_write_to_someone_who_does_not_read_ends_at_its_deadline() {
        let (mut near, _far) = pair();
        near.writing = Patience::for_next(Duration::from_millis(50));
        let block = vec![0; 1 << 20];
        let error = (0..64).find_map(|_| near.write(&block).and_then(|_| near.send()).err());
        assert_eq!(error.unwrap().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn after_a_failed_write_what_the_peer_said_can_still_be_read() {
        let (mut near, mut far) = pair();
        far.write_all(b"413").unwrap();
        drop(far);
        // The first write meets the closed socket, which answers with a reset; a later one fails.
        let failed = (0..200).any(|_| near.write(b"more").and_then(|_| near.send()).is_err());
        assert!(failed);
        let mut buf = [0; 8];
        assert_eq!(near.read(&mut buf).unwrap(), 3);
    }

    #[test]
    fn a_deadline_that_has_passed_is_seen_before_the_wait() {
        let (mut near, _far) = pair();
        near.reading = Patience::Until(Instant::now());
        assert_eq!(near.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn the_end_of_tcp_is_an_error_and_is_remembered() {
        let (mut near, mut far) = pair();
        far.write_all(b"HTTP/1.1 400").unwrap();
        drop(far);
        let mut buf = [0; 64];
        assert_eq!(near.read(&mut buf).unwrap(), 12);
        assert_eq!(near.first_bytes(), b"HTTP/1.1");
        assert_eq!(near.read(&mut buf).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(near.has_ended());
    }
}
