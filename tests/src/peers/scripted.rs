//! Servers that do what a test tells them: answer garbage, cut the connection, say nothing.
//!
//! Each connection has a thread of its own, which runs the script. TLS is the `openssl` crate's,
//! so that nothing of what is tested is in it.

use crate::pki::Credentials;
use crate::raw::reset;
use crate::waiting::DEADLINE;
use openssl::ssl::{
    SslAcceptor, SslAcceptorBuilder, SslFiletype, SslMethod, SslStream, SslVersion,
};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

/// What a scripted server does after its answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// Says close_notify (over TLS), and closes.
    Close,
    /// Closes the TCP connection without close_notify.
    Cut,
    /// Resets the TCP connection.
    Reset,
    /// Keeps the connection, and says nothing more.
    Hold,
    /// Takes another request, and answers the same.
    Repeat,
}

/// A server in this process. Its connections end when this is dropped.
#[derive(Debug)]
pub struct ScriptedServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    stop: Condvar,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connections: usize,
    requests: Vec<String>,
    failures: Vec<String>,
    open: Vec<TcpStream>,
}

impl ScriptedServer {
    /// Runs a script with the TCP stream of every connection.
    pub fn tcp(script: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> Self {
        Self::run(move |mut tcp, _| script(&mut tcp))
    }

    /// Runs a script with the TLS stream of every connection whose handshake succeeds.
    pub fn tls(
        credentials: &Credentials,
        script: impl Fn(&mut SslStream<TcpStream>) + Send + Sync + 'static,
    ) -> Self {
        let acceptor = acceptor(credentials);
        Self::run(move |tcp, _| {
            if let Ok(mut stream) = acceptor.accept(tcp) {
                script(&mut stream);
            }
        })
    }

    /// Answers the head of a request over TLS with these bytes, and then does as told.
    pub fn answering(credentials: &Credentials, answer: &[u8], ending: Ending) -> Self {
        let answer = answer.to_vec();
        Self::playing(credentials, move |_, _| (answer.clone(), ending))
    }

    /// Answers each request as the script says: it gets the number of the request, from zero and counted
    /// over all connections, and its head, and tells what to send and what to do then.
    pub fn playing(
        credentials: &Credentials,
        script: impl Fn(usize, &str) -> (Vec<u8>, Ending) + Send + Sync + 'static,
    ) -> Self {
        let acceptor = acceptor(credentials);
        let played = AtomicUsize::new(0);
        Self::run(move |tcp, shared| {
            let Ok(mut stream) = acceptor.accept(tcp) else { return };
            while let Some(head) = read_head(&mut stream) {
                shared.note(Some(head.clone()));
                let (answer, ending) = script(played.fetch_add(1, Ordering::SeqCst), &head);
                if stream.write_all(&answer).is_err() {
                    return;
                }
                match ending {
                    Ending::Repeat => continue,
                    Ending::Close => {
                        let _ = stream.shutdown();
                    }
                    Ending::Cut => {}
                    Ending::Reset => return reset(stream.get_ref()),
                    Ending::Hold => return shared.hold(),
                }
                return drain(stream.get_mut());
            }
        })
    }

    /// Answers every request, and staples these bytes to each handshake in this version of TLS that asks
    /// for a status.
    pub fn stapling(
        credentials: &Credentials,
        staple: Vec<u8>,
        version: SslVersion,
        answer: &[u8],
    ) -> Self {
        let mut builder = acceptor_builder(credentials);
        builder.set_min_proto_version(Some(version)).unwrap();
        builder.set_max_proto_version(Some(version)).unwrap();
        builder
            .set_status_callback(move |ssl| ssl.set_ocsp_status(&staple).map(|()| true))
            .unwrap();
        let (acceptor, answer) = (builder.build(), answer.to_vec());
        Self::run(move |tcp, shared| {
            let mut stream = match acceptor.accept(tcp) {
                Ok(stream) => stream,
                Err(error) => {
                    let text = format!("{error:?}");
                    return shared.state.lock().unwrap().failures.push(text);
                }
            };
            while shared.note(read_head(&mut stream)) && stream.write_all(&answer).is_ok() {}
        })
    }

    /// Waits for the first bytes over plain TCP, answers with these bytes, and then does as told.
    pub fn plain(answer: &[u8], ending: Ending) -> Self {
        let answer = answer.to_vec();
        Self::run(move |mut tcp, shared| {
            while let Ok(1..) = tcp.read(&mut [0; 4 << 10])
                && tcp.write_all(&answer).is_ok()
            {
                match ending {
                    Ending::Repeat => continue,
                    Ending::Close | Ending::Cut => return drain(&mut tcp),
                    Ending::Reset => return reset(&tcp),
                    Ending::Hold => return shared.hold(),
                }
            }
        })
    }

    /// Accepts and says nothing at all.
    pub fn silent() -> Self {
        Self::run(|_tcp, shared| shared.hold())
    }

    fn run(script: impl Fn(TcpStream, &Shared) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let accepting = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let script = &script;
                thread::scope(|scope| {
                    while let Ok((tcp, _)) = listener.accept() {
                        let mut state = shared.state.lock().unwrap();
                        if shared.stopping.load(Ordering::SeqCst) {
                            return;
                        }
                        state.connections += 1;
                        state.open.push(tcp.try_clone().unwrap());
                        drop(state);
                        tcp.set_nodelay(true).unwrap();
                        tcp.set_read_timeout(Some(DEADLINE)).unwrap();
                        tcp.set_write_timeout(Some(DEADLINE)).unwrap();
                        let shared = &shared;
                        scope.spawn(move || {
                            let peer = tcp.peer_addr();
                            script(tcp, shared);
                            // The clone would keep the connection open.
                            let mut state = shared.state.lock().unwrap();
                            state.open.retain(|other| {
                                other.peer_addr().ok() != peer.as_ref().ok().copied()
                            });
                        });
                    }
                });
            })
        };
        Self { address, shared, accepting: Some(accepting) }
    }

    /// `https://localhost:PORT` and a path that begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port())
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.shared.state.lock().unwrap().connections
    }

    /// The handshakes of [`stapling`](Self::stapling) that failed, in OpenSSL's words.
    pub fn failures(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().failures.clone()
    }

    /// The heads of the requests that [`answering`](Self::answering) and [`playing`](Self::playing) have
    /// read.
    pub fn requests(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().requests.clone()
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        let state = self.shared.state.lock().unwrap();
        self.shared.stopping.store(true, Ordering::SeqCst);
        for tcp in &state.open {
            let _ = tcp.shutdown(Shutdown::Both);
        }
        drop(state);
        self.shared.stop.notify_all();
        // It wakes up to find that it is to stop.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take()
            && accepting.join().is_err()
            && !thread::panicking()
        {
            panic!("the script of a server panicked");
        }
    }
}

impl Shared {
    /// Takes note of a request, if there was one.
    fn note(&self, head: Option<String>) -> bool {
        let read = head.is_some();
        self.state.lock().unwrap().requests.extend(head);
        read
    }

    /// Waits until the server is dropped.
    fn hold(&self) {
        let state = self.state.lock().unwrap();
        let stopping = |_: &mut State| !self.stopping.load(Ordering::SeqCst);
        drop(self.stop.wait_while(state, stopping).unwrap());
    }
}

fn acceptor(credentials: &Credentials) -> SslAcceptor {
    acceptor_builder(credentials).build()
}

fn acceptor_builder(credentials: &Credentials) -> SslAcceptorBuilder {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor.set_certificate_chain_file(&credentials.cert).unwrap();
    acceptor.set_private_key_file(&credentials.key, SslFiletype::PEM).unwrap();
    acceptor
}

/// The head of a request, read byte by byte so that nothing behind it is taken; `None` at the end.
pub fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// Closes for writing, and reads what the peer still sends: with unread data in the socket, closing
/// it would be a reset.
fn drain(tcp: &mut TcpStream) {
    let _ = tcp.shutdown(Shutdown::Write);
    while let Ok(1..) = tcp.read(&mut [0; 4 << 10]) {}
}

/// An answer with its length.
pub fn answer(status: &str, fields: &str, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), content].concat()
}
